"""`Conflict`: a step name that several plugins use."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Conflict:
    """A step name that several plugins use.

    Attributes:
        kind: The kind of step.
        name: The name.
        claimants: The qualified names under which each can be reached.
        winner: The distribution that the bare name selects: that of the built-in step, or None
            where the bare name is an error.
    """

    kind: str
    name: str
    claimants: tuple[str, ...]
    winner: str | None

    def __str__(self) -> str:
        meaning = f"means {self.winner}'s" if self.winner else "is refused"
        return (
            f"conflict: the {self.kind} {self.name!r} {meaning}; name {', '.join(self.claimants)}"
        )
