"""Why an archive is not taken, as half a sentence; `archives` puts the file's name to it."""

from __future__ import annotations


class RefusedError(Exception):
    """It can be read, but holds what no honest archive of a data set holds."""


class DamagedError(Exception):
    """It can't be read: cut, changed on the way, or not a ``.tar.gz`` at all."""


def shown(name: str) -> str:
    """A member's name as it is put into a message: on one line, and not pages long."""
    return repr(name) if len(name) <= 100 else f"{name[:97]!r}..."
