"""The visible form of a text, so that names that look the same are the same.

Web forms, spreadsheets and concatenated files leave characters that no screen shows: a zero-width
space, a byte-order mark, a soft hyphen. With such a character a label or a patient is another one
to a program, and the same one to a reader.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_IGNORED = {
    0x034F,  # combining grapheme joiner
    *(0x115F, 0x1160, 0x3164, 0xFFA0),  # fillers of Hangul syllables
    *(0x17B4, 0x17B5),  # inherent vowels of Khmer
    *range(0x180B, 0x1810),  # variation selectors of Mongolian
    *range(0xFE00, 0xFE10),  # variation selectors: how a character is drawn, not which one it is
    *range(0xE0100, 0xE01F0),
}
"""What Unicode calls default ignorable beside its format characters."""
_DRAWN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
"""Format characters that are visible: signs before Arabic numbers."""
_BLANK = "\u2800"
"""A Braille pattern without a dot: drawn as a space."""


def visible(text: str) -> str:
    """The text as a reader sees it: in form NFC, with plain spaces and none around it.

    Zero-width spaces and joiners, byte-order marks, soft hyphens, directional marks, variation
    selectors and control characters are left out; each space of another kind (no-break, thin,
    ideographic, a tab, a line break) becomes a plain one. What can be seen stays, the case and
    runs of spaces too. Applying it twice is the same as applying it once.
    """
    if text.isascii() and text.isprintable():
        return text.strip(" ")
    return unicodedata.normalize("NFC", text.translate(_SEEN)).strip(" ")


def is_invisible(sign: str) -> bool:
    """Whether a character is neither drawn nor a space."""
    category = unicodedata.category(sign)
    if category == "Cf":
        return sign not in _DRAWN
    if category == "Cc":
        return not sign.isspace()
    return ord(sign) in _IGNORED


def counted(number: int, noun: str) -> str:
    """``1 group``, ``3 groups``, ``58,954 images``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of the same number of cells as lines, with the columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return [line.rstrip() for line in lines]


def unseen(text: str) -> tuple[str, ...]:
    """The characters that `visible` leaves out or turns into plain spaces, by code and name.

    Each once, in order: ``("U+200B ZERO WIDTH SPACE",)``. Plain spaces around the text, and how its
    accents are put together, are no such characters.
    """
    if text.isascii() and text.isprintable():
        return ()
    return tuple(_named(sign) for sign in dict.fromkeys(text) if _SEEN[ord(sign)] != ord(sign))


def _named(sign: str) -> str:
    name = unicodedata.name(sign, "") or _CONTROLS.get(ord(sign), "CONTROL CHARACTER")
    return f"U+{ord(sign):04X} {name}"


def _is_space(sign: str) -> bool:
    return sign.isspace() or sign == _BLANK


class _Seen(dict[int, int | None]):
    """The visible form of each character, for `str.translate`; computed at its first use."""

    def __missing__(self, code: int) -> int | None:
        sign = chr(code)
        seen = None if is_invisible(sign) else ord(" ") if _is_space(sign) else code
        self[code] = seen
        return seen


_SEEN = _Seen()
_CONTROLS = {0x00: "NUL", 0x09: "TAB", 0x0A: "LINE FEED", 0x0D: "CARRIAGE RETURN"}
