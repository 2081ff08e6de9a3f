"""hosts.toml: which hosts there are, how each is reached, and its devices; docs/fleet.md is its manual."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pycontrol.errors import UsageError
from pycontrol.service.fleet.tomllines import line_of
from pycontrol.text import plain

LARGEST: Final = 16 << 20
"""Bytes that a file of hosts may have."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a host, as ``dmremapctl create`` takes it."""

    name: str
    main: str
    spare: str
    copies: int | None = None
    spacing: str | None = None
    relocate_weak: bool = False
    format: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """How a host is reached, and what it has; times in seconds."""

    name: str
    address: str
    user: str = "root"
    port: int = 22
    key: Path | None = None
    """Of a private key; without it those of the agent and of ``~/.ssh`` are tried."""
    known_hosts: Path = Path("~/.ssh/known_hosts")
    jump: "Host | None" = None
    become: bool = False
    """Use ``sudo -n`` there."""
    python: str = "python3"
    cache: str = ""
    """The directory there in which a private one is made; empty for the usual one."""
    connect_timeout: float = 10
    timeout: float = 600
    groups: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """The hosts of a file, in its order."""

    hosts: Mapping[str, Host]
    groups: frozenset[str]

    def select(self, names: Iterable[str]) -> list[Host]:
        """Those of these names, of hosts or groups; all without any.  UsageError for an unknown one."""
        wanted = set(names)
        unknown = sorted(wanted - self.hosts.keys() - self.groups)
        if unknown:
            raise UsageError(f"there is no host or group '{plain(unknown[0])}' in the file of hosts")
        return [
            host
            for host in self.hosts.values()
            if not wanted or host.name in wanted or not wanted.isdisjoint(host.groups)
        ]


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_%-]{0,254}")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_PROGRAM: Final = re.compile(r"[A-Za-z0-9/][^\0-\x1f\x7f]{0,1023}")
_DIRECTORY: Final = re.compile(r"/[^\0-\x1f\x7f]{0,1023}")
_PATH: Final = re.compile(r"[^\0-\x1f\x7f]{1,4096}")
_DEVICE_PATH: Final = re.compile(r"/[^\0-\x1f\x7f]{1,4095}")
_DEVICE_NAME: Final = re.compile(r"[A-Za-z0-9#+.:=@_][A-Za-z0-9#+.:=@_-]{0,126}")
_SPACING: Final = re.compile(r"[0-9]+[BSKMbskm]?")

# What a key takes: a pattern, a range of numbers, or the type alone.
_Rule = re.Pattern[str] | tuple[int, int] | type
_OPTIONS: Final[Mapping[str, _Rule]] = {
    "user": _USER, "port": (1, 65535), "key": _PATH, "known_hosts": _PATH, "jump": _NAME, "become": bool,
    "python": _PROGRAM, "cache": _DIRECTORY, "connect_timeout": (1, 3600), "timeout": (1, 30 * 86400),
}  # fmt: skip
_HOST: Final[Mapping[str, _Rule]] = {**_OPTIONS, "address": _ADDRESS, "groups": list, "devices": list}
_DEVICE: Final[Mapping[str, _Rule]] = {
    "name": _DEVICE_NAME, "main": _DEVICE_PATH, "spare": _DEVICE_PATH, "copies": (1, 8), "spacing": _SPACING,
    "relocate_weak": bool, "format": bool,
}  # fmt: skip


def read(path: Path) -> Inventory:
    """The hosts of a file.  UsageError, with the line, for whatever is not as it must be."""
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{plain(path)} is larger than a file of hosts can be")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{plain(path)} cannot be read: {error.strerror}") from error
    try:
        text = data.decode()
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{plain(path)} is not TOML: {plain(error)}") from error
    return _Reader(path, text).inventory(values)


