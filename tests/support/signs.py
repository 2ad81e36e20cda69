"""Signs that can't be seen, and spaces that are not the plain one."""

from __future__ import annotations

UNSEEN = [
    "\u200b",  # zero-width space
    "\u200c",
    "\u200d",
    "\ufeff",  # byte-order mark
    "\u2060",  # word joiner
    "\u00ad",  # soft hyphen
    "\u200e",  # left-to-right mark
    "\u202e",  # right-to-left override
    "\u2069",
    "\u034f",
    "\u3164",
    "\ufe0f",  # a variation selector
    "\U000e0041",  # a tag
    "\U000e0100",
    "\x00",
    "\x07",
    "\x7f",
    "\x9f",
]
SPACES = ["\u00a0", "\u2009", "\u202f", "\u3000", "\u1680", "\t", "\n", "\r", "\x85", "\u2028"]
