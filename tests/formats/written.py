"""A file that an independent writer made, and what is right for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from medpipe import DataError
from medpipe.data.readers.reader import decode_content
from medpipe.steps import DecodedImage, Reading


@attrs.frozen(kw_only=True, eq=False)
class Written:
    """A file and what is right for it.

    Attributes:
        about: The header's fields, for a failing test to print.
        content: The file.
        values: What an independent reader, or the writer, says the values are, in the layout of
            `DecodedImage.values`; None: the file contradicts itself, and is to be refused.
        channels: Whether the last axis holds channels.
        reading: How it is decoded.
        may_refuse: Whether a refusal is right too: of what is sound but not supported. Never a
            way out for files that people have.
    """

    about: str
    content: bytes
    values: np.ndarray[Any, Any] | None
    channels: bool = False
    reading: Reading = Reading(channels="auto")
    may_refuse: bool = False


@attrs.frozen(kw_only=True)
class Small:
    """A small whole file, each byte of which is damaged in turn.

    Attributes:
        content: The file.
        places: The name of each stretch of it (header, tables, pixels, checksum), by its first
            byte; each goes on to the next.
        checked: Whether checksums cover it: then no damage may change a value unseen.
        reading: How it is decoded.
    """

    content: bytes
    places: Mapping[int, str]
    checked: bool = False
    reading: Reading = Reading(channels="auto")


def decoded(content: bytes, reading: Reading) -> DecodedImage | str:
    """The image, or why it is refused."""
    try:
        return decode_content(content, "file", reading)
    except DataError as error:
        return str(error)


def wrong(written: Written) -> str | None:
    """What is wrong with how a file is read; None: nothing."""
    found = decoded(written.content, written.reading)
    if isinstance(found, str):
        if written.values is None or written.may_refuse:
            return None
        return f"refused, though it is sound: {found} ({written.about})"
    if written.values is None:
        return f"read, though it contradicts itself: {written.about}"
    if found.channels != written.channels or found.values.shape != written.values.shape:
        return (
            f"read as {found.values.shape}, channels={found.channels}; right is "
            f"{written.values.shape}, channels={written.channels} ({written.about})"
        )
    if not np.array_equal(found.values, written.values, equal_nan=found.values.dtype.kind == "f"):
        return f"read with other values: {written.about}"
    return None
