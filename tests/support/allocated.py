"""What glibc's malloc says of the memory that it manages."""

from __future__ import annotations

import ctypes

NAMES = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks")
NAMES += ("fordblks", "keepcost")


class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES]


def has_mallinfo() -> bool:
    """Whether it says anything: glibc since 2.33 does."""
    return hasattr(ctypes.CDLL(None), "mallinfo2")


def _mallinfo() -> Mallinfo2:
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = Mallinfo2
    told: Mallinfo2 = ask()
    return told


def mapped_blocks() -> int:
    """How many blocks have a mapping of their own: each is given back as soon as it is freed."""
    return int(_mallinfo().hblks)


def kept_bytes() -> int:
    """How much is freed and kept for what is allocated next."""
    return int(_mallinfo().fordblks)
