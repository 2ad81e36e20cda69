"""Errors of torch's connections, in a line."""

from __future__ import annotations

import re


def line_of(error: BaseException) -> str:
    """What an error says, without lines of C++ and what gloo advises its developers."""
    text = " ".join(re.sub(r"\[[^]\s]*\.cc:\d+\]", "", str(error)).split())
    return text.partition(" This is typically caused by")[0].rstrip(".")
