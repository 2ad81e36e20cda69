"""How messages write an option: as the command line has it, or as Python does."""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COMMAND: ContextVar[bool] = ContextVar("medpipe_command", default=False)


@contextmanager
def command_line() -> Iterator[None]:
    """Write options as flags in this block: a command runs in it."""
    token = _COMMAND.set(True)
    try:
        yield
    finally:
        _COMMAND.reset(token)


def option(name: str, value: str | Literal[True] | Sequence[str] | None = None) -> str:
    """An option by its Python name, for use inside a sentence.

    Args:
        name: The parameter, such as ``allow_changed``.
        value: What to give it, or several of it; True: it is a switch; None: that is for the
            reader to choose.

    Returns:
        ``--allow-changed=data``, ``--resume`` or ``--output`` in a command;
        ``allow_changed="data"``, ``resume=True`` or ``the argument output`` elsewhere.
    """
    if _COMMAND.get():
        flag = f"--{name.replace('_', '-')}"
        if value is None or value is True:
            return flag
        return " ".join(f"{flag}={one}" for one in ([value] if isinstance(value, str) else value))
    if value is None:
        return f"the argument {name}"
    return f"{name}={value if value is True else json.dumps(value)}"
