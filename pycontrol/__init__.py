"""Control plane of dm-remap.

What the commands do, for programs: ``from pycontrol import Control, health`` and so on, described in
``docs/python.md``.  A name is imported from where it lives when somebody asks for it, so a
command loads only what it needs.  Sectors are 512 bytes everywhere.  Every error that is raised on
purpose is a :class:`pycontrol.errors.RemapError`; an OSError is about a file that the caller named.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pycontrol import errors, meta
    from pycontrol.dm.ioctl import Control
    from pycontrol.dm.types import DeviceInfo
    from pycontrol.errors import RemapError
    from pycontrol.service import module
    from pycontrol.service.activate import Activated, activate
    from pycontrol.service.create import Options as CreateOptions
    from pycontrol.service.create import Plan as CreatePlan
    from pycontrol.service.create import carry_out as create
    from pycontrol.service.create import plan as plan_create
    from pycontrol.service.devices import RemapDevice, RemapTarget, message, remove, status
    from pycontrol.service.devices import list_devices as devices
    from pycontrol.service.extents import Extent
    from pycontrol.service.extents import listed as extents
    from pycontrol.service.find.scan import Entry as ScanEntry
    from pycontrol.service.find.scan import scan
    from pycontrol.service.find.scrub import Ending as ScrubEnding
    from pycontrol.service.find.scrub import Finding as ScrubFinding
    from pycontrol.service.find.scrub import Summary as ScrubSummary
    from pycontrol.service.find.scrubbing import Standing as ScrubStanding
    from pycontrol.service.find.scrubbing import pause as pause_scrub
    from pycontrol.service.find.scrubbing import scrub
    from pycontrol.service.find.scrubbing import standing as scrub_standing
    from pycontrol.service.known.exporting import Form, KnownBad
    from pycontrol.service.known.exporting import export as export_bad
    from pycontrol.service.known.fill import Choices as FillChoices
    from pycontrol.service.known.fill import Outcome as FillOutcome
    from pycontrol.service.known.fill import Plan as FillPlan
    from pycontrol.service.known.fill import carry_out as fill
    from pycontrol.service.known.fill import plan as plan_fill
    from pycontrol.service.known.fill import rehearse as rehearse_fill
    from pycontrol.service.known.knownbad import Listed as BadList
    from pycontrol.service.known.knownbad import Outcome as ImportOutcome
    from pycontrol.service.known.knownbad import Plan as ImportPlan
    from pycontrol.service.known.knownbad import carry_out as import_bad
    from pycontrol.service.known.knownbad import from_badblocks as read_badblocks
    from pycontrol.service.known.knownbad import from_ddrescue as read_ddrescue
    from pycontrol.service.known.knownbad import from_list as read_sectors
    from pycontrol.service.known.knownbad import from_smart as read_smart
    from pycontrol.service.known.knownbad import plan as plan_import_bad
    from pycontrol.service.known.lostfiles import find as lost_files
    from pycontrol.service.messages import (
        Copies,
        Moved,
        clear_counters,
        counters,
        pending,
        rearm,
        remap,
        repair,
        reread,
        sync,
        unmap,
    )
    from pycontrol.service.move.evacuate import Evacuated
    from pycontrol.service.move.evacuate import carry_out as evacuate
    from pycontrol.service.move.evacuate_plan import Plan as EvacuatePlan
    from pycontrol.service.move.evacuate_plan import plan as plan_evacuate
    from pycontrol.service.move.leave import Left, leave
    from pycontrol.service.move.leave import Outlook as LeavePlan
    from pycontrol.service.move.leave import look as plan_leave
    from pycontrol.service.move.replace import Replaced
    from pycontrol.service.move.replace import carry_out as replace_spare
    from pycontrol.service.move.replace_plan import Plan as ReplacePlan
    from pycontrol.service.move.replace_plan import plan as plan_replace_spare
    from pycontrol.service.move.settle import Settled, settle
    from pycontrol.service.progress import Progress
    from pycontrol.service.removal import remove_waiting as deactivate
    from pycontrol.service.status import TargetStatus
    from pycontrol.service.tell.follow import follow as watch
    from pycontrol.service.tell.notice import Notice
    from pycontrol.service.tell.watch import Event
    from pycontrol.service.view.checkup import Checkup
    from pycontrol.service.view.checkup import check_up as health
    from pycontrol.service.view.diskview import Part as MapPart
    from pycontrol.service.view.diskview import View as MapView
    from pycontrol.service.view.diskview import look as view_map
    from pycontrol.service.view.health import Level
    from pycontrol.service.view.html import as_file as map_html
    from pycontrol.service.view.past import Happening, events
    from pycontrol.service.view.svg import as_file as map_svg

__all__ = [
    "TARGET",
    "UUID_PREFIX",
    "Activated",
    "BadList",
    "Checkup",
    "Control",
    "Copies",
    "CreateOptions",
    "CreatePlan",
    "DeviceInfo",
    "EvacuatePlan",
    "Evacuated",
    "Event",
    "Extent",
    "FillChoices",
    "FillOutcome",
    "FillPlan",
    "Form",
    "Happening",
    "ImportOutcome",
    "ImportPlan",
    "KnownBad",
    "LeavePlan",
    "Left",
    "Level",
    "MapPart",
    "MapView",
    "Moved",
    "Notice",
    "Progress",
    "RemapDevice",
    "RemapError",
    "RemapTarget",
    "ReplacePlan",
    "Replaced",
    "ScanEntry",
    "ScrubEnding",
    "ScrubFinding",
    "ScrubStanding",
    "ScrubSummary",
    "Settled",
    "TargetStatus",
    "__version__",
    "activate",
    "clear_counters",
    "counters",
    "create",
    "deactivate",
    "devices",
    "errors",
    "evacuate",
    "events",
    "export_bad",
    "extents",
    "fill",
    "health",
    "import_bad",
    "leave",
    "lost_files",
    "map_html",
    "map_svg",
    "message",
    "meta",
    "module",
    "pause_scrub",
    "pending",
    "plan_create",
    "plan_evacuate",
    "plan_fill",
    "plan_import_bad",
    "plan_leave",
    "plan_replace_spare",
    "read_badblocks",
    "read_ddrescue",
    "read_sectors",
    "read_smart",
    "rearm",
    "rehearse_fill",
    "remap",
    "remove",
    "repair",
    "replace_spare",
    "reread",
    "scan",
    "scrub",
    "scrub_standing",
    "settle",
    "status",
    "sync",
    "unmap",
    "view_map",
    "watch",
]

__version__: Final = "1.0.0"

TARGET: Final = "dm-remap-v4"
"""Name of the device-mapper target, as in a table line."""

UUID_PREFIX: Final = "DMREMAP-"
"""What the device-mapper uuid of each of our devices begins with."""

_PLACES: Final[dict[str, str]] = {
    "Activated": "pycontrol.service.activate:Activated",
    "BadList": "pycontrol.service.known.knownbad:Listed",
    "Checkup": "pycontrol.service.view.checkup:Checkup",
    "Control": "pycontrol.dm.ioctl:Control",
    "Copies": "pycontrol.service.messages:Copies",
    "CreateOptions": "pycontrol.service.create:Options",
    "CreatePlan": "pycontrol.service.create:Plan",
    "DeviceInfo": "pycontrol.dm.types:DeviceInfo",
    "EvacuatePlan": "pycontrol.service.move.evacuate_plan:Plan",
    "Evacuated": "pycontrol.service.move.evacuate:Evacuated",
    "Event": "pycontrol.service.tell.watch:Event",
    "Extent": "pycontrol.service.extents:Extent",
    "FillChoices": "pycontrol.service.known.fill:Choices",
    "FillOutcome": "pycontrol.service.known.fill:Outcome",
    "FillPlan": "pycontrol.service.known.fill:Plan",
    "Form": "pycontrol.service.known.exporting:Form",
    "Happening": "pycontrol.service.view.past:Happening",
    "ImportOutcome": "pycontrol.service.known.knownbad:Outcome",
    "ImportPlan": "pycontrol.service.known.knownbad:Plan",
    "KnownBad": "pycontrol.service.known.exporting:KnownBad",
    "LeavePlan": "pycontrol.service.move.leave:Outlook",
    "Left": "pycontrol.service.move.leave:Left",
    "Level": "pycontrol.service.view.health:Level",
    "MapPart": "pycontrol.service.view.diskview:Part",
    "MapView": "pycontrol.service.view.diskview:View",
    "Moved": "pycontrol.service.messages:Moved",
    "Notice": "pycontrol.service.tell.notice:Notice",
    "Progress": "pycontrol.service.progress:Progress",
    "RemapDevice": "pycontrol.service.devices:RemapDevice",
    "RemapError": "pycontrol.errors:RemapError",
    "RemapTarget": "pycontrol.service.devices:RemapTarget",
    "ReplacePlan": "pycontrol.service.move.replace_plan:Plan",
    "Replaced": "pycontrol.service.move.replace:Replaced",
    "ScanEntry": "pycontrol.service.find.scan:Entry",
    "ScrubEnding": "pycontrol.service.find.scrub:Ending",
    "ScrubFinding": "pycontrol.service.find.scrub:Finding",
    "ScrubStanding": "pycontrol.service.find.scrubbing:Standing",
    "ScrubSummary": "pycontrol.service.find.scrub:Summary",
    "Settled": "pycontrol.service.move.settle:Settled",
    "TargetStatus": "pycontrol.service.status:TargetStatus",
    "activate": "pycontrol.service.activate:activate",
    "clear_counters": "pycontrol.service.messages:clear_counters",
    "counters": "pycontrol.service.messages:counters",
    "create": "pycontrol.service.create:carry_out",
    "deactivate": "pycontrol.service.removal:remove_waiting",
    "devices": "pycontrol.service.devices:list_devices",
    "errors": "pycontrol.errors",
    "evacuate": "pycontrol.service.move.evacuate:carry_out",
    "events": "pycontrol.service.view.past:events",
    "export_bad": "pycontrol.service.known.exporting:export",
    "extents": "pycontrol.service.extents:listed",
    "fill": "pycontrol.service.known.fill:carry_out",
    "health": "pycontrol.service.view.checkup:check_up",
    "import_bad": "pycontrol.service.known.knownbad:carry_out",
    "leave": "pycontrol.service.move.leave:leave",
    "lost_files": "pycontrol.service.known.lostfiles:find",
    "map_html": "pycontrol.service.view.html:as_file",
    "map_svg": "pycontrol.service.view.svg:as_file",
    "message": "pycontrol.service.devices:message",
    "meta": "pycontrol.meta",
    "module": "pycontrol.service.module",
    "pause_scrub": "pycontrol.service.find.scrubbing:pause",
    "pending": "pycontrol.service.messages:pending",
    "plan_create": "pycontrol.service.create:plan",
    "plan_evacuate": "pycontrol.service.move.evacuate_plan:plan",
    "plan_fill": "pycontrol.service.known.fill:plan",
    "plan_import_bad": "pycontrol.service.known.knownbad:plan",
    "plan_leave": "pycontrol.service.move.leave:look",
    "plan_replace_spare": "pycontrol.service.move.replace_plan:plan",
    "read_badblocks": "pycontrol.service.known.knownbad:from_badblocks",
    "read_ddrescue": "pycontrol.service.known.knownbad:from_ddrescue",
    "read_sectors": "pycontrol.service.known.knownbad:from_list",
    "read_smart": "pycontrol.service.known.knownbad:from_smart",
    "rearm": "pycontrol.service.messages:rearm",
    "rehearse_fill": "pycontrol.service.known.fill:rehearse",
    "remap": "pycontrol.service.messages:remap",
    "remove": "pycontrol.service.devices:remove",
    "repair": "pycontrol.service.messages:repair",
    "replace_spare": "pycontrol.service.move.replace:carry_out",
    "reread": "pycontrol.service.messages:reread",
    "scan": "pycontrol.service.find.scan:scan",
    "scrub": "pycontrol.service.find.scrubbing:scrub",
    "scrub_standing": "pycontrol.service.find.scrubbing:standing",
    "settle": "pycontrol.service.move.settle:settle",
    "status": "pycontrol.service.devices:status",
    "sync": "pycontrol.service.messages:sync",
    "unmap": "pycontrol.service.messages:unmap",
    "view_map": "pycontrol.service.view.diskview:look",
    "watch": "pycontrol.service.tell.follow:follow",
}
"""Where each name lives: ``module:attribute``, or a module that is the thing itself."""

# Type checkers know the names from above, and would believe any other if they saw this.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import what is asked for, once (PEP 562)."""
        place = _PLACES.get(name)
        if place is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module, _, attribute = place.partition(":")
        found: object = import_module(module)
        if attribute:
            found = getattr(found, attribute)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
