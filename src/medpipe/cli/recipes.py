"""``medpipe recipes``: the configurations that ship with medpipe."""

from __future__ import annotations

from medpipe.recipes import names, summary, text


def recipes(name: str | None = None, /) -> None:
    """List the configurations that ship with medpipe, or print one.

    Args:
        name: The recipe to print: medpipe recipes mednist > pipeline.toml.
    """
    if name is not None:
        print(text(name), end="")
        return
    for each in names():
        print(f"{each}: {summary(each)}")
