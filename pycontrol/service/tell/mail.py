"""Mail about events, handed to sendmail."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pycontrol.errors import KernelLacks, UsageError
from pycontrol.service.tell.bursts import Burst
from pycontrol.service.tell.hooks import Call, clean_environment, variables
from pycontrol.service.tell.notice import Level, Notice
from pycontrol.text import plain

SENDMAIL: Final = Path("/usr/sbin/sendmail")

# A local user or an ordinary address; nothing an option, a header or a second address could hide in.
_ADDRESS: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]*(@[A-Za-z0-9][A-Za-z0-9.-]*)?")


@dataclass(frozen=True, slots=True)
class MailHook:
    """Mail for what is a warning or worse; also for classes this version does not know."""

    address: str
    sendmail: str = str(SENDMAIL)

    @classmethod
    def parse(cls, text: str, sendmail: Path = SENDMAIL) -> Self:
        """From an address; UsageError if it is none, KernelLacks if no mail can be sent."""
        if not _ADDRESS.fullmatch(text):
            raise UsageError(f"'{plain(text)}' is not a mail address")
        if not os.access(sendmail, os.X_OK):
            raise KernelLacks(f"there is no {sendmail}; install a mail transfer agent, or use --hook")
        return cls(text, str(sendmail))

    def wants(self, notice: Notice) -> bool:
        """Warnings, and what is worse."""
        return notice.level <= Level.WARNING

    def call(self, burst: Burst) -> Call:
        """sendmail, with one message about the burst."""
        event = burst.latest.event
        return Call(
            # The address is an argument; -t would take whatever a header says.
            argv=(self.sendmail, "-oi", "--", self.address),
            environment=clean_environment(),
            stdin=self._message(burst),
            about=f"mail to {self.address} about {plain(event.action)} of {plain(event.name)}",
        )

    def _message(self, burst: Burst) -> bytes:
        from email.message import EmailMessage
        from email.utils import formatdate

        event = burst.latest.event
        host = os.uname().nodename
        message = EmailMessage()
        message["To"] = self.address
        message["Subject"] = plain(f"dm-remap on {host}: {event.name} {event.action}")
        message["Date"] = formatdate(event.time, localtime=True)
        message["Auto-Submitted"] = "auto-generated"
        lines = [burst.latest.line, ""]
        lines += [f"{key}={plain(value)}" for key, value in variables(burst).items() if value]
        message.set_content("\n".join(lines) + "\n")
        return bytes(message)
