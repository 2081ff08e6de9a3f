"""The metadata of a spare that need not be in service, or of an image of one: ``dmremapctl meta``.

Needs no module, and no root for an image.  Reading opens read-only and never writes.  What writes
comes in two parts: ``plan_...`` looks and says what would be lost, and the plan is carried out
by the function of that name.  Paths are of devices or files, ``offset`` is the byte at which the
spare begins there; sectors are 512 bytes, and times seconds since 1970.  MetadataError is raised
for what is on a spare, WrongDevice, Busy, AccessDenied and DeviceIoError for the device.
"""

from pycontrol.metadata import Extent, Kind, Loaded, Record, Severity
from pycontrol.metadata.diff import Difference, diff
from pycontrol.metadata.search import Hit
from pycontrol.service.offline.inspection import Inspection, inspect
from pycontrol.service.offline.legacy import Choices as LegacyChoices
from pycontrol.service.offline.legacy import Import as LegacyImport
from pycontrol.service.offline.legacy import carry_out as import_legacy
from pycontrol.service.offline.legacy import look as look_legacy
from pycontrol.service.offline.legacy import plan_import as plan_import_legacy
from pycontrol.service.offline.meta import (
    Checked,
    Repair,
    Restore,
    backup,
    check,
    dump,
    load,
    plan_repair,
    plan_restore,
    repair_in_place,
    repair_to,
    restore,
    search,
)

__all__ = [
    "Checked",
    "Difference",
    "Extent",
    "Hit",
    "Inspection",
    "Kind",
    "LegacyChoices",
    "LegacyImport",
    "Loaded",
    "Record",
    "Repair",
    "Restore",
    "Severity",
    "backup",
    "check",
    "diff",
    "dump",
    "import_legacy",
    "inspect",
    "load",
    "look_legacy",
    "plan_import_legacy",
    "plan_repair",
    "plan_restore",
    "repair_in_place",
    "repair_to",
    "restore",
    "search",
]
