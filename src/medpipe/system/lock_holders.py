"""The process that holds a lock: host, boot and process id, and whether it is alive."""

from __future__ import annotations

import json
import os
import platform
import sys
import uuid
from pathlib import Path
from typing import Literal

import attrs

PROC = Path("/proc")

Alive = Literal["alive", "gone", "unknown"]


@attrs.frozen(kw_only=True)
class Holder:
    """A process, as it describes itself in a lock file.

    Attributes:
        host: The machine's name; for people, since several machines may share one.
        process: Its process id.
        table: Where its process id is unique: the boot of the machine, and the process namespace
            (of a container). Empty where the system doesn't say.
        started: When it began, in ticks since the boot, since process ids are reused. Empty where
            the system doesn't say.
        since: When it took the lock, by its own clock.
    """

    host: str = ""
    process: int = 0
    table: str = ""
    started: str = ""
    since: str = ""

    @classmethod
    def me(cls, since: str) -> Holder:
        """This process."""
        number = os.getpid()
        return cls(
            host=platform.node(),
            process=number,
            table=_table(),
            started=_started(number),
            since=since,
        )

    def text(self) -> str:
        """The line that `parse` reads."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def parse(cls, line: str) -> Holder:
        """Parse a line of `text`; any other line gives an unknown process."""
        try:
            said = json.loads(line)
            types = {field.name: type(field.default) for field in attrs.fields(cls)}
            kept = {key: said[key] for key in types if type(said[key]) is types[key]}
            return cls(**kept)
        except (ValueError, TypeError, KeyError, RecursionError):
            return cls()

    def alive(self) -> Alive:
        """Whether it is running, as far as this machine can tell: not for other machines."""
        if not self.table or self.table != _table() or self.process < 1:
            return "unknown"
        if not _has_number(self.process):
            return "gone"
        now = _started(self.process)
        if not now or not self.started:
            return "unknown"
        return "alive" if now == self.started else "gone"

    def __str__(self) -> str:
        if not self.process:
            return "an unknown process"
        since = f", since {self.since}" if self.since else ""
        return f"process {self.process} on {self.host or 'an unnamed machine'}{since}"


def _table() -> str:
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"  # noqa: PTH115  # no path
    except (OSError, ValueError):
        # macOS has one process table. Elsewhere containers may share a host name.
        return f"{platform.node()} {uuid.getnode()}" if sys.platform == "darwin" else ""


def _has_number(number: int) -> bool:
    if sys.platform == "win32":  # there os.kill ends a process
        return True
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _started(number: int) -> str:
    try:
        text = (PROC / str(number) / "stat").read_text("utf-8", errors="replace")
        state, *rest = text.rpartition(")")[2].split()  # the program's name may hold anything
        return "ended" if state in ("Z", "X") else rest[18]
    except (OSError, ValueError, IndexError):
        return ""
