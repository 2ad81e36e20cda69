"""The mean of folds or seeds: predicted, measured, and never on what a member was trained on."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import medpipe
from medpipe import DataError, Dataset, Run, RunError, RunSet, Sample
from medpipe.cli import main
from medpipe.evaluation.calibration import fit_temperature
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.operating_point import choose_operating_point
from medpipe.evaluation.predictions import read_predictions
from medpipe.settings import OperatingPoint
from medpipe.training.run_checkpoints import BEST
from support.alive import networks_alive
from support.folders import image_folder, phantom
from support.folds import builder
from support.peak import peak
from support.records import change_record

POINT = OperatingPoint(class_=phantom(12).task.names[0], sensitivity=0.8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data") / "images", samples=60, size=32)


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds on one split: not to be changed."""
    folder = tmp_path_factory.mktemp("seeds") / "seeds"
    on_one_split(root).evaluation(operating_point=POINT).build().run_seeds(3, folder)
    return folder


def on_one_split(root: Path) -> medpipe.PipelineBuilder:
    return (
        medpipe.PipelineBuilder(device="cpu")
        .dataset("image_folder", root=str(root), group_pattern=r"(p\d+)_", channels=1)
        .network("resnet10", widen_factor=0.125)
        .trainer("supervised", max_epochs=2, learning_rate=1e-2)
        .loader(batch_size=16, workers=0)
        .split(validation=0.3, test=0.3)
    )


@pytest.fixture
def seeds(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "seeds"))


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Images that no run has seen."""
    folder = tmp_path / "new"
    write(medpipe.Registry.discover().datasets["phantom"](samples=20, size=32, seed=9), folder)
    return folder


def write(step: Any, folder: Path) -> None:
    from PIL import Image

    made = step.build()
    for number, sample in enumerate(made.samples):
        path = folder / made.task.names[sample.label] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.image).save(path)


def by_hand(runs: RunSet, paths: Any) -> Any:
    return sum(run.predict(paths).scores for run in runs.runs) / len(runs.runs)


def own(run: Run, root: Path, split: str) -> Dataset:
    """The images of a run's split."""
    predictions = run.predictions(split)  # type: ignore[arg-type]
    return Dataset(
        samples=[
            Sample(id=id_, image=str(root / id_), label=int(label), group=group)
            for id_, label, group in zip(
                predictions.ids, predictions.labels, predictions.groups, strict=True
            )
        ],
        task=run.data.task,
    )


# Predictions


@pytest.mark.long
def test_seeds_and_folds_are_averaged(seeds: Path, folds: Path, new: Path) -> None:
    for folder in (seeds, folds):
        runs = RunSet.load(folder)
        found = runs.predict(new, batch_size=6)
        np.testing.assert_allclose(found.scores, by_hand(runs, new), atol=1e-6, rtol=0)
        assert found.ids == runs.runs[0].predict(new).ids
        apart = [run.predict(new).scores for run in runs.runs]
        assert not np.allclose(apart[0], apart[1], atol=1e-3)


def test_one_run_is_the_mean_of_itself(folds: Path, new: Path) -> None:
    for name in ("fold-1", "fold-2"):
        shutil.rmtree(folds / name)
    runs = RunSet.load(folds)
    np.testing.assert_array_equal(runs.predict(new).scores, runs.runs[0].predict(new).scores)


