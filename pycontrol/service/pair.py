"""Whether two devices can be main and spare of each other, by what they are."""

from pycontrol.errors import WrongDevice
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.find.judge import larger_block
from pycontrol.text import plain


def check_pair(main: BlockDevice, spare: BlockDevice) -> list[str]:
    """Refuse two that cannot be a pair (WrongDevice); warnings, for people, about a doubtful one."""
    if not main.size or not spare.size:
        empty = main if not main.size else spare
        raise WrongDevice(f"{plain(empty.path)} has no size; is there a medium in it?")
    warnings = check_apart(main, spare)
    if spare.logical_block > main.logical_block:
        warnings.append(f"{plain(spare.path)}: {larger_block(spare.logical_block, main.logical_block)}")
    return warnings


def about_partitions(main: BlockDevice) -> list[str]:
    """A warning, for people, about a main device that has partitions, which /dev/mapper does not show."""
    if not main.partitions:
        return []
    names = ", ".join(map(plain, main.partitions))
    return [
        f"{plain(main.path)} has partitions ({names}), and the kernel makes none on the new device:"
        " protect one of them instead, or make them appear with 'kpartx -a'"
    ]


def check_apart(one: BlockDevice, other: BlockDevice) -> list[str]:
    """Refuse two with sectors in common (WrongDevice); a warning, for people, about two on one disk."""
    pair = f"{plain(one.path)} and {plain(other.path)}"
    partitions = one.partition and other.partition
    same_disk = bool(one.disk) and one.disk == other.disk
    if same_disk and not partitions:
        raise WrongDevice(f"{pair} overlap, one is part of the other; name another device")
    twins = one.identity.same_disk(other.identity)
    if twins and not same_disk:
        # By another path there is each partition once more, with the same uuid.
        parts = {one.identity.part, other.identity.part} - {""}
        if not partitions or len(parts) < 2:
            raise WrongDevice(
                f"{pair} are the same disk by two names (WWN {plain(one.identity.wwn)}); name another device"
            )
    return [f"{pair} are on the same disk; if it fails, both fail"] if same_disk or twins else []
