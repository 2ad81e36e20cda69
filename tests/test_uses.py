"""What people come with: sixteen kinds of data and questions, each a few lines of configuration.

Every configuration here is checked, trained for an epoch with a tiny network and evaluated, and
no group and no image of its split is in two splits.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpipe import CheckFailed, PipelineBuilder, Run, RunSet
from medpipe.data.preparation import PreparedData
from support import layouts
from support.programs import exit_code
from support.splits import nothing_crosses

TINY = """
[network]
step = "resnet10"
widen_factor = 0.0625
conv1_t_size = 3
[run]
device = "cpu"
"""
RESIZE = """
[[transform]]
step = "load_image"
[[transform]]
step = "ensure_channel_first"
[[transform]]
step = "resize"
spatial_size = [32, 32]
[[transform]]
step = "scale_intensity"
[[transform]]
step = "to_tensor"
"""
CROP = RESIZE.replace('"resize"', '"resize_with_pad_or_crop"').replace("[32, 32]", "[20, 20, 20]")


def configured(text: str, **settings: Any) -> PipelineBuilder:
    """The configuration, with the smallest network and batches where it names none."""
    document = tomllib.loads(f"format = 1\n{text}")
    rest = tomllib.loads(TINY)
    document = {**rest, **document}
    document.setdefault("trainer", {"step": "supervised", "max_epochs": 1, "learning_rate": 1e-3})
    document.setdefault("loader", {"batch_size": 8, "workers": 0})
    document.setdefault("split", {"validation": 0.2, "test": 0.2})
    return PipelineBuilder.from_document({**document, **settings})


def prepared(builder: PipelineBuilder) -> PreparedData:
    """The divided data of a pipeline that can run."""
    report = builder.build().check()
    assert report.ok, str(report)
    assert report.prepared is not None
    nothing_crosses(report.prepared)
    return report.prepared


def groups(data: PreparedData) -> set[str | None]:
    return {sample.group for sample in data.dataset.samples}


def test_1_the_patient_is_in_the_file_name(tmp_path: Path) -> None:
    layouts.kermany(tmp_path / "xray")
    builder = configured(
        rf"""
[dataset]
step = "image_folder"
root = "{tmp_path}/xray"
channels = 1
group_pattern = ['(person\d+)_', 'NORMAL2-(IM-\d+)']
{RESIZE}"""
    )
    data = prepared(builder)
    assert len(groups(data)) == 24
    assert {"person0", "IM-1011"} < groups(data)
    run = builder.build().run(tmp_path / "run")
    assert run.metrics["test"]["images"] == len(data.by_split["test"])


def test_2_a_table_with_several_images_a_patient_absent_files_and_blank_labels(
    tmp_path: Path,
) -> None:
    layouts.covid(tmp_path)
    builder = configured(
        f"""
[dataset]
step = "table"
file = "{tmp_path}/metadata.csv"
image = "{{folder}}/{{filename}}"
label = "finding"
group = "patientid"
missing_labels = "drop"
missing_files = "drop"
keep = ["view"]
[dataset.classes]
pneumonia = ["Pneumonia/Viral/COVID-19", "Pneumonia/Viral/SARS"]
healthy = "No Finding"
[dataset.where]
view = ["PA", "AP"]
"""
    )
    data = prepared(builder)
    assert data.dataset.task.names == ("healthy", "pneumonia")
    assert len(data.dataset.samples) == 40 - 2 - 2 - 1
    assert "".join(data.dataset.notes).count("left out") >= 2
    run = builder.build().run(tmp_path / "run")
    header = (run.path / "predictions_test.csv").read_text().splitlines()[0]
    assert "view" in header
    assert run.record["data"]["notes"] == list(data.dataset.notes)


def test_3_given_train_and_test_with_validation_carved_by_patient(tmp_path: Path) -> None:
    layouts.kermany_with_splits(tmp_path / "xray")
    builder = configured(
        rf"""
