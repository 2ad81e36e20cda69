"""What a page is made of: sections of blocks, as plain data for the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

import attrs


@attrs.frozen(kw_only=True)
class Shown:
    """What may be in a page.

    Attributes:
        images: Pixels of the data set, maps over them among them.
        paths: Paths, ids of samples and names of groups (patients), and notes that may hold them.
    """

    images: bool = True
    paths: bool = True


@attrs.frozen(kw_only=True)
class Text:
    """A paragraph; `strong` for what is to be seen first."""

    kind: ClassVar[str] = "text"
    text: str
    strong: bool = False


@attrs.frozen(kw_only=True)
class Points:
    """A list of sentences; `warn` for remarks that a reader must see."""

    kind: ClassVar[str] = "points"
    items: tuple[str, ...] = attrs.field(converter=tuple[str, ...])
    warn: bool = False


@attrs.frozen(kw_only=True)
class Table:
    """A table; the first cell of each row is its heading.

    Attributes:
        columns: Their headings.
        rows: Cells as text, or numbers, which stand to the right.
        caption: What it shows.
        folded: Whether the reader has to open it.
    """

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    folded: bool = False


@attrs.frozen(kw_only=True)
class Drawings:
    """Figures side by side, as SVG with a caption each."""

    kind: ClassVar[str] = "drawings"
    items: Sequence[tuple[str, str]]


@attrs.frozen(kw_only=True)
class Card:
    """An image with lines below it.

    Attributes:
        images: Data URIs, side by side.
        lines: Text below them.
        description: For screen readers.
        captions: Words below each image; none, or as many as images.
        heading: Before the lines.
    """

    images: tuple[str, ...]
    lines: tuple[str, ...]
    description: str = ""
    captions: tuple[str, ...] = ()
    heading: str = ""


@attrs.frozen(kw_only=True)
class Legend:
    """What lines over pictures mean; on a ground of their own, since pictures have none of a page.

    Attributes:
        colours: A colour and what has it.
        styles: Words for a solid and a dashed line; none, one or two.
    """

    kind: ClassVar[str] = "legend"
    colours: Sequence[tuple[str, str]]
    styles: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Cards:
    """A gallery.

    Attributes:
        title: Its heading.
        cards: What is in it.
        text: A paragraph below the heading.
        legend: What lines over its pictures mean.
        room: How wide a card is: as its images need it (``auto``), ``wide`` for one large image, or
            the ``whole`` width.
    """

    kind: ClassVar[str] = "cards"
    title: str
    cards: Sequence[Card]
    text: str = ""
    legend: Legend | None = None
    room: Literal["auto", "wide", "whole"] = "auto"


@attrs.frozen(kw_only=True)
class Bars:
    """Lengths of horizontal bars: a name, the share of the longest (0 to 1), and the value."""

    kind: ClassVar[str] = "bars"
    rows: Sequence[tuple[str, float, str]]


@attrs.frozen(kw_only=True)
class Flow:
    """Boxes one after the other: the kind, the name, whose it is, and its parameters."""

    kind: ClassVar[str] = "flow"
    boxes: Sequence[tuple[str, str, str, Sequence[str]]]


@attrs.frozen(kw_only=True)
class Code:
    """Text of a program or a file, kept as it is."""

    kind: ClassVar[str] = "code"
    text: str
    caption: str = ""
    folded: bool = False


Block = Text | Points | Table | Drawings | Legend | Cards | Bars | Flow | Code


@attrs.frozen(kw_only=True)
class Section:
    """A section of a page.

    Attributes:
        key: Its anchor: lower case letters, digits and hyphens.
        title: Its heading.
        blocks: What is in it.
    """

    key: str
    title: str
    blocks: Sequence[Block]


def number(value: object, digits: int = 4) -> str:
    """A number as reports write it; an undefined one is said to be so."""
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def interval(found: Iterable[float] | None) -> str:
    """An interval as reports write it; nothing where there is none."""
    if found is None:
        return ""
    low, high = found
    return f"{low:.4f} to {high:.4f}"


def named_rows(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Rows of a table of two columns."""
    return [(name, str(value)) for name, value in values.items()]
