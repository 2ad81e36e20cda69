"""The one error that is meant for whoever asks."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818  (it is an answer)
    """What can't be done, in a sentence for whoever asks.

    Args:
        text: Why, and what to do.
        status: The HTTP status that says so.
    """

    def __init__(self, text: str, *, status: int = 422) -> None:
        super().__init__(text)
        self.status = status
