"""Disks that count, kill, fail, write short, or remember all that was done to them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import attrs

from medpipe.system.disk import Disk


class Watching(Disk):
    """Numbers the points of a run: each operation, the middle of each write, each step."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._halved: set[Path] = set()

    def reach(self, name: str) -> None:
        """Called at each point, before what it names is done."""
        self.names.append(name)

    def operate(self, operation: str, path: Path) -> None:
        """Called at each operation."""
        self.reach(f"{operation} {_stable(path)}")

    def create(self, path: Path) -> int:
        self.operate("create", path)
        return super().create(path)

    def append(self, path: Path) -> int:
        self.operate("append", path)
        return super().append(path)

    def write(self, path: Path, file: int, content: bytes | memoryview) -> int:
        self.operate("write", path)
        half = len(content) // 2
        if not half or path in self._halved:
            return super().write(path, file, content)
        self._halved.add(path)
        written = super().write(path, file, content[:half])
        self.reach(f"half-way {_stable(path)}")
        return written

    def sync(self, path: Path, file: int) -> None:
        self.operate("sync", path)
        super().sync(path, file)

    def close(self, path: Path, file: int) -> None:
        self.reach(f"close {_stable(path)}")
        super().close(path, file)

    def rename(self, source: Path, target: Path) -> None:
        self.operate("rename", target)
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self.operate("link", target)
        super().link(source, target)

    def remove(self, path: Path) -> None:
        self.operate("remove", path)
        super().remove(path)

    def make_directory(self, path: Path) -> None:
        self.operate("make_directory", path)
        super().make_directory(path)

    def remove_directory(self, path: Path) -> None:
        self.operate("remove_directory", path)
        super().remove_directory(path)

    def sync_directory(self, path: Path) -> None:
        self.operate("sync_directory", path)
        super().sync_directory(path)

    def sync_all(self) -> None:
        self.operate("sync_all", Path())
        super().sync_all()


class Killing(Watching):
    """Ends the process, as SIGKILL does, at one point."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self._place = place

    def reach(self, name: str) -> None:
        super().reach(name)
        if len(self.names) > self._place:
            os.kill(os.getpid(), signal.SIGKILL)


class Failing(Watching):
    """Fails one operation, or that one and all that follow.

    Args:
        place: Its number.
        code: The error, such as ``errno.ENOSPC``.
        lasting: Whether all that follow fail as well.
    """

    def __init__(self, place: int, code: int, *, lasting: bool = False) -> None:
        super().__init__()
        self._place, self._code, self._lasting = place, code, lasting
        self._count = 0

    def operate(self, operation: str, path: Path) -> None:
        super().operate(operation, path)
        self._count += 1
        late = self._count - 1 - self._place
        if late == 0 or (self._lasting and late > 0):
            raise OSError(self._code, os.strerror(self._code), str(path))


class Short(Disk):
    """Takes a third of what is to be written, as a disk may."""

    def write(self, path: Path, file: int, content: bytes | memoryview) -> int:
        return super().write(path, file, content[: max(1, len(content) // 3)])


@attrs.frozen
class Done:
    """An operation that was done.

    Attributes:
        operation: Its name.
        path: What it was done to; of a rename or a link the new name.
        source: The old name.
        file: The number of the file, each new one its own.
        content: What was written.
    """

    operation: str
    path: Path
    source: Path | None = None
    file: int = -1
    content: bytes = b""


class Remembering(Disk):
    """Remembers every operation in its order."""

    def __init__(self) -> None:
        self.log: list[Done] = []
        self._open: dict[int, int] = {}
        self._files = 0

    def create(self, path: Path) -> int:
        handle = super().create(path)
        self._open[handle] = self._files
        self.log.append(Done("create", path, file=self._files))
        self._files += 1
        return handle

    def write(self, path: Path, file: int, content: bytes | memoryview) -> int:
        count = super().write(path, file, content)
        done = Done("write", path, file=self._open[file], content=bytes(content[:count]))
        self.log.append(done)
        return count

    def sync(self, path: Path, file: int) -> None:
        super().sync(path, file)
        self.log.append(Done("sync", path, file=self._open[file]))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self.log.append(Done("rename", target, source))

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self.log.append(Done("link", target, source))

    def remove(self, path: Path) -> None:
        super().remove(path)
        self.log.append(Done("remove", path))

    def make_directory(self, path: Path) -> None:
        super().make_directory(path)
        self.log.append(Done("make_directory", path))

    def remove_directory(self, path: Path) -> None:
        super().remove_directory(path)
        self.log.append(Done("remove_directory", path))

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        self.log.append(Done("sync_directory", path))

    def sync_all(self) -> None:
        super().sync_all()
        self.log.append(Done("sync_all", Path()))


def _stable(path: Path) -> str:
    """The name of a file, without what is drawn for a temporary one."""
    parts = path.name.split(".")
    if parts[-1] == "part" and len(parts) > 3:
        return ".".join([*parts[:-2], "part"]).lstrip(".")
    return path.name
