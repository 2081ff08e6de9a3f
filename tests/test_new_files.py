"""A new file is there whole or not at all, whenever it ends, and is nobody else's."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycontrol.errors import UsageError
from pycontrol.service.offline import meta
from pycontrol.service.offline.imagefile import Piece, copy_sparse
from tests.conftest import Run
from tests.test_meta_commands import Store, good, store

__all__ = ["store"]

NAMING = ("link", "rename", "replace", "unlink")


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the file systems of most memory sticks."""

    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)


def killed(monkeypatch: pytest.MonkeyPatch, program: Callable[[], object], at: int) -> bool:
    """Whether a program came to its step ``at``, where it is killed: a write, a flush, a change of a name."""
    victim = os.fork()
    if victim == 0:
        steps = 0

        def counted(real: Callable[..., object]) -> Callable[..., object]:
            def step(*words: object, **more: object) -> object:
                nonlocal steps
                steps += 1
                if steps == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*words, **more)

            return step

        for call in ("pwrite", "fsync", *NAMING):
            monkeypatch.setattr(os, call, counted(getattr(os, call)))
        program()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(victim, 0)[1])


def test_a_backup_that_is_killed_can_be_made_anew(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out, at = store(good()), tmp_path / "new/out", 1
    out.parent.mkdir()
    while killed(monkeypatch, lambda: meta.backup(path, str(out)), at):
        if out.exists():
            assert out.read_bytes() == Path(path).read_bytes(), f"step {at}"
            out.unlink()
        at += 1
    assert at > 10 and out.exists()
    out.unlink()
    assert run("meta", "backup", path, str(out)).exit_code == 0


@pytest.mark.parametrize("links", [True, False])
def test_what_comes_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    out = tmp_path / "out"
    if not links:
        without_links(monkeypatch)

    def blocks() -> Iterator[Piece]:
        yield 0, b"a backup"
        out.write_text("mine")

    with pytest.raises(UsageError, match="name a new file"):
        copy_sparse(blocks(), str(out), 8)
    assert out.read_text() == "mine" and list(tmp_path.iterdir()) == [out]


def test_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_links(monkeypatch)
    copy_sparse([(4, b"backup")], str(tmp_path / "out"), 10)
    assert (tmp_path / "out").read_bytes() == b"\0\0\0\0backup"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
