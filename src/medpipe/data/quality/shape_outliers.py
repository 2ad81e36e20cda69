"""Shape outliers: images that leave the chain in another shape than the rest."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from medpipe.data.chain import sample_dictionary
from medpipe.data.quality.faults import fault, image_of
from medpipe.errors import Fault, FaultKind, MedpipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.data.chain import Chain
    from medpipe.data.scanning.fingerprints import ImageKind
    from medpipe.data.scanning.scan import Scan
    from medpipe.steps import Dataset, Sample

FEW = 16
"""How many kinds are tried first, one image each: if all give one shape, the rest does too."""
MANY = 200
"""With more kinds than this, none of them nearly all images, not every kind is tried."""
NEARLY_ALL = 0.9
"""The share of one shape from which the others are outliers; below it, the chain lacks a step."""


@attrs.frozen(kw_only=True)
class _Left:
    """How an image of one kind leaves the chain.

    Attributes:
        shapes: Without and with the random steps; where labels are images, with them.
        error: The message of a step that failed on it.
    """

    shapes: tuple[tuple[int, ...], ...] = ()
    error: str = ""

    def __str__(self) -> str:
        return " and ".join(map(str, dict.fromkeys(self.shapes)))


def unfit_samples(chain: Chain, dataset: Dataset, scan: Scan, *, batched: bool) -> Sequence[Fault]:
    """Find the samples whose images don't leave the chain as nearly all others do.

    Of each shape and number of channels one sample goes through the chain; where there is but
    one, none does.

    Args:
        chain: The transforms.
        dataset: The samples, all of which can be read.
        scan: Their fingerprints.
        batched: Whether batches have several samples; else the sizes may differ.

    Returns:
        Their faults. If fewer than nine of ten leave alike, one fault without a sample.
    """
    samples = dataset.samples
    # Where labels are images, only training images must have one shape.
    passes = (True,) if dataset.task.step.dense else (False, True)
    prints = scan.fingerprints
    numbers = prints.numbers([sample.id for sample in samples])
    first: dict[int, Sample] = {}
    for number, sample in zip(numbers, samples, strict=True):
        first.setdefault(number, sample)
    if len(first) < 2:
        return []

    def leave(number: int) -> _Left:
        return _sent(chain, first[number], dataset, passes, sizes=batched)

    enough = NEARLY_ALL * len(samples)
    held = Counter(numbers)
    ((frequent, count),) = held.most_common(1)
    ordered = sorted(first, key=lambda number: _measure(prints.kinds[number]))
    tried = {*ordered[:: max(1, len(ordered) // FEW)], ordered[-1], frequent}
    left = {number: leave(number) for number in sorted(tried)}
    if len(set(left.values())) == 1 and not left[frequent].error:
        return []
    if len(first) <= MANY or count >= enough:
        left.update((number, leave(number)) for number in ordered if number not in left)
    counts: Counter[_Left] = Counter()
    for number, how in left.items():
        counts[how] += held[number]
    ((usual, most),) = counts.most_common(1)
    if usual.error or most < enough:
        return [_no_usual(counts, left, first, dense=dataset.task.step.dense)]
    return [
        _unlike(sample, left[number], usual, f"{most:,} of {len(samples):,}")
        for number, sample in zip(numbers, samples, strict=True)
        if left.get(number, usual) != usual
    ]


def _measure(kind: ImageKind) -> tuple[int, int, int]:
    shape, channels = kind
    return len(shape), channels or 1, math.prod(shape)


def _sent(
    chain: Chain, sample: Sample, dataset: Dataset, passes: Sequence[bool], *, sizes: bool
) -> _Left:
    from medpipe.data.loading.collate import as_tensor

    shapes = []
    for training in passes:
        given = sample_dictionary(sample, dataset.reading)
        try:
            shape = tuple(as_tensor(chain(given, training=training)["image"]).shape)
        except MedpipeError as error:
            return _Left(error=str(error))
        except (TypeError, ValueError, KeyError, RuntimeError):
            return _Left(error="The chain gives no image tensor.")
        shapes.append(shape if sizes else (shape[0], *[0] * (len(shape) - 1)))
    return _Left(shapes=tuple(shapes))


def _kind(one: _Left, other: _Left) -> FaultKind:
    if one.error or other.error:
        return "transform"
    channels = {shape[0] for shape in (*one.shapes, *other.shapes)}
    return "channels" if len(channels) > 1 else "size"


def _unlike(sample: Sample, left: _Left, usual: _Left, most: str) -> Fault:
    kind = _kind(left, usual)
    if left.error:
        message = f"{image_of(sample)} makes the chain fail: {left.error}"
    else:
        message = f"{image_of(sample)} leaves the chain as {left}, but {most} images as {usual}."
    return fault(sample, kind, message)


def _no_usual(
    counts: Counter[_Left], left: dict[int, _Left], first: dict[int, Sample], *, dense: bool
) -> Fault:
    example = {how: first[number] for number, how in sorted(left.items(), reverse=True)}
    (one, _), *rest = counts.most_common()
    if one.error:
        return Fault(kind="transform", message=one.error)
    other = rest[0][0]
    kind = _kind(one, other)
    if kind == "transform":
        return Fault(kind=kind, message=other.error)
    named = ", ".join(
        f"{how} as {example[how].id!r} ({count})" for how, count in counts.most_common(3)
    )
    more = f" and {len(counts) - 3} more shapes" if len(counts) > 3 else ""
    remedy = "Add a step such as 'resize' with spatial_size, or set loader.batch_size = 1."
    if dense:
        remedy = "Add the step 'spatial_pad' with a spatial_size that holds all, or "
        remedy += "'rand_spatial_crop' after it for patches of one size."
    if kind == "channels":
        remedy = "Set dataset.channels = 1 or 3, if the dataset step has this parameter."
    return Fault(
        kind=kind,
        message=f"Images leave the chain in shapes that do not batch: {named}{more}.",
        remedy=remedy,
    )
