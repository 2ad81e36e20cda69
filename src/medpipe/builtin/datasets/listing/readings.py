"""The parameters of dataset steps for reading images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.plugin import Reading

if TYPE_CHECKING:
    import attrs

    from medpipe.plugin import DatasetStep, Window


def is_window(instance: object, attribute: attrs.Attribute[Any], value: Window) -> None:
    """Check that a window has a width.

    Raises:
        ValueError: It has none.
    """
    if not isinstance(value, str) and value[1] <= 0:
        raise ValueError(f"a window is [centre, width] with a width above 0, got {list(value)}.")


def reading_of(step: DatasetStep) -> Reading:
    """The `Reading` of a step with a parameter for each of its fields but the readers."""
    return Reading(**{name: getattr(step, name) for name in Reading().plain()})
