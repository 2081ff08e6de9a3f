"""A world in which every string that others choose is written to be obeyed."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from pycontrol import metadata
from pycontrol.service.find import disks
from pycontrol.service.identity import Identity
from pycontrol.service.tell import watch
from tests.conftest import MIB
from tests.fake_sysfs import FakeSysfs
from tests.hostile_commands import Case
from tests.hostile_world import MAIN, SECTORS, World

EVIL = "\x1b]0;title\x07\x1b[66;66H[red]EVIL[blink]\u202e\u2066\x9b66H\x7f\r\nInjected {0}%s\t<b a='&\">"
"""A window's title, a place on the screen, rich's markup, a change of direction, a line of its own, HTML."""
NAME = EVIL.replace("'", "")
"""The same as a part of a path that a shell can quote."""
WORD = "".join(NAME.split())
"""The same without blanks."""


class HostileWorld(World):
    """To be made in a process of its own: what it replaces stays so."""

    def __init__(self, top: Path, *, pending: bool = True) -> None:
        plain = metadata.encode_image

        def encoded(records: list[metadata.Record], **facts: object) -> object:
            texts = {"main_id": _fitting(EVIL), "name": _fitting(EVIL)}
            return plain(records, **facts | texts)  # type: ignore[arg-type]

        metadata.encode_image = encoded  # type: ignore[assignment]
        super().__init__(top / NAME, pending=pending)
        self._named()
        # A name that long is none for a socket.
        self.patch.setattr(watch.open_source, "__defaults__", (Path("/nowhere"),))

    def _named(self) -> None:
        kernel, known = self.kernel, self.disks.known
        numbers = " ".join(str(self.disks.number(self.place[name])) for name in ("main", "spare"))
        line = (0, SECTORS, "dm-remap-v4", f"{numbers} 5 copies 5 spacing 256 {WORD}")
        kernel.add(EVIL, f"DMREMAP-{'9' * 32}", line)
        kernel.status_line = f"24/2816 3 1 5/5 9 0 0 0 0 1 {WORD} 1 {WORD} rw -"
        answer = kernel.reply
        kernel.answer = lambda words: f"{WORD}\n" if words == "help" else answer(words)
        for path, device in known.items():
            known[path] = replace(device, identity=Identity(serial=EVIL))
        properties = {"DM_TARGET": "dm-remap-v4", "DM_ACTION": EVIL, "DM_NAME": EVIL, "DM_UUID": EVIL}
        for name in (EVIL, "data"):
            kernel.uevent("change", 0, **properties | {"DM_NAME": name, "DM_SEQNUM": EVIL, "DM_SECTOR": EVIL})

    def _scanned(self) -> None:
        tree = FakeSysfs(self.top / "tree")
        tree.disk("sda", MAIN, model=EVIL, vendor=EVIL, serial=EVIL)
        tree.disk("sdb", MAIN, model=EVIL, serial=EVIL)
        tree.partition("sdb", 1, 2 * MIB)
        tree.mapped(EVIL.replace("/", "|"), "DMREMAP-9", MAIN, "sdb")
        (tree.top / "proc/self/mountinfo").write_text(
            f"30 1 8:0 / /{EVIL.split()[0]} rw - ext4 /dev/sda rw\n"
        )
        tree.udev["8:0"] = dict.fromkeys(("ID_FS_TYPE", "ID_MODEL", "ID_WWN", "ID_SERIAL_SHORT"), EVIL)
        tree.udev["8:1"] = {"ID_PART_TABLE_TYPE": EVIL}
        self.patch.setattr(disks, "PLACES", tree.places)
        # smartctl, which is looked for here.
        tool, message = self.top / "smartctl", {"severity": "error", "string": EVIL}
        text = {"model_name": EVIL, "serial_number": EVIL, "smartctl": {"messages": [message]}}
        table = [{"id": 5, "name": EVIL, "when_failed": "now", "raw": {"value": 1 << 60, "string": EVIL}}]
        document = text | {"device": {"protocol": EVIL}, "ata_smart_attributes": {"table": table}}
        (self.top / "smart.json").write_text(json.dumps(document, ensure_ascii=False))
        # With what the shell has itself: there are no other programs.
        tool.write_text('#!/bin/sh\nIFS= read -r line <"${0%smartctl}smart.json"; printf %s "$line"\n')
        tool.chmod(0o755)


def _fitting(text: str) -> str:
    """As much as the metadata has room for."""
    return text.encode()[:60].decode(errors="ignore")


@dataclass(frozen=True)
class HostileCase(Case):
    """A command that is run there."""

    def world(self, top: Path) -> World:
        return self.prepared(HostileWorld(top, pending=self.pending))
