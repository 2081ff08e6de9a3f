"""smartctl's JSON as disks of each kind make it, and everything that is not as it should be."""

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontrol.service.find import smart, smartctl
from pycontrol.service.find.smart import Smart


def head(protocol: str, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "json_format_version": [1, 0],
        "smartctl": {
            "version": [7, 3],
            "svn_revision": "5338",
            "platform_info": "x86_64-linux-6.1.0-18-amd64",
            "argv": ["smartctl", "--json=c", "-i", "-H", "-A", "/dev/sda"],
            "exit_status": 0,
        },
        "local_time": {"time_t": 1700000000, "asctime": "Tue Nov 14 22:13:20 2023 UTC"},
        "device": {"name": "/dev/sda", "info_name": "/dev/sda", "type": kind, "protocol": protocol},
        **more,
    }


def attribute(number: int, name: str, raw: int, string: str = "", failed: str = "") -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "value": 100,
        "worst": 100,
        "thresh": 10,
        "when_failed": failed,
        "flags": {"value": 51, "string": "PO--CK ", "prefailure": True, "updated_online": True},
        "raw": {"value": raw, "string": string or str(raw)},
    }


def ata(*attributes: dict[str, Any], passed: bool = True, **more: Any) -> dict[str, Any]:
    return head(
        "ATA",
        "sat",
        model_family="Western Digital Red",
        model_name="WDC WD40EFRX-68N32N0",
        serial_number="WD-WCC7K1234567",
        wwn={"naa": 5, "oui": 5358, "id": 12345678901},
        firmware_version="82.00A82",
        user_capacity={"blocks": 7814037168, "bytes": 4000787030016},
        logical_block_size=512,
        physical_block_size=4096,
        rotation_rate=5400,
        smart_status={"passed": passed},
        ata_smart_attributes={"revision": 16, "table": list(attributes)},
        power_on_time={"hours": 41234},
        power_cycle_count=88,
        temperature={"current": 34},
        **more,
    )


HEALTHY_ATA = ata(
    attribute(5, "Reallocated_Sector_Ct", 0),
    attribute(9, "Power_On_Hours", 41234),
    attribute(194, "Temperature_Celsius", 163209412642, "34 (Min/Max 18/38)"),
    attribute(197, "Current_Pending_Sector", 0),
    attribute(198, "Offline_Uncorrectable", 0),
)
DYING_ATA = ata(
    attribute(5, "Reallocated_Sector_Ct", 118, failed="now"),
    attribute(187, "Reported_Uncorrect", 12),
    attribute(197, "Current_Pending_Sector", 24),
    attribute(198, "Offline_Uncorrectable", 7),
    passed=False,
    ata_smart_self_test_log={
        "standard": {
            "revision": 1,
            "count": 3,
            "table": [
                {
                    "type": {"value": 2, "string": "Extended offline"},
                    "status": {
                        "value": 249,
                        "string": "Self-test routine in progress",
                        "remaining_percent": 90,
                    },
                    "lifetime_hours": 41233,
                },
                {
                    "type": {"value": 1, "string": "Short offline"},
                    "status": {
                        "value": 121,
                        "string": "Completed: read failure",
                        "remaining_percent": 90,
                        "passed": False,
                    },
                    "lifetime_hours": 41200,
                    "lba": 123456789,
                },
                {
                    "type": {"value": 1, "string": "Short offline"},
                    "status": {"value": 0, "string": "Completed without error", "passed": True},
                    "lifetime_hours": 40000,
                },
            ],
        }
    },
)
SCSI = head(
    "SCSI",
    "scsi",
    scsi_vendor="SEAGATE",
    scsi_product="ST4000NM0023",
    scsi_model_name="SEAGATE ST4000NM0023",
    scsi_revision="0004",
    serial_number="Z1Z0ABCD0000C412XYZW",
    rotation_rate=7200,
    smart_status={"passed": True},
    temperature={"current": 31, "drive_trip": 60},
    power_on_time={"hours": 30000, "minutes": 12},
    scsi_grown_defect_list=14,
    scsi_pending_defects={"count": 2},
    scsi_error_counter_log={
        "read": {
            "errors_corrected_by_eccfast": 1234567,
            "errors_corrected_by_eccdelayed": 3,
            "total_errors_corrected": 1234570,
            "gigabytes_processed": "70012.345",
            "total_uncorrected_errors": 5,
        },
        "write": {"total_errors_corrected": 0, "total_uncorrected_errors": 1},
    },
    scsi_self_test_0={"code": {"value": 2}, "result": {"value": 15, "string": "Self test in progress ..."}},
    scsi_self_test_1={
        "code": {"value": 1},
        "result": {"value": 7, "string": "Failed in segment -->"},
        "lba_first_failure": {"value": 987654},
    },
)
NVME = head(
    "NVMe",
    "nvme",
    model_name="Samsung SSD 970 EVO 1TB",
    serial_number="S5H9NS0N123456",
    firmware_version="2B2QEXE7",
    nvme_number_of_namespaces=1,
    smart_status={"passed": False, "nvme": {"value": 5}},
    nvme_smart_health_information_log={
        "critical_warning": 5,
        "temperature": 41,
        "available_spare": 3,
        "available_spare_threshold": 10,
        "percentage_used": 112,
        "data_units_read": 123456789,
        "power_on_hours": 20000,
        "unsafe_shutdowns": 30,
        "media_errors": 9,
        "num_err_log_entries": 200,
    },
    temperature={"current": 41},
    power_on_time={"hours": 20000},
)


