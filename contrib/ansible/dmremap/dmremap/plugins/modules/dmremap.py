#!/usr/bin/python
# Copyright (c) dm-remap authors
# SPDX-License-Identifier: GPL-2.0-only

from __future__ import annotations

DOCUMENTATION = r"""
module: dmremap
short_description: Join a disk and a spare to a dm-remap device, or take it down
description:
  - Makes C(/dev/mapper/NAME) of a main device and a spare, to which bad sectors of the main
    device are moved, by C(dmremapctl create).
  - A spare that belongs to the main device is activated with its remaps. A blank one is formatted.
    One that holds anything else is refused, unless O(format=true).
  - A device that is there is compared with what is asked for, by the numbers of its main device
    and spare and by its features. If they differ, the module fails and changes nothing.
version_added: 1.0.0
options:
  name:
    description:
      - Name of the device, below C(/dev/mapper).
    type: str
    required: true
  state:
    description:
      - V(present) makes the device, or finds it.
      - V(absent) takes it down. The spare keeps its remaps, and V(present) brings the device up again.
      - A device that is taken down must not be replaced by its bare main device, which does not hold
        what is on the spare.
    type: str
    choices: [present, absent]
    default: present
  main:
    description:
      - Path of the device whose sectors fail. A name that stays, like those below C(/dev/disk/by-id),
        is best.
      - Required if O(state=present).
    type: path
  spare:
    description:
      - Path of the device that takes them over.
      - Required if O(state=present).
    type: path
  copies:
    description:
      - Copies of the metadata, 1 to 8. Left out, a new spare gets 5 and any other number is accepted.
    type: int
  spacing:
    description:
      - Distance of the copies, like V(128K) or V(4M), a power of two. Left out, a new spare gets
        V(128K) and any other is accepted.
    type: str
  relocate_weak:
    description:
      - Whether blocks that could be read only on a retry are moved, too. Left out, a new device
        does not, and either is accepted.
    type: bool
  format:
    description:
      - Overwrite what else is on the spare, like a file system or a partition table.
      - A spare with metadata of dm-remap is not overwritten all the same, whether it belongs to O(main),
        to another main device, or is damaged. So this may stay set. To give up remaps is for
        C(dmremapctl create --format).
    type: bool
    default: false
  uuid:
    description:
      - UUID that the device must have if it is there, with or without C(DMREMAP-) in front.
    type: str
  wait:
    description:
      - How many seconds O(state=absent) waits for the end of the device's use.
    type: float
    default: 60
  boot:
    description:
      - Whether the device comes up by itself, at boot and when its disks are plugged in. V(true) gives it a
        line in O(dmremaptab), with O(main) as it is given and the UUID of the spare's metadata, or
        corrects the line. V(false) takes the line out.
      - Left out, the file is not looked at. A device that is taken down with its line left comes up again.
    type: bool
  boot_options:
    description:
      - The options of that line, like V(nofail) and V(timeout=120); C(boot.md) of dm-remap has them all.
      - Left out, a line keeps those it has, and a new one has none. C(relocate-weak) always follows
        O(relocate_weak), if that is given.
    type: list
    elements: str
  dmremaptab:
    description:
      - The file.
    type: path
    default: /etc/dmremaptab
  backup:
    description:
      - Whether the file is copied before it is changed.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - dmremap.dmremap.ctl
attributes:
  check_mode:
    support: full
    details: The plan is made by C(dmremapctl create --dry-run), which writes nothing.
  diff_mode:
    support: full
    details: Shows what the device is made of, what formatting its spare would destroy, and the line for boot.
requirements:
  - the kernel module, loaded
  - the package dm-remap-boot, if something is to come up by itself
author:
  - The dm-remap project (@dm-remap)
seealso:
  - module: dmremap.dmremap.dmremap_info
notes:
  - After a change for boot systemd and udev are to be told, by C(systemctl daemon-reload) and C(udevadm trigger
    -s block), and the initramfs, which has a copy of the table, by C(update-initramfs -u). The playbook
    C(dmremap.dmremap.protect) does that.
"""

