"""Which versions of other distributions are installed."""

from __future__ import annotations

import email
import functools
from importlib import metadata


@functools.cache
def version_of(distribution: str) -> str | None:
    """The version of a distribution; None where it is not installed.

    `importlib.metadata.version` says the same and reads the whole description, a millisecond
    each.
    """
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None
    head, _, _ = (found.read_text("METADATA") or "").partition("\n\n")
    return email.message_from_string(head)["Version"] or found.version
