"""Import names of a module when they are first used (PEP 562)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def loaded(
    module: str, names: dict[str, object], homes: Mapping[str, Sequence[str]], name: str
) -> object:
    """Import a name of a module at its first use, and keep it in the module's namespace.

    Args:
        module: The module, for the error.
        names: Its namespace.
        homes: For each module the names that are imported from it.
        name: The name.

    Raises:
        AttributeError: There is no such name.
    """
    for home, offered in homes.items():
        if name in offered:
            found = getattr(importlib.import_module(home), name)
            names[name] = found
            return found
    raise AttributeError(f"module {module!r} has no attribute {name!r}", name=name)
