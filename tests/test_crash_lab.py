"""Every state that a power cut may leave on the spare, loaded by the kernel's code and by ours.

``user/lab.h`` says what is looked at. The planted bugs prove that it would be seen.
"""

import re

import pytest

from tests.user_build import Ran, caught_as, mutations, run, run_with_second_opinion, seeds

# Two minutes where nothing else runs.
pytestmark = pytest.mark.timeout(900)

BUGS = [
    "data-not-flushed",
    "first-wave-not-flushed",
    "second-wave-not-flushed",
    "both-waves-at-once",
    "acknowledged-after-one-wave",
    "new-log-not-flushed",
]


def workloads(ran: Ran) -> dict[str, dict[str, int]]:
    assert ran.status == 0, ran.output
    return {
        line.split()[0]: {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)}
        for line in ran.output.splitlines()
    }


def test_no_power_cut_loses_what_was_acknowledged() -> None:
    told = workloads(run_with_second_opinion("crashlab", "--count", 60, one_in=40))
    assert sum(each["both_codecs"] for each in told.values()) >= 5000
    assert sum(each["states"] for each in told.values()) >= 100_000
    assert sum(each["one_copy"] for each in told.values()) >= 10_000
    assert sum(each["failed"] for each in told.values()) >= 10
    assert sum(each["majority"] for each in told.values()) >= 5_000
    assert sum(each["reboots"] for each in told.values()) >= 10
    assert sum(each["minorities"] for each in told.values()) >= 10
    assert sum(each["compactions"] for each in told.values()) >= 3
    assert sum(each["uses"] for each in told.values()) >= 100
    assert sum(each["resumes"] for each in told.values()) >= 20


def test_a_sample_under_address_sanitizer() -> None:
    told = workloads(run("crashlab-asan", "--count", 14, "--seed", 2))
    assert sum(each["states"] for each in told.values()) >= 10_000


@pytest.mark.parametrize("bug", BUGS)
def test_a_broken_protocol_is_found(bug: str) -> None:
    # Only compactions have it: no need to go through the rest first.
    only = ["compaction"] if bug == "new-log-not-flushed" else []
    ran = run("crashlab-plain", bug, *only)
    assert ran.status == 1, ran.output
    assert re.search("not what was acknowledged|refused|its data is not there", ran.output), ran.output


@pytest.mark.parametrize("mutation", mutations("crashlab-plain"))
def test_a_bug_planted_in_the_metadata_is_found(mutation: str) -> None:
    # Named after the workload that finds it, not with each seed.
    program, workload = f"mutants/{mutation}", mutation.split("/")[1].split(".")[0]
    for seed in seeds(mutation):
        ran = run(program, workload, "--seed", seed)
        if ran.status:
            break
    assert ran.status == 1, ran.output
    assert re.search(caught_as(mutation), ran.output), ran.output
