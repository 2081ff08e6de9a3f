"""Images, dumps and answers that somebody made to take memory, time or the stack; none has an effect."""

import json
import os
import re
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pycontrol import metadata
from pycontrol.metadata import Kind, Record
from pycontrol.metadata.blocks import decode_header, encode_header
from pycontrol.metadata.dump import DumpError, read_dump, to_text
from pycontrol.service.find import smartctl
from tests.hostile_process import isolated, run
from tests.hostile_world import SPARE, UUID_DATA
from tests.moving import put

ROOM = 1 << 30
"""Bytes of memory that a command may ask for, with the interpreter."""


def limited(*words: str) -> tuple[int, str]:
    """Exit code and output of a command that has so much memory and no more."""

    def work() -> tuple[int, str]:
        resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
        code, out, err = run(*words)
        return code, out + err

    return isolated(work)


def spare(path: Path, sectors: int, size: int) -> Path:
    """Metadata of a spare of so many sectors in a file of another size, which is sparse."""
    start = metadata.data_start()
    blocks = metadata.encode_image(
        [Record(1000, start, 8, Kind.REMAP, 0, 5)], uuid=UUID_DATA, main_sectors=1 << 50,
        spare_sectors=sectors, time=1, sequence=9, cursor=start + 8, main_id="", name="data",
    )  # fmt: skip
    path.touch()
    os.truncate(path, size)
    put(str(path), blocks)
    return path


def largest(path: Path) -> int:
    """The size of the largest file that there can be; up to 8 EiB."""
    path.touch()
    for bits in range(62, 40, -1):
        try:
            os.truncate(path, 1 << bits)
        except OSError:
            continue
        return 1 << bits
    raise AssertionError("no file of 2 TiB can be made here")


@pytest.mark.parametrize("command", ["inspect", "meta check", "meta dump", "meta diff", "meta backup"])
@pytest.mark.parametrize("claimed", ["all", "more"])
def test_sizes_that_are_claimed_are_not_believed(command: str, claimed: str, tmp_path: Path) -> None:
    size = largest(tmp_path / "image") if claimed == "all" else SPARE
    image = spare(tmp_path / "image", size // 512 if claimed == "all" else 1 << 53, size)
    more = {"meta diff": [str(image)], "meta backup": [str(tmp_path / "out")]}
    code, text = limited(*command.split(), str(image), *more.get(command, []))
    assert code in (0, 1, 3, 4) and "Traceback" not in text, text
    assert sum(path.stat().st_blocks for path in tmp_path.iterdir()) * 512 < 64 << 20


@pytest.mark.parametrize("fields", [{"log_blocks": (1 << 32) - 1}, {"segments": (24, *[1 << 53] * 11)}])
def test_logs_that_are_claimed_are_not_looked_for(fields: dict[str, Any], tmp_path: Path) -> None:
    image = spare(tmp_path / "image", SPARE // 512, SPARE)
    with image.open("r+b") as file:
        for copy in range(5):
            header = decode_header(os.pread(file.fileno(), metadata.BLOCK, copy << 17))
            os.pwrite(file.fileno(), encode_header(replace(header, **fields)), copy << 17)
    code, text = limited("inspect", str(image))
    assert code == 3 and re.search("log blocks, the segments hold|a log segment begins", text), text


def test_an_empty_image_of_any_size_is_none_of_ours(tmp_path: Path) -> None:
    largest(tmp_path / "image")
    code, text = limited("inspect", str(tmp_path / "image"))
    assert code == 4 and "Traceback" not in text, text


DEEP = "[" * 200_000
LONG = "9" * 100_000


@pytest.mark.parametrize(
    "bomb", [DEEP, '{"a":' * 200_000, LONG, f'{{"format": {DEEP}', f'{{"version": {LONG}}}']
)
def test_dumps_and_answers_are_not_too_deep(bomb: str, tmp_path: Path) -> None:
    with pytest.raises(DumpError):
        read_dump([bomb])
    (tmp_path / "bomb.json").write_text(bomb)
    tool = tmp_path / "smartctl"
    tool.write_text('#!/bin/sh\ncat "$0.json"\n')
    (tmp_path / "smartctl.json").write_text(bomb)
    tool.chmod(0o755)
    assert smartctl.ask("/dev/sdx", program=str(tool)).problem.startswith("smartctl's answer is not")


def test_texts_in_a_dump_are_not_too_deep() -> None:
    image = [Record(1000, metadata.data_start(), 8, Kind.REMAP, 0, 5)]
    snapshot = _snapshot(image)
    lines = [line if not line.startswith("name ") else f"name {DEEP}\n" for line in snapshot]
    with pytest.raises(DumpError):
        read_dump(lines)
    with pytest.raises(DumpError):
        read_dump([json.dumps({"format": "dm-remap dump"})])


def _snapshot(records: list[Record]) -> list[str]:
    blocks = metadata.encode_image(
        records, uuid=UUID_DATA, main_sectors=1 << 20, spare_sectors=SPARE // 512, time=1, sequence=9,
        cursor=metadata.data_start() + 8, main_id="", name="data",
    )  # fmt: skip
    image = bytearray(SPARE)
    for offset, data in blocks:
        image[offset : offset + len(data)] = data
    loaded = metadata.load(lambda offset, length: bytes(image[offset : offset + length]), SPARE)
    return list(to_text(metadata.Snapshot.of(loaded)))
