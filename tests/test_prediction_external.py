"""A run's network on data sets of other people."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest

from medpipe import BadDataError, DataError, Dataset, Run, RunError, Sample, StepError, Task
from medpipe.cli import main
from medpipe.data.readers.formats import NumpyReader
from medpipe.evaluation.predictions import read_predictions
from medpipe.registry.registry import Registry
from medpipe.steps import DatasetStep, Reading
from support.folders import image_folder
from support.places import without_place
from support.trained import run_on


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data") / "xray", samples=60)


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        path = tmp_path_factory.mktemp("runs") / "run"
        run_on(root, path)
    return Run.load(path)


def others(count: int = 36, *, seed: int = 7, size: int = 32) -> Dataset:
    """Images that no run has seen."""
    made: Dataset = (
        Registry.discover().datasets["phantom"](samples=count, size=size, seed=seed).build()
    )
    return made


def with_extra(dataset: Dataset, **columns: Any) -> Dataset:
    return attrs.evolve(
        dataset,
        samples=[
            attrs.evolve(
                sample,
                group=f"p{row // 2}",
                extra={name: values[row % len(values)] for name, values in columns.items()},
            )
            for row, sample in enumerate(dataset.samples)
        ],
    )


def permuted(dataset: Dataset) -> Dataset:
    """The same data set with its classes in another order."""
    names = dataset.task.names[::-1]
    last = len(names) - 1
    return attrs.evolve(
        dataset,
        task=Task(names=names),
        samples=[attrs.evolve(sample, label=last - sample.label) for sample in dataset.samples],
    )


def in_splits(run: Run, split: str) -> dict[str, str]:
    with (run.path / "splits.csv").open() as file:
        return {row["id"]: row["label"] for row in csv.DictReader(file) if row["split"] == split}


def of_run(run: Run, root: Path, split: str, count: int | None = None) -> Dataset:
    """Images of the run itself."""
    names = run.data.task.names
    return Dataset(
        samples=[
            Sample(id=id_, image=root / id_, label=names.index(id_.split("/")[0]))
            for id_ in sorted(in_splits(run, split))[:count]
        ],
        task=run.data.task,
    )


def test_the_runs_own_test_part_gives_the_runs_own_metrics(run: Run, root: Path) -> None:
    found = run.evaluate(of_run(run, root, "test"))
    expected = dict(run.metrics["test"])
    for name, value in expected.items():
        if isinstance(value, float):
            assert found.metrics[name] == pytest.approx(value, abs=1e-6), name
    assert found.metrics["confusion"] == expected["confusion"]
    assert found.overlap == ()
    assert found.predictions.ids == run.predictions().ids


def test_another_order_of_the_classes_gives_the_same_metrics(run: Run) -> None:
    given = others()
    assert run.evaluate(permuted(given)).metrics == run.evaluate(given).metrics


def test_a_subset_of_the_classes_is_measured_on_its_own(run: Run) -> None:
    some = others()
    hands = attrs.evolve(
        some,
        task=Task(names=("Hand",)),
        samples=[
            attrs.evolve(sample, label=0)
            for sample in some.samples
            if some.task.names[sample.label] == "Hand"
        ],
    )
    metrics = run.evaluate(hands).metrics
    assert metrics["images"] == 6
    assert metrics["auc"] is None
    assert metrics["classes"]["Hand"]["images"] == 6
    assert metrics["balanced_accuracy"] == metrics["classes"]["Hand"]["recall"]


def test_kept_columns_make_subgroups_and_travel_to_the_table(run: Run, tmp_path: Path) -> None:
    given = with_extra(others(), site=["north", "south"], sex=["f", "", "m"], age=[41.5])
    output = tmp_path / "external"
    found = run.evaluate(given, output=output)
    tables = found.metrics["subgroups"]
    assert {column: list(values) for column, values in tables.items()} == {
        "site": ["north", "south"],
        "sex": ["", "f", "m"],
    }
    assert tables["site"]["north"]["images"] == 18
    assert set(tables["site"]["north"]["intervals"]) == set(found.metrics["intervals"])
    written = json.loads((output / "metrics.json").read_text())
    assert written == {
        "format": 1,
        "run": str(run.path),
        "network": "best",
        "data": {"digest": written["data"]["digest"], "samples": 36},
        "overlap": [],
        "notes": [],
        "metrics": json.loads(json.dumps(found.metrics)),
    }
    back = read_predictions(output / "predictions.csv", run.data.task)
    assert back.extra["age"] == ("41.5",) * 36
    np.testing.assert_array_equal(back.scores, found.predictions.scores)
    assert sorted(file.name for file in output.iterdir()) == ["metrics.json", "predictions.csv"]


def test_images_of_the_training_part_are_refused_unless_admitted(
    run: Run, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leaked = of_run(run, root, "training", 4)
    renamed = [attrs.evolve(s, id=f"copy{n}") for n, s in enumerate(leaked.samples)]
    fresh = others()
    by_name = {name: place for place, name in enumerate(run.data.task.names)}
    mixed = attrs.evolve(
        leaked,
        samples=[
            *renamed,
            *(attrs.evolve(s, label=by_name[fresh.task.names[s.label]]) for s in fresh.samples),
        ],
    )
    there = [sample.id for sample in leaked.samples]
    named = ", ".join(f"'copy{n}' (there {there[n]!r})" for n in range(3))
    with pytest.raises(DataError) as caught:
        run.evaluate(mixed)
    assert str(caught.value) == (
        f"4 of 40 images were in the training split of the run {run.path}: {named} and 1 more. "
        "Leave them out, or give allow_overlap=True to measure on them nevertheless."
    )
    with caplog.at_level(logging.WARNING, logger="medpipe"):
        found = run.evaluate(mixed, allow_overlap=True)
    assert found.overlap == ("copy0", "copy1", "copy2", "copy3")
    assert found.notes == (f"4 of 40 images were in the run's training split: {named} and 1 more.",)
    assert found.notes[0] in caplog.text


def test_a_copy_in_another_format_is_found_by_its_pixels(
    run: Run, root: Path, tmp_path: Path
) -> None:
    from PIL import Image

    leaked = of_run(run, root, "training", 1)
    copy = tmp_path / "copy.tif"
    Image.open(root / leaked.samples[0].id).save(copy)
    # Its own reading would give other values, but the run's counts.
    given = attrs.evolve(
        leaked,
        samples=[attrs.evolve(leaked.samples[0], id="copy.tif", image=copy)],
        reading=Reading(channels=3),
    )
    with pytest.raises(DataError, match=r"1 of 1 images was in the training split"):
        run.evaluate(given)


def test_images_of_the_validation_part_are_noted(run: Run, root: Path) -> None:
    found = run.evaluate(of_run(run, root, "validation", 2))
    ids = sorted(in_splits(run, "validation"))[:2]
    assert found.notes == (
        "2 of 2 images were in the run's validation split: "
        f"{ids[0]!r} (there {ids[0]!r}), {ids[1]!r} (there {ids[1]!r}).",
    )


def test_parts_and_another_reading_are_noted(run: Run) -> None:
    given = others()
    given = attrs.evolve(
        given,
        reading=Reading(channels=3),
        notes=("Two rows were left out.",),
        samples=[attrs.evolve(sample, split="test") for sample in given.samples],
    )
    assert run.evaluate(given).notes == (
        "Two rows were left out.",
        "The data set's own splits are ignored: all 36 images are evaluated.",
        "The images are read as in training (channels = 1), not as this data set says "
        "(channels = 3).",
    )


def test_the_label_of_another_question_is_refused(run: Run) -> None:
    given = attrs.evolve(others(), task=Task(names=("A", "B", "C", "D", "E", "F")))
    with pytest.raises(DataError) as caught:
        run.evaluate(given)
    assert str(caught.value).startswith(
        "The class 'A' of the data set is unknown to the network, which was trained on: "
    )


def test_shared_ids_and_labels_that_are_none_are_listed_at_once(run: Run) -> None:
    samples = list(others(12).samples)
    samples[1] = attrs.evolve(samples[1], id=samples[0].id)
    samples[2] = attrs.evolve(samples[2], label="Hand")
    with pytest.raises(BadDataError) as caught:
        run.evaluate(attrs.evolve(others(12), samples=samples))
    place = run.data.task.names.index("Hand")
    assert str(caught.value) == (
        "3 of 12 samples can't be used:\n"
        f"  The id {samples[0].id!r} is that of 2 samples.\n"
        f"  The sample {samples[2].id!r} has the label 'Hand', but the 6 classes "
        f"({', '.join(run.data.task.names)}) are 0 to 5.\n"
        "Give each sample an id of its own.\n"
        f"Give the class's place, {place} for 'Hand'.\n"
        "The data set gives these ids and labels: correct them there.\n"
        "Repair or remove them."
    )


def test_readers_of_a_given_data_set_are_refused(run: Run) -> None:
    reader: Any = NumpyReader(axes="zyx")
    given = attrs.evolve(others(12), reading=Reading(readers=(reader,)))
    with pytest.raises(StepError, match=r"the data set gives a Dataset whose Reading has readers"):
        run.evaluate(given)


def test_files_that_cannot_be_read_are_listed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    given = Dataset(
        samples=[Sample(id=name, image=tmp_path / name, label=0) for name in ("a.png", "b.png")],
        task=run.data.task,
    )
    with pytest.raises(DataError) as caught:
        run.evaluate(given)
    assert str(caught.value) == (
        "2 of 2 images can't be read:\n"
        f"  {tmp_path / 'a.png'} is empty.\n"
        f"  {tmp_path / 'b.png'} is not there.\n"
        "Remove or repair them."
    )


def test_images_that_are_not_finite_are_listed_before_anything_is_computed(run: Run) -> None:
    samples = list(others(12).samples)
    odd = np.asarray(samples[2].image, dtype=np.float32).copy()
    odd[0, 0] = np.inf
    samples[2] = attrs.evolve(samples[2], image=odd)
    with pytest.raises(BadDataError) as caught:
        run.evaluate(attrs.evolve(others(12), samples=samples))
    assert str(caught.value) == (
        "1 of 12 samples can't be used:\n"
        f"  The image of the sample {samples[2].id!r} holds infinite values, or values beyond "
        "float32.\n"
        "Repair or remove them."
    )


def test_an_output_in_use_is_refused_and_a_failure_leaves_none(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        run.evaluate(others(), output=tmp_path)
    assert str(caught.value) == (
        f"The output {tmp_path} is there already, and medpipe does not overwrite it. Choose "
        "another folder with the argument output."
    )
    stranger = attrs.evolve(others(), task=Task(names=("A", "B", "C", "D", "E", "F")))
    with pytest.raises(DataError):
        run.evaluate(stranger, output=tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@attrs.frozen(kw_only=True)
class Broken(DatasetStep):
    name: ClassVar[str] = "broken"
    answer: Any = None

    def build(self) -> Any:
        if self.answer is None:
            raise KeyError("age")
        return self.answer


def test_a_step_that_fails_is_named(run: Run) -> None:
    with pytest.raises(StepError) as caught:
        run.evaluate(Broken())
    assert without_place(caught.value).endswith("failed to build: KeyError: 'age'")
    with pytest.raises(StepError) as caught:
        run.evaluate(Broken(answer=3))
    assert str(caught.value).endswith("built 3, which is not a Dataset.")


def call(*arguments: object) -> object:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code
    return 0


def test_the_command_takes_a_file_with_a_dataset_table_alone(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = others()
    from PIL import Image

    rows = []
    for row, sample in enumerate(dataset.samples):
        Image.fromarray(sample.image).save(tmp_path / f"{row}.png")
        name = dataset.task.names[sample.label]
        rows.append([f"{row}.png", name.lower(), ["north", "south"][row % 2], f"p{row // 4}"])
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "seen", "site", "patient"], *rows])
    merged = "".join(f'{name} = ["{name.lower()}"]\n' for name in dataset.task.names)
    configuration = tmp_path / "external.toml"
    configuration.write_text(
        f'[dataset]\nstep = "table"\nfile = "{tmp_path}/table.csv"\nimage = "file"\n'
        f'label = "seen"\ngroup = "patient"\nkeep = ["site"]\n[dataset.classes]\n{merged}'
    )
    output = tmp_path / "out"
    assert call("evaluate", run.path, "--data", configuration, "--output", output) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "on 36 images:"
    accuracy = run.evaluate(permuted(dataset)).metrics["accuracy"]
    assert any(line.startswith(f"  {'accuracy':20} {accuracy:.4f} (95 % ") for line in lines)
    assert "site = north" in lines
    assert lines[-1] == f"The metrics and predictions are in {output}"
    metrics = json.loads((output / "metrics.json").read_text())["metrics"]
    assert metrics["accuracy"] == accuracy
    assert metrics["subgroups"]["site"]["south"]["groups"] == 9
    with (output / "predictions.csv").open() as file:
        assert next(csv.reader(file))[:3] == ["id", "group", "keep:site"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'format = 1\n[dataset]\nstep = "phantom"\n[loader]\nbatch_size = 2\n',
            "loader: can't be chosen here: a run is evaluated as it was trained. Leave "
            "it out: [dataset] is enough.",
        ),
        (
            "format = 2\n",
            "format: must be 1, got 2. A newer medpipe may know it (pip install --upgrade "
            "medpipe-imaging).\n"
            '  dataset: required. Write [dataset] with step = "table", "image_folder" or another.',
        ),
        (
            '[dataset]\nstep = "phantom"\nsamples = 3\n',
            "dataset.samples: must be >= 12, got 3.",
        ),
    ],
)
def test_the_command_says_what_is_wrong_with_the_file(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "external.toml"
    path.write_text(text)
    assert call("evaluate", run.path, "--data", path) == 2
    assert capsys.readouterr().err == f"{path} has problems:\n  {message}\n"