[dataset]
step = "image_folder"
root = "{tmp_path}/xray"
group_pattern = '(person\d+)'
[dataset.splits]
train = "train"
test = "test"
[split]
validation = 0.25
"""
    )
    data = prepared(builder)
    assert data.split.counts == {"training": 36, "validation": 12, "test": 16}
    assert all("test/" in sample.id for sample in data.by_split["test"])
    assert builder.build().run(tmp_path / "run").metrics["test"]["images"] == 16


def test_4_mixed_modes_and_sizes_in_one_batch(tmp_path: Path) -> None:
    layouts.mixed(tmp_path / "mixed")
    dataset = f'[dataset]\nstep = "image_folder"\nroot = "{tmp_path}/mixed"\n'
    with pytest.raises(CheckFailed) as caught:
        configured(dataset).build().run(tmp_path / "refused")
    assert "Set dataset.channels = 1 or 3 to convert them when they are read." in str(caught.value)
    builder = configured(f"{dataset}channels = 1\n{RESIZE}")
    prepared(builder)
    batch = next(iter(builder.build().build_loaders().training))
    assert batch["image"].shape == (8, 1, 32, 32)
    assert builder.build().run(tmp_path / "run").status == "finished"


@pytest.mark.long
def test_5_imbalance(tmp_path: Path) -> None:
    layouts.imbalanced(tmp_path / "rare")
    text = f"""
[dataset]
step = "image_folder"
root = "{tmp_path}/rare"
[trainer]
step = "supervised"
max_epochs = 1
monitor = "balanced_accuracy"
[trainer.loss]
step = "{{loss}}"
"""
    builder = configured(text.format(loss="focal")).loader(sampling="balanced")
    prepared(builder)
    batches = list(builder.build().build_loaders().training)
    labels = np.concatenate([batch["label"].numpy() for batch in batches])
    assert 0.25 < labels.mean() < 0.75  # of the samples 1 in 11 is rare
    run = builder.build().run(tmp_path / "focal")
    assert run.metrics["test"]["classes"]["rare"]["images"] > 0
    weighted = configured(text.format(loss='cross_entropy"\nclass_weights = "balanced'))
    assert weighted.build().run(tmp_path / "weighted").status == "finished"


def test_6_several_findings_in_one_cell(tmp_path: Path) -> None:
    layouts.nih(tmp_path)
    builder = configured(
        f"""
[dataset]
step = "table"
file = "{tmp_path}/Data_Entry_2017.csv"
root = "{tmp_path}/images"
image = "Image Index"
label = "Finding Labels"
separator = "|"
negative = ["No Finding"]
group = "Patient ID"
keep = ["Patient Gender"]
"""
    )
    data = prepared(builder)
    assert data.dataset.task.kind == "multilabel"
    assert data.dataset.task.names == ("Cardiomegaly", "Effusion", "Hernia")
    assert (0.0, 0.0, 0.0) in {sample.label for sample in data.dataset.samples}
    test = builder.build().run(tmp_path / "run").metrics["test"]
    assert set(test["findings"]) == set(data.dataset.task.names)
    assert set(test["subgroups"]["Patient Gender"]) == {"F", "M"}


def test_7_columns_of_findings_with_blank_and_uncertain_cells(tmp_path: Path) -> None:
    layouts.chexpert(tmp_path)
    builder = configured(
        f"""
[dataset]
step = "table"
file = "{tmp_path}/train.csv"
image = "Path"
label = ["Cardiomegaly", "Edema", "Fracture"]
uncertain = "missing"
group_pattern = 'patient(\\d+)'
[dataset.where]
"Frontal/Lateral" = "Frontal"
"""
    )
    data = prepared(builder)
    assert len(data.dataset.samples) == 24
    labels = np.array([sample.label for sample in data.dataset.samples], float)
    assert np.isnan(labels[:, 0]).sum() == 12  # blank and uncertain
    assert np.isnan(labels[:, 2]).sum() == 0
    run = builder.build().run(tmp_path / "run")
    assert run.metrics["test"]["findings"]["Edema"]["images"] < run.metrics["test"]["images"]


def test_8_an_age_in_months(tmp_path: Path) -> None:
    layouts.bone_ages(tmp_path)
    builder = configured(
        f"""
