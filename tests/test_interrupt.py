"""^C at moments when Python itself can't raise."""

import signal
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]

PROGRAM = """
import signal, time
from pycontrol.cli import main

class Dying:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def command(**_):
    Dying()
    time.sleep(60)
    print("went on")

main.cli = lambda prog_name: command()
main.main()
"""


def test_an_interruption_that_met_a_destructor_comes_again() -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")
    assert "Exception ignored" not in done.stderr and done.stderr.rstrip().endswith("KeyboardInterrupt")
