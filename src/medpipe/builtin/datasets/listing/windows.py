"""Validate grey-value windows that a dataset step is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import attrs

    from medpipe.plugin import Window


def is_window(instance: object, attribute: attrs.Attribute[Any], value: Window) -> None:
    """Check that a window has a width.

    Raises:
        ValueError: It has none.
    """
    if not isinstance(value, str) and value[1] <= 0:
        raise ValueError(f"a window is [centre, width] with a width above 0, got {list(value)}.")
