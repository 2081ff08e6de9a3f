# Copyright (c) dm-remap authors
# SPDX-License-Identifier: GPL-2.0-only
"""What the documentation of all modules has in common."""

from __future__ import annotations


class ModuleDocFragment:
    """For whatever calls dmremapctl."""

    DOCUMENTATION = r"""
options:
  executable:
    description:
      - C(dmremapctl), a path or a name to be searched.
    type: path
    default: dmremapctl
attributes:
  platform:
    platforms: linux
    support: full
requirements:
  - dmremapctl, and Python 3.11 for it
notes:
  - It must run as root.
"""