def test_the_command_line_averages_a_folder_of_runs(
    seeds: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("predict", seeds, new, "--output", tmp_path / "new.csv") == 0
    assert (tmp_path / "new.csv").read_text() == RunSet.load(seeds).predict(new).to_csv()
    (tmp_path / "no").mkdir()
    assert call("predict", tmp_path / "no", new) == 2
    assert "is not a run directory: it has no run.json" in capsys.readouterr().err


def test_one_network_is_in_memory(seeds: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = networks_alive(monkeypatch)
    RunSet.load(seeds).predict(new)
    assert alive == [1, 1, 1]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.rare
def test_five_networks_take_the_memory_of_one(root: Path, new: Path, tmp_path: Path) -> None:
    made = builder(root).network("resnet18", shortcut_type="A").split(fold=0).build()
    first = made.run(tmp_path / "runs" / "0").path
    for number in range(1, 5):
        shutil.copytree(first, tmp_path / "runs" / str(number))
    network = (first / BEST).stat().st_size
    assert network > 30 << 20
    # While a network is read, its file and its tensors are there too, beside all libraries.
    assert peak(tmp_path / "runs", new) - peak(first, new) < 3 * network


# What the mean is measured on


def test_an_external_set(seeds: Path, new: Path, tmp_path: Path) -> None:
    runs = RunSet.load(seeds)
    step = medpipe.Registry.discover().datasets["image_folder"](root=str(new))
    done = runs.evaluate(step, output=tmp_path / "external")
    apart = [run.evaluate(step).predictions for run in runs.runs]
    mean = attrs.evolve(apart[0], scores=sum(one.scores for one in apart) / 3)
    np.testing.assert_allclose(done.predictions.scores, mean.scores, atol=1e-6, rtol=0)
    expected = compute_metrics(mean, intervals=True)
    assert done.metrics["loss"] is None
    assert done.metrics["auc"] == pytest.approx(expected["auc"], abs=1e-9)
    assert done.metrics["intervals"]["accuracy"] == expected["intervals"]["accuracy"]
    written = json.loads((tmp_path / "external" / "metrics.json").read_text())
    assert written["runs"] == [str(run.path) for run in runs.runs]
    assert written["run"] == str(seeds)
    runs.runs[0].evaluate(step, output=tmp_path / "first")
    compared = medpipe.compare(tmp_path / "external", tmp_path / "first")
    assert compared.metrics["accuracy"][0]["value"] == done.metrics["accuracy"]


def test_the_command_line_evaluates_a_folder_of_runs(
    seeds: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.toml").write_text(f'[dataset]\nstep = "image_folder"\nroot = "{new}"\n')
    assert call("evaluate", seeds, "--data", tmp_path / "e.toml", "--output", tmp_path / "e") == 0
    assert "on 20 images:" in capsys.readouterr().out
    predictions = read_predictions(
        tmp_path / "e" / "predictions.csv", RunSet.load(seeds).runs[0].data.task
    )
    assert len(predictions) == 20


def test_the_report_of_an_evaluation_is_of_the_mean(
    seeds: Path, new: Path, tmp_path: Path, reports: None
) -> None:
    step = medpipe.Registry.discover().datasets["image_folder"](root=str(new))
    RunSet.load(seeds).evaluate(step, output=tmp_path / "external")
    page = (tmp_path / "external" / "report.html").read_text()
    assert "These are predictions of 3 networks: the mean of their scores." in page
    assert "Evaluation of run seeds" in page


def test_what_a_fold_was_trained_on_is_refused(folds: Path, finished: Path) -> None:
    runs = RunSet.load(folds)
    tested = own(runs.runs[0], finished / "images", "test")
    runs.runs[0].evaluate(tested)  # alone it may be measured there
    with pytest.raises(DataError) as caught:
        runs.evaluate(tested)
    count = len(tested.samples)
    assert str(caught.value).startswith(
        f"{count} of {count} images were in the training split of a run of those in {folds}: "
    )
    assert "give allow_overlap=True to measure on them nevertheless." in str(caught.value)
    done = runs.evaluate(tested, allow_overlap=True)
    assert set(done.overlap) == {sample.id for sample in tested.samples}


def test_the_common_test_split_of_seeds_is_not_refused(seeds: Path, root: Path) -> None:
    runs = RunSet.load(seeds)
    done = runs.evaluate(own(runs.runs[0], root, "test"))
    metrics = runs.ensemble_metrics()
    assert done.metrics["auc"] == pytest.approx(metrics["auc"], abs=1e-6)
    assert done.metrics["operating_point"]["threshold"] == pytest.approx(
        metrics["operating_point"]["threshold"], abs=1e-9
    )
    with pytest.raises(DataError, match="training split of a run of those in"):
        runs.evaluate(
            attrs.evolve(
                own(runs.runs[0], root, "test"),
                samples=[Sample(id="x", image=str(trained_on(runs.runs[2], root)), label=0)],
            )
        )


def trained_on(run: Run, root: Path) -> Path:
    import csv

    with (run.path / "splits.csv").open() as file:
        return root / next(row["id"] for row in csv.DictReader(file) if row["split"] == "training")


def test_what_seeds_share_is_measured_and_chosen(seeds: Path) -> None:
    runs = RunSet.load(seeds)
    mean = {
        split: attrs.evolve(
            first,
            scores=np.mean(
                [run.predictions(split).sorted_by_id().scores for run in runs.runs], axis=0
            ),
        )
        for split in ("validation", "test")
        for first in [runs.runs[0].predictions(split).sorted_by_id()]  # type: ignore[arg-type]
    }
    found = runs.ensemble_metrics()
    expected = compute_metrics(mean["test"], intervals=True)
    for name in ("accuracy", "auc", "intervals", "calibration"):
        assert found[name] == expected[name]
    point = choose_operating_point(
        mean["validation"],
        POINT,
    )
    assert found["operating_point"]["threshold"] == point["threshold"]
    assert ("calibration_scaled" in found) == (fit_temperature(mean["validation"]) is not None)
    kept = [run.record["chosen_on_validation"]["operating_point"] for run in runs.runs]
    assert point["threshold"] not in [one["threshold"] for one in kept]
    on_validation = runs.ensemble_metrics("validation")
    assert "operating_point" not in on_validation
    assert any("not measured there" in said for said in on_validation["remarks"])


def test_collect_shows_the_ensemble_of_seeds(
    seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("collect", seeds, "--output", tmp_path / "all") == 0
    lines = capsys.readouterr().out.splitlines()
    runs = RunSet.load(seeds)
    count = len(runs.runs[0].predictions("test"))
    assert f"The mean of 3 runs (an ensemble), test on {count} images:" in lines
    written = json.loads((tmp_path / "all" / "collection.json").read_text())
    found = runs.ensemble_metrics()
    assert written["ensemble"] == json.loads(json.dumps(found))
    low, high = found["intervals"]["accuracy"]
    assert (
        f"accuracy             {found['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})"
        in "\n".join(lines)
    )
    assert any(line.split()[0] == "mean" for line in lines)


def test_of_folds_there_is_no_ensemble_to_measure(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("collect", folds, "--output", tmp_path / "all") == 0
    out = capsys.readouterr().out
    assert "3 runs pooled, test on 60 images:" in out
    assert (
        "There are no metrics of an ensemble. The runs do not share one test split, and each was "
        "trained on samples that others held out" in out
    )
    written = json.loads((tmp_path / "all" / "collection.json").read_text())
    assert written["ensemble"] is None
    assert written["pooled"]["images"] == 60
    with pytest.raises(RunError, match="do not share one test split"):
        RunSet.load(folds).ensemble_metrics()


@pytest.mark.long
def test_folds_of_data_with_a_test_split_share_it(root: Path, tmp_path: Path) -> None:
    rows = ["image,label,patient,split"]
    for path in sorted(root.rglob("*.png")):
        part = "test" if int(path.name[1:4]) // 3 % 3 == 0 else "train"
        rows.append(f"{path},{path.parent.name},{path.name[:4]},{part}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    builder(root).dataset(
        "table",
        file=str(tmp_path / "table.csv"),
        image="image",
        label="label",
        group="patient",
        split="split",
        channels=1,
    ).build().run_folds(tmp_path / "folds")
    runs = RunSet.load(tmp_path / "folds")
    found = runs.ensemble_metrics()
    scores = np.mean([run.predictions("test").sorted_by_id().scores for run in runs.runs], axis=0)
    mean = attrs.evolve(runs.runs[0].predictions("test").sorted_by_id(), scores=scores)
    assert found["auc"] == compute_metrics(mean)["auc"]
    assert any("these runs do not share one" in said for said in found["remarks"])
    with pytest.raises(RunError, match="do not share one validation split"):
        runs.ensemble_metrics("validation")


def test_other_images_of_the_same_names_are_no_common_split(seeds: Path) -> None:
    path = seeds / "seed-1" / "splits.csv"
    lines = path.read_text().splitlines()
    place = lines[0].split(",").index("pixels")
    for row, line in enumerate(lines[1:], 1):
        cells = line.split(",")
        cells[place] = cells[place][::-1]
        lines[row] = ",".join(cells)
    path.write_text("\n".join(lines))
    with pytest.raises(RunError, match="do not share one test split"):
        RunSet.load(seeds).ensemble_metrics()


# What does not belong together


def test_all_that_does_not_belong_together_is_named(seeds: Path, new: Path) -> None:
    record = json.loads((seeds / "seed-1" / "run.json").read_text())
    names = record["data"]["info"]["task"]["names"]
    change_record(seeds / "seed-0", status="stopped")
    change_record(
        seeds / "seed-2",
        data__info__task__names=[*names[1:], names[0]],
        data__reading__channels=3,
    )
    toml = seeds / "seed-2" / "pipeline.toml"
    text = toml.read_text()
    assert "[[transform]]" in text
    more = '[[transform]]\nstep = "to_float"\n\n[[transform]]'
    toml.write_text(text.replace("[[transform]]", more, 1))
    with pytest.raises(RunError) as caught:
        RunSet.load(seeds, allow_mixed=True).predict(new)
    said = str(caught.value)
    assert said.startswith(
        f"The runs in {seeds} can't be taken together:\n"
        f"  {seeds / 'seed-0'} is not finished (stopped): resume it (--resume), or move it "
        f"elsewhere.\n"
        f"  {seeds / 'seed-2'} differs from {seeds / 'seed-1'}: the task: "
    )
    assert "reading.channels: 1, now 3; transform[" in said
    assert "more. Keep each kind in a folder of its own." in said


def test_another_network_that_gets_and_answers_the_same_may_be_averaged(
    seeds: Path, root: Path, new: Path
) -> None:
    on_one_split(root).network("resnet10", widen_factor=0.25).build().run(seeds / "wider")
    with pytest.raises(RunError, match="not of one kind"):
        RunSet.load(seeds)
    runs = RunSet.load(seeds, allow_mixed=True)
    found = runs.predict(new)
    np.testing.assert_allclose(found.scores, by_hand(runs, new), atol=1e-6, rtol=0)
    assert found.operating_point is None  # the settings differ


def test_a_lacking_operating_point_is_told(
    folds: Path, new: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for run in folds.iterdir():
        toml = run / "pipeline.toml"
        name = Run.load(run).data.task.names[0]
        point = f'operating_point = {{ class = "{name}", sensitivity = 0.9 }}'
        toml.write_text(toml.read_text().replace("[evaluation]", f"[evaluation]\n{point}"))
    with caplog.at_level(logging.WARNING, "medpipe"):
        found = RunSet.load(folds).predict(new)
    assert found.operating_point is None
    assert "have no common operating point: it is chosen on predictions for a validation" in (
        caplog.text
    )


def call(*arguments: object) -> Any:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code
    return 0
