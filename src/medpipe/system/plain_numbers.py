"""Numbers of NumPy, PyTorch and pandas as Python's own."""

from __future__ import annotations

import operator
from numbers import Integral, Real
from typing import Any

_PLAIN = frozenset({int, float, bool, str, type(None)})


def plain(value: Any) -> Any:
    """A number or an array of numbers as Python's own; whatever else it is stays as it is.

    ``numpy.int64(3)`` becomes 3 and ``numpy.float32(0.1)`` the float of exactly its value; booleans
    become True and False. Arrays, tensors and lists become tuples of these, and arrays without an
    axis a single one.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is tuple or kind is list:
        return tuple([plain(item) for item in value])
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        inside = value.tolist()
        if type(inside) is not kind:  # numpy's longdouble has no other form
            return plain(inside)
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return operator.index(value)
    if isinstance(value, Real):
        return float(value)
    return str(value) if isinstance(value, str) else value


def plain_number(value: Any) -> Any:
    """As `plain`, but only what is one number: arrays with an axis and lists stay as they are."""
    if type(value) in _PLAIN:
        return value
    several = getattr(value, "ndim", 0) or isinstance(value, (tuple, list))
    return value if several else plain(value)


def plain_text(value: Any) -> Any:
    """Text and whole numbers, which pandas and NumPy give for ids, as text of Python's own."""
    if type(value) is str or value is None or isinstance(value, bool):
        return value
    number = plain_number(value)
    if isinstance(number, bool):
        return value
    return str(number) if isinstance(number, (str, int)) else value
