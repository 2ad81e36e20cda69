"""What a plugin's dataset step itself does wrong: the step is named, not the files."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest

import medpipe
from medpipe.plugin import Dataset, DatasetStep, Sample, Task, hookimpl

NAMES = ("none", "tumour")
STEP = "The dataset step 'visits' (medpipe-visits)"
LISTED = "medpipe check --data lists all that is wrong."
LEAVE_OUT = (
    'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the command '
    f"line --quarantine). {LISTED}"
)


@attrs.frozen(kw_only=True)
class Visits(DatasetStep):
    """Visits of patients, with mistakes.

    Attributes:
        root: The folder.
        ids: How many of the visits have the patient's id.
        labels: What the labels are.
        wrong: How many labels are so.
    """

    name: ClassVar[str] = "visits"
    root: Path
    ids: int = 0
    labels: str = "places"
    wrong: int = 0

    def build(self) -> Dataset:
        samples = []
        for number in range(24):
            path = self.root / f"P{number // 3:03}_{number % 3}.npy"
            shared = number < self.ids
            label: Any = number % 2
            if number < self.wrong:
                label = {"names": NAMES[label], "texts": str(label), "from 1": label + 1}[
                    self.labels
                ]
            id_ = path.name.partition("_")[0] if shared else path.name
            samples.append(Sample(id=id_, image=str(path), label=label))
        return Dataset(samples=samples, task=Task(names=NAMES))


def medpipe_datasets() -> list[type[DatasetStep]]:
    return [Visits]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("visits")
    for number in range(24):
        values = np.random.default_rng(number).normal(size=(8, 8))
        np.save(root / f"P{number // 3:03}_{number % 3}.npy", values)
    return root


def pipeline(root: Path, **parameters: Any) -> medpipe.Pipeline:
    plugin = types.SimpleNamespace(medpipe_datasets=hookimpl(medpipe_datasets))
    registry = medpipe.Registry.discover().with_plugin(plugin, name="medpipe-visits")
    builder = medpipe.PipelineBuilder(device="cpu", registry=registry)
    return builder.dataset("visits", root=root, **parameters).network("resnet10").build()


def lines(root: Path, **parameters: Any) -> list[str]:
    (problem,) = pipeline(root, **parameters).check().problems
    return str(problem).splitlines()


def test_each_shared_id_is_said_once_with_two_of_its_files(root: Path) -> None:
    said = lines(root, ids=24)
    assert said == [
        "dataset: 24 of 24 samples can't be used:",
        *(
            f"  The id 'P{n:03}' is that of 3 samples, such as {root}/P{n:03}_0.npy and "
            f"{root}/P{n:03}_1.npy."
            for n in range(8)
        ),
        "Give each sample an id of its own.",
        f"{STEP} gives these ids: correct them there.",
        LISTED,
    ]


def test_where_few_are_wrong_leaving_out_stays_a_way(root: Path) -> None:
    said = lines(root, ids=3)
    assert said[0] == "dataset: 3 of 24 samples can't be used:"
    assert said[-2:] == [f"{STEP} gives these ids: correct them there.", LEAVE_OUT]


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        ("names", "Give the class's place, 0 for 'none' and 1 for 'tumour'."),
        ("texts", "Give the place of the class, a whole number from 0."),
        ("from 1", "Classes are counted from 0."),
    ],
)
def test_labels_have_a_remedy_and_the_step_is_named(root: Path, labels: str, remedy: str) -> None:
    said = lines(root, labels=labels, wrong=24)
    count = 12 if labels == "from 1" else 24
    assert said[0] == f"dataset: {count} of 24 samples can't be used:"
    assert said[-4:] == [
        f"  and {count - 10} more.",
        remedy,
        f"{STEP} gives these labels: correct them there.",
        LISTED,
    ]


def test_a_number_beyond_the_classes_is_not_always_counted_from_one(root: Path) -> None:
    said = lines(root, labels="from 1", wrong=4)
    assert "Classes are counted from 0." not in said
    assert said[-2:] == [f"{STEP} gives these labels: correct them there.", LEAVE_OUT]


def test_the_list_of_all_that_is_wrong_says_so_too(root: Path) -> None:
    report = pipeline(root, ids=24).check_data()
    assert report.counts == {"id": 24}
    assert report.notes == (f"{STEP} gives these ids: correct them there.",)
    assert str(report).count("The id 'P000' is that of 3 samples") == 1


def test_what_is_left_out_is_counted_by_samples(root: Path) -> None:
    run = pipeline(root, ids=3)
    settings = attrs.evolve(run.configuration.run, bad_data="quarantine")
    configuration = attrs.evolve(run.configuration, run=settings)
    notes = attrs.evolve(run, configuration=configuration).check().notes
    assert any("3 faulty samples were left out (run.bad_data): 3 id." in note for note in notes)
    (problem,) = (
        attrs.evolve(
            run,
            configuration=attrs.evolve(
                configuration, dataset=attrs.evolve(configuration.dataset, ids=24)
            ),
        )
        .check()
        .problems
    )
    assert str(problem).endswith(f"{STEP} gives these ids: correct them there.")