def test_a_healthy_ata_disk() -> None:
    found = smart.parse(HEALTHY_ATA)
    assert (found.protocol, found.model, found.serial) == ("ATA", "WDC WD40EFRX-68N32N0", "WD-WCC7K1234567")
    assert (found.passed, found.pending, found.reallocated, found.uncorrectable) == (True, 0, 0, 0)
    assert (found.power_on_hours, found.temperature) == (41234, 34)
    assert found.known and not found.failing and found.worries == ()


def test_a_dying_ata_disk() -> None:
    found = smart.parse(DYING_ATA)
    assert (found.passed, found.pending, found.reallocated, found.uncorrectable) == (False, 24, 118, 12)
    assert (found.self_test_failed, found.self_test_lba) == (True, 123456789)
    assert found.failing and found.failing_attributes == ("Reallocated_Sector_Ct",)
    assert found.worries == (
        "its self-assessment says it is failing",
        "24 sectors pending: unreadable until written",
        "its last self-test failed at block 123456789",
        "12 uncorrectable errors",
        "118 sectors reallocated by the disk",
        "1 attribute below the maker's threshold",
    )


def test_reallocated_sectors_alone_are_a_worry_but_no_failure() -> None:
    found = smart.parse(ata(attribute(5, "Reallocated_Sector_Ct", 1)))
    assert not found.failing and found.worries == ("1 sector reallocated by the disk",)


def test_each_of_these_alone_is_a_failure() -> None:
    bad = (
        Smart(passed=False),
        Smart(passed=True, pending=1),
        Smart(passed=True, self_test_failed=True),
        Smart(critical_warning=1),
        Smart(critical_warning=4),
        Smart(critical_warning=8),
    )
    assert all(found.failing and found.worries for found in bad)
    assert not Smart(passed=True, reallocated=9, uncorrectable=9, worn_percent=150).failing


def test_the_log_of_pending_defects_counts_what_the_attribute_leaves_out() -> None:
    rows = [{"lba": 5}, {"lba": 9}, {"lba": 10}]
    log = {"size": 8159, "count": 3, "table": rows}
    assert (
        smart.parse(ata(attribute(197, "Current_Pending_Sector", 0), ata_pending_defects_log=log)).pending
        == 3
    )
    assert smart.parse(ata(ata_pending_defects_log=log)).pending == 3


def test_raw_values_that_hold_several_numbers() -> None:
    packed = attribute(5, "Reallocated_Sector_Ct", 12 + (3 << 32), "12 (3 0)")
    assert smart.parse(ata(packed)).reallocated == 12
    # Some disks show hexadecimal or a time; the value itself is what there is then.
    assert smart.parse(ata(attribute(5, "Reallocated_Sector_Ct", 12, "0x00000c"))).reallocated == 12
    assert smart.parse(ata(attribute(5, "Reallocated_Sector_Ct", 1 << 60, "-"))).reallocated is None


def test_a_self_test_that_passed_later_forgives_the_one_before() -> None:
    log = {"standard": {"table": [{"status": {"passed": True}}, {"status": {"passed": False}, "lba": 5}]}}
    assert not smart.parse(ata(ata_smart_self_test_log=log)).self_test_failed


def test_a_scsi_disk() -> None:
    found = smart.parse(SCSI)
    assert (found.protocol, found.model, found.serial) == (
        "SCSI", "SEAGATE ST4000NM0023", "Z1Z0ABCD0000C412XYZW",
    )  # fmt: skip
    assert (found.passed, found.pending, found.reallocated, found.uncorrectable) == (True, 2, 14, 6)
    assert (found.self_test_failed, found.self_test_lba) == (True, 987654)
    assert found.failing


def test_scsi_self_tests_that_passed_or_were_aborted() -> None:
    for results, failed in (([15, 0, 7], False), ([1, 2, 4], True), ([2], False)):
        logs = {f"scsi_self_test_{n}": {"result": {"value": value}} for n, value in enumerate(results)}
        assert smart.parse(head("SCSI", "scsi", **logs)).self_test_failed is failed


