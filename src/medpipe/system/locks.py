"""Locks between processes, on any machine and any shared file system.

The kernel's locks are not there everywhere (Lustre without ``flock``), not shared everywhere (NFS,
FUSE), and may outlive a machine. So a lock is a lease: each process that wants it puts a file of
its own beside the others', looks at all of them, and has it when no other is alive. A file is
alive while its process is there, or where that can't be known (on another machine) while it shows
a sign of life: its time of change moves every `SIGN` seconds. No file is ever replaced, and each
has a name that is used once, so that two that clear away the same dead lock can't take a new one.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import threading
import time
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

from medpipe.system.files import append_passing, make_directories, remove_passing
from medpipe.system.lock_holders import Holder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger("medpipe")

SIGN = 5.0
"""Seconds from one sign of life to the next."""
SILENCE = 60.0
"""Seconds without a sign of life after which a process of another machine counts as ended."""
LOOK = 15.0
"""Seconds for which a silent one is watched in any case: three signs would have come."""
PATIENCE = 600.0
"""Seconds for which a lock is waited for whose holder is alive."""
LONG = 7200.0
"""The same where two must not do the work side by side: a download, an extraction."""
WORD = 1.0
"""Seconds after which a waiting process says so, and then once a minute."""

_GONE = (errno.ENOENT, errno.ESTALE)
_HELD = "held"


class LockedError(OSError):
    """Another process holds the lock; a kind of `OSError`, as what a file system may say to it.

    Attributes:
        holder: Who it is.
    """

    def __init__(self, path: Path, holder: Holder) -> None:
        super().__init__(errno.EAGAIN, f"it is held by {holder}", str(path))
        self.holder = holder


@attrs.frozen
class _Seen:
    """A lease file at one moment: when two such are equal, no sign of life came between them."""

    name: str
    content: str
    changed: int

    @property
    def holder(self) -> Holder:
        return Holder.parse(self.content.partition("\n")[0])

    @property
    def held(self) -> bool:
        """Whether it is more than a wish."""
        return _HELD in self.content.splitlines()[1:] or not self.holder.process


class Lock:
    """One process's part in the lock of a path; not for use twice.

    The lease files lie beside `path`, and have its name with an ending of their own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        self._first_seen: dict[str, tuple[_Seen, float, float]] = {}
        self._over = threading.Event()
        self._process = os.getpid()
        self._showed_life = False
        self.lost = False

    def try_once(self) -> _Seen | None:
        """Take the lock, if it is free.

        Returns:
            None if this has it now; else the lease file that stands against it.

        Raises:
            OSError: There can be no lease files here.
        """
        other = next(iter(self._others()), None)
        if other is not None:
            return other
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        mine = Holder.me(since).text()
        try:
            # Who reads it before it is whole takes it for a process that is not known, and waits.
            append_passing(self._file, f"{mine}\n")
            # All others that wanted it before, or want it now, are seen here, or see this.
            pause = 0.002
            while others := self._others():
                before = [other for other in others if other.held or other.name < self._file.name]
                if before:
                    self._remove()
                    return before[0]
                time.sleep(pause)  # those after this one give way
                pause = min(0.5, 2 * pause)
            append_passing(self._file, f"{_HELD}\n")
            threading.Thread(target=self._live, name="medpipe lock", daemon=True).start()
        except BaseException:
            self._remove()
            raise
        return None

    def release(self) -> None:
        """Give the lock back."""
        self._over.set()
        if os.getpid() == self._process:  # and not one that was forked off it
            self._remove()

    def is_lost(self) -> bool:
        """Whether somebody took it over, after this process had been silent for long."""
        if not self.lost:
            self._sign()
        return self.lost

    def _live(self) -> None:
        while not self._over.wait(SIGN):
            self._sign()

    def _sign(self) -> None:
        try:
            os.utime(self._file)  # by the clock of the file system
        except OSError as error:
            if error.errno in _GONE and not self._over.is_set():
                self.lost = True

    def _remove(self) -> None:
        for pause in (0.01, 0.1, 0.5, 0):
            try:
                remove_passing(self._file)
            except PermissionError:  # on Windows, while somebody looks at it
                time.sleep(pause)
            except OSError:
                return
            else:
                return

    def _others(self) -> list[_Seen]:
        """The lease files of others that are alive, or may be; those of the dead are removed."""
        found = []
        for name in sorted(os.listdir(self.path.parent)):  # noqa: PTH208  # names alone
            if not name.startswith(f"{self.path.name}.") or name == self._file.name:
                continue
            if not _is_lease(name.removeprefix(f"{self.path.name}.")):
                continue
            seen = _look(self.path.with_name(name))
            if seen is None:
                continue
            if self._is_dead(seen):
                with suppress(OSError):  # another user's; it stays dead
                    remove_passing(self.path.with_name(name))
            else:
                found.append(seen)
        return found

    def _is_dead(self, seen: _Seen) -> bool:
        alive = seen.holder.alive()
        if alive != "unknown":
            return alive == "gone"
        now = time.monotonic()
        before = self._first_seen.get(seen.name)
        if before is None or before[0] != seen:
            # That it is being written is no sign: it may be about to give way.
            was_held = before is not None and before[0].content == seen.content and seen.held
            self._showed_life = self._showed_life or was_held
            age = self._age(seen) if before is None else 0.0
            self._first_seen[seen.name] = (seen, now, age)
            return False
        _, since, age = before
        watched = now - since
        if watched < LOOK or watched + min(age, SILENCE) < SILENCE:
            return False
        logger.warning(
            "The lock %s was held by %s, which has shown no sign of life for %.0f s. It is taken "
            "to have ended.",
            self.path,
            seen.holder,
            watched + age,
        )
        return True

    def _age(self, seen: _Seen) -> float:
        """Seconds since the last sign of life, by the clock of the file system."""
        probe = self._file.with_name(f".{self._file.name}.{secrets.token_hex(6)}.part")
        try:
            append_passing(probe, "")
            now = probe.stat().st_mtime_ns
            remove_passing(probe)
        except OSError:
            return 0.0
        return max(0.0, (now - seen.changed) / 1e9)

    def showed_life(self) -> bool:
        """Whether a lease file that may be a dead one was seen to change."""
        return self._showed_life