[dataset]
step = "table"
file = "{tmp_path}/ages.csv"
image = "hands/{{id}}.png"
label = "boneage"
task = "regression"
label_unit = "months"
missing_labels = "drop"
keep = ["male"]
[trainer]
step = "supervised"
max_epochs = 12
learning_rate = 3e-3
"""
    )
    data = prepared(builder)
    assert len(data.dataset.samples) == 59
    means = [np.mean([s.label for s in split]) for split in data.by_split.values()]
    assert np.ptp(means) < 20  # of 177 months: each split has its share of every tenth
    run = builder.build().run(tmp_path / "run")
    test = run.metrics["test"]
    assert test["unit"] == "months"
    assert test["mae"] < 40
    assert test["rmse"] >= test["mae"]
    assert test["intervals"]["mae"][0] < test["mae"] < test["intervals"]["mae"][1]


BRAINS = """
[dataset]
step = "table"
file = "{folder}/participants.tsv"
image = "scan"
label = "group"
group = "subject"
"""


def test_9_volumes_of_ragged_shapes_from_a_table(tmp_path: Path) -> None:
    layouts.brains(tmp_path)
    text = BRAINS.format(folder=tmp_path)
    report = configured(text).build().check()
    assert "different sizes" in str(report)
    assert "resize" in str(report)
    builder = configured(text + CROP)
    prepared(builder)
    pipeline = builder.build()
    assert next(iter(pipeline.build_loaders().training))["image"].shape == (8, 1, 20, 20, 20)
    run = pipeline.run(tmp_path / "run")
    assert run.data.spatial_dims == 3
    assert set(run.metrics["test"]["classes"]) == {"AD", "CN"}


def test_10_two_sequences_as_channels(tmp_path: Path) -> None:
    layouts.sequences(tmp_path)
    builder = configured(
        f"""
[dataset]
step = "table"
file = "{tmp_path}/grades.csv"
image = ["{{case}}/{{case}}_t1.nii.gz", "{{case}}/{{case}}_t2.nii.gz"]
label = "grade"
"""
    )
    prepared(builder)
    run = builder.build().run(tmp_path / "run")
    assert run.data.channels == 2
    assert run.data.spatial_shape == (20, 20, 20)


@pytest.mark.long
def test_11_five_folds_over_patients(tmp_path: Path) -> None:
    layouts.kermany(tmp_path / "xray")
    builder = configured(
        rf"""
[dataset]
step = "image_folder"
root = "{tmp_path}/xray"
channels = 1
group_pattern = ['(person\d+)_', 'NORMAL2-(IM-\d+)']
{RESIZE}
[split]
folds = 5
"""
    )
    held_out: list[str] = []
    for fold in range(5):
        data = prepared(builder.split(fold=fold))
        held_out += data.split.ids("test")
    assert sorted(held_out) == sorted(sample.id for sample in data.dataset.samples)
    some = builder.build().run_folds(tmp_path / "folds")
    assert [run.path.name for run in some.runs] == [f"fold-{fold}" for fold in range(5)]
    pooled = RunSet.load(tmp_path / "folds").pooled()
    assert sorted(pooled.ids) == sorted(held_out)


@pytest.mark.long
def test_12_fine_tuning_with_a_new_head_and_first_layer(tmp_path: Path) -> None:
    layouts.photographs(tmp_path / "photographs")
    layouts.imbalanced(tmp_path / "rare")
    colour = configured(f'[dataset]\nstep = "image_folder"\nroot = "{tmp_path}/photographs"\n')
    first = colour.build().run(tmp_path / "first")
    text = f"""
[dataset]
step = "image_folder"
root = "{tmp_path}/rare"
[weights]
run = "{tmp_path}/first"
"""
    refused = configured(text).build().check()
    assert "weights.skip" in str(refused)
    assert "weights.first_layer" in str(refused)
    builder = configured(text + 'skip = ["^fc"]\nfirst_layer = "mean"\n')
    report = builder.build().check()
    assert report.ok, str(report)
    assert report.weights is not None
    assert "weights " in str(report)
    before = first.network().state_dict()
    after = builder.build().build_network().state_dict()
    assert (after["layer1.0.conv1.weight"] == before["layer1.0.conv1.weight"]).all()
    assert after["conv1.weight"].shape[1] == 1
    assert after["fc.weight"].shape[0] == 2
    run = builder.build().run(tmp_path / "second")
    assert run.record["weights"]["skipped"]


@pytest.mark.long
def test_13_freezing_then_thawing(tmp_path: Path) -> None:
    from medpipe.training.checkpoint import load_checkpoint

    layouts.imbalanced(tmp_path / "rare")
    builder = configured(
        f"""
