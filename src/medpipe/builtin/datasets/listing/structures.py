"""The structures of a segmentation: their names, and the values that they have in masks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.wording import counted
from medpipe.plugin import DataError, DatasetStep, LabelImage, Segmentation, Task

if TYPE_CHECKING:
    from medpipe.plugin import Dataset, ImageFile

MaskValue: TypeAlias = int | str
"""A number, a colour as ``#rrggbb``, or the label of a segment of a DICOM segmentation."""
OnMismatch: TypeAlias = Literal["error", "resample"]
Structures: TypeAlias = Mapping[str, MaskValue | tuple[MaskValue, ...]]
"""The value or values of each structure."""
BACKGROUND = "background"
BLACK = "#000000"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


class OfMasks(DatasetStep):
    """A data set step whose labels may be masks, and what parameters mean that such steps share.

    Attributes:
        on_mismatch: What to do with a mask on another grid than its image: an ``"error"``, or
            ``"resample"`` it onto the image's by nearest neighbour, where both have an affine.
        tolerances: How far, in mm, a predicted surface may be from the true one for the NSD: one
            number for all structures or one for each. Empty: 1. Files without a spacing count
            pixels or voxels.
    """


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
    given = list(values)
    texts = [value for value in given if isinstance(value, str)]
    wrong = [text for text in texts if _like_a_number(text)]
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} is no value of a mask. Give a number without quotes, a colour such as "
            "'#ff0000', or the label of a segment."
        )
    colours = [text for text in texts if _COLOUR.fullmatch(text)]
    others = [value for value in given if value not in colours]
    if colours and others:
        raise ValueError(
            f"{others[0]!r} is no colour, and {colours[0]!r} is one. Give each structure the "
            "colour that it has in the masks."
        )


def _like_a_number(text: str) -> bool:
    """Whether a text is meant to be a number or a colour, and is neither."""
    colour = text.startswith("#") and not _COLOUR.fullmatch(text)
    return colour or not text.strip() or text.strip().lstrip("+-").isdecimal()


class Meaning:
    """What the values of masks mean.

    Args:
        labels: The value or values of each structure; ``background`` is 0, or black, where it is
            not named.
        ignore: Values that count nowhere.
        tolerances: See `Segmentation`.
        step: The task, whose tolerances count then. Where its structures overlap, they may also if
            no value is of several.
        on_mismatch: See `LabelImage`.

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
        on_mismatch: OnMismatch = "error",
    ) -> None:
        self.on_mismatch: OnMismatch = on_mismatch
        given = {name: _plain(several(values)) for name, values in labels.items()}
        texts = [one for values in given.values() for one in values if isinstance(one, str)]
        colours = any(text.startswith("#") for text in texts)
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
        nameless = overlap or (texts and not colours)
        kind = attrs.evolve(
            step,
            overlapping=overlap,
            values=() if nameless else tuple(values[0] for values in given.values()),
            background=None if nameless else background[0],
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
            on_mismatch=self.on_mismatch,
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
    return tuple(
        value.lower() if isinstance(value, str) and _COLOUR.fullmatch(value) else value
        for value in values
    )
