"""A call that may take so long and no longer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class TooLongError(Exception):
    """A call took longer than it may."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """Call something in a thread; one that never ends stays behind.

    Raises:
        TooLongError: It takes longer.
        Exception: What the call raises.
    """
    found: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TooLongError(f"it takes longer than {seconds} s")
    if raised:
        raise raised[0]
    return found[0]