EXAMPLES = r"""
- name: Protect the data disk
  dmremap.dmremap.dmremap:
    name: data
    main: /dev/disk/by-id/ata-OLD_DISK
    spare: /dev/disk/by-id/ata-NEW_DISK-part1

- name: The same with a spare that carries something of no use
  dmremap.dmremap.dmremap:
    name: data
    main: /dev/disk/by-id/ata-OLD_DISK
    spare: /dev/disk/by-id/ata-NEW_DISK-part1
    copies: 3
    spacing: 4M
    format: true

- name: Bring it up at every boot, which does not fail for want of a disk
  dmremap.dmremap.dmremap:
    name: data
    main: /dev/disk/by-id/ata-OLD_DISK
    spare: /dev/disk/by-id/ata-NEW_DISK-part1
    boot: true
    boot_options: [nofail, timeout=120]

- name: Take it down, at once or not at all
  dmremap.dmremap.dmremap:
    name: data
    state: absent
    wait: 0
"""

RETURN = r"""
device:
  description:
    - The device as C(dmremapctl status --json) tells it; none if there is none, or none yet.
  returned: success
  type: dict
  sample:
    name: data
    path: /dev/mapper/data
    uuid: DMREMAP-5e0c1f2a-7d3b-4c53-9f0e-0d3c1c2b7a11
    dev: "253:0"
    targets:
      - main: "8:0"
        spare: "8:17"
        mode: rw
        healthy: true
boot:
  description: The line for boot, as it is now or would be; none if there is none.
  returned: if O(boot) is given
  type: str
  sample: data /dev/disk/by-id/ata-OLD_DISK UUID=5e0c1f2a-7d3b-4c53-9f0e-0d3c1c2b7a11 nofail,timeout=120
boot_changed:
  description: Whether that line was changed, added or taken out, or would be.
  returned: if O(boot) is given
  type: bool
backup_file:
  description: Where the file was copied to before it was changed.
  returned: if O(backup=true) and it was there and was changed
  type: str
formatted:
  description: Whether the spare was formatted, or would be.
  returned: success
  type: bool
loses:
  description: What formatting the spare destroyed, or would.
  returned: success
  type: list
  elements: str
"""

import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.formatters import human_to_bytes
from ansible_collections.dmremap.dmremap.plugins.module_utils.ctl import (
    BUSY,
    DAMAGED,
    OK,
    WRONG_DEVICE,
    Ctl,
    Failed,
    answer,
    argument_spec,
    number,
)
from ansible_collections.dmremap.dmremap.plugins.module_utils.tab import LASTING, WEAK, Line, find, with_line

SECTOR = 512


def features(target: dict[str, Any]) -> dict[str, Any]:
    """What the table of a target says, in the words of the options; spacing in bytes."""
    words = iter(target["features"])
    found: dict[str, Any] = {"copies": 5, "spacing": 256 * SECTOR, "relocate_weak": False}
    for word in words:
        if word == "copies":
            found["copies"] = int(next(words))
        elif word == "spacing":
            found["spacing"] = int(next(words)) * SECTOR
        elif word == "relocate_weak":
            found["relocate_weak"] = True
    return found


def looks(main: str, spare: str, made: dict[str, Any]) -> dict[str, Any]:
    """One side of a diff."""
    return {"main": main, "spare": spare, **made}


