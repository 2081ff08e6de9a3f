"""The kernel's metadata code, in this process: what it writes, finds, mends and refuses."""

import os
import random
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pycontrol.metadata import BLOCK, MetadataError, fresh
from tests.user_build import (
    MUTATIONS,
    SANITIZERS,
    built,
    caught_as,
    mutations,
    run,
    run_with_second_opinion,
)
from tests.user_metadata import Disk, Metadata, Refused, records_of, remaps

CORPUS = [
    line.split()[0]
    for path in sorted((MUTATIONS.parent / "corpus").glob("*.txt"))
    for line in path.read_text().splitlines()
]
FILES = [
    str(Path(__file__).with_name(f"test_kernel_{name}.py"))
    for name in ("metadata", "copies", "denial", "uncertain")
]
SELF = "DM_REMAP_USER_LIBRARY" in os.environ


@pytest.mark.parametrize(("copies", "spacing"), [(1, 64), (2, 256), (3, 128), (5, 256), (8, 512)])
def test_both_codecs_format_alike(copies: int, spacing: int) -> None:
    disk, uuid = Disk(), UUID(int=0x1234)
    with Metadata(disk, copies=copies, spacing=spacing, uuid=uuid) as metadata:
        assert metadata.status.formatted and metadata.status.valid == copies
    loaded = disk.load()
    assert (loaded.copies, loaded.spacing, loaded.uuid, loaded.intact) == (copies, spacing, uuid, True)
    image = bytearray(disk.sectors * 512)
    for offset, block in fresh(
        uuid=uuid, main_sectors=65536, spare_sectors=disk.sectors, block_size=4096,
        copies=copies, spacing=spacing, time=loaded.time,
    ):  # fmt: skip
        image[offset : offset + BLOCK] = block
    assert disk.image() == image


@pytest.mark.parametrize("count", [1, 117, 118, 119, 1000])
def test_both_codecs_read_what_was_committed(count: int) -> None:
    disk, table = Disk(), remaps(count)
    with Metadata(disk, early=3, buffers=8) as metadata:
        metadata.commit(table)
        metadata.save_soft(1, 2, 3, 4, 5)
    assert records_of(disk) == table
    loaded = disk.load()
    assert list(loaded.records) == table and loaded.intact
    assert (loaded.info.read_errors, loaded.info.scrub) == (1, 5)
    with Metadata(disk) as metadata:
        assert metadata.soft == (1, 2, 3, 4, 5)
        assert metadata.mend() == 0, "nothing is to be mended"


def test_a_commit_costs_the_same_whatever_the_table_holds() -> None:
    sizes = [line for line in run("cost-plain").output.splitlines() if line]
    figures = [dict(re.findall(r"(\w+)=(\d+)", line)) for line in sizes]
    assert [each.pop("extents") for each in figures] == ["10", "10000", "1000000"]
    assert figures[0] == figures[1] == figures[2]
    # A header a copy; one of the 118 commits also writes a log block a copy.
    assert figures[0] == {
        "flushes": "3", "least_writes": "5", "most_writes": "10",
        "all_writes": str(118 * 5 + 5), "of_commits": "118",
    }  # fmt: skip


def test_every_kind_of_damage_to_every_subset_of_the_copies() -> None:
    told = run("damage-asan", "--count", 25).figures()
    # 30 subsets, 6 kinds of damage, 4 kinds of block and all of them; of five copies 64 bits and
    # the whole log; then of each kind of block its own subset.
    assert told["one_way"] == 30 * 6 * 5
    assert told["damaged"] == told["one_way"] + 5 * (64 + 1) + 1000


def test_both_codecs_name_the_same_damaged_copies() -> None:
    told = run_with_second_opinion("damage", "--count", 10).figures()
    assert told["both_codecs"] == 2 * told["damaged"] >= 2000


def test_images_with_random_changes() -> None:
    told = run("mutate-asan").figures()
    assert told["loaded"] > 500 and told["refused"] > 500