def test_an_nvme_disk() -> None:
    found = smart.parse(NVME)
    assert (found.critical_warning, found.spare_percent, found.worn_percent) == (5, 3, 112)
    assert found.uncorrectable == 9 and found.failing
    assert found.worries == (
        "its self-assessment says it is failing",
        "its reserve of spare blocks is below its threshold",
        "it has become unreliable",
        "9 uncorrectable errors",
        "worn: 112 % of its expected life is used",
    )


def test_an_nvme_disk_that_is_only_hot() -> None:
    found = smart.parse(
        head("NVMe", "nvme", nvme_smart_health_information_log={"critical_warning": 2, "available_spare": 99})
    )
    assert found.known and not found.failing and found.worries == ()


@pytest.mark.parametrize(("result", "failed"), [(0, False), (7, True), (5, True), (1, False)])
def test_nvme_self_tests(result: int, failed: bool) -> None:
    log = {"table": [{"self_test_result": {"value": result}, "lba": 77}]}
    found = smart.parse(head("NVMe", "nvme", nvme_self_test_log=log))
    assert (found.self_test_failed, found.self_test_lba) == (failed, 77 if failed else None)


def test_a_device_smartctl_does_not_know() -> None:
    document = {
        "json_format_version": [1, 0],
        "smartctl": {
            "version": [7, 3],
            "argv": ["smartctl", "--json=c", "/dev/vda"],
            "messages": [
                {"string": "something by the way", "severity": "information"},
                {"string": "/dev/vda: Unable to detect device type", "severity": "error"},
            ],
            "exit_status": 1,
        },
    }
    found = smart.parse(document)
    assert not found.known and not found.failing and found.worries == ()
    assert found.problem == "/dev/vda: Unable to detect device type"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(document=st.sampled_from([DYING_ATA, SCSI, NVME]), data=st.data())
def test_nothing_in_a_document_is_relied_upon(document: dict[str, Any], data: st.DataObject) -> None:
    """Any part of it may be missing or anything else."""
    damaged = json.loads(json.dumps(document))
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        keys = (
            value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        )
        for key in keys:
            places.append((value, key))
            walk(value[key])

    walk(damaged)
    for where in data.draw(st.lists(st.integers(0, len(places) - 1), min_size=1, max_size=4)):
        parent, key = places[where]
        parent[key] = data.draw(anything)
    found = smart.parse(damaged)
    assert isinstance(found.worries, tuple) and isinstance(found.failing, bool)
    for text in (found.model, found.serial, found.problem):
        assert isinstance(text, str)


@pytest.mark.parametrize("document", [None, [], "x", 3, {}, {"device": []}])
def test_no_document_at_all(document: object) -> None:
    assert smart.parse(document) == Smart()


# The program


def program(directory: Path, script: str) -> str:
    path = directory / "smartctl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_disk_is_asked_without_being_woken(tmp_path: Path) -> None:
    (tmp_path / "document").write_text(json.dumps(DYING_ATA))
    script = f'echo "$@" >{tmp_path}/arguments; cat {tmp_path}/document; exit 24'
    found = smartctl.ask("/dev/sda", program=program(tmp_path, script))
    assert found.pending == 24 and found.problem == ""
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[-1] == "/dev/sda" and "--json=c" in arguments
    assert arguments[arguments.index("-n") + 1] == "standby,3"


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 3", "asleep, not woken"),
        ("echo nonsense; exit 1", "not JSON (exit status 1)"),
        ("echo '[1, 2]'", "not an object"),
        ("printf '%0100000d' 0 | tr 0 '['", "not JSON"),
    ],
)
def test_answers_that_are_none(tmp_path: Path, script: str, problem: str) -> None:
    found = smartctl.ask("/dev/sda", program=program(tmp_path, script))
    assert problem in found.problem and not found.known
    assert found.asleep is (script == "exit 3")


def test_not_installed_and_not_to_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smartctl, "SEARCH", str(tmp_path))
    assert smartctl.find() is None
    assert smartctl.ask("/dev/sda").problem == "smartctl is not installed"
    (tmp_path / "smartctl").write_text("\x7fELF")
    (tmp_path / "smartctl").chmod(0o755)
    assert smartctl.find() == str(tmp_path / "smartctl")
    assert "cannot be started" in smartctl.ask("/dev/sda").problem


def test_a_disk_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    pid.touch()
    script = f"echo $$ >{pid}; exec sleep 1000"
    # On a busy machine it may be given up before it has done anything.
    while not pid.read_text():
        found = smartctl.ask("/dev/sda", program=program(tmp_path, script), timeout=1)
        assert found.problem == "the disk did not answer smartctl within 1 s"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), signal.SIGTERM)