class Boot:
    """The line of the device in dmremaptab, if the task is about that."""

    def __init__(self, module: AnsibleModule, name: str) -> None:
        self.module = module
        self.params = module.params
        self.name = name
        self.path = module.params["dmremaptab"]
        self.table = self.read() if module.params["boot"] is not None else ""
        self.line = find(self.table, name)
        if module.params["boot"]:
            if module.params["state"] == "absent":
                module.fail_json(msg="boot is true, but state is absent")
            # Before anything is changed.
            fault = self.wanted(None).fault()
            if fault:
                module.fail_json(msg=fault)
            if not module.params["main"].startswith(LASTING):
                module.warn(f"{module.params['main']} may be another disk at the next boot")

    def read(self) -> str:
        try:
            with open(self.path, encoding="utf-8", errors="surrogateescape", newline="") as file:  # noqa: PTH123
                return file.read()
        except FileNotFoundError:
            return ""
        except OSError as error:
            self.module.fail_json(msg=f"{self.path} cannot be read: {error.strerror}")

    def wanted(self, uuid: str | None) -> Line:
        """The line as it shall be; the uuid is not known before a new spare is formatted."""
        given, weak = self.params["boot_options"], self.params["relocate_weak"]
        options = list(given if given is not None else self.line.options if self.line else ())
        if weak is not None and weak != (WEAK in options):
            options = [*options, WEAK] if weak else [word for word in options if word != WEAK]
        return Line(self.name, self.params["main"], f"UUID={uuid or '?'}", tuple(options))

    def settle(self, result: dict[str, Any]) -> None:
        """Bring the line about, and tell of it in the module's result."""
        if self.params["boot"] is None:
            return
        wanted = self.line
        if not self.params["boot"]:
            wanted = None
        else:
            device = result["device"]
            line = self.wanted(device["uuid"].removeprefix("DMREMAP-") if device else None)
            if not self.line or not line.means(self.line):
                wanted = line
        result["boot"] = str(wanted) if wanted else None
        result["boot_changed"] = wanted != self.line
        if not result["boot_changed"]:
            return
        result["changed"] = True
        diff = result.setdefault("diff", {"before": {}, "after": {}})
        for side, line in (("before", self.line), ("after", wanted)):
            if line:
                diff[side]["boot"] = str(line)
        if not self.module.check_mode:
            self.write(with_line(self.table, self.name, wanted), result)

    def write(self, table: str, result: dict[str, Any]) -> None:
        if self.params["backup"] and os.path.exists(self.path):  # noqa: PTH110
            result["backup_file"] = self.module.backup_local(self.path)
        handle, made = tempfile.mkstemp(dir=self.module.tmpdir)
        with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(table)
        self.module.atomic_move(made, self.path)


