"""Structures in each other's place, where a flip makes left of right: ``swap_labels``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.plugin import DataError, on_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    import attrs
    import torch

LEFT_TO_RIGHT = 0
"""The axis along which a flip makes left of right."""

Pairs = tuple[tuple[int, int], ...]
"""Pairs of structures by their numbers, from 1 in the order of the data set's labels."""


def are_pairs(_: object, __: attrs.Attribute[Any], value: Pairs) -> None:
    """Validate ``swap_labels``."""
    numbers = [number for pair in value for number in pair]
    if min(numbers, default=1) < 1 or len(set(numbers)) < len(numbers):
        given = [list(pair) for pair in value]
        raise ValueError(f"swap_labels must be pairs of different numbers from 1, got {given}.")


def swapped_where(
    labels: torch.Tensor, flipped: Sequence[bool], pairs: Pairs, step: str
) -> torch.Tensor:
    """Swap the structures of some labels.

    Args:
        labels: Of shape (batch, 1 or names, spatial...).
        flipped: In which of them left and right were flipped.
        pairs: What is swapped.
        step: The name of the step that flips.

    Raises:
        DataError: `pairs` names a structure that a mask with a channel for each has not.
    """
    import torch

    if not pairs or not any(flipped):
        return labels
    which = on_device(torch.tensor(flipped), labels)
    exchanged = _exchanged(labels, pairs, step)
    return torch.where(which.reshape(-1, *[1] * (labels.ndim - 1)), exchanged, labels)


def _exchanged(labels: torch.Tensor, pairs: Pairs, step: str) -> torch.Tensor:
    import torch

    channels = labels.shape[1]
    if channels == 1:
        exchanged = labels
        for one, other in pairs:
            exchanged = torch.where(labels == one, other, exchanged)
            exchanged = torch.where(labels == other, one, exchanged)
        return exchanged
    most = max(number for pair in pairs for number in pair)
    if most > channels:
        raise DataError(
            f"{step}.swap_labels names the structure {most}, and there are {channels}. Count them "
            "from 1, in the order of the data set's labels."
        )
    order = list(range(channels))
    for one, other in pairs:
        order[one - 1], order[other - 1] = other - 1, one - 1
    return torch.stack([labels[:, place] for place in order], dim=1)
