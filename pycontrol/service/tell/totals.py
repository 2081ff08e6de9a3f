"""A device in a few figures: those of its targets added up."""

from collections.abc import Callable
from dataclasses import dataclass

from pycontrol.service.devices import RemapDevice
from pycontrol.service.status import MODES, TargetStatus


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the targets of a device; nearly always there is one.  Sectors are 512 bytes."""

    mode: str
    """The worst: ``rw``, ``ro`` or ``Fail``."""
    errors: tuple[str, ...]
    """Words like ``degraded``, ``spare_full``, ``breaker``, ``metadata``."""
    needs_check: bool
    healthy: bool
    remapped_extents: int
    pending_extents: int
    used_sectors: int
    total_sectors: int
    valid_copies: int
    copies: int
    read_errors: int
    write_errors: int
    sectors_salvaged: int
    sectors_lost: int

    @property
    def state(self) -> str:
        """Mode and error words, as the status line ends."""
        return " ".join((self.mode, *self.errors, *(("needs_check",) if self.needs_check else ())))

    @property
    def spare_percent(self) -> float:
        """How much of the spare is taken, 0 to 100."""
        return 100 * self.used_sectors / self.total_sectors if self.total_sectors else 0.0


def totals(device: RemapDevice) -> Totals | None:
    """None for a device without a live table of ours."""
    states = [target.status for target in device.targets]
    if not states:
        return None

    def total(of: Callable[[TargetStatus], int]) -> int:
        return sum(map(of, states))

    return Totals(
        mode=max((state.mode for state in states), key=MODES.index),
        errors=tuple(dict.fromkeys(word for state in states for word in state.errors)),
        needs_check=any(state.needs_check for state in states),
        healthy=device.healthy,
        remapped_extents=total(lambda state: state.remapped_extents),
        pending_extents=total(lambda state: state.pending_extents),
        used_sectors=total(lambda state: state.used_sectors),
        total_sectors=total(lambda state: state.total_sectors),
        valid_copies=total(lambda state: state.valid_copies),
        copies=total(lambda state: state.copies),
        read_errors=total(lambda state: state.read_errors),
        write_errors=total(lambda state: state.write_errors),
        sectors_salvaged=total(lambda state: state.sectors_salvaged),
        sectors_lost=total(lambda state: state.sectors_lost),
    )
