"""Map, free space and held sectors of the target: C in user space, under sanitizers.

Each program compares the kernel's code with something trivial; the bugs in
``user/mutations`` prove that it would tell.
"""

import re

import pytest

from tests.user_build import caught_as, mutations, run

MODELS = ("map-asan", "space-asan", "replay_model-asan", "hold_model-asan")
RACES = ("map_race-tsan", "map_race-asan", "hold_race-tsan", "hold_explore-explore")


def test_the_map_is_an_array_of_sectors() -> None:
    told = run("map-asan").figures()
    assert told["sets"] + told["lookups"] > 1_000_000
    assert told["leaves"] > 100 and told["failed_allocations"] > 50


def test_free_space_is_an_array_of_flags() -> None:
    told = run("space-asan").figures()
    assert told["allocs"] + told["takes"] + told["frees"] > 900_000
    assert told["failed_allocations"] > 1000


def test_a_log_is_an_array_of_blocks() -> None:
    told = run("replay_model-asan").figures()
    assert told["records"] > 300_000 and told["overlapping"] > 500_000
    assert told["cut"] > 100_000


def test_held_ranges_are_an_array_of_flags() -> None:
    assert run("hold_model-asan").figures()["lookups"] >= 1_000_000


@pytest.mark.parametrize("sanitizer", ["tsan", "asan"])
def test_readers_of_a_changing_map(sanitizer: str) -> None:
    told = run(f"map_race-{sanitizer}").figures()
    assert told["during_a_change"] > 10_000


def test_bios_pass_or_wait_while_blocks_move() -> None:
    told = run("hold_race-tsan").figures()
    assert told["passed"] > 1000 and told["deferred"] > 100


def test_every_order_of_bios_and_worker() -> None:
    assert run("hold_explore-explore").figures()["states"] > 10_000


@pytest.mark.parametrize("mutation", mutations(*MODELS, *RACES))
def test_a_planted_bug_is_found(mutation: str) -> None:
    ran = run(f"mutants/{mutation}")
    assert ran.status != 0, f"not found: {ran.output}"
    assert re.search(caught_as(mutation), ran.output), ran.output
