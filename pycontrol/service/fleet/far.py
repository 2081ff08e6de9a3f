"""What runs on the far side, with nothing there but Python: keeps what is copied, runs dmremapctl.

:mod:`pycontrol.service.fleet.remote` sends this file through standard input and it is run from
there, so it imports the standard library only.  Its first line of output is an object that
begins the answer; the token tells it from what a shell's start-up files may print.

When standard input ends, because the connection is closed or lost, what it runs is
interrupted, as by ^C: nothing goes on without an owner.
"""

import hashlib
import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

KEPT = 3
"""How many versions of the tool stay there."""
PATIENCE = 10
"""Seconds that an interrupted command has to end."""


class Refused(Exception):
    """One sentence for standard error."""


def private(place: str) -> Path:
    """The directory of what is copied, below ``place`` or the cache; Refused unless it is ours alone."""
    path = Path(place) / "dm-remap-fleet" if place else _cache() / "fleet"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    above = path.parent.stat()
    # Who can rename it could put another one in its place.
    if above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX:
        raise Refused(f"others can write to {path.parent}; name another directory with 'cache'")
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Refused(f"{path} must be a directory of user {os.geteuid()} with mode 0700; remove it")
    return path


def _cache() -> Path:
    # As pycontrol.service.module.cache_dir() has it.
    if os.geteuid() == 0:
        return Path("/var/cache/dm-remap")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dm-remap"


def where(place: str, kind: str, digest: str) -> Path:
    """The path of a thing: ``tool`` and ``source`` by their hash, ``module`` where load finds it."""
    if kind == "module":
        return _cache() / platform.release() / "dm-remap-v4.ko"
    return private(place) / f"{digest}.{kind}"


def is_there(path: Path, digest: str) -> bool:
    """Whether a file has this SHA-256."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False


def hello(token: str, **more: object) -> None:
    """The first line of an answer."""
    facts = {
        "token": token,
        "python": platform.python_version(),
        "release": platform.release(),
        "machine": platform.machine(),
        "root": os.geteuid() == 0,
    }
    sys.stdout.write(json.dumps({**facts, **more}) + "\n")
    sys.stdout.flush()


def put(path: Path, digest: str, size: int) -> None:
    """Take ``size`` bytes from standard input, as a whole or not at all; Refused if they are others."""
    data = sys.stdin.buffer.read(size)
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        raise Refused("what was copied did not arrive whole")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(temporary, flags, 0o600), "wb") as file:  # noqa: PTH123
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # A full disk is told of without the name of the file.
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    if path.suffix == ".tool":
        tools = sorted(path.parent.glob("*.tool"), key=lambda tool: tool.stat().st_mtime)
        for old in tools[:-KEPT]:
            old.unlink()


def unpack(archive: Path) -> Path:
    """The directory of an archive's files, made anew."""
    directory = archive.with_suffix(".files")
    shutil.rmtree(directory, ignore_errors=True)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(directory)
    return directory


def number(path: str) -> str | None:
    """MAJOR:MINOR of a block device."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISBLK(found.st_mode) else None


def run(tool: Path, words: list[str]) -> int:
    """The exit code of dmremapctl, whose output is ours."""
    # Isolated: neither the environment nor the directory we are in decides what is imported.
    child = subprocess.Popen([sys.executable, "-I", "-B", str(tool), *words], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_input, args=(child,), daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _end_with_input(child: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 4096):
        pass
    child.send_signal(signal.SIGINT)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()


def act(token: str, place: str, verb: str, rest: list[str]) -> int:
    """Do what is asked; the exit code."""
    if verb == "facts":
        hello(token)
    elif verb == "have":
        hello(token, cached=is_there(where(place, rest[0], rest[1]), rest[1]))
    elif verb == "put":
        kind, digest, size = rest
        put(where(place, kind, digest), digest, int(size))
        hello(token)
    elif verb == "unpack":
        hello(token, path=str(unpack(where(place, "source", rest[0]))))
    elif verb == "numbers":
        hello(token, numbers=[number(path) for path in rest])
    elif verb == "get":
        with Path(rest[0]).open("rb") as file:
            hello(token, size=os.fstat(file.fileno()).st_size)
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.flush()
    elif verb == "run":
        tool = where(place, "tool", rest[0])
        cached = is_there(tool, rest[0])
        hello(token, cached=cached)
        return run(tool, rest[1:]) if cached else 0
    return 0


def main() -> None:
    """SIZE TOKEN PLACE VERB [ARGUMENT]..., of which SIZE is this file's."""
    token, place, verb = sys.argv[2:5]
    # What is made here is for nobody else to write to.
    os.umask(0o022)
    try:
        code = act(token, place, verb, sys.argv[5:])
    except Refused as error:
        sys.stderr.write(f"dmremapctl: {error}\n")
        code = 6
    except OSError as error:
        sys.stderr.write(f"dmremapctl: {error.filename}: {error.strerror}\n")
        code = 6
    sys.stdout.flush()
    sys.stderr.flush()
    # The thread may be reading: the interpreter would wait for it.
    os._exit(code)


if __name__ == "__main__":
    main()
