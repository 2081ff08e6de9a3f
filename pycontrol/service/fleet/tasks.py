"""What each command does with a host."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from pycontrol.errors import UsageError
from pycontrol.service.fleet import answers
from pycontrol.service.fleet.hosts import Device, Host
from pycontrol.service.fleet.remote import Answer, Remote
from pycontrol.service.fleet.runner import Result, Work
from pycontrol.service.fleet.session import HostFailure, State
from pycontrol.text import plain

Each = Callable[[Any], None]

_GOOD: Final = "good"
_BUSY: Final = 5


def _state(answer: Answer) -> State:
    return State.DAMAGED if answer.code == 1 else State.OK


def status(name: str | None) -> Work:
    """The state of one device, or of all."""

    def work(remote: Remote, _: Each) -> Result:
        answer = remote.dmremapctl("status", *_maybe(name), shape=answers.STATUS, finds=True)
        devices = _only(answer)
        return Result(_listed(_status_words(device) for device in devices), devices, _state(answer))

    return work


def _status_words(device: dict[str, Any]) -> str:
    name, targets = plain(device["name"]), device["targets"]
    if not targets:
        return f"{name}: no table"
    pending = sum(target["pending_extents"] for target in targets)
    remapped = sum(target["remapped_extents"] for target in targets)
    modes = " ".join(sorted({plain(target["mode"]) for target in targets}))
    healthy = all(target["healthy"] for target in targets)
    return f"{name}: {modes}, {remapped} remapped, {pending} pending{'' if healthy else ', needs attention'}"


def health(name: str | None) -> Work:
    """How the devices are."""

    def work(remote: Remote, _: Each) -> Result:
        answer = remote.dmremapctl("health", *_maybe(name), shape=answers.HEALTH, finds=True)
        devices = _only(answer)
        return Result(_listed(_health_words(device) for device in devices), devices, _state(answer))

    return work


def _health_words(device: dict[str, Any]) -> str:
    words = f"{plain(device['name'])}: {plain(device['verdict'])}"
    if device["verdict"] == _GOOD or not device["reasons"]:
        return words
    return f"{words}, {plain(device['reasons'][0]['sentence'])}"


def scrub(name: str, options: Sequence[str]) -> Work:
    """Read a device; what is found comes as a stream."""

    def work(remote: Remote, each: Each) -> Result:
        last: dict[str, Any] = {}

        def one(document: dict[str, Any]) -> None:
            last.clear()
            last.update(document)
            if document["type"] == "finding":
                each(document)

        answer = remote.dmremapctl("scrub", name, *options, shape=answers.SCRUBBED, each=one, finds=True)
        if last.get("type") != "summary":
            raise HostFailure(State.FAILED, answer.sentence or "it ended without a result", answer.code)
        summary = answers.check(last, answers.SUMMARY)
        found, pending = summary["found"], summary["pending"]
        sentence = f"{plain(summary['name'])}: {plain(summary['ending'])}, {found} found, {pending} pending"
        return Result(sentence, summary, _state(answer))

    return work


def watch(name: str | None) -> Work:
    """Every event, until it is interrupted."""

    def work(remote: Remote, each: Each) -> Result:
        remote.dmremapctl("watch", *_maybe(name), shape=answers.EVENT, each=each)
        return Result("ended")

    return work


def inspect(path: str | None, options: Sequence[str] = ()) -> Work:
    """The metadata of a spare: of the one named, or of the spares of the host's devices."""

    def work(remote: Remote, _: Each) -> Result:
        found, words, state = [], [], State.OK
        for spare in [path] if path else [device.spare for device in remote.host.devices]:
            answer = remote.dmremapctl("inspect", *options, spare, shape=answers.INSPECTED, finds=True)
            found.append(_only(answer))
            words.append(f"{plain(spare)}: {'intact' if found[-1]['intact'] else 'damaged'}")
            state = State.DAMAGED if answer.code == 1 else state
        return Result("; ".join(words), found, state)

    return work


def create(*, dry_run: bool) -> Work:
    """Make the devices of a host; one that is there already, of the same two devices, stays."""

    def work(remote: Remote, _: Each) -> Result:
        made, words = [], []
        for device in remote.host.devices:
            if _is_there(remote, device):
                words.append(f"{device.name}: there already")
                continue
            remote.tell(f"creating {device.name}")
            made.append(_created(remote, device, "--dry-run" if dry_run else "--yes"))
            words.append(f"{device.name}: {'would be made' if dry_run else 'made'}")
        return Result("; ".join(words), made)

    return work


def _created(remote: Remote, device: Device, how: str) -> Any:
    """What ``create`` answers; it formats over what is there only if nothing of that is dm-remap's."""

    def run(*options: str, shape: answers.Shape = answers.CREATED) -> Any:
        words = *options, *_options(device), device.name, device.main, device.spare
        return _only(remote.dmremapctl("create", *words, shape=shape))

    try:
        return run(how)
    except HostFailure as failure:
        # Not so at once: the device may only be down, and its spare is still needed.
        if not device.format or failure.code != _BUSY:
            raise
        if run("--dry-run", "--format", shape=answers.PLANNED)["metadata"]:
            raise
    return run(how, "--format")


def _is_there(remote: Remote, device: Device) -> bool:
    listed = _only(remote.dmremapctl("list", shape=answers.LIST))
    for found in listed:
        if found["name"] == device.name and found["main"] is not None:
            if [found["main"], found["spare"]] == remote.numbers(device.main, device.spare):
                return True
            raise HostFailure(State.FAILED, f"another device has the name {device.name}", _BUSY)
    return False


def _options(device: Device) -> list[str]:
    options = []
    if device.copies is not None:
        options += ["--copies", str(device.copies)]
    if device.spacing is not None:
        options += ["--spacing", device.spacing]
    return options + ["--relocate-weak"] * device.relocate_weak


def with_devices(hosts: Sequence[Host]) -> None:
    """UsageError unless each has a device in the file."""
    for host in hosts:
        if not host.devices:
            raise UsageError(
                f"{host.name} has no devices in the file of hosts; add [[hosts.{host.name}.devices]], or"
                " leave the host out with --on"
            )


def _maybe(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


def _only(answer: Answer) -> Any:
    if len(answer.documents) != 1:
        raise HostFailure(State.FAILED, "its answer is not what this version of dmremapctl answers")
    return answer.documents[0]


def _listed(words: Any) -> str:
    return "; ".join(words) or "no devices"