[dataset]
step = "image_folder"
root = "{tmp_path}/rare"
[trainer]
step = "supervised"
max_epochs = 3
learning_rate = 1e-2
[[trainer.parameters]]
match = "^(conv1|bn1|layer)"
learning_rate = 1e-3
freeze_epochs = 2
"""
    )
    pipeline = builder.build()
    fresh = pipeline.build_network().state_dict()

    def weights(epochs: int) -> dict[str, Any]:
        run = builder.trainer(
            "supervised",
            max_epochs=epochs,
            learning_rate=1e-2,
            parameters=pipeline.configuration.trainer.parameters,  # type: ignore[attr-defined]
        ).build()
        states, _ = load_checkpoint(
            run.run(tmp_path / f"run{epochs}").path / "checkpoints/last.safetensors"
        )
        return states["network"]  # type: ignore[no-any-return]

    frozen, thawed = weights(2), weights(3)
    for name in ("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight"):
        assert (frozen[name] == fresh[name]).all()
        assert not (thawed[name] == fresh[name]).all()
    assert not (frozen["fc.weight"] == fresh["fc.weight"]).all()


@pytest.mark.long
def test_14_a_dicom_folder(tmp_path: Path) -> None:
    layouts.dicom_folders(tmp_path / "ct")
    text = rf"""
[dataset]
step = "image_folder"
root = "{tmp_path}/ct"
group_pattern = '(patient\d+)'
window = [40, 400]
"""
    slices = prepared(configured(text))
    assert len(slices.dataset.samples) == 72
    assert len(groups(slices)) == 12
    volumes = configured(text + 'unit = "series"\n')
    data = prepared(volumes)
    assert len(data.dataset.samples) == 12
    run = volumes.build().run(tmp_path / "run")
    assert run.data.spatial_shape == (24, 24, 6)


def test_15_an_external_set_with_only_a_dataset_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layouts.kermany(tmp_path / "xray")
    (tmp_path / "study.toml").write_text(
        rf"""format = 1
[dataset]
step = "image_folder"
root = "{tmp_path}/xray"
channels = 1
{RESIZE}{TINY}
[trainer]
step = "supervised"
max_epochs = 1
[loader]
batch_size = 8
workers = 0
"""
    )
    layouts.kermany_with_splits(tmp_path / "other")
    (tmp_path / "external.toml").write_text(
        f"""
[dataset]
step = "image_folder"
root = "{tmp_path}/other/test"
channels = 1
"""
    )
    assert exit_code("run", "study.toml", "--output", "run") == 0
    capsys.readouterr()
    outside = ("--data", "external.toml", "--output", "outside")
    assert exit_code("evaluate", "run", *outside) == 0
    assert "on 16 images" in capsys.readouterr().out
    assert (tmp_path / "outside/predictions.csv").read_text().count("\n") == 17
    assert exit_code("predict", "run", "other/test/NORMAL") == 0
    predicted = capsys.readouterr().out.splitlines()
    assert predicted[0] == "id,prediction,p(NORMAL),p(PNEUMONIA),error"
    assert len(predicted) == 1 + 8


@pytest.mark.long
def test_16_a_time_limit_and_resubmission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layouts.imbalanced(tmp_path / "rare")
    (tmp_path / "study.toml").write_text(
        f"""format = 1
[dataset]
step = "image_folder"
root = "rare"
{TINY}
[trainer]
step = "supervised"
max_epochs = 2
[loader]
batch_size = 32
workers = 0
"""
    )
    monkeypatch.chdir(tmp_path)
    arguments = ("run", "study.toml", "--output", "run", "--resume", "--max-time")
    assert exit_code(*arguments, "00:00:00") == 75
    assert capsys.readouterr().out == (
        "The run in run was stopped by the time limit. Resume it with the same command and "
        "--output run "
        "and --resume.\n"
    )
    assert Run.load("run").status == "stopped"
    assert exit_code(*arguments, "0-00:00:00") == 75
    assert exit_code(*arguments, "1-00:00:00") == 0
    assert exit_code(*arguments, "00:00:00") == 0  # it is finished, and nothing is done
    run = Run.load("run")
    assert run.status == "finished"
    assert [session["from_iteration"] for session in run.record["sessions"]] == [0, 1, 2]
