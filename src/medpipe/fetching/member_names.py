"""Which names the members of an archive may have, each alone and all together.

An archive that is taken gives the same files on every system: what Windows, macOS or a file
system without capitals would read as another place or as one and the same file is refused
everywhere.
"""

from __future__ import annotations

import re
import unicodedata

from medpipe.fetching.refusals import RefusedError, shown

MARKER = ".medpipe-complete.json"
"""The file that medpipe adds to what it has extracted; see `archives`."""

_LONGEST_PART = 255
_LONGEST_PATH = 1024
"""In bytes of UTF-8: what the usual file systems take."""
_DEEPEST = 32
_PLAIN = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?", re.I)
_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}
"""Unicode's categories of control characters, of those that change how others are shown, and of
line ends."""


def parts_of(name: str) -> tuple[str, ...]:
    """The folders and the file that a member's name leads through; none for the top itself.

    Raises:
        RefusedError: The name is not one that an archive may have.
    """
    if name.startswith("/") or "\\" in name or ":" in name:
        raise RefusedError(f"its member {shown(name)} leads out of the folder")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise RefusedError(f"its member {shown(name)} leads out of the folder")
    if len(name.encode()) > _LONGEST_PATH:
        raise RefusedError(
            f"its member {shown(name)} has a name of more than {_LONGEST_PATH:,} bytes"
        )
    if len(parts) > _DEEPEST:
        raise RefusedError(f"its member {shown(name)} lies more than {_DEEPEST} folders deep")
    for part in parts:
        _refuse_unusual(name, part)
    if parts and _key(parts[0]) == MARKER:
        raise RefusedError(f"its member {shown(name)} has a name that medpipe itself writes")
    return parts


def _refuse_unusual(name: str, part: str) -> None:
    if len(part) <= _LONGEST_PART and _PLAIN.fullmatch(part) and not _DEVICES.match(part):
        return  # nearly all of them
    if len(part.encode()) > _LONGEST_PART:
        raise RefusedError(
            f"its member {shown(name)} has a part of more than {_LONGEST_PART} bytes in its name"
        )
    if any(unicodedata.category(sign) in _UNSEEN for sign in part):
        raise RefusedError(f"its member {shown(name)} has a character that is not seen")
    if _DEVICES.fullmatch(part):
        raise RefusedError(f"its member {shown(name)} has the name of a device on Windows")
    if part.endswith((".", " ")):
        raise RefusedError(
            f"its member {shown(name)} has a name that ends with a dot or a space, which Windows "
            "drops"
        )


class Tree:
    """The names of an archive so far, as the least able file system would hold them."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}
        self._last = ""  # nearly all files lie where the one before them lies

    def add(self, parts: tuple[str, ...], *, is_file: bool) -> None:
        """Put in one more name, with the folders that lead to it.

        Raises:
            RefusedError: It is there already, or is taken for another one that is.
        """
        above = "/".join(parts[:-1])
        if above != self._last:
            for depth in range(1, len(parts)):
                self._add_folder("/".join(parts[:depth]))
            self._last = above
        path = "/".join(parts)
        if not is_file:
            self._add_folder(path)
            return
        key = _key(path)
        if key in self._folders:
            raise RefusedError(f"{shown(self._folders[key])} is a file and a folder in it")
        if key in self._files:
            raise _same(self._files[key], path)
        self._files[key] = path

    def _add_folder(self, path: str) -> None:
        key = _key(path)
        if key in self._files:
            raise RefusedError(f"{shown(self._files[key])} is a file and a folder in it")
        if self._folders.setdefault(key, path) != path:
            raise _same(self._folders[key], path)


def _key(path: str) -> str:
    """One text for all names that a file system may take for the same."""
    if path.isascii():
        return path.lower()
    decomposed = unicodedata.normalize("NFD", path)
    return unicodedata.normalize("NFD", decomposed.casefold())


def _same(first: str, second: str) -> RefusedError:
    if first == second:
        return RefusedError(f"it holds {shown(first)} twice")
    return RefusedError(
        f"its members {first!a} and {second!a} are one file where capitals or the spelling of "
        "accents don't count"
    )
