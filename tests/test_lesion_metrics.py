"""Lesion-wise metrics, and metrics of plugins that measure masks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import medpipe
from medpipe import PipelineBuilder, Registry, Run
from medpipe.builtin.segmentation.lesions import (
    LesionCounts,
    LesionF1,
    LesionPrecision,
    LesionRecall,
)
from medpipe.errors import DataError, RunError, StepError
from medpipe.evaluation.mask_measures import MaskMeasures, scores_for
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.predictions import Predictions, read_predictions, write_predictions
from medpipe.plugin import MaskMeasure, MetricStep, Segmentation, Task, hookimpl
from medpipe.runs.pooling import _averaged, _joined
from support.pages import Page

REGISTRY = Registry.discover()
TASK = Task(kind=Segmentation(), names=("organ", "lesion"))
PLANE = (6, 7)


def components(mask: Any, hops: int) -> list[set[tuple[int, ...]]]:
    """Connected components by a flood from each voxel."""
    left = {tuple(int(i) for i in place) for place in np.argwhere(mask)}
    steps = [
        move
        for move in itertools.product((-1, 0, 1), repeat=mask.ndim)
        if 0 < sum(map(abs, move)) <= hops
    ]
    found = []
    while left:
        whole = {left.pop()}
        edge = list(whole)
        while edge:
            place = edge.pop()
            for move in steps:
                near = tuple(a + b for a, b in zip(place, move, strict=True))
                if near in left:
                    left.remove(near)
                    whole.add(near)
                    edge.append(near)
        found.append(whole)
    return found


def counted(predicted: Any, reference: Any, overlap: float, hops: int) -> tuple[int, ...]:
    """The counts by the definition, one lesion after the other."""

    def hit(of: Any, other: Any) -> tuple[int, int]:
        lesions = components(of, hops)
        shares = [sum(bool(other[place]) for place in lesion) for lesion in lesions]
        return len(lesions), sum(
            share > 0 and share >= overlap * len(lesion) - 1e-9
            for share, lesion in zip(shares, lesions, strict=True)
        )

    true, found = hit(reference, predicted)
    said, right = hit(predicted, reference)
    return true, found, said, said - right


@settings(max_examples=150)
@given(
    st.sampled_from([PLANE, (4, 3, 4)]).flatmap(
        lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
    ),
    st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0]),
    st.sampled_from([None, 1, 2, 3]),
)
def test_counts_are_those_of_the_definition(
    masks: tuple[Any, Any], overlap: float, connectivity: int | None
) -> None:
    predicted, reference = masks
    hops = min(connectivity or reference.ndim, reference.ndim)
    measure = LesionCounts(overlap=overlap, connectivity=connectivity)
    found = measure(predicted, reference, (1.0,) * reference.ndim)
    assert tuple(found) == counted(predicted, reference, overlap, hops)


@given(arrays(np.uint8, (2, *PLANE), elements=st.sampled_from([0, 1, 2, 255])))
def test_cropping_and_what_counts_nowhere_change_nothing(labels: Any) -> None:
    predicted, label = labels[:1].copy(), labels[1:]
    predicted[predicted == 255] = 0
    found = MaskMeasures.of(TASK, [LesionF1()], REGISTRY)(predicted, label, None)
    for place in range(2):
        cells = [found[column][place] for column in LesionCounts.columns]
        if (label == 255).all():
            assert np.isnan(cells).all()
            continue
        said = (predicted[0] == place + 1) & (label[0] != 255)
        assert tuple(cells) == counted(said, label[0] == place + 1, 0.0, 2)


def masks_of(lesions: Sequence[tuple[int, int]], shape: tuple[int, int] = (9, 30)) -> Any:
    """Squares of 2 x 2 at places, 1."""
    mask = np.zeros((1, *shape), np.uint8)
    for row, column in lesions:
        mask[0, row : row + 2, column : column + 2] = 1
    return mask


def predictions(cases: Sequence[tuple[Any, Any]], steps: Sequence[MetricStep]) -> Predictions:
    task = Task(kind=Segmentation(), names=("lesion",))
    measures = MaskMeasures.of(task, steps, REGISTRY)
    kept = [measures(said, true, None) for said, true in cases]
    both = [
        task.step.case_scores(said, true, task.names, spacing=None, surfaces=False)
        for said, true in cases
    ]
    return Predictions(
        task=task,
        ids=[f"case{place}" for place in range(len(cases))],
        scores=np.stack([scores for scores, _ in both]),
        labels=np.stack([label for _, label in both]),
        groups=[None] * len(cases),
        measures={name: [case[name] for case in kept] for name in kept[0]},
    )


DRAWN = (
    # three lesions, two found (one of them with a corner), one invented
    (masks_of([(0, 0), (3, 11), (6, 25)]), masks_of([(0, 0), (4, 10), (0, 20)])),
    # two lesions, none predicted
    (masks_of([]), masks_of([(0, 0), (4, 10)])),
    # none, one predicted
    (masks_of([(0, 0)]), masks_of([])),
)


def test_drawn_lesions_are_counted_and_what_is_averaged_depends_on_the_reference() -> None:
    steps = [LesionF1(), LesionRecall(), LesionPrecision(), *_named("false_positive_share")]
    found = predictions(DRAWN, steps)
    assert [found.measures[column].ravel().tolist() for column in LesionCounts.columns] == [
        [3, 2, 0],
        [2, 0, 0],
        [3, 0, 1],
        [1, 0, 1],
    ]
    metrics = compute_metrics(found, metrics=steps, registry=REGISTRY, intervals=True)
    assert metrics["lesion_recall"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["lesion_precision"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["lesion_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["false_positive_share"] == 1.0
    assert metrics["name_table"]["lesion"]["lesion_f1"] == metrics["lesion_f1"]
    low, high = metrics["intervals"]["lesion_f1"]
    assert low <= metrics["lesion_f1"] <= high
    # A corner of four voxels is a quarter of each.
    strict = [LesionRecall(overlap=0.3)]
    half = predictions(DRAWN, strict)
    metrics = compute_metrics(half, metrics=strict, registry=REGISTRY)
    assert metrics["lesion_recall"] == pytest.approx((1 / 3 + 0) / 2)


def _named(name: str) -> list[Any]:
    return [REGISTRY.metrics[name]()]


def test_without_masks_a_metric_is_undefined_and_nothing_fails() -> None:
    found = attrs.evolve(predictions(DRAWN, [LesionF1()]), measures={})
    metrics = compute_metrics(
        found, metrics=[LesionF1(), LesionPrecision()], registry=REGISTRY, intervals=True
    )
    assert metrics["lesion_f1"] is None
    assert metrics["lesion_precision"] is None
    assert metrics["dice"] is not None


def test_measures_are_written_and_read_back(tmp_path: Path) -> None:
    found = predictions(DRAWN, [LesionF1()])
    found.measures["lesions"][2] = np.nan
    path = tmp_path / "predictions.csv"
    write_predictions(path, found)
    again = read_predictions(path, found.task)
    assert list(again.measures) == list(LesionCounts.columns)
    for column, values in found.measures.items():
        assert np.array_equal(again.measures[column], values, equal_nan=True)
    head = path.read_text(encoding="utf-8").split("\n")[0]
    assert head.endswith(
        "lesions_lesion,lesions_found_lesion,lesions_predicted_lesion,lesions_invented_lesion"
    )
    path.write_text(path.read_text(encoding="utf-8").replace("lesions_found_lesion", "lesions_x"))
    with pytest.raises(RunError, match="holds no predictions for this task"):
        read_predictions(path, found.task)


def test_measures_travel_with_predictions() -> None:
    found = predictions(DRAWN, [LesionF1()])
    some = found.taken([2, 0])
    assert some.measures["lesions"].ravel().tolist() == [0, 3]
    other = attrs.evolve(some, ids=("x", "y"))
    joined = _joined([found, other])
    assert joined.measures["lesions"].ravel().tolist() == [3, 2, 0, 0, 3]
    run: Any = None
    doubled = attrs.evolve(found, measures={"lesions": found.measures["lesions"] + 1})
    averaged = _averaged([(run, found), (run, doubled)])
    assert {n: v.ravel().tolist() for n, v in averaged.measures.items()} == {
        "lesions": [3.5, 2.5, 0.5]
    }
    with pytest.raises(DataError, match="measured as 'lesions' has the shape"):
        attrs.evolve(found, measures={"lesions": [[1.0]]})


def test_metrics_that_measure_the_same_share_it() -> None:
    steps = [LesionF1(), LesionRecall(), LesionPrecision()]
    assert len(MaskMeasures.of(TASK, steps, REGISTRY).measures) == 1
    with pytest.raises(StepError, match=r"keep the columns lesions, lesions_found.*Give both"):
        MaskMeasures.of(TASK, [LesionF1(), LesionRecall(overlap=0.5)], REGISTRY)


@attrs.frozen(kw_only=True)
class Depth(MaskMeasure):
    """How far a structure reaches along the first axis, in mm."""

    columns: ClassVar[tuple[str, ...]] = ("depth", "true_depth")
    numbers: int = 2
    of: Literal["whole", "half"] = "whole"

    def __call__(self, predicted: Any, reference: Any, spacing: Sequence[float]) -> list[float]:
        rows = [np.flatnonzero(mask.any(axis=1)) for mask in (predicted, reference)]
        found = [len(row) and (row[-1] - row[0] + 1) * spacing[0] for row in rows]
        return found[: self.numbers]


@attrs.frozen(kw_only=True)
class DepthError(MetricStep):
    """The mean error of the depth, over all cases and structures that are known."""

    name: ClassVar[str] = "depth_error"
    direction: ClassVar[Literal["max", "min"]] = "min"
    answers: ClassVar[frozenset[str]] = frozenset({"cases"})
    numbers: int = 2

    def mask_measure(self) -> MaskMeasure:
        return Depth(numbers=self.numbers)

    def rows(self, scores: Any, labels: Any, task: Any) -> Any:
        depths = scores.reshape(len(scores), len(task.names), 2)
        return np.abs(depths[..., 0] - depths[..., 1]).mean(axis=1)


class Plugin:
    @hookimpl
    def medpipe_metrics(self) -> list[type[MetricStep]]:
        return [DepthError]


WITH_DEPTH = REGISTRY.with_plugin(Plugin(), name="depth")


def pipeline(*metrics: Any, registry: Registry = WITH_DEPTH, monitor: str = "dice") -> Any:
    return (
        PipelineBuilder(device="cpu", registry=registry)
        .dataset("phantom_masks", samples=32, size=16)
        .transforms("load_image", "ensure_channel_first", "normalize_intensity", "to_tensor")
        .network("unet", channels=(4, 8), strides=(2,))
        .trainer("supervised", max_epochs=3, learning_rate=1e-2, monitor=monitor)
        .metrics(*metrics)
        .loader(batch_size=8, workers=0)
        .split(validation=0.25, test=0.25)
        .build()
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("lesions") / "run"
    found: Run = pipeline("lesion_f1", "lesion_recall", "depth_error").run(path)
    return found


def test_a_run_measures_what_is_asked_for_on_the_test_split(run: Run) -> None:
    test, validation = run.metrics["test"], run.metrics["validation"]
    assert 0 <= test["lesion_f1"] <= 1
    assert test["intervals"]["lesion_f1"] is not None
    assert test["depth_error"] >= 0
    # Distances and lesions take long: they are left out of validations.
    assert (validation["lesion_f1"], validation["depth_error"]) == (None, None)
    found = Run.load(run.path).predictions("test")
    assert list(found.measures) == [*LesionCounts.columns, "depth", "true_depth"]
    dataset: Any = REGISTRY.datasets["phantom_masks"]
    samples = {sample.id: sample for sample in dataset(samples=32, size=16).build().samples}
    for row, id_ in enumerate(found.ids):
        label: Any = samples[id_].label
        for place in range(2):
            # Chains have the width first.
            mask = (label.image.values == place + 1).T
            assert found.measures["lesions"][row, place] == len(components(mask, 2))
            rows = np.flatnonzero(mask.any(axis=1))
            depth = rows[-1] - rows[0] + 1 if len(rows) else 0
            assert found.measures["true_depth"][row, place] == depth
    configuration, _ = run.configured(REGISTRY)
    assert configuration is not None
    again = compute_metrics(found, metrics=configuration.metrics, registry=REGISTRY, intervals=True)
    assert again["lesion_f1"] == test["lesion_f1"]


def test_the_report_has_a_table_of_lesions_once(run: Run) -> None:
    text = Page(run.report(images=False).read_text(encoding="utf-8")).text
    assert text.count("Connected components, summed over the cases") == 1
    sums = run.predictions("test")
    there = sums.labels[:, 1] > 0
    assert f"{int(sums.measures['lesions'][there, 1].sum())}" in text


def test_an_evaluation_measures_them_too(run: Run) -> None:
    dataset: Any = REGISTRY.datasets["phantom_masks"]
    found = run.evaluate(dataset(samples=8, size=16, seed=5))
    assert 0 <= found.metrics["lesion_f1"] <= 1
    assert found.metrics["depth_error"] >= 0


def test_a_metric_of_lesions_can_be_monitored(tmp_path: Path) -> None:
    done = pipeline("lesion_f1", monitor="lesion_f1").run(tmp_path / "run")
    assert all(epoch["validation_lesion_f1"] is not None for epoch in done.history)


def test_a_check_names_metrics_that_do_not_fit_together_or_the_task() -> None:
    both = medpipe.step("lesion_f1"), medpipe.step("lesion_recall", connectivity=1)
    (problem,) = pipeline(*both).check().problems
    assert problem.path == "metric[1]"
    assert "Give both the same parameters" in problem.message
    wrong = PipelineBuilder().dataset("phantom", samples=60, size=32).metrics("lesion_f1").build()
    assert any("lesion_f1" in problem.message for problem in wrong.check().problems)
    with pytest.raises(medpipe.ConfigError, match="overlap"):
        pipeline(medpipe.step("lesion_f1", overlap=1.5))


def test_a_measure_that_fails_is_named() -> None:
    failing = MaskMeasures.of(TASK, [DepthError(numbers=1)], WITH_DEPTH)
    mask = np.ones((1, 3, 3), np.uint8)
    with pytest.raises(StepError, match=r"'depth_error'.* gives 1 numbers for the columns depth"):
        failing(mask, mask, None)
    flat = np.ones((1, 3), np.uint8)
    with pytest.raises(StepError, match=r"'depth_error'.*AxisError"):
        MaskMeasures.of(TASK, [DepthError()], WITH_DEPTH)(flat, flat, None)


def test_a_column_that_the_task_has_is_refused() -> None:
    @attrs.frozen(kw_only=True)
    class Again(Depth):
        columns: ClassVar[tuple[str, ...]] = ("volume", "other")

    @attrs.frozen(kw_only=True)
    class AskingError(DepthError):
        def mask_measure(self) -> MaskMeasure:
            return Again()

    with pytest.raises(StepError, match=r"keeps the columns volume, which the task has"):
        MaskMeasures.of(TASK, [AskingError()], WITH_DEPTH)


def test_rows_get_what_was_measured_for_their_metric() -> None:
    found = predictions(DRAWN, [LesionF1()])
    assert scores_for(LesionF1(), found).shape == (3, 4)
    assert scores_for(_named("dice")[0], found) is found.scores
