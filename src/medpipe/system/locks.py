"""Locks between processes, on any machine and any shared file system.

The kernel's locks are not there everywhere (Lustre without ``flock``), not shared everywhere (NFS,
FUSE), and may outlive a machine. So a lock is a lease: each process that wants it puts a file of
its own beside the others', looks at all of them, and has it when no other is alive. A file is
alive while its process runs, or where that can't be known (on another machine) while it shows a
sign of life: its modification time moves every `SIGN` seconds. No file is ever replaced and no name
used twice, so that two processes that remove the same dead lock can't remove a new one.
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
"""Seconds for which a silent process is watched in any case: enough for three signs of life."""
PATIENCE = 600.0
"""Seconds to wait for a lock whose holder is alive."""
LONG = 7200.0
"""The same for work that two processes must not do at once: a download, an extraction."""
WORD = 1.0
"""Seconds after which waiting is logged, and then once a minute."""

_GONE = (errno.ENOENT, errno.ESTALE)
_HELD = "held"


class LockedError(OSError):
    """Another process holds the lock; an `OSError`, as the errors of the file system are.

    Attributes:
        holder: That process.
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
        """Whether its process has the lock, and does not only ask for it."""
        return _HELD in self.content.splitlines()[1:] or not self.holder.process


class Lock:
    """One process's claim to the lock of a path; for a single use.

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
            OSError: Lease files can't be made here.
        """
        other = next(iter(self._others()), None)
        if other is not None:
            return other
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        mine = Holder.me(since).text()
        try:
            # A process that reads it before it is complete sees an unknown holder, and waits.
            append_passing(self._file, f"{mine}\n")
            # Of two processes that want the lock at least one sees the other's file here.
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
        """Whether another process took it over, since this one showed no sign of life for long."""
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
            except PermissionError:  # on Windows, while another process reads it
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
            # Being written to is no sign of life: the process may be about to give way.
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
        """Whether a lease file whose process can't be looked up was seen to change."""
        return self._showed_life


def _is_lease(ending: str) -> bool:
    return len(ending) == 16 and all(digit in "0123456789abcdef" for digit in ending)


def _look(path: Path) -> _Seen | None:
    """A lease file; None if it is gone."""
    try:
        # Opening it asks the file server; `stat` alone may answer from a cache a minute old.
        with path.open("rb") as file:
            content = file.read(4096).decode("utf-8", "replace")
            return _Seen(path.name, content, os.fstat(file.fileno()).st_mtime_ns)
    except OSError as error:
        if error.errno in _GONE:
            return None
    try:  # another user's file, without permission to read it
        return _Seen(path.name, "", path.stat().st_mtime_ns)
    except OSError:
        return None


@contextmanager
def locked(path: Path, *, patience: float = PATIENCE) -> Iterator[None]:
    """Let one process at a time into the block; the lock ends with the process.

    The file system only needs to make, list and remove files. The end of a process is noticed at
    once on this machine, and on another machine after a minute without a sign of life. Waiting for
    more than a second is logged with the holder.

    Args:
        path: What names the lock; its folder is made, and lease files lie beside it.
        patience: How many seconds to wait for a process that is alive.

    Raises:
        LockedError: It was held for longer than that; an `OSError`.
        OSError: No lock can be made here.
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
        # Jitter, so that not all that wait try at the same time.
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
    return f"{said}. The wait ends after {patience:.0f} s"


@contextmanager
def tried(path: Path) -> Iterator[bool]:
    """Hold a lock if it is free; yields whether it was."""
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
