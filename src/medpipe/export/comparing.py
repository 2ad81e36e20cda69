"""Compare what a model gives with what its run gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.system.raised import described

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from medpipe.export.samples import Known
    from medpipe.steps import Exported

    Array = np.ndarray[Any, np.dtype[Any]]

DECISIONS = ("prediction", "labels")
"""Outputs that are answers: they are compared as classes, not as numbers."""


@attrs.define
class Found:
    """What a comparison found.

    Attributes:
        wrong: What is wrong, a sentence each.
        difference: The largest difference, by output.
        batch_sizes: In batches of how many.
    """

    wrong: list[str] = attrs.field(factory=list)
    difference: dict[str, float] = attrs.field(factory=dict)
    batch_sizes: set[int] = attrs.field(factory=set)


def compared(contract: Mapping[str, Any], answer: Exported, samples: Sequence[Known]) -> Found:
    """Compare all samples, alone and in batches."""
    found = Found()
    far: dict[str, int] = {}
    for batch in _batches(samples):
        found.batch_sizes.add(len(batch))
        given = _asked(answer, [known.input for known in batch], found)
        if given is None:
            return found
        for place, known in enumerate(batch):
            compare(contract, known, {n: v[place] for n, v in given.items()}, found, far)
    for name, count in far.items():
        what = "classes" if name in DECISIONS else "numbers"
        apart = "" if name in DECISIONS else f", {found.difference[name]:.3g} apart at most"
        found.wrong.append(
            f"{name}: other {what} than the run's in {count} of {_asks(samples)} answers{apart}."
        )
    if found.wrong and contract["graph"]["steps"] and _lacks_steps(contract, answer, samples):
        names = ", ".join(step["step"] for step in contract["graph"]["steps"])
        found.wrong.append(
            "It gives the run's numbers for images that were transformed before: the graph lacks "
            f"the preprocessing that the contract says it has ({names})."
        )
    return found


def _batches(samples: Sequence[Known]) -> Iterator[list[Known]]:
    """Each sample alone, then all of one shape; one that has its shape alone, twice."""
    by_shape: dict[tuple[int, ...], list[Known]] = {}
    for known in samples:
        by_shape.setdefault(known.input.shape, []).append(known)
        yield [known]
    for some in by_shape.values():
        yield some if len(some) > 1 else [*some, *some]


def _asks(samples: Sequence[Known]) -> int:
    return sum(len(batch) for batch in _batches(samples))


def _asked(
    answer: Exported, images: Sequence[Array], found: Found | None = None
) -> Mapping[str, Array] | None:
    """What a model gives for a batch; None where it fails, with the reason in `found`."""
    import numpy as np

    batch = np.ascontiguousarray(np.stack(images), dtype=np.float32)
    try:
        return answer(batch)
    except Exception as error:  # whatever a foreign library raises
        if found is not None:
            found.wrong.append(
                f"It fails on {len(batch)} images of shape {batch.shape[1:]}: "
                f"{described(error, most=300)}"
            )
        return None


def compare(
    contract: Mapping[str, Any],
    known: Known,
    given: Mapping[str, Array],
    found: Found,
    far: dict[str, int],
) -> None:
    """Compare one sample."""
    import numpy as np

    for name, wanted in known.outputs.items():
        value = np.asarray(given.get(name, np.nan), dtype=np.float64)
        if value.shape != wanted.shape:
            far[name] = far.get(name, 0) + 1
            found.difference[name] = float("inf")
            continue
        gap = np.abs(value - wanted)
        largest = float(gap.max()) if np.isfinite(gap).all() else float("inf")
        found.difference[name] = max(found.difference.get(name, 0.0), largest)
        if not (gap <= _allowed(contract, wanted)).all():
            far[name] = far.get(name, 0) + 1
    for name in DECISIONS:
        if name in given and not _same_answer(contract, known, given[name]):
            far[name] = far.get(name, 0) + 1


def _allowed(contract: Mapping[str, Any], wanted: Array) -> Any:
    tolerance = contract["tolerance"]
    return tolerance["absolute"] + tolerance["relative"] * abs(wanted)


def _same_answer(contract: Mapping[str, Any], known: Known, answer: Array) -> bool:
    """Whether a decision is the run's; either will do where the scores are equal but for rounding.

    Two scores may each be off by the tolerance, so the run's answer is certain beyond twice that.
    """
    import numpy as np

    scores = known.outputs["scores"]
    exclusive = answer.size != scores.size
    if not exclusive:
        certain = np.abs(scores - 0.5) > contract["tolerance"]["absolute"] * 2
        return bool(((answer != 0) == (scores >= 0.5))[certain].all())
    first = np.asarray(answer).reshape(1, *scores.shape[1:]).astype(np.int64)
    if first.min() < 0 or first.max() >= len(scores):
        return False
    chosen = np.take_along_axis(scores, first, axis=0)
    best = scores.max(axis=0, keepdims=True)
    return bool((best - chosen <= 2 * _allowed(contract, best)).all())


def _lacks_steps(contract: Mapping[str, Any], answer: Exported, samples: Sequence[Known]) -> bool:
    """Whether a model gives the run's numbers for images that were transformed before."""
    found = Found()
    far: dict[str, int] = {}
    for known in samples:
        given = _asked(answer, [known.prepared])
        if given is None:
            return False
        compare(contract, known, {n: v[0] for n, v in given.items()}, found, far)
    return not far
