#!/usr/bin/python
# Copyright (c) dm-remap authors
# SPDX-License-Identifier: GPL-2.0-only

from __future__ import annotations

DOCUMENTATION = r"""
module: dmremap_info
short_description: Tell the state and the health of dm-remap devices
description:
  - Tells what C(dmremapctl status) and C(dmremapctl health) know of the devices; changes nothing.
version_added: 1.0.0
options:
  name:
    description:
      - The device to tell of; left out, all.
    type: str
  health:
    description:
      - Whether the health is judged, for which the metadata on each spare is read.
    type: bool
    default: true
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - dmremap.dmremap.ctl
attributes:
  check_mode:
    support: full
    details: It changes nothing.
  diff_mode:
    support: none
    details: It changes nothing.
author:
  - The dm-remap project (@dm-remap)
seealso:
  - module: dmremap.dmremap.dmremap
"""

EXAMPLES = r"""
- name: Look at every device
  dmremap.dmremap.dmremap_info:
  register: remap

- name: Stop where a disk is going
  ansible.builtin.assert:
    that: remap.devices | rejectattr('verdict', 'in', ['good', 'watch']) | length == 0
    fail_msg: "{{ remap.devices | map(attribute='health') | flatten | map(attribute='reasons') }}"
"""

RETURN = r"""
devices:
  description:
    - The devices by name, as C(dmremapctl status --json) tells them, with their health.
    - An empty list if the device that was named is not there.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name below C(/dev/mapper).
      type: str
      returned: success
    uuid:
      description: The UUID of device-mapper, C(DMREMAP-) and that of the spare.
      type: str
      returned: success
    targets:
      description: Main device, spare, features, counters and mode of each target.
      type: list
      elements: dict
      returned: success
    verdict:
      description: The worst of the verdicts, V(good), V(watch), V(act) or V(failing).
      type: str
      returned: if O(health=true) and the device has a table
    health:
      description: What C(dmremapctl health --json) says of each target, with reasons and what to do.
      type: list
      elements: dict
      returned: if O(health=true)
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dmremap.dmremap.plugins.module_utils.ctl import Ctl, answer, argument_spec

VERDICTS = ("failing", "act", "watch", "good")
"""The worst first."""


def look(module: AnsibleModule) -> dict[str, Any]:
    """The devices that are asked for."""
    ctl = Ctl(module)
    devices = ctl.devices()
    name = module.params["name"]
    if name is not None:
        name = name.removeprefix("/dev/mapper/")
        devices = {name: devices[name]} if name in devices else {}
    if devices and module.params["health"]:
        health = ctl.health()
        for device in devices.values():
            device["health"] = health.get(device["name"], [])
            given = [each["verdict"] for each in device["health"]]
            if given:
                device["verdict"] = min(given, key=VERDICTS.index)
    return {"changed": False, "devices": list(devices.values())}


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(name={"type": "str"}, health={"type": "bool", "default": True}),
        supports_check_mode=True,
    )
    answer(module, look)


if __name__ == "__main__":
    main()
