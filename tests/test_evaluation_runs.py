"""What a run chooses on its validation split: kept, and carried into evaluation and prediction."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from medpipe import CheckFailed, ConfigError, PipelineBuilder, Registry, Run
from medpipe.cli import main
from medpipe.evaluation.calibration import calibration, fit_temperature, with_temperature
from medpipe.evaluation.operating_point import at_operating_point
from medpipe.prediction.file_predictions import FilePredictions
from medpipe.steps import Dataset, Sample, Task
from support.folders import image_folder
from support.tiny_runs import small_network
from support.trained import builder

NAMES = "AbdomenCT, BreastMRI, CXR, ChestCT, Hand, HeadCT"
POINT = {"class": "Hand", "sensitivity": 0.7, "prevalence": 0.1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data") / "xray", samples=120)


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        path = tmp_path_factory.mktemp("runs") / "run"
        chosen = (
            builder()
            .dataset("image_folder", root=root, channels=1, group_pattern="p([0-9]+)")
            .split(validation=0.3, test=0.3)
            .evaluation(operating_point=POINT, unit="group")
        )
        chosen.build().run(path)
    return Run.load(path)


def test_a_run_chooses_on_its_validation_split(run: Run) -> None:
    validation, test = run.predictions("validation"), run.predictions("test")
    chosen = run.record["chosen_on_validation"]
    assert chosen["temperature"] == pytest.approx(fit_temperature(validation), rel=1e-9)
    point = chosen["operating_point"]
    hand = validation.labels == 4
    scores = validation.scores[:, 4]
    assert point["threshold"] in scores[hand]
    assert (scores[hand] >= point["threshold"]).mean() >= 0.7
    metrics = run.metrics["test"]
    assert metrics["operating_point"] == json.loads(json.dumps(at_operating_point(test, point)))
    assert metrics["calibration"] == calibration(test)
    scaled = calibration(with_temperature(test, chosen["temperature"]))
    assert scaled is not None
    assert metrics["calibration_scaled"]["ece"] == pytest.approx(scaled["ece"])
    group = metrics["by_group"]
    assert group["images"] + group["left_out"] == len(set(test.groups)) < len(test)
    assert metrics["by_group"]["operating_point"]["threshold"] != point["threshold"]


def test_the_terminal_shows_it_again(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", "run", str(run.path)])
    assert not ended.value.code
    assert capsys.readouterr().out == f"{run.path}: finished\n{run.summary()}\n"
    lines = run.summary().splitlines()
    assert "  confusion matrix:" in lines
    assert f"    true \\ predicted  {NAMES.replace(', ', '  ')}" in lines
    assert any(line.startswith("    Hand ") for line in lines)
    assert any("; one answer for all: 0." in line for line in lines)


def test_the_threshold_is_used_for_other_data(run: Run, tmp_path: Path) -> None:
    theirs = image_folder(tmp_path / "theirs", samples=60, size=40)
    step = Registry.discover().datasets["image_folder"](root=theirs, channels=1)
    result = run.evaluate(step, allow_overlap=True)
    point = run.record["chosen_on_validation"]["operating_point"]
    assert result.metrics["operating_point"] == at_operating_point(result.predictions, point)
    assert "calibration_scaled" in result.metrics
    last = run.evaluate(step, allow_overlap=True, which="last")
    assert "operating_point" not in last.metrics
    why = "it is chosen for the best network of a finished run."
    assert f"there is no operating point: {why}" in last.metrics["remarks"]


def test_data_without_groups_are_noted(run: Run, tmp_path: Path) -> None:
    theirs = image_folder(tmp_path / "theirs", samples=24, size=40)
    make = Registry.discover().datasets["image_folder"]
    without = run.evaluate(make(root=theirs, channels=1), allow_overlap=True)
    assert any("have groups (patients), and these have none" in note for note in without.notes)
    grouped = run.evaluate(
        make(root=theirs, channels=1, group_pattern="p([0-9]+)"), allow_overlap=True
    )
    assert not any("these have none" in note for note in grouped.notes)


def test_predictions_say_what_is_found(run: Run, root: Path) -> None:
    found = run.predict(root)
    threshold = run.record["chosen_on_validation"]["operating_point"]["threshold"]
    np.testing.assert_array_equal(found.found, found.scores[:, 4] >= threshold)
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert list(rows[0])[-2:] == ["found(Hand)", "error"]
    assert [row["found(Hand)"] for row in rows] == [str(int(one)) for one in found.found]
    assert {"0", "1"} == {row["found(Hand)"] for row in rows}
    without = attrs.evolve(found, operating_point=None)
    assert without.found is None
    assert "found" not in without.to_csv()
    assert isinstance(without, FilePredictions)


def ready(labels: Any, splits: Any, task: Task, groups: Any = None) -> PipelineBuilder:
    """A pipeline on blank images with these labels and splits."""
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            id=f"s{row}",
            image=rng.integers(0, 255, (16, 16)).astype(np.uint8),
            label=label,
            split=split,
            group=None if groups is None else groups[row],
        )
        for row, (label, split) in enumerate(zip(labels, splits, strict=True))
    ]
    return (
        PipelineBuilder(device="cpu")
        .dataset(Dataset(samples=samples, task=task))
        .network(small_network)
        .loader(workers=0, batch_size=4, sampling="shuffled")
    )


CLASSES = Task(names=("well", "ill"))
SPLITS = ["training"] * 8 + ["validation"] * 4 + ["test"] * 4
LABELS = [0, 1] * 4 + [0, 0, 0, 0] + [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (
            {"class": "il", "sensitivity": 0.9},
            "evaluation.operating_point.class: 'il' is none of the data set's names. Did you mean "
            "'ill'?",
        ),
        (
            {"class": "ill", "sensitivity": 0.9},
            "evaluation.operating_point: it is chosen by the validation images of 'ill', and there "
            "is none. Set split.validation higher, or leave it out.",
        ),
        (
            {"class": "well", "specificity": 0.9},
            "evaluation.operating_point: it is chosen by the validation images without 'well', and "
            "there is none. Set split.validation higher, or leave it out.",
        ),
    ],
)
def test_a_point_that_the_data_cannot_decide(point: dict[str, Any], message: str) -> None:
    pipeline = ready(LABELS, SPLITS, CLASSES).evaluation(operating_point=point).build()
    with pytest.raises(CheckFailed) as caught:
        pipeline.check().raise_for_problems()
    assert message in str(caught.value)


def test_a_point_needs_a_validation_split() -> None:
    splits = ["training"] * 12 + ["test"] * 4
    pipeline = ready(LABELS, splits, CLASSES).split(validation=0)
    checked = (
        pipeline.evaluation(operating_point={"class": "ill", "sensitivity": 1}).build().check()
    )
    assert [str(problem) for problem in checked.problems] == [
        "evaluation.operating_point: it is chosen on the validation split, which is empty. Set "
        "split.validation above 0, or leave it out."
    ]


def test_settings_that_do_not_fit_the_task() -> None:
    ages = ready([float(x) for x in range(16)], SPLITS, Task(kind="regression", names=("age",)))
    wrong = ages.evaluation(
        operating_point={"class": "age", "sensitivity": 0.9}, unit="group", group_scores="highest"
    )
    checked = wrong.build().check()
    assert [str(problem) for problem in checked.problems] == [
        "evaluation.operating_point: it needs probabilities, which a regression task has not. "
        "Leave it out.",
        "evaluation.group_scores: 'highest' needs probabilities, which a regression task has not. "
        'Set it to "mean".',
    ]
    people = ready(LABELS, SPLITS, CLASSES).evaluation(unit="group", group_scores="highest")
    checked = people.build().check()
    assert [str(problem) for problem in checked.problems] == [
        "evaluation.group_scores: 'highest' needs to know of which class the highest probability "
        'counts. Name it in evaluation.operating_point, or set this to "mean".'
    ]
    assert (
        "evaluation.unit is 'group', and no sample has a group: each image counts as one. Say "
        "which images are of one patient, for example with dataset.group." in checked.warnings
    )


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"class": "ill"}, "evaluation.operating_point: needs either sensitivity or specificity: "),
        (
            {"class": "ill", "sensitivity": 0.9, "specificity": 0.9},
            "evaluation.operating_point: needs either sensitivity or specificity: ",
        ),
        ({"sensitivity": 0.9}, "evaluation.operating_point.class: required: text."),
        ({"class": "ill", "sensitivity": 0}, "evaluation.operating_point.sensitivity: must be > 0"),
        (
            {"class": "ill", "sensitivity": 1.5},
            "evaluation.operating_point.sensitivity: must be <=",
        ),
        (
            {"class": "ill", "sensitivity": 1, "prevalence": 1},
            "evaluation.operating_point.prevalence: must be < 1, got 1.0.",
        ),
        ({"class": "ill", "sensitivty": 1}, "Did you mean 'sensitivity'?"),
    ],
)
def test_a_point_that_says_nothing(point: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder().evaluation(operating_point=point).build()
    assert message in str(caught.value)


def test_the_settings_read_back() -> None:
    chosen = PipelineBuilder().evaluation(
        operating_point={"class": "Hand", "specificity": 0.9, "prevalence": 0.5},
        unit="group",
        group_scores="highest",
    )
    text = chosen.to_toml()
    assert PipelineBuilder.from_toml(text) == chosen
    assert 'class = "Hand"' in text
    assert PipelineBuilder.from_toml(PipelineBuilder().to_toml()) == PipelineBuilder()
    assert '  operating_point = { class = "Hand", specificity = 0.9, prevalence = 0.5 }' in (
        chosen.build().describe().splitlines()
    )