class _Reader:
    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text

    def _wrong(self, where: tuple[str, ...], sentence: str) -> UsageError:
        line = line_of(self._text, where)
        place = f"{plain(self._path)}, line {line}" if line else plain(self._path)
        return UsageError(f"{place}: {sentence}")

    def inventory(self, values: dict[str, Any]) -> Inventory:
        for key in values:
            if key not in ("defaults", "groups", "hosts"):
                raise self._wrong(
                    (key,), f"unknown table '{plain(key)}'; there are defaults, groups and hosts"
                )
        defaults = self._checked(("defaults",), values.get("defaults", {}), _OPTIONS)
        groups = {
            name: self._checked(("groups", name), options, _OPTIONS)
            for name, options in self._tables("groups", values).items()
        }
        merged = {
            name: self._merged(name, options, defaults, groups)
            for name, options in self._tables("hosts", values).items()
        }
        if not merged:
            raise UsageError(f"{plain(self._path)} has no hosts; add one, as [hosts.NAME]")
        both = sorted(merged.keys() & groups.keys())
        if both:
            raise self._wrong(("hosts", both[0]), f"'{both[0]}' is the name of a host and of a group")
        hosts: dict[str, Host] = {}
        for name in merged:
            self._make(name, merged, hosts, ())
        return Inventory({name: hosts[name] for name in merged}, frozenset(groups))

    def _tables(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        found = values.get(kind, {})
        if not isinstance(found, dict):
            raise self._wrong((kind,), f"'{kind}' must be a table")
        for name in found:
            if not _NAME.fullmatch(name):
                raise self._wrong(
                    (kind, name), f"'{plain(name)}' is no name; use letters, digits, '.', '_' and '-'"
                )
        return found

    def _merged(
        self, name: str, options: Any, defaults: dict[str, Any], groups: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        own = self._checked(("hosts", name), options, _HOST)
        merged = dict(defaults)
        for group in own.get("groups", []):
            if group not in groups:
                raise self._wrong(
                    ("hosts", name, "groups"), f"there is no group '{plain(group)}'; add [groups.NAME]"
                )
            merged |= groups[group]
        return merged | own

    def _make(
        self, name: str, merged: dict[str, dict[str, Any]], hosts: dict[str, Host], by: tuple[str, ...]
    ) -> Host:
        """The host and, before it, the one it is reached through."""
        if name in hosts:
            return hosts[name]
        options = dict(merged[name])
        jump = options.pop("jump", None)
        # A jump host that is itself in the group, or under the defaults, is reached directly.
        if jump == name:
            jump = None
        if jump is not None and jump not in merged:
            raise self._wrong(
                ("hosts", name, "jump"), f"the jump host '{plain(jump)}' of '{name}' is no host of this file"
            )
        if jump is not None and jump in (*by, name):
            raise self._wrong(
                ("hosts", name, "jump"), f"'{name}' and '{plain(jump)}' are each other's jump hosts"
            )
        through = self._make(jump, merged, hosts, (*by, name)) if jump else None
        for key in ("key", "known_hosts"):
            given = options.pop(key, "~/.ssh/known_hosts" if key == "known_hosts" else None)
            # Beside the file, if not absolute.
            options[key] = None if given is None else self._path.parent / Path(given).expanduser()
        devices = tuple(self._device(name, at, value) for at, value in enumerate(options.pop("devices", [])))
        names = [device.name for device in devices]
        if len(set(names)) < len(names):
            raise self._wrong(("hosts", name, "devices"), f"two devices of '{name}' have one name")
        options.setdefault("address", name)
        groups = tuple(options.pop("groups", ()))
        hosts[name] = Host(name, jump=through, groups=groups, devices=devices, **options)
        return hosts[name]

    def _device(self, host: str, at: int, value: Any) -> Device:
        found = self._checked(("hosts", host, "devices", str(at)), value, _DEVICE)
        for key in ("name", "main", "spare"):
            if key not in found:
                raise self._wrong(("hosts", host, "devices"), f"a device of '{host}' lacks '{key}'")
        return Device(**found)

    def _checked(self, where: tuple[str, ...], values: Any, rules: Mapping[str, _Rule]) -> dict[str, Any]:
        if not isinstance(values, dict):
            raise self._wrong(where, f"'{plain('.'.join(where))}' must be a table")
        for key, value in values.items():
            if key not in rules:
                known = ", ".join(sorted(rules))
                raise self._wrong((*where, key), f"unknown key '{plain(key)}'; there are {known}")
            self._check((*where, key), value, rules[key])
        return values

    def _check(self, where: tuple[str, ...], value: Any, rule: _Rule) -> None:
        key = where[-1]
        if isinstance(rule, tuple):
            if isinstance(value, bool) or not isinstance(value, int) or not rule[0] <= value <= rule[1]:
                raise self._wrong(where, f"'{key}' must be a number from {rule[0]} to {rule[1]}")
        elif isinstance(rule, re.Pattern):
            if not isinstance(value, str) or not rule.fullmatch(value):
                raise self._wrong(where, f"'{plain(value)}' will not do as '{key}'")
        elif rule is bool:
            if not isinstance(value, bool):
                raise self._wrong(where, f"'{key}' must be true or false")
        elif not isinstance(value, list) or (
            key == "groups" and not all(isinstance(name, str) for name in value)
        ):
            raise self._wrong(where, f"'{key}' must be a list of {'names' if key == 'groups' else 'tables'}")
