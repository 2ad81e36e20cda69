"""Walk a folder: the one walker for training, evaluation and prediction."""

from __future__ import annotations

import logging
import os
import stat
import sys
import unicodedata
from typing import TYPE_CHECKING

import attrs

from medpipe.data.listing.names import (
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    is_system_name,
    look_alike,
    may_hold_system_names,
)
from medpipe.data.readers.unreadable import UnreadableImageError
from medpipe.errors import DataError, Fault, FaultKind
from medpipe.system.resource_errors import limit_of
from medpipe.system.text import unseen, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMED = 3
"""How many names that look alike a note has."""
_log = logging.getLogger("medpipe")


@attrs.define(kw_only=True)
class FolderListing:
    """The files found in folders; `look` and `look_below` add more.

    Hidden files and folders, what systems keep there (``Thumbs.db``, ``__MACOSX``, ``@eaDir``) and
    what editors leave are passed over and counted. Links to files are followed, links to folders
    are not, and are counted. What can't be accessed is a fault, and is not treated as absent.

    Attributes:
        faults: Collects what is wrong with single names. None: raise an error instead.
        files: Path by id: the names from the root on with ``/`` between, in Unicode form NFC.
        file_links: The ids of those that are links.
        broken: The ids of those that are links to nothing.
        folder_links: The ids of the links to folders.
        system: The ids of hidden and system files and folders.
        special: The ids of pipes, sockets and devices.
        alike: The ids of names in one folder that differ in case, spaces or what can't be seen.
    """

    faults: list[Fault] | None = None
    files: dict[str, str] = attrs.field(factory=dict)
    file_links: set[str] = attrs.field(factory=set)
    broken: set[str] = attrs.field(factory=set)
    folder_links: list[str] = attrs.field(factory=list)
    system: list[str] = attrs.field(factory=list)
    special: list[str] = attrs.field(factory=list)
    alike: list[tuple[str, ...]] = attrs.field(factory=list)

    def look_below(self, folder: str, above: str = "") -> None:
        """Add the files at any depth below a folder, sorted by id.

        Args:
            folder: The folder.
            above: Its own id; empty for the root.

        Raises:
            DataError: The root can't be read; or, without `faults`, anything is wrong.
        """
        known, self.files = self.files, {}
        waiting = {above: folder}
        while waiting:
            id_, path = waiting.popitem()
            waiting.update(self.look(path, id_))
        known.update(sorted(self.files.items()))
        self.files = known

    def look(self, folder: str, above: str = "", *, required: bool = False) -> dict[str, str]:
        """Add the files of one folder, and return the folders in it, by id.

        Args:
            folder: The folder.
            above: Its own id; empty for the root.
            required: Whether it is an error where the folder can't be read, not a fault.

        Raises:
            DataError: The root can't be read; or, without `faults`, anything is wrong.
        """
        try:
            with os.scandir(folder) as scanned:
                entries = list(scanned)
        except (OSError, ValueError) as error:
            message = f"The folder {folder} can't be read: {cause(error)}."
            if (required or not above) and limit_of(error) is None:
                raise DataError(message) from error
            self._refuse("unreadable", message, above, folder, error)
            return {}
        names = [entry.name for entry in entries]
        odd = may_hold_system_names(names)
        start = f"{above}/" if above else ""
        folders: dict[str, str] = {}
        taken: set[str] = set()
        for entry in entries:
            name = entry.name
            if not name.isascii():
                try:
                    name = portable(name, folder)
                except DataError as error:
                    self._refuse("id", str(error), start + name, entry.path, error)
                    continue
            inner = start + name
            try:
                if odd and is_system_name(name, folder=_is_folder(entry)):
                    self.system.append(inner)
                elif entry.is_file(follow_symlinks=False):
                    self._take(inner, entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    if inner in folders:
                        self._same_name(inner, entry.path, folders[inner])
                    else:
                        folders[inner] = entry.path
                else:
                    self._take_another(inner, entry.path)
            except OSError as error:
                message = f"{entry.path} can't be looked at: {cause(error)}."
                self._refuse("unreadable", message, inner, entry.path, error)
                continue
            taken.add(inner)
        self._compare(names, taken, folder, start)
        return folders

    def notes(self) -> tuple[str, ...]:
        """Sentences about what was passed over, and about names that look alike."""
        some = [
            passed_over(self.system, "hidden or system name"),
            passed_over(self.special, "name", " of pipes, sockets and devices"),
        ]
        if self.folder_links:
            one = len(self.folder_links) == 1
            links = "link to a folder was" if one else "links to folders were"
            some.append(
                f"{len(self.folder_links):,} {links} not followed, {min(self.folder_links)!r}"
                f"{'' if one else ' for one'}."
            )
        if self.alike:
            some.append(_alike_note(sorted(self.alike)))
        return tuple(filter(None, some))

    def _take_another(self, id_: str, path: str) -> None:
        """Add what is neither a plain file nor a folder: a link, or what can't be read."""
        linked = stat.S_ISLNK(os.lstat(path).st_mode)
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116
        except FileNotFoundError:
            if not linked:
                raise
            self.broken.add(id_)
            mode = stat.S_IFREG
        if stat.S_ISREG(mode):
            self._take(id_, path)
            if linked:
                self.file_links.add(id_)
        elif stat.S_ISDIR(mode):
            _log.warning("%s is a link to a folder and was not followed", path)
            self.folder_links.append(id_)
        else:
            message = f"{path} is not a file but a pipe, a socket or a device."
            if id_.lower().endswith((*IMAGE_SUFFIXES, *DICOM_SUFFIXES)):
                self._refuse("unreadable", message, id_, path)
            else:
                self.special.append(id_)

    def _take(self, id_: str, path: str) -> None:
        if id_ in self.files:
            self._same_name(id_, path, self.files[id_])
        else:
            self.files[id_] = path

    def _same_name(self, id_: str, *paths: str) -> None:
        first, second = sorted(paths)
        message = (
            f"{first} and {second} have the same name in Unicode form NFC. Rename one of them."
        )
        self._refuse("id", message, id_, paths[0])

    def _compare(self, names: Sequence[str], taken: set[str], folder: str, start: str) -> None:
        """Find names that look like others: a fault where the difference can't be seen."""
        for same in look_alike(names):
            ids = {start + unicodedata.normalize("NFC", name) for name in same}
            ids &= taken
            if len(ids) < 2:
                continue
            by_look: dict[str, list[str]] = {}
            for id_ in sorted(ids):
                by_look.setdefault(visible(id_.removeprefix(start)), []).append(id_)
            for first, *others in by_look.values():
                for other in others:
                    self._unseen_difference(folder, first, other, start)
            if len(by_look) > 1:
                self.alike.append(tuple(sorted(ids)))

    def _unseen_difference(self, folder: str, first: str, other: str, start: str) -> None:
        odd = sorted({*unseen(first), *unseen(other)}) or ["a space"]
        names = f"{first.removeprefix(start)!r} and {other.removeprefix(start)!r}"
        if not {first, other} <= self.files.keys():  # folders: their files have ids of their own
            self.alike.append((first, other))
            return
        path = self.files[other]
        message = (
            f"{folder} holds {names}, which differ only in invisible characters "
            f"({', '.join(odd)}). Rename or remove one of them."
        )
        self._refuse("id", message, other, path)

    def _refuse(
        self, kind: FaultKind, message: str, id_: str, path: str, error: Exception | None = None
    ) -> None:
        limit = None if error is None else limit_of(error)
        if limit is not None:  # nothing is wrong with the file
            raise limit from error
        if isinstance(error, FileNotFoundError):
            kind = "missing"
        if self.faults is None:
            raise DataError(message) from error
        self.faults.append(Fault(kind=kind, message=message, sample=id_, path=path))


def file_mode(path: str) -> int:
    """The mode of a path, for `stat.S_ISREG` and the like; 0 if the path does not exist.

    Raises:
        DataError: It can't be read: no permission for a parent folder, or a disk error.
    """
    try:
        return os.stat(path).st_mode  # noqa: PTH116  (many files)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        limit = limit_of(error)
        if limit is not None:  # nothing is wrong with the file
            raise limit from error
        reason = f"can't be looked at: {cause(error)}"
        raise UnreadableImageError(path, reason, kind="unreadable") from error


def cause(error: Exception) -> str:
    """The operating system's reason for an error, as the end of a sentence."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def portable(name: str, folder: str) -> str:
    """A name in Unicode form NFC, the same on every machine.

    Raises:
        DataError: It is not UTF-8.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        told = f"{folder} holds a name that is not UTF-8: {os.fsencode(name)!r}. Rename it."
        taken = sys.getfilesystemencoding()
        if taken.lower() not in ("utf-8", "utf8"):  # LC_ALL=C with Python's own remedy switched off
            told = (
                f"{folder} holds a name that is not {taken}, the encoding that this process uses "
                f"for file names: {os.fsencode(name)!r}. Set the environment variable "
                "PYTHONUTF8=1."
            )
        raise DataError(told) from error
    return unicodedata.normalize("NFC", name)


def passed_over(ids: Sequence[str], noun: str, after: str = "") -> str:
    """A sentence about files that were passed over, with one of them; nothing where none was."""
    if not ids:
        return ""
    one = len(ids) == 1
    return (
        f"{len(ids):,} {noun}{'s' * (not one)}{after} {'was' if one else 'were'} passed over, "
        f"{min(ids)!r}{'' if one else ' for one'}."
    )


def _alike_note(alike: Sequence[tuple[str, ...]]) -> str:
    named = "; ".join(", ".join(map(repr, same)) for same in alike[:NAMED])
    more = f"; and {len(alike) - NAMED:,} more" if len(alike) > NAMED else ""
    return (
        "Some names differ only in case, in spaces or in invisible characters, and each is taken "
        f"as a name of its own: {named}{more}."
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder; False where that is unknown, as of a link to itself."""
    try:
        return entry.is_dir()
    except OSError:
        return False
