"""The guest's end of the line: JSON requests in, JSON replies out, over virtio-serial.

Each request runs in a thread of its own, so a test can send a message to a device while
its I/O is under way.  Replies carry the number of the request.
"""

import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import threading
import time
import traceback
from pathlib import Path
from typing import Any

PORT = "agent"
jobs: dict[int, "subprocess.Popen[str] | None"] = {}
"""What was asked for and has not ended; None if it has not begun."""


class Line:
    def __init__(self) -> None:
        ports = Path("/sys/class/virtio-ports").iterdir()
        (port,) = [p for p in ports if (p / "name").read_text().strip() == PORT]
        self.file = Path("/dev", port.name).open("r+b", buffering=0)  # noqa: SIM115  (for as long as the guest runs)
        self.lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        with self.lock:
            while data:
                data = data[self.file.write(data) :]


def run(number: int, command: "str | list[str]", timeout: float, stdin: "str | None") -> dict[str, Any]:
    process = subprocess.Popen(
        command,
        shell=isinstance(command, str),
        executable="/bin/bash" if isinstance(command, str) else None,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        start_new_session=True,
    )
    jobs[number] = process
    timed_out = False
    try:
        out, err = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
        # Show where the kernel is stuck, if it is, before the evidence goes away.
        Path("/proc/sysrq-trigger").write_text("w")
        os.killpg(process.pid, signal.SIGKILL)
        try:
            out, err = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            out, err = "", "(can't be killed)"
    return {"rc": process.returncode, "out": out, "err": err, "timed_out": timed_out}


def kill(number: int) -> None:
    """It may not have begun yet, or have come to its end by itself."""
    while number in jobs:
        if process := jobs.get(number):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return
        time.sleep(0.01)


def python(source: str, args: list[Any], reply: Any) -> dict[str, Any]:
    """Run source in this process; what it leaves in `result` or passes to reply() is the answer."""
    names: dict[str, Any] = {
        "__name__": "test",
        "args": args,
        "reply": lambda value: reply({"result": value}),
    }
    try:
        exec(compile(source, "<test>", "exec"), names)
    except BaseException:
        return {"error": traceback.format_exc()}
    return {"result": names.get("result")}


def serve(line: Line, request: dict[str, Any]) -> None:
    number, what = request.pop("id"), request.pop("what")
    sent = False

    def reply(answer: dict[str, Any]) -> None:
        nonlocal sent
        if not sent:
            sent = True
            line.send({"id": number, **answer})

    try:
        if what == "run":
            try:
                done = run(number, **request)
            finally:
                del jobs[number]
            reply(done)
        elif what == "python":
            reply(python(**request, reply=reply))
        elif what == "put":
            Path(request["path"]).write_bytes(base64.b64decode(request["data"]))
            reply({})
        elif what == "get":
            reply({"data": base64.b64encode(Path(request["path"]).read_bytes()).decode()})
        elif what == "kill":
            kill(request["job"])
            reply({})
    except BaseException:
        reply({"error": traceback.format_exc()})


def main() -> None:
    line = Line()
    line.send({"id": 0})  # Ready.
    # A large buffer: unbuffered, a line is read byte by byte.
    for text in io.BufferedReader(line.file, 1 << 20):
        request = json.loads(text)
        if request["what"] == "run":
            jobs[request["id"]] = None
        threading.Thread(target=serve, args=(line, request), daemon=True).start()


if __name__ == "__main__":
    main()
