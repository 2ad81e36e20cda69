"""The two readings of a ``.tar.gz``: the first looks at all of it, the second writes."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import attrs

from medpipe.fetching.gunzipping import gunzipped
from medpipe.fetching.member_names import Tree, parts_of
from medpipe.fetching.refusals import DamagedError, RefusedError
from medpipe.fetching.tar_headers import Stream, next_member, padding
from medpipe.system.files import make_directories, new_file
from medpipe.system.progress import bar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 20
_MOST_PADDING = 16 << 20
_CLUSTER = 4096
"""The bytes in which the usual file systems give out room."""


@attrs.frozen(kw_only=True)
class Limits:
    """What an archive may hold at most; see `extract_archive`."""

    most_bytes: int
    most_members: int
    most_ratio: int


@attrs.frozen(kw_only=True)
class Found:
    """What the first reading found.

    Attributes:
        members: The parts of each name, and a file's size; None for a folder.
        total: Bytes of all files.
    """

    members: list[tuple[tuple[str, ...], int | None]]
    total: int

    @property
    def files(self) -> int:
        """How many files there are."""
        return sum(size is not None for _, size in self.members)

    @property
    def room(self) -> int:
        """About how many bytes it takes on a disk."""
        return sum(_CLUSTER + (size or 0) for _, size in self.members)


def look_through(file: IO[bytes], name: str, limits: Limits) -> Found:
    """Read an archive to its end and look at every member.

    Args:
        file: The archive.
        name: What to call it beside the progress bar.
        limits: What it may hold.

    Raises:
        RefusedError: It holds something unsafe or too much.
        DamagedError: It can't be read.
    """
    stream = gunzipped(file, limits.most_ratio)
    members: list[tuple[tuple[str, ...], int | None]] = []
    tree = Tree()
    number = total = extended = 0
    with bar(f"Checking {name}", None, unit="files") as shown:
        while True:
            member, extra = next_member(stream)
            extended += extra
            if member is None:
                break
            number += 1
            total += member.size
            if total + extended > limits.most_bytes:
                raise RefusedError(
                    f"it unpacks to more than {limits.most_bytes:,} bytes (most_bytes)"
                )
            if number > limits.most_members:
                raise RefusedError(
                    f"it holds more than {limits.most_members:,} members (most_members)"
                )
            parts = parts_of(member.name)
            if parts:
                tree.add(parts, is_file=member.is_file)
                members.append((parts, member.size if member.is_file else None))
            elif member.is_file:  # as a folder it is the top itself: "tar -c ." begins with it
                raise RefusedError(f"its member {member.name!r} has no name")
            for _ in _content(stream, member.size):
                pass
            shown.advance()
        _refuse_a_tail(stream)
    return Found(members=members, total=total)


def write_members(file: IO[bytes], name: str, found: Found, into: Path, limits: Limits) -> None:
    """Write what a first reading found into an empty folder; a sync is left to the caller.

    Raises:
        DamagedError: It is not what was found before.
        OSError: It can't be written.
    """
    stream = gunzipped(file, limits.most_ratio)
    folders: dict[tuple[str, ...], Path] = {(): into}
    with bar(f"Extracting {name}", found.files, unit="files") as shown:
        for parts, size in found.members:
            _refuse_another(stream, parts, size)
            above = parts if size is None else parts[:-1]
            folder = folders.get(above)
            if folder is None:
                folder = folders[above] = into.joinpath(*above)
                make_directories(folder, sync=False)
            if size is not None:
                with new_file(folder / parts[-1], sync=False) as target:
                    for chunk in _content(stream, size):
                        target.write(chunk)
                shown.advance()


def _content(stream: Stream, size: int) -> Iterator[bytes]:
    """The content of the member at which the stream stands, which is behind it afterwards."""
    left = size
    while left:
        chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            raise DamagedError("it ends before its end mark")
        left -= len(chunk)
        yield chunk
    stream.read(padding(size))  # where it is cut, the next header is missing


def _refuse_a_tail(stream: Stream) -> None:
    """See that nothing follows the end mark; gzip's checksum is only compared there."""
    tail = 0
    while chunk := stream.read(_CHUNK):
        if chunk.strip(b"\0"):
            raise RefusedError("something follows its end")
        tail += len(chunk)
        if tail > _MOST_PADDING:
            raise RefusedError("it goes on after its end")


def _refuse_another(stream: Stream, parts: tuple[str, ...], size: int | None) -> None:
    """See that the next member is the one that was looked at."""
    while True:
        member, _ = next_member(stream)
        if member is None:
            raise DamagedError("it changed while it was read")
        found = parts_of(member.name)
        if found:
            break
    if (found, member.size if member.is_file else None) != (parts, size):
        raise DamagedError("it changed while it was read")
