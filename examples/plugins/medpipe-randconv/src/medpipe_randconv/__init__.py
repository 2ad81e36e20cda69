"""A plugin of medpipe with a transform, RandConv."""

from medpipe.plugin import Step, TransformStep, hookimpl
from medpipe_randconv.transform import RandConv

__all__ = ["STEPS", "RandConv"]

STEPS: list[type[Step]] = [RandConv]


@hookimpl
def medpipe_transforms() -> list[type[TransformStep]]:
    """Offer the transform."""
    return [RandConv]