class Device:
    """The device that the task is about."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.name = module.params["name"].removeprefix("/dev/mapper/")
        for word in ("main", "spare"):
            if self.params["state"] == "present" and not self.params[word]:
                module.fail_json(msg=f"state is present, but {word} is missing")
        self.boot = Boot(module, self.name)
        self.ctl = Ctl(module)
        found = self.ctl.devices().get(self.name)
        # A command that was killed may have left a device without a table; create clears it away.
        self.found = found if found and (found["targets"] or self.params["state"] == "absent") else None
        self.result = {"changed": False, "device": self.found, "formatted": False, "loses": []}

    def run(self) -> dict[str, Any]:
        """Bring about the state that is asked for."""
        if self.found:
            self.check_uuid()
        if self.params["state"] == "absent":
            self.absent()
        elif self.found:
            self.compare()
        else:
            self.create()
        self.boot.settle(self.result)
        return self.result

    def check_uuid(self) -> None:
        wanted, uuid = self.params["uuid"], self.found["uuid"]
        if wanted and wanted.upper().removeprefix("DMREMAP-") != uuid.upper().removeprefix("DMREMAP-"):
            self.module.fail_json(msg=f"{self.name} has the uuid {uuid}, not {wanted}")

    def absent(self) -> None:
        if not self.found:
            return
        targets = self.found["targets"]
        made = [looks(each["main"], each["spare"], features(each)) for each in targets]
        self.change(made[0] if len(made) == 1 else {"targets": made}, {})
        if not self.module.check_mode:
            self.ctl("deactivate", "--wait", str(self.params["wait"]), operands=(self.name,))
            self.result["device"] = None

    def compare(self) -> None:
        """Fail if the device is not what is asked for."""
        targets = self.found["targets"]
        if len(targets) != 1:
            self.module.fail_json(msg=f"{self.name} has {len(targets)} targets; manage it by hand")
        for word, move in (("main", "evacuate"), ("spare", "spare replace")):
            path = self.params[word]
            is_now, wanted = targets[0][word], number(path)
            if not wanted:
                self.module.fail_json(msg=f"{path} is not a block device, and {self.name} is there")
            if is_now != wanted:
                self.module.fail_json(
                    msg=f"the {word} of {self.name} is {is_now}, but {path} is {wanted};"
                    f" 'dmremapctl {move}' moves what is on it"
                )
        made = features(targets[0])
        for word, wanted in self.wanted().items():
            if wanted is not None and made[word] != wanted:
                self.module.fail_json(
                    msg=f"{word} of {self.name} is {made[word]}, not {wanted};"
                    " only a device that is made anew can have another"
                )

    def create(self) -> None:
        plan, options = self.plan()
        self.result["formatted"], self.result["loses"] = plan["formatted"], plan.get("loses", [])
        made = {
            "copies": plan["copies"],
            "spacing": plan["spacing"],
            "relocate_weak": "relocate_weak" in plan["table"].split(),
            "formatted": plan["formatted"],
            "loses": self.result["loses"],
        }
        self.change({}, looks(plan["main"], plan["spare"], made))
        if not self.module.check_mode:
            self.ctl("create", "--yes", *options, operands=self.operands)
            self.result["device"] = self.ctl.devices()[self.name]

    def plan(self) -> tuple[dict[str, Any], list[str]]:
        """What create would do, and with which options.

        To format comes second, and not if there is metadata on the spare, whoever's it is.
        """
        options = []
        for word, value in self.wanted().items():
            if value is not None and value is not False:
                options.append("--" + word.replace("_", "-"))
                options += [] if value is True else [str(value)]
        try:
            return self.ctl("create", "--dry-run", *options, operands=self.operands), options
        except Failed as failure:
            if not self.params["format"] or failure.code != BUSY or self.has_metadata():
                raise
        options.append("--format")
        return self.ctl("create", "--dry-run", *options, operands=self.operands), options

    def has_metadata(self) -> bool:
        """Whether there is any of dm-remap on the spare, be it damaged."""
        try:
            self.ctl("inspect", operands=(self.params["spare"],), codes=(OK, DAMAGED))
        except Failed as failure:
            return failure.code != WRONG_DEVICE
        return True

    @property
    def operands(self) -> tuple[str, ...]:
        return (self.name, self.params["main"], self.params["spare"])

    def wanted(self) -> dict[str, Any]:
        """The features that are asked for, None for any."""
        spacing = self.params["spacing"]
        if spacing is not None:
            try:
                spacing = human_to_bytes(spacing)
            except ValueError:
                self.module.fail_json(msg=f"spacing is a size like 128K or 4M, not {spacing}")
        return {
            "copies": self.params["copies"],
            "spacing": spacing,
            "relocate_weak": self.params["relocate_weak"],
        }

    def change(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.result["changed"] = True
        self.result["diff"] = {"before": before, "after": after}


def run(module: AnsibleModule) -> dict[str, Any]:
    return Device(module).run()


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(
            name={"type": "str", "required": True},
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            main={"type": "path"},
            spare={"type": "path"},
            copies={"type": "int"},
            spacing={"type": "str"},
            relocate_weak={"type": "bool"},
            format={"type": "bool", "default": False},
            uuid={"type": "str"},
            wait={"type": "float", "default": 60},
            boot={"type": "bool"},
            boot_options={"type": "list", "elements": "str"},
            dmremaptab={"type": "path", "default": "/etc/dmremaptab"},
            backup={"type": "bool", "default": False},
        ),
        required_if=[("state", "present", ("main", "spare"))],
        supports_check_mode=True,
    )
    answer(module, run)


if __name__ == "__main__":
    main()
