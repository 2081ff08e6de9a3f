"""struct dm_ioctl against hand-made bytes and against the compiler."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontrol.dm import codec
from pycontrol.dm.errors import DmNameError, DmReplyError
from pycontrol.dm.types import DevNumber, DmCommand, DmFlags, DmName, DmUuid, TargetLine

PROGRAM = r"""
#include <sys/ioctl.h>
#include <linux/types.h>
#include <linux/dm-ioctl.h>
#include <stddef.h>
#include <stdio.h>
#define P(expr) printf("%s %llu\n", #expr, (unsigned long long)(expr))
int main(void) {
    P(sizeof(struct dm_ioctl)); P(sizeof(struct dm_target_spec)); P(offsetof(struct dm_name_list, name));
    P(offsetof(struct dm_target_versions, name)); P(sizeof(struct dm_target_deps));
    P(offsetof(struct dm_ioctl, data_size)); P(offsetof(struct dm_ioctl, data_start));
    P(offsetof(struct dm_ioctl, target_count)); P(offsetof(struct dm_ioctl, open_count));
    P(offsetof(struct dm_ioctl, flags)); P(offsetof(struct dm_ioctl, event_nr));
    P(offsetof(struct dm_ioctl, dev)); P(offsetof(struct dm_ioctl, name));
    P(offsetof(struct dm_ioctl, uuid)); P(offsetof(struct dm_ioctl, data));
    P(DM_VERSION); P(DM_LIST_DEVICES); P(DM_DEV_CREATE); P(DM_DEV_REMOVE); P(DM_DEV_RENAME);
    P(DM_DEV_SUSPEND); P(DM_DEV_STATUS); P(DM_DEV_WAIT); P(DM_TABLE_LOAD); P(DM_TABLE_CLEAR);
    P(DM_TABLE_DEPS); P(DM_TABLE_STATUS); P(DM_LIST_VERSIONS); P(DM_TARGET_MSG);
    P(DM_DEV_SET_GEOMETRY); P(DM_DEV_ARM_POLL); P(DM_GET_TARGET_VERSION);
    P(DM_READONLY_FLAG); P(DM_SUSPEND_FLAG); P(DM_STATUS_TABLE_FLAG); P(DM_ACTIVE_PRESENT_FLAG);
    P(DM_INACTIVE_PRESENT_FLAG); P(DM_BUFFER_FULL_FLAG); P(DM_SKIP_LOCKFS_FLAG); P(DM_NOFLUSH_FLAG);
    P(DM_QUERY_INACTIVE_TABLE_FLAG); P(DM_UEVENT_GENERATED_FLAG); P(DM_UUID_FLAG);
    P(DM_DATA_OUT_FLAG); P(DM_DEFERRED_REMOVE); P(DM_NAME_LEN); P(DM_UUID_LEN);
    return 0;
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    gcc = shutil.which("gcc")
    if gcc is None or not Path("/usr/include/linux/dm-ioctl.h").exists():
        pytest.skip("no gcc or no linux/dm-ioctl.h")
    top = tmp_path_factory.mktemp("c")
    (top / "p.c").write_text(PROGRAM)
    subprocess.run([gcc, "-o", str(top / "p"), str(top / "p.c")], check=True)
    out = subprocess.run([str(top / "p")], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in (line.rsplit(" ", 1) for line in out.splitlines())}


def test_sizes_are_the_compilers(compiled: dict[str, int]) -> None:
    assert compiled["sizeof(struct dm_ioctl)"] == codec.HEADER_SIZE == 312
    assert compiled["sizeof(struct dm_target_spec)"] == codec.TARGET_SPEC.size
    assert compiled["offsetof(struct dm_name_list, name)"] == codec.NAME_LIST.size
    assert compiled["offsetof(struct dm_target_versions, name)"] == codec.VERSIONS.size
    assert compiled["sizeof(struct dm_target_deps)"] == codec.DEPS.size


def test_ioctl_numbers_are_the_compilers(compiled: dict[str, int]) -> None:
    for command in DmCommand:
        if command is not DmCommand.DM_REMOVE_ALL:
            assert codec.ioctl_number(command) == compiled[command.name], command


def test_flags_are_the_compilers(compiled: dict[str, int]) -> None:
    for flag in DmFlags:
        name = "DM_DEFERRED_REMOVE" if flag is DmFlags.DEFERRED_REMOVE else f"DM_{flag.name}_FLAG"
        if name in compiled:
            assert flag == compiled[name], name


def test_each_field_lies_where_the_compiler_puts_it(compiled: dict[str, int]) -> None:
    raw = codec.Request(
        name="n" * 127,
        uuid="u" * 128,
        flags=DmFlags(0x01020304),
        event_nr=0x0A0B0C0D,
        target_count=0x11223344,
    ).encode(400)

    def word(field: str) -> int:
        value: int = struct.unpack_from("=I", raw, compiled[f"offsetof(struct dm_ioctl, {field})"])[0]
        return value

    assert word("data_size") == 400
    assert word("data_start") == 312
    assert word("flags") == 0x01020304
    assert word("event_nr") == 0x0A0B0C0D
    assert word("target_count") == 0x11223344
    assert raw[compiled["offsetof(struct dm_ioctl, name)"] :].startswith(b"n" * 127 + b"\0")
    assert raw[compiled["offsetof(struct dm_ioctl, uuid)"] :].startswith(b"u" * 128 + b"\0")


def test_request_byte_by_byte() -> None:
    raw = codec.Request(name="ab", flags=DmFlags.SUSPEND, event_nr=7, payload=b"XYZ").encode(320)
    expected = bytearray(320)
    struct.pack_into("=10I", expected, 0, 4, 0, 0, 320, 312, 0, 0, 2, 7, 0)
    expected[48:50] = b"ab"
    expected[312:315] = b"XYZ"
    assert raw == expected


def test_reply_from_hand_made_bytes() -> None:
    raw = bytearray(400)
    struct.pack_into("=6IiIIIQ", raw, 0, 4, 47, 0, 316, 312, 2, 3, 1 << 5, 9, 0, 253 << 8 | 0x34 | 0x12 << 20)
    raw[48:52], raw[176:181] = b"name", b"DMRE-"
    raw[312:318] = b"dataXX"
    reply = codec.decode(raw)
    assert reply.version == (4, 47, 0)
    assert reply.data == b"data"
    info = reply.info
    assert (info.name, info.uuid, str(info.dev)) == ("name", "DMRE-", "253:4660")
    assert (info.target_count, info.open_count, info.event_nr) == (2, 3, 9)
    assert info.has_table and not info.suspended


@pytest.mark.parametrize(("size", "start"), [(401, 312), (320, 330)])
def test_reply_that_points_outside_is_refused(size: int, start: int) -> None:
    raw = bytearray(400)
    struct.pack_into("=II", raw, 12, size, start)
    with pytest.raises(DmReplyError):
        codec.decode(raw)


def test_short_reply_is_refused() -> None:
    with pytest.raises(DmReplyError):
        codec.decode(bytes(311))


def test_table_to_bytes_by_hand() -> None:
    raw = codec.encode_table([TargetLine(0, 8, "a", "12345678"), TargetLine(8, 16, "b", "")])
    first = struct.pack("=QQiI16s", 0, 8, 0, 56, b"a") + b"12345678".ljust(16, b"\0")
    second = struct.pack("=QQiI16s", 8, 16, 0, 48, b"b") + bytes(8)
    assert raw == first + second


def test_table_status_counts_next_from_the_first_spec() -> None:
    raw = struct.pack("=QQiI16s", 0, 8, 0, 48, b"linear") + b"7:0 0\0\0\0"
    raw += struct.pack("=QQiI16s", 8, 8, 0, 96, b"error") + bytes(8)
    assert codec.decode_table(raw, 2) == [TargetLine(0, 8, "linear", "7:0 0"), TargetLine(8, 8, "error", "")]


@pytest.mark.parametrize("following", [0, 4000])
def test_table_status_that_leads_astray_is_refused(following: int) -> None:
    raw = struct.pack("=QQiI16s", 0, 8, 0, following, b"linear") + bytes(80)
    with pytest.raises(DmReplyError):
        codec.decode_table(raw, 2)


def test_names_with_and_without_uuid() -> None:
    raw = struct.pack("=QI", 253 << 8, 40) + b"abc\0" + struct.pack("=II", 5, 1) + b"UUID\0".ljust(16, b"\0")
    raw += struct.pack("=QI", 253 << 8 | 1, 0) + b"defgh\0\0\0\0\0\0\0" + struct.pack("=II", 6, 2)
    first, second = codec.decode_names(raw)
    assert (first.name, first.uuid, first.event_nr, str(first.dev)) == ("abc", "UUID", 5, "253:0")
    assert (second.name, second.uuid, second.event_nr, str(second.dev)) == ("defgh", "", 6, "253:1")
    assert codec.decode_names(b"") == codec.decode_names(bytes(16)) == []


@given(st.binary(max_size=200))
def test_hostile_replies_raise_only_our_error(raw: bytes) -> None:
    for decode in (
        codec.decode_names,
        codec.decode_versions,
        codec.decode_deps,
        lambda data: codec.decode_table(data, 3),
    ):
        try:
            decode(raw)
        except DmReplyError:
            continue


@given(st.integers(0, (1 << 12) - 1), st.integers(0, (1 << 20) - 1))
def test_device_numbers_round_trip(major: int, minor: int) -> None:
    assert DevNumber.decode(DevNumber(major, minor).encode()) == DevNumber(major, minor)


@pytest.mark.parametrize("name", ["", ".", "..", "control", "a/b", "a b", "a\x1b", "ä", "a" * 128, "a\\x20"])
def test_names_that_would_be_mangled_are_refused(name: str) -> None:
    with pytest.raises(DmNameError):
        DmName(name)


def test_longest_name_and_uuid() -> None:
    assert len(DmName("a" * 127)) == 127
    assert len(DmUuid("a" * 128)) == 128
    with pytest.raises(DmNameError):
        DmUuid("a" * 129)
