"""The predictions of several runs put together: folds joined, seeds averaged."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal

import attrs

from medpipe.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.evaluation.predictions import Predictions
    from medpipe.runs.run import Run


def pool(
    runs: Sequence[Run], split: Literal["validation", "test"]
) -> tuple[Predictions, dict[str, int] | None]:
    """Put predictions together; see `RunSet.pooled`.

    Args:
        runs: At least one.
        split: What they held out.

    Returns:
        The predictions, each sample once, and the place of its fold by id; None where there is
        one.

    Raises:
        RunError: A run has no predictions on the split, two that hold out different samples both
            predict one, or they disagree on the task or on a label.
    """
    holders: dict[frozenset[str], list[tuple[Run, Predictions]]] = defaultdict(list)
    for run in runs:
        predictions = run.predictions(split).sorted_by_id()
        if predictions.task != runs[0].data.task:
            raise RunError(
                f"{runs[0].path} and {run.path} answer different questions "
                f"({runs[0].data.task}; {predictions.task}), so their predictions can't be "
                "combined."
            )
        holders[frozenset(predictions.ids)].append((run, predictions))
    _refuse_overlap(list(holders.values()))
    folds = [_averaged(same) for same in holders.values()]
    fold_of = {id_: place for place, fold in enumerate(folds) for id_ in fold.ids}
    return _joined(folds), fold_of if len(folds) > 1 else None


def _refuse_overlap(sets: Sequence[Sequence[tuple[Run, Predictions]]]) -> None:
    homes: dict[str, Run] = {}
    for (run, predictions), *_ in sets:
        twice = sorted(homes.keys() & set(predictions.ids))
        if twice:
            raise RunError(
                f"{homes[twice[0]].path} and {run.path} hold out different samples, but both "
                f"predict {len(twice)} of them, such as {twice[0]!r}: they are not folds of the "
                "same division, so their predictions can't be combined."
            )
        homes.update(dict.fromkeys(predictions.ids, run))


def _averaged(same: Sequence[tuple[Run, Predictions]]) -> Predictions:
    """The mean of predictions on the same samples, sorted by id."""
    import numpy as np

    (first, predictions), *others = same
    for run, other in others:
        if not np.array_equal(other.labels, predictions.labels, equal_nan=True):
            raise RunError(f"{first.path} and {run.path} have different labels for a sample.")
    scores = np.mean([each.scores for _, each in same], axis=0)
    measures = {
        column: np.mean([each.measures[column] for _, each in same], axis=0)
        for column in _shared([each for _, each in same])
    }
    return attrs.evolve(predictions, scores=scores, measures=measures)


def _joined(folds: Sequence[Predictions]) -> Predictions:
    import numpy as np

    from medpipe.evaluation.predictions import Predictions

    columns = [column for column in folds[0].extra if all(column in f.extra for f in folds)]
    measured = _shared(folds)
    units = tuple(unit for fold in folds for unit in fold.units)
    return Predictions(
        task=folds[0].task,
        ids=tuple(id_ for fold in folds for id_ in fold.ids),
        scores=np.concatenate([fold.scores for fold in folds]),
        labels=np.concatenate([fold.labels for fold in folds]),
        groups=tuple(group for fold in folds for group in fold.groups),
        extra={name: [cell for f in folds for cell in f.extra[name]] for name in columns},
        measures={name: np.concatenate([f.measures[name] for f in folds]) for name in measured},
        units=units if len(units) == sum(map(len, folds)) else (),
    ).sorted_by_id()


def _shared(predictions: Sequence[Predictions]) -> list[str]:
    """What was measured of masks in all of them."""
    first, *others = predictions
    return [name for name in first.measures if all(name in other.measures for other in others)]
