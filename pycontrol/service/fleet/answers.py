"""JSON of the far side: looked at before it is believed."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pycontrol.service.fleet.session import HostFailure, State

Shape = type | tuple["Shape", ...] | list["Shape"] | Mapping[str, "Shape"] | None
"""A type; a choice (a tuple, None is null); a list of one shape; an object with at least these keys."""

DEPTH: Final = 20
"""How deep an answer may be nested, beyond what its shape says."""

_INT: Final[Shape] = int
_TEXT_OR_NONE: Final[Shape] = (str, None)

STATUS: Final[Shape] = [
    {
        "name": str,
        "path": str,
        "targets": [
            {
                "main": str,
                "spare": str,
                "remapped_extents": _INT,
                "pending_extents": _INT,
                "mode": str,
                "healthy": bool,
            }
        ],
    }
]
LIST: Final[Shape] = [{"name": str, "main": _TEXT_OR_NONE, "spare": _TEXT_OR_NONE, "mode": str}]
CREATED: Final[Shape] = {"name": str, "path": str, "warnings": [str]}
PLANNED: Final[Shape] = {"metadata": bool}
HEALTH: Final[Shape] = [{"name": str, "verdict": str, "reasons": [{"sentence": str}]}]
MODULE_STATUS: Final[Shape] = {"kernel": str, "built": _TEXT_OR_NONE, "headers": bool, "compiler": str}
BUILT: Final[Shape] = {"kernel": str, "module": str}
LOADED: Final[Shape] = {"loaded": bool, "changed": bool}
INSPECTED: Final[Shape] = {"path": str, "intact": bool}
SCRUBBED: Final[Shape] = {"type": str}
SUMMARY: Final[Shape] = {"name": str, "ending": str, "found": _INT, "pending": _INT}
EVENT: Final[Shape] = {"time": (int, float), "name": str, "action": str}


def check(value: Any, shape: Shape) -> Any:
    """``value`` if it has this shape; HostFailure if not.  Keys that are not named may be anything."""
    if not _fits(value, shape) or not _shallow(value, DEPTH):
        raise HostFailure(State.FAILED, "its answer is not what this version of dmremapctl answers")
    return value


def _fits(value: Any, shape: Shape) -> bool:
    if shape is None:
        return value is None
    if isinstance(shape, tuple):
        return any(_fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    if isinstance(shape, Mapping):
        return isinstance(value, dict) and all(
            key in value and _fits(value[key], wanted) for key, wanted in shape.items()
        )
    # In Python true is a number.
    return isinstance(value, shape) and (shape is bool or not isinstance(value, bool))


def _shallow(value: Any, depth: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    inside = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_shallow(item, depth - 1) for item in inside)


def numbered(data: bytes) -> Iterator[Any]:
    """The documents of an answer: one in lines of its own, or one a line.  HostFailure if it is no JSON."""
    try:
        text = data.decode()
        try:
            documents = [json.loads(text)]
        except ValueError:
            documents = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise HostFailure(State.FAILED, "its answer is not JSON") from error
    yield from documents