def _is_lease(ending: str) -> bool:
    return len(ending) == 16 and all(digit in "0123456789abcdef" for digit in ending)


def _look(path: Path) -> _Seen | None:
    """A lease file; None if it is gone."""
    try:
        # To open it asks the server, where to look at it may tell what was true a minute ago.
        with path.open("rb") as file:
            content = file.read(4096).decode("utf-8", "replace")
            return _Seen(path.name, content, os.fstat(file.fileno()).st_mtime_ns)
    except OSError as error:
        if error.errno in _GONE:
            return None
    try:  # another user's, who lets no one else read it
        return _Seen(path.name, "", path.stat().st_mtime_ns)
    except OSError:
        return None


@contextmanager
def locked(path: Path, *, patience: float = PATIENCE) -> Iterator[None]:
    """Let one process at a time into the block; the lock ends with the process.

    It needs nothing of the file system but that files can be made, listed and removed. A process
    that ended on this machine is noticed at once, one of another machine by its silence of a
    minute. After more than a second it says what it waits for.

    Args:
        path: What names the lock; its folder is made, and lease files lie beside it.
        patience: For how many seconds a process that is alive is waited for.

    Raises:
        LockedError: It was held for longer than that; an `OSError`.
        OSError: There can be no lock here.
    """
    make_directories(path.parent)
    lock = Lock(path)
    started, told, pause = time.monotonic(), 0.0, 0.01
    while (other := lock.try_once()) is not None:
        waited = time.monotonic() - started
        if waited > patience:
            raise LockedError(path, other.holder)
        if waited >= WORD and (not told or waited - told >= 60):
            told = waited
            logger.info("Waiting for the lock %s: %s.", path, _held_by(other, patience))
        # Not all at the same time, of many that wait.
        time.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
        pause = min(1.0, 1.5 * pause)
    try:
        yield
    finally:
        lock.release()


def _held_by(other: _Seen, patience: float) -> str:
    said = f"it is held by {other.holder}"
    if other.holder.alive() == "unknown":
        said += f". If that has ended, it counts as ended after {SILENCE:.0f} s without a sign of"
        said += " life"
    return f"{said}. After {patience:.0f} s nobody waits on"


@contextmanager
def tried(path: Path) -> Iterator[bool]:
    """Hold a lock if it is free; gives whether it was."""
    lock = Lock(path)
    try:
        free = lock.try_once() is None
    except OSError:
        free = False
    if not free:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
