"""The decoded length of LZW and PackBits strips of TIFF files, from their codes alone.

libtiff stops when it has the rows that the header asks for, and says nothing of more; and it writes
to the terminal where it finds fewer. So LZW and PackBits are counted before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

CLEAR, END = 256, 257
FIRST = 258
"""The first code that stands for a string."""
WIDTHS = ((254, 9), (512, 10), (1024, 11), (2307, 12))
"""How many codes of how many bits follow a clear code, at most."""


def packbits_length(data: bytes) -> int | None:
    """The bytes that PackBits data expand to; None where a run is cut."""
    length = place = 0
    while place < len(data):
        count = data[place]
        if count < 128:  # so many bytes and one more, as they are
            place += count + 2
            length += count + 1
        elif count > 128:  # one byte, repeated
            place += 2
            length += 257 - count
        else:
            place += 1
    return length if place == len(data) else None


def lzw_length(data: bytes) -> int | None:
    """The bytes that LZW data expand to; None where a code stands for nothing.

    The codes between two clear codes are taken together: where they lie follows from their number,
    and a code's length is one more than that of the code it was made of.
    """
    import numpy as np

    widths = np.repeat([bits for _, bits in WIDTHS], [count for count, _ in WIDTHS])
    starts = np.concatenate([[0], np.cumsum(widths)[:-1]])
    padded = np.frombuffer(data + bytes(4), np.uint8).astype(np.uint32)
    bits, length = 8 * len(data), 0
    place = 0
    while place + 9 <= bits:
        at = place + starts
        at = at[at + widths <= bits]
        byte = at >> 3
        word = padded[byte] << 16 | padded[byte + 1] << 8 | padded[byte + 2]
        own = widths[: len(at)]
        codes = (word >> (24 - own - (at & 7)).astype(np.uint32)).astype(np.int64) & (1 << own) - 1
        ends = np.flatnonzero((codes == CLEAR) | (codes == END))
        count = int(ends[0]) if len(ends) else len(codes)
        found = _strings(codes[:count])
        if found is None:
            return None
        length += found
        if not len(ends) or codes[count] == END:
            return length
        place = int(at[count]) + int(own[count])
    return length


def _strings(codes: np.ndarray[Any, Any]) -> int | None:
    """The length of the strings of all codes between two clear codes."""
    import numpy as np

    if not len(codes):
        return 0
    made_of = codes - FIRST
    if (made_of >= np.arange(len(codes))).any():
        return None
    made_of = np.where(codes < CLEAR, len(codes), made_of)
    # The last one is the root of all strings: it adds nothing and is its own parent.
    parent = np.append(made_of, len(codes))
    steps = np.append(np.ones(len(codes), np.int64), 0)
    while (parent < len(codes)).any():
        steps = steps + steps[parent]
        parent = parent[parent]
    return int(steps.sum())
