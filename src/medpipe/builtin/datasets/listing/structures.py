"""The structures of a segmentation: their names, and the values that they have in masks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.wording import counted
from medpipe.plugin import DataError, LabelImage, Segmentation, Task

if TYPE_CHECKING:
    from medpipe.plugin import Dataset, ImageFile

MaskValue: TypeAlias = int | str
"""A number, or a colour as ``#rrggbb``."""
Structures: TypeAlias = Mapping[str, MaskValue | tuple[MaskValue, ...]]
"""The value or values of each structure."""
BACKGROUND = "background"
BLACK = "#000000"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def are_structures(
    instance: object, attribute: attrs.Attribute[Any], value: Structures | None
) -> None:
    """Check that each structure has a value, and there is one beside the background.

    Raises:
        ValueError: It is not so, or values are neither all numbers nor all colours.
    """
    if value is None:
        return
    empty = [name for name, values in value.items() if values == ()]
    if empty:
        raise ValueError(f"{empty[0]!r} has no value. Give it one, or leave it out.")
    if not set(value) - {BACKGROUND}:
        raise ValueError("there is no structure. Name at least one beside the background.")
    _of_one_kind([one for values in value.values() for one in several(values)])


def are_ignored(
    instance: object, attribute: attrs.Attribute[Any], value: tuple[MaskValue, ...]
) -> None:
    """Check that values which count nowhere are of the kind of those of structures.

    Raises:
        ValueError: They are not.
    """
    labels: Structures = getattr(instance, "labels", None) or {}
    _of_one_kind([*value, *(one for values in labels.values() for one in several(values))])


def _of_one_kind(values: Iterable[MaskValue]) -> None:
    texts = [value for value in values if isinstance(value, str)]
    wrong = [text for text in texts if not _COLOUR.fullmatch(text)]
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} is no value of a mask. Give a number, or a colour such as '#ff0000'."
        )
    numbers = [value for value in values if not isinstance(value, str)]
    if texts and numbers:
        raise ValueError(
            f"{numbers[0]} is a number and {texts[0]!r} a colour: a mask has one of both. Give "
            "each structure the colour that it has in the masks."
        )


class Meaning:
    """What the values of masks mean.

    Args:
        labels: The value or values of each structure; ``background`` is 0, or black, where it is
            not named.
        ignore: Values that count nowhere.
        tolerances: See `Segmentation`.
        step: The task, whose tolerances count then. Where its structures overlap, they may also if
            no value is of several.

    Raises:
        DataError: A value is that of a structure and of the background, or to be ignored.
    """

    def __init__(
        self,
        labels: Structures,
        ignore: Iterable[MaskValue] = (),
        tolerances: tuple[float, ...] = (),
        *,
        step: Segmentation | None = None,
    ) -> None:
        given = {name: _plain(several(values)) for name, values in labels.items()}
        colours = any(isinstance(value, str) for values in given.values() for value in values)
        background = given.pop(BACKGROUND, (BLACK if colours else 0,))
        places: dict[MaskValue, list[int]] = {value: [] for value in background}
        for place, (name, values) in enumerate(given.items()):
            for value in values:
                if value in background:
                    raise DataError(
                        f"dataset.labels gives the value {value} to {name!r} and to the background."
                    )
                places.setdefault(value, []).append(place)
        self.ignore = _plain(tuple(ignore))
        both = sorted(set(self.ignore) & set(places), key=str)
        if both:
            raise DataError(f"The value {both[0]} is in dataset.labels and in dataset.ignore.")
        self.names = tuple(given)
        step = step or Segmentation(tolerances=tolerances)
        overlap = step.overlapping or any(len(meant) > 1 for meant in places.values())
        self.values = tuple((value, tuple(meant)) for value, meant in places.items())
        self.channels = len(self.names) if overlap else None
        # In files that are written each structure has the first of its values.
        written = () if overlap else tuple(values[0] for values in given.values())
        kind = attrs.evolve(
            step,
            overlapping=overlap,
            values=written,
            background=None if overlap else background[0],
        )
        self.task = Task(kind=kind, names=self.names)

    def label(self, mask: ImageFile | Any, *, absent: tuple[int, ...] = ()) -> LabelImage:
        """The label of a sample with this mask."""
        return LabelImage(
            image=mask,
            values=self.values,
            ignore=self.ignore,
            channels=self.channels,
            absent=absent,
        )


def whole(dataset: Dataset) -> Dataset:
    """A data set in which nothing is wrong with single samples.

    Raises:
        DataError: Something is; all of it is listed.
    """
    if dataset.faults:
        raise DataError("\n".join(str(fault) for fault in dataset.faults))
    return dataset


def without_patients(count: int, noun: str) -> str:
    """The note on samples of which no patients are known."""
    return (
        f"{counted(count, noun)} without patients: intervals are by {noun}. Set "
        "dataset.group_pattern if ids tell the patient."
    )


def several(values: MaskValue | tuple[MaskValue, ...]) -> tuple[MaskValue, ...]:
    """A value that is written alone or as a list, as a tuple."""
    return (values,) if isinstance(values, (int, str)) else tuple(values)


def _plain(values: tuple[MaskValue, ...]) -> tuple[MaskValue, ...]:
    """Values with colours in lower case."""
    return tuple(value.lower() if isinstance(value, str) else value for value in values)