def test_both_codecs_agree_on_images_with_random_changes() -> None:
    told = run_with_second_opinion("mutate", "--count", 4000, "--seed", 2).figures()
    assert told["both_codecs"] == told["loaded"] + told["refused"] == 4000


def test_the_kept_corpus_of_the_fuzzer() -> None:
    told = run("mutate-asan", "corpus", given="\n".join(CORPUS)).figures()
    assert told["loaded"] + told["refused"] == len(CORPUS) > 100
    told = run_with_second_opinion("mutate", "corpus", given="\n".join(CORPUS)).figures()
    assert told["both_codecs"] == len(CORPUS)


def test_without_memory_nothing_is_written() -> None:
    told = run("alloc-asan").figures()
    assert told["failed_allocations"] > 300 and told["errors"] > 50


@pytest.mark.parametrize("mutation", mutations("damage-asan", "mutate-asan", "alloc-asan"))
def test_a_planted_bug_is_found(mutation: str) -> None:
    corpus = mutation.startswith("mutate")
    ran = run(f"mutants/{mutation}", *["corpus"] * corpus, given="\n".join(CORPUS))
    assert ran.status != 0, f"not found: {ran.output}"
    assert re.search(caught_as(mutation), ran.output), ran.output


def test_refused_is_left_alone() -> None:
    disk = Disk()
    with Metadata(disk) as metadata:
        metadata.commit(remaps(3))
    rubbish = Disk()
    rubbish.poke(0, b"\x55" * BLOCK)
    attempts: list[tuple[Disk, dict[str, Any], str]] = [
        (disk, {"main_sectors": 4096}, "The spare belongs to a main device of another size"),
        (
            disk,
            {"uuid": UUID(int=7)},
            "The spare carries the metadata of another device (other uuid)",
        ),
        (disk, {"block_size": 512}, "The metadata was made for another logical block size"),
        (disk, {"copies": 3}, "The spare has another number of metadata copies than the table says"),
        (rubbish, {}, "The spare is not blank; use another one or dmremapctl create --format"),
    ]
    for refused, options, why in attempts:
        before = refused.image()
        with pytest.raises(Refused) as refusal:
            Metadata(refused, **options)
        assert str(refusal.value) == why
        assert refused.image() == before and refused.counts().pending == 0


@pytest.mark.parametrize("seed", range(6))
def test_both_codecs_agree_on_whatever_is_left(seed: int) -> None:
    """Commits to a disk that lies about flushes: also states that are beyond help."""
    disk, rng, table = Disk(seed=seed), random.Random(seed), remaps(240)
    loaded = 0
    with Metadata(disk, copies=3 if seed % 2 else 5, early=4, buffers=8, seed=seed) as metadata:
        metadata.commit(table[:100])
        disk.lie()
        for start, end in pairwise((100, 101, 118, 119, 240)):
            metadata.commit(table[start:end])
            for _ in range(30):
                after = disk.cut(rng.getrandbits(32))
                try:
                    theirs = records_of(after)
                except Refused:
                    with pytest.raises(MetadataError):
                        after.load()
                else:
                    loaded += 1
                    assert list(after.load().records) == theirs == table[: len(theirs)]
    assert loaded > 60


@pytest.mark.skipif(SELF, reason="this is the run under AddressSanitizer")
def test_all_of_this_under_address_sanitizer() -> None:
    """In a process of its own: the sanitizer must be loaded before Python."""
    asan = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", *FILES]
    done = subprocess.run(
        [*command, "-k", "not (damage or images or corpus or memory or planted or costs)"],  # programs
        cwd=Path(__file__).resolve().parents[1],
        env=os.environ
        | SANITIZERS
        | {
            "LD_PRELOAD": asan,
            "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
            "DM_REMAP_USER_LIBRARY": "libdmr-metadata-asan",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert built()
