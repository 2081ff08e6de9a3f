"""The standard streams, whatever state they are in: closed, full, without a reader, or of an old encoding."""

import codecs
import errno
import io
import locale
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

from pycontrol.cli.exitcodes import ExitCode

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_ASCII: Final = "ascii_only"


class _Raw(io.FileIO):
    """A file that remembers why it could not be written."""

    failure: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


_output: _Raw | None = None
"""Standard output, once :func:`prepare` was called."""


def prepare() -> None:
    """Make the streams fit for use; to be called before anything is opened."""
    global _output
    _keep_numbers()
    try:
        numbers = sys.stdout.fileno(), sys.stderr.fileno()
    except OSError:
        # A program has put something else in their place, and knows what it does.
        return
    codecs.register(_find_codec)
    output, errors = (_Raw(number, "w", closefd=False) for number in numbers)
    sys.stdout, sys.stderr = _text(output, sys.stdout), _text(errors, sys.stderr)
    _output = output


def _keep_numbers() -> None:
    """Put /dev/null where a stream is closed: what is opened next, a disk perhaps, would be that stream."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest number that is free; those below were seen to.
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _text(raw: _Raw, before: TextIO) -> io.TextIOWrapper:
    """Text over a file: in the encoding of the locale, where what it has not becomes an escape.

    rich then draws in ASCII.  Python itself makes the streams UTF-8 in the C locale.
    """
    encoding = before.encoding
    if _is(encoding, "utf-8") and not _is(locale.getencoding(), "utf-8"):
        encoding = locale.getencoding()
    errors = "strict" if _is(encoding, "utf-8") else "backslashreplace"
    # click takes ASCII for a mistake of the system, and would write UTF-8 all the same.
    name = _ASCII if _is(encoding, "ascii") else encoding
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, name, errors, line_buffering=bool(before.line_buffering))


def _is(encoding: str, other: str) -> bool:
    try:
        return codecs.lookup(encoding).name == other
    except LookupError:
        return False


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        found.encode, found.decode, found.streamreader, found.streamwriter,
        found.incrementalencoder, found.incrementaldecoder, name=_ASCII,
    )  # fmt: skip


def broken() -> bool:
    """Whether standard output has taken something not; :func:`finished` says so."""
    return _output is not None and _output.failure is not None


def finished(code: str | int | None) -> str | int | None:
    """The exit code, once all output is out; to be called last.

    Where it could not be written, that is told, but not if its reader went away.
    """
    with suppress(OSError):
        sys.stdout.flush()
    if _output is None or _output.failure is None:
        return code
    # What is left in the buffer goes nowhere: the interpreter would only complain of it at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), _output.fileno())
    if code not in (None, ExitCode.OK, ExitCode.DAMAGED):
        return code
    if _output.failure.errno != errno.EPIPE:
        with suppress(OSError):
            reason = _output.failure.strerror
            sys.stderr.write(
                f"dmremapctl: standard output cannot be written: {reason}; what was done stays done\n"
            )
    return int(ExitCode.ACCESS)
