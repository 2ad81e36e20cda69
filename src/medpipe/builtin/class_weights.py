"""Weights of classes, given as numbers or balanced by how often each class occurs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs.validators import and_, deep_iterable, ge, instance_of

from medpipe.plugin import DataError

if TYPE_CHECKING:
    import attrs

    from medpipe.plugin import DataInfo


def not_negative(step: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Check a tuple of numbers, where the value is one: with zeros alone nothing is learned."""
    if isinstance(value, tuple):
        deep_iterable(and_(instance_of((int, float)), ge(0)))(step, field, value)
        if not any(value):
            raise ValueError(f"{field.name!r} must have a number above 0.")


def one_for_each(
    weights: tuple[float, ...] | None, path: str, data: DataInfo
) -> tuple[float, ...] | None:
    """Check that there is a weight for each output.

    Raises:
        DataError: There are more or fewer.
    """
    if weights is not None and len(weights) != data.outputs:
        what = _plural(data.task.step.word)
        names = data.task.names
        if data.task.step.label_form == "mask":
            what, names = "outputs", ("background", *names)
        raise DataError(
            f"{path} has {len(weights)} numbers and the data have {data.outputs} {what}: "
            f"{', '.join(names)}. Give one number for each, in this order."
        )
    return weights


def voxel_weights(
    weights: str | tuple[float, ...] | None, path: str, data: DataInfo
) -> tuple[float, ...] | None:
    """Weights for masks; ``balanced``: one over the voxels of each class, with the mean 1.

    Raises:
        DataError: They don't fit the outputs, or a class to balance is in no training mask.
    """
    if not isinstance(weights, str):
        return one_for_each(weights, path, data)
    counts, names = data.voxel_counts, data.task.names
    if counts is None:
        raise DataError(
            f"{path} can't be balanced: how many voxels each structure has is not known. Give it "
            "as numbers."
        )
    if data.task.step.label_form == "mask":
        names = ("background", *names)
    else:
        counts = counts[1:]  # no output is the background's
    for name, count in zip(names, counts, strict=True):
        if not count:
            raise DataError(
                f"{path} can't be balanced: the training split has no voxel of {name!r}. Leave it "
                "out of the data, or give the weights as numbers."
            )
    shares = [1 / count for count in counts]
    return tuple(len(shares) * share / sum(shares) for share in shares)


def _plural(word: str) -> str:
    return f"{word}es" if word.endswith("s") else f"{word}s"
