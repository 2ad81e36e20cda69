"""The states that a disk may be in after the power was lost, from what was done to it.

Only what was synced is sure: the content of a file by a sync of the file, its name by a sync of the
folder. Of what was not, any part may have come to the disk: of the names any subset, of a content
nothing, some, zeros or all.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import attrs

from faults.disks import Done


@attrs.define(eq=False)
class File:
    """A file: what is sure of it, and what was written."""

    sure: bytes = b""
    written: bytes = b""


@attrs.define(eq=False)
class Folder:
    """A folder: the names that are sure, those that are there, and what was changed since."""

    sure: dict[str, File | Folder] = attrs.field(factory=dict)
    names: dict[str, File | Folder] = attrs.field(factory=dict)
    changes: list[dict[str, File | Folder | None]] = attrs.field(factory=list)

    def put(self, change: dict[str, File | Folder | None]) -> None:
        """Change names, all at once: to another file or folder, or to none."""
        self.changes.append(change)
        _apply(self.names, change)

    def sync(self) -> None:
        """All changes are sure."""
        for change in self.changes:
            _apply(self.sure, change)
        self.changes.clear()


def _apply(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    for name, item in change.items():
        if item is None:
            names.pop(name, None)
        else:
            names[name] = item


def disk_after(log: list[Done], base: Path) -> Folder:
    """The disk after some operations below a folder."""
    root, files, folders = Folder(), {}, []

    def folder(path: Path) -> Folder:
        found = root
        for part in path.relative_to(base).parts:
            item = found.names[part]
            assert isinstance(item, Folder)
            found = item
        return found

    for done in log:
        path = done.path
        home = folder(path.parent) if path.is_relative_to(base) and path != base else root
        match done.operation:
            case "create":
                files[done.file] = File()
                home.put({path.name: files[done.file]})
            case "write":
                files[done.file].written += done.content
            case "sync":
                files[done.file].sure = files[done.file].written
            case "rename" | "link":
                assert done.source is not None
                assert done.source.parent == path.parent
                item = home.names[done.source.name]
                gone = {done.source.name: None} if done.operation == "rename" else {}
                home.put({**gone, path.name: item})
            case "remove" | "remove_directory":
                home.put({path.name: None})
            case "make_directory":
                folders.append(Folder())
                home.put({path.name: folders[-1]})
            case "sync_directory":
                folder(path).sync()
            case "sync_all":
                for each in (root, *folders):
                    each.sync()
                for file in files.values():
                    file.sure = file.written
            case other:
                raise AssertionError(other)
    return root


def lose_power(disk: Folder, into: Path, random: Random) -> None:
    """Write one of the states that may be left."""
    share = random.choice((0.0, 0.3, 0.7, 1.0))
    _write_names(disk, into, random, share)


def _write_names(disk: Folder, into: Path, random: Random, share: float) -> None:
    names = dict(disk.sure)
    for change in disk.changes:
        if random.random() < share:
            _apply(names, change)
    for name, item in names.items():
        if isinstance(item, Folder):
            (into / name).mkdir()
            _write_names(item, into / name, random, share)
        else:
            (into / name).write_bytes(_left(item, random))


def _left(file: File, random: Random) -> bytes:
    if file.sure == file.written:
        return file.sure
    half = file.written[: len(file.written) // 2]
    return random.choice((file.sure, file.written, half, bytes(len(file.written)), b""))
