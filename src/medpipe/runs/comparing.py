"""Compare runs, or sets of runs, that were tested on the same samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from medpipe import config
from medpipe.errors import RunError
from medpipe.prediction.external import METRICS, PREDICTIONS
from medpipe.runs.comparison import Comparison, letter
from medpipe.runs.record import CONFIGURATION, RECORD
from medpipe.runs.run import Run
from medpipe.runs.run_set import HeldOut, RunSet
from medpipe.system.file_errors import mode_of
from medpipe.system.text import counted

if TYPE_CHECKING:
    import os

    from medpipe.evaluation.predictions import Predictions
    from medpipe.registry.registry import Registry
    from medpipe.steps import MetricStep

__all__ = ["compare"]

MOST = 26
"""As many are called by a letter."""
FEW_GROUPS = 50
LEVEL = 0.05
EXTERNAL = "external data"
"""Evaluations are compared on these."""


def compare(*runs: Run | RunSet | str | os.PathLike[str], split: HeldOut = "test") -> Comparison:
    """Compare runs, or sets of runs, that were tested on the same samples.

    Each is compared with the first, sample by sample: each group (patient) is left out of both in
    turn, so that what both find hard or easy cancels. Of a set the pooled predictions are compared
    (`RunSet.pooled`): those of its folds, or the mean over its seeds.

    Args:
        runs: At least two: finished runs, sets, or their folders. A folder that is no run is the
            set of the runs below it, or the evaluation that ``medpipe evaluate`` has written;
            evaluations are compared with evaluations of the same data.
        split: On what they are compared.

    Raises:
        RunError: There are fewer than two, one has no predictions, or their samples, labels,
            groups, images or tasks differ; it says in what.
    """
    from medpipe.evaluation.comparison import holm, paired_differences
    from medpipe.evaluation.metrics import compute_metrics
    from medpipe.evaluation.subgroups import group_count

    if not 2 <= len(runs) <= MOST:
        raise RunError(f"Name 2 to {MOST} runs, or folders of runs, to compare; not {len(runs)}.")
    sides = [_side(one, split) for one in runs]
    first, *others = sides
    for other in others:
        _refuse_other_samples(first, other, split)
    registry = first.registry
    metrics = [step for step in first.metrics if all(step in other.metrics for other in others)]
    computed = [
        compute_metrics(
            side.predictions,
            metrics=metrics,
            registry=registry,
            intervals=True,
            folds=side.folds,
        )
        for side in sides
    ]
    differences = tuple(
        paired_differences(
            first.predictions,
            other.predictions,
            metrics=metrics,
            registry=registry,
            folds=(first.folds, other.folds),
        )
        for other in others
    )
    tested = [
        (place, name)
        for place, table in enumerate(differences)
        for name, one in table.items()
        if one.p is not None
    ]
    p_values = holm([differences[place][name].p or 0.0 for place, name in tested])
    corrected = dict(zip(tested, p_values, strict=True))
    comparison = Comparison(
        names=tuple(str(side.path) for side in sides),
        split=split if first.digest is None else EXTERNAL,
        images=len(first.predictions),
        groups=group_count(first.predictions),
        settings=_settings(sides),
        metrics={
            name: tuple(
                {"value": found[name], "interval": found["intervals"].get(name)}
                for found in computed
            )
            for name in (differences[0] if differences else ())
        },
        differences=differences,
        adjusted=tuple(
            {name: corrected.get((place, name)) for name in table}
            for place, table in enumerate(differences)
        ),
        cases=tuple(_cases(first.predictions, other.predictions) for other in others),
        remarks=(),
    )
    return attrs.evolve(comparison, remarks=tuple(_remarks(comparison, sides)))


@attrs.frozen(kw_only=True, eq=False)
class _Side:
    """A run or a set, as it is compared."""

    path: Path
    runs: tuple[Run, ...]
    single: bool
    predictions: Predictions
    folds: Mapping[str, int] | None
    metrics: tuple[MetricStep, ...]
    registry: Registry
    digest: str | None = None
    """Of the external data, where this is an evaluation."""


def _side(given: Run | RunSet | str | os.PathLike[str], split: HeldOut) -> _Side:
    if isinstance(given, (Run, RunSet)):
        found = given
    else:
        folder = Path(given)
        if not mode_of(folder / RECORD) and mode_of(folder / METRICS):
            return _evaluation(folder)
        found = Run.load(folder) if mode_of(folder / RECORD) else RunSet.load(folder)
    if isinstance(found, Run):
        if found.status != "finished":
            raise RunError(
                f"The run {found.path} is not finished ({found.status}). Resume it before it is "
                "compared."
            )
        predictions, folds = found.predictions(split), None
    else:
        predictions, folds = found.pooled_with_folds(split)
    runs = (found,) if isinstance(found, Run) else found.runs
    configuration, registry = runs[0].configured()
    return _Side(
        path=found.path,
        runs=runs,
        single=isinstance(found, Run),
        predictions=predictions.sorted_by_id(),
        folds=folds,
        metrics=() if configuration is None else configuration.metrics,
        registry=registry,
    )


def _evaluation(folder: Path) -> _Side:
    """What ``medpipe evaluate`` has written."""
    from medpipe.evaluation.predictions import read_predictions

    path = folder / METRICS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        origins = [Path(path) for path in content.get("runs", [content["run"]])]
        digest = str(content["data"]["digest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} can't be read as the metrics of an evaluation ({error!r}). Evaluate the run "
            "again."
        ) from error
    lost = [origin for origin in origins if not mode_of(origin / RECORD)]
    if lost:
        raise RunError(
            f"The evaluation {folder} is of the run {lost[0]}, which is not there. Compare in the "
            "folder in which it was evaluated, or evaluate the run again where it is now."
        )
    runs = tuple(Run.load(origin) for origin in origins)
    configuration, registry = runs[0].configured()
    return _Side(
        path=folder,
        runs=runs,
        single=len(runs) == 1,
        predictions=read_predictions(folder / PREDICTIONS, runs[0].data.task).sorted_by_id(),
        folds=None,
        metrics=() if configuration is None else configuration.metrics,
        registry=registry,
        digest=digest,
    )


def _refuse_other_samples(first: _Side, other: _Side, split: HeldOut) -> None:
    from medpipe.data.splits.split_file import SPLITS_FILE
    from medpipe.evaluation.comparison import unpaired
    from medpipe.evaluation.overlap import pixels_in

    if (first.digest is None) != (other.digest is None):
        raise RunError(
            f"{first.path} and {other.path} can't be compared: one is a run and one an evaluation. "
            "Evaluate both on the same data (medpipe evaluate RUN --data DATA --output FOLDER), "
            "and compare these folders."
        )
    problems = unpaired(first.predictions, other.predictions)
    if first.digest is not None:
        if not problems and first.digest != other.digest:
            problems = ["the images differ (by their digests)"]
        if problems:
            raise RunError(
                f"{first.path} and {other.path} can't be compared: {'; '.join(problems)}. Evaluate "
                "both runs on the same data."
            )
        return
    if not problems:
        images: list[dict[str, str]] = [{}, {}]
        for found, side in zip(images, (first, other), strict=True):
            for run in side.runs:
                found.update(pixels_in(split, run.path / SPLITS_FILE))
        changed = sorted(
            id_ for id_ in images[0].keys() & images[1].keys() if images[0][id_] != images[1][id_]
        )
        if changed:
            problems = [f"the images of {len(changed)} differ, such as {changed[0]!r}"]
    if problems:
        raise RunError(
            f"{first.path} and {other.path} can't be compared on the {split} split: "
            f"{'; '.join(problems)}. Compare what was predicted on the same samples: give both the "
            "same split.seed and fractions, or the first's splits.csv as split.file."
        )


def _settings(sides: list[_Side]) -> dict[str, tuple[str, ...]]:
    texts = [side.runs[0].path / CONFIGURATION for side in sides]
    if not all(path.is_file() for path in texts):
        return {}
    found = config.differing(*(config.read_text(path) for path in texts))
    if not all(side.single for side in sides):
        for path in ("run.seed", "split.fold", "split.file"):  # vary within a set
            found.pop(path, None)
    return found


def _remarks(comparison: Comparison, sides: list[_Side]) -> list[str]:
    """What the differences are worth."""
    found = []
    tested = [p for table in comparison.adjusted for p in table.values() if p is not None]
    several = f"{len(tested)} differences were tested"
    if len(tested) > 1 and min(tested) < LEVEL:
        remaining = ", ".join(
            name if len(comparison.differences) == 1 else f"{name} of {letter(place)}"
            for place, table in enumerate(comparison.adjusted, 1)
            for name, p in table.items()
            if p is not None and p < LEVEL
        )
        found.append(f"{several}; with Holm's correction for that these remain: {remaining}.")
    elif len(tested) > 1:
        found.append(
            f"{several}, of which one in twenty seems to be there by chance alone; with Holm's "
            "correction for that none remains."
        )
    if comparison.groups < FEW_GROUPS:
        found.append(
            f"there are only {counted(comparison.groups, 'group')}: only large differences can be "
            "found, and one that is not found may still be there."
        )
    if any(side.single for side in sides):
        found.append(
            "this compares the networks of single runs. To compare their settings, compare sets "
            "of runs with several seeds (medpipe run --seeds N)."
        )
    if comparison.split == "validation":
        found.append("the best epochs were chosen on these samples.")
    if len({side.runs[0].record["data"]["digest"] for side in sides}) > 1:
        found.append("the data differ beyond these samples (by their digests).")
    unknown = [side.path for side in sides if not (side.runs[0].path / CONFIGURATION).is_file()]
    if unknown:
        found.append(
            f"the settings of {unknown[0]} are not known, since it used ready-made objects."
        )
    return found


def _cases(first: Predictions, second: Predictions) -> dict[str, int] | None:
    if first.labels.ndim != 1:
        return None
    one, other = (each.predicted == each.labels for each in (first, second))
    return {
        "both": int((one & other).sum()),
        "first": int((one & ~other).sum()),
        "second": int((~one & other).sum()),
        "neither": int((~one & ~other).sum()),
    }
