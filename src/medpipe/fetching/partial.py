"""What is here of a file already, kept beside it from try to try and from process to process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from medpipe.system.files import (
    continued_file,
    finish_file,
    new_file,
    remove_file,
    remove_leftovers_of,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from http.client import HTTPMessage
    from pathlib import Path


def note_of(target: Path) -> Path:
    """Where the note is while a file is not whole."""
    return target.with_name(f".{target.name}.part.json")


@attrs.frozen(kw_only=True)
class Source:
    """Of what file on the server a part is; another one is never put behind it.

    Attributes:
        url: Its address.
        checksum: What its publisher says of it.
        etag: The server's mark of this version. Empty where it gives none that can be trusted.
        modified: When it was changed, as the server says. Empty likewise.
        total: Bytes of the whole file, if they are known.
    """

    url: str
    checksum: str
    etag: str = ""
    modified: str = ""
    total: int | None = None

    @property
    def version(self) -> str:
        """What to compare with what the server has now. Empty: nothing."""
        return self.etag or self.modified

    def answered(self, headers: HTTPMessage, total: int | None) -> Source:
        """The same, with what a server's answer says of it."""
        etag = headers.get("ETag", "").strip()
        modified = headers.get("Last-Modified", "").strip()
        strong = etag if etag.startswith('"') else ""  # W/"...": not the same bytes
        return attrs.evolve(self, etag=strong, modified=modified, total=total)


class Partial:
    """The beginning of a file, and a note of what it is the beginning of."""

    def __init__(self, target: Path, source: Source) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name}.part")
        self._note = note_of(target)
        self.source = source
        remove_leftovers_of(self._note)
        found = self._read_note()
        if found is None or (found.url, found.checksum) != (source.url, source.checksum):
            self.discard()
        else:
            self.source = found
            if not found.version or (found.total is not None and self.size > found.total):
                self.discard()

    @property
    def path(self) -> Path:
        """Where its bytes are."""
        return self._path

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self._path.stat().st_size if self._path.exists() else 0

    @property
    def can_go_on(self) -> bool:
        """Whether another try can go on from here."""
        return bool(self.source.version) and self.size > 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here, as far as one can say before the checksum."""
        return self.can_go_on and self.size == self.source.total

    def begin(self, source: Source) -> None:
        """Begin anew with what the server has now.

        Raises:
            OSError, RunError: It can't be written.
        """
        self.discard()
        # First the note: bytes without it are thrown away, bytes with an old one would be wrong.
        write_json(self._note, attrs.asdict(source))
        with new_file(self._path, sync=False):
            pass
        self.source = source

    def add(self, chunks: Iterable[bytes]) -> None:
        """Write what comes behind what is here.

        Raises:
            OSError: It can't be written.
        """
        with continued_file(self._path) as file:
            for chunk in chunks:
                file.write(chunk)

    def finish(self) -> None:
        """Give it the file's name.

        Raises:
            OSError: It can't be done.
        """
        finish_file(self._path, self._target)
        remove_file(self._note)

    def discard(self) -> None:
        """Throw it away.

        Raises:
            OSError: It can't be removed.
        """
        remove_file(self._path)
        remove_file(self._note)
        self.source = Source(url=self.source.url, checksum=self.source.checksum)

    def _read_note(self) -> Source | None:
        try:
            known = json.loads(self._note.read_text(encoding="utf-8"))
            found = Source(**known)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        texts = (found.url, found.checksum, found.etag, found.modified)
        fits = all(isinstance(text, str) and text.isprintable() for text in texts)
        return found if fits and isinstance(found.total, int | None) else None
