"""One host as a place where dmremapctl runs: copies what is needed, believes nothing unseen."""

import json
import pkgutil
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pycontrol.service.fleet.answers import Shape, check, numbered
from pycontrol.service.fleet.bundle import Blob
from pycontrol.service.fleet.hosts import Host
from pycontrol.service.fleet.session import Ended, HostFailure, Session, State
from pycontrol.text import plain

LIMIT: Final = 16 << 20
"""Bytes of an answer that is kept as a whole."""
LINE: Final = 1 << 20
"""Bytes of one line of a stream."""
NOISE: Final = 64 << 10
"""Bytes that start-up files of a shell there may print before the answer."""

# The same for every host and command, in words that every shell leaves alone; what differs are arguments.
_LOADER: Final = (
    "import sys; sys.version_info >= (3, 11) or sys.exit('Python 3.11 or newer is needed there, this is '"
    "+ sys.version.split()[0]); exec(sys.stdin.buffer.read(int(sys.argv[1])))"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a host says of itself, which is no more than that."""

    python: str
    release: str
    machine: str
    root: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What dmremapctl there ended with; ``documents`` have the shape asked for."""

    code: int
    documents: list[Any]
    sentence: str
    """The last of its standard error, escaped."""


def far_source() -> bytes:
    """far.py, as it is sent."""
    found = pkgutil.get_data("pycontrol.service.fleet", "far.py")
    assert found is not None
    return found


class Remote:
    """A host over an open connection."""

    def __init__(
        self, session: Session, host: Host, tool: Blob, *, seconds: float, tell: Callable[[str], None]
    ) -> None:
        self.host = host
        self.tell = tell
        """Takes a few words on what is being done, or what came; they are escaped."""
        self._session, self._tool = session, tool
        self._deadline = time.monotonic() + seconds
        self._facts: Facts | None = None

    @property
    def facts(self) -> Facts:
        """What the host said first; asked for if nothing has been yet."""
        if self._facts is None:
            self._ask("facts")
        assert self._facts is not None
        return self._facts

    def dmremapctl(
        self, *words: str, shape: Shape, each: Callable[[Any], None] | None = None, finds: bool = False
    ) -> Answer:
        """Run it there, with --json.

        HostFailure if its answer has not this shape.  With ``each`` the answer is a stream of
        lines, which are given away one by one and not kept.  With ``finds`` exit code 1 is an
        answer, that damage was found; a Python that cannot start ends so, too.
        """
        documents: list[Any] = []

        def one(line: bytes) -> None:
            if line.strip():
                value = check(_loaded(line), shape)
                each(value) if each else documents.append(value)

        for _ in range(2):
            output: _Output = _Lines(one) if each else _Whole()
            hello, ended = self._call(output, "run", self._tool.digest, *words, "--json")
            if hello.get("cached") is True:
                break
            self.copy(self._tool)
        else:
            raise HostFailure(State.FAILED, "what was copied there is gone again; is its disk full?")
        if ended.code is None:
            raise HostFailure(State.LOST, "dmremapctl was killed there, or the connection was cut")
        sentence = last_sentence(ended)
        data = output.rest()
        if not each and data.strip():
            documents = [check(value, shape) for value in numbered(data)]
        if ended.code > finds:
            raise HostFailure(State.FAILED, sentence or f"exit code {ended.code}", ended.code)
        return Answer(ended.code, documents, sentence)

    def copy(self, blob: Blob) -> bool:
        """Copy it there unless it is there already; whether that was needed."""
        if blob.kind != "tool" and self._ask("have", blob.kind, blob.digest).get("cached") is True:
            return False
        self.tell(f"copying the {blob.kind}")
        self._ask("put", blob.kind, blob.digest, str(len(blob.data)), data=blob.data)
        return True

    def unpack(self, source: Blob) -> str:
        """The directory there that has the files of what was copied; HostFailure if it cannot be made."""
        return _text(self._ask("unpack", source.digest), "path")

    def fetch(self, path: str, limit: int) -> bytes:
        """A file from there, of at most ``limit`` bytes; HostFailure if it is larger, or cannot be read."""
        output = _Whole(limit)
        hello, ended = self._call(output, "get", path)
        data = output.rest()
        if ended.code or hello.get("size") != len(data):
            raise HostFailure(State.FAILED, last_sentence(ended) or f"{plain(path)} did not arrive whole")
        return data

    def numbers(self, *paths: str) -> list[str | None]:
        """MAJOR:MINOR of block devices there, None for what is none; HostFailure if it does not say."""
        found = self._ask("numbers", *paths).get("numbers")
        if not isinstance(found, list) or len(found) != len(paths):
            raise HostFailure(State.FAILED, "its answer makes no sense")
        return [value if isinstance(value, str) else None for value in found]

    def _ask(self, verb: str, *words: str, data: bytes = b"") -> dict[str, Any]:
        hello, ended = self._call(_Whole(), verb, *words, data=data)
        if ended.code:
            raise HostFailure(State.FAILED, last_sentence(ended) or f"exit code {ended.code}", ended.code)
        return hello

    def _call(
        self, output: "_Output", verb: str, *words: str, data: bytes = b""
    ) -> tuple[dict[str, Any], Ended]:
        code, token = far_source(), secrets.token_hex(8)
        arguments = [str(len(code)), token, self.host.cache, verb, *words]
        # sshd gives the line to a shell, so each word is quoted for one.
        command = shlex.join([*self._python(), "-I", "-c", _LOADER, *arguments])
        answer = _Answering(token, output)
        ended = self._session.execute(command, code + data, answer.take, self._deadline)
        if answer.hello is None:
            if ended.code is None:
                raise HostFailure(State.LOST, "the connection was cut")
            said = last_sentence(ended) or f"exit code {ended.code}"
            raise HostFailure(State.FAILED, said if ended.code == 6 else f"Python did not run there: {said}")
        self._facts = self._facts or _facts(answer.hello)
        return answer.hello, ended

    def _python(self) -> Sequence[str]:
        return (*(("sudo", "-n", "--") if self.host.become else ()), self.host.python)


class _Whole:
    """Output that is kept."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit, self._data = limit, bytearray()

    def take(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > self._limit:
            raise HostFailure(State.FAILED, f"its answer is longer than {self._limit >> 20} MiB")

    def rest(self) -> bytes:
        return bytes(self._data)


class _Lines:
    """Output that is given away line by line."""

    def __init__(self, each: Callable[[bytes], None]) -> None:
        self._each, self._data = each, bytearray()

    def take(self, data: bytes) -> None:
        self._data += data
        *lines, last = self._data.split(b"\n")
        for line in lines:
            self._each(bytes(line))
        self._data = last
        if len(last) > LINE:
            raise HostFailure(State.FAILED, "a line of its answer is too long")

    def rest(self) -> bytes:
        self._each(bytes(self._data))
        return b""


_Output = _Whole | _Lines


class _Answering:
    """Finds the first line of an answer; what follows is the output."""

    def __init__(self, token: str, output: _Output) -> None:
        self.hello: dict[str, Any] | None = None
        self._token, self._output, self._before = token.encode(), output, bytearray()

    def take(self, data: bytes) -> None:
        if self.hello is not None:
            self._output.take(data)
            return
        self._before += data
        while self.hello is None and b"\n" in self._before:
            line, _, rest = self._before.partition(b"\n")
            self._before = rest
            if self._token in line:
                self.hello = check(_loaded(bytes(line)), _HELLO)
                self._output.take(bytes(rest))
        if self.hello is None and len(self._before) > NOISE:
            raise HostFailure(State.FAILED, "its shell prints too much before it begins")


_HELLO: Final[Shape] = {"token": str, "python": str, "release": str, "machine": str, "root": bool}


def _loaded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise HostFailure(State.FAILED, "its answer is not JSON") from error


def _facts(hello: dict[str, Any]) -> Facts:
    return Facts(hello["python"], hello["release"], hello["machine"], hello["root"])


def _text(hello: dict[str, Any], key: str) -> str:
    value = hello.get(key)
    if not isinstance(value, str):
        raise HostFailure(State.FAILED, "its answer makes no sense")
    return value


def last_sentence(ended: Ended) -> str:
    """The last line of standard error, escaped, without our own name in front."""
    lines = [line.strip() for line in ended.errors.decode(errors="replace").splitlines() if line.strip()]
    return plain(lines[-1].removeprefix("dmremapctl: ")[:1000]) if lines else ""
