"""Whether two devices can be main and spare of each other, by what they are."""

from pycontrol.errors import WrongDevice
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.find.judge import larger_block
from pycontrol.text import plain


def check_pair(main: BlockDevice, spare: BlockDevice) -> list[str]:
    """Refuse two that cannot be a pair (WrongDevice); warnings, for people, about a doubtful one."""
    pair = f"{plain(main.path)} and {plain(spare.path)}"
    if not main.size or not spare.size:
        empty = main if not main.size else spare
        raise WrongDevice(f"{plain(empty.path)} has no size; is there a medium in it?")
    same_disk = bool(main.disk) and main.disk == spare.disk
    if same_disk and not (main.partition and spare.partition):
        raise WrongDevice(f"{pair} overlap, one is part of the other; name another spare")
    twins = main.identity.same_disk(spare.identity) and not (main.partition and spare.partition)
    if not same_disk and twins:
        raise WrongDevice(
            f"{pair} are the same disk by two names (WWN {plain(main.identity.wwn)}); name another spare"
        )
    warnings = []
    if same_disk or main.identity.same_disk(spare.identity):
        warnings.append(f"{pair} are on the same disk; if it fails, both fail")
    if spare.logical_block > main.logical_block:
        warnings.append(f"{plain(spare.path)}: {larger_block(spare.logical_block, main.logical_block)}")
    return warnings
