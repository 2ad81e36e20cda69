"""Messages without the place at which a step of a test raised its error."""

from __future__ import annotations

import re

_PLACE = re.compile(r" \((?:\w+/)*\w+\.py, line \d+\)")


def without_place(error: object) -> str:
    """What an error says, without ``(test_metrics.py, line 12)``, which is there once.

    Args:
        error: The error, the problem or its text; it must have such a place.
    """
    text, count = _PLACE.subn("", str(error))
    assert count == 1, f"{error} names {count} places"
    return text
