"""Standard streams that are closed, and encodings that lack a character."""

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]

SHOW = """
import os, sys
from pycontrol.cli import streams
streams.prepare()
# What a command opens next must not become one of them.
opened = os.open("/dev/zero", os.O_RDONLY)
result = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)] + [str(opened > 2)]
print("printed")
print("said", file=sys.stderr)
os.write(int(sys.argv[1]), " ".join(result).encode())
sys.exit(streams.finished(0))
"""


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1", "1 2", "0 1 2"])
def test_a_closed_stream_is_nobody_elses(closed: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    redirections = " ".join(f"{number}>&-" for number in closed.split())
    script = f'exec 7>"$1"; exec "$2" -B -c "$3" 7 {redirections}'
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(told), sys.executable, SHOW],
        cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *links, apart = told.read_text().split()
    assert [links[int(number)] for number in closed.split()] == ["/dev/null"] * len(closed.split())
    assert apart == "True"
    assert ("printed" in done.stdout, "said" in done.stderr) == ("1" not in closed, "2" not in closed)


@pytest.mark.parametrize(
    ("environment", "printed"),
    [
        ({"LC_ALL": "C"}, b"\\xfc [red]\n"),
        ({"LC_ALL": "C.UTF-8"}, "ü [red]\n".encode()),
        ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"}, b"\\xfc [red]\n"),
        ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"}, b"\xfc [red]\n"),
    ],
)
@pytest.mark.parametrize("how", ["click.echo(text)", "console().print(text)", "print(text)"])
def test_what_the_encoding_lacks_is_an_escape(environment: dict[str, str], printed: bytes, how: str) -> None:
    program = (
        "import click\nfrom pycontrol.cli import streams\nfrom pycontrol.cli.output import console\n"
        f"streams.prepare()\ntext = chr(252) + ' [red]'\n{how}\nstreams.finished(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program], cwd=TOP, env=environment, capture_output=True, check=False
    )
    assert (done.stdout, done.stderr) == (printed, b"")
