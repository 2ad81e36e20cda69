"""What `check` and `run` refuse before any long work: each exact message."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import pytest

from medpipe import Dataset, PipelineBuilder, Registry, Sample, Task
from medpipe.checks import pipeline_check
from medpipe.plugin import DataInfo, MetricStep, TrainerStep, Training, TrainingParts, hookimpl
from support.folders import image_folder
from support.places import without_place


def folder(root: Path, **parameters: Any) -> PipelineBuilder:
    return (
        PipelineBuilder(device="cpu")
        .dataset("image_folder", root=root, **parameters)
        .network(flat_network)
        .loader(batch_size=8, workers=0)
    )


def flat_network(data: DataInfo) -> Any:
    from torch import nn

    pool: Any = nn.AdaptiveAvgPool2d(4) if data.spatial_dims == 2 else nn.AdaptiveAvgPool3d(2)
    sides = 16 if data.spatial_dims == 2 else 8
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(sides * data.channels, data.outputs))


def problems(builder: PipelineBuilder) -> list[str]:
    return [str(problem) for problem in builder.build().check().problems]


def save(path: Path, array: Any) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def test_a_good_pipeline_is_measured(tmp_path: Path) -> None:
    report = folder(image_folder(tmp_path)).build().check()
    assert report.ok
    data = report.data
    assert data is not None
    assert (data.channels, data.spatial_shape, data.spatial_dims, data.outputs) == (
        1,
        (32, 32),
        2,
        6,
    )
    assert sum(data.class_counts or ()) == 48
    assert report.parameters == 16 * 6 + 6
    assert report.memory is not None
    assert report.memory.parameters == 4 * 4 * report.parameters
    assert "The pipeline can run." in str(report)


def test_mps_that_is_absent_is_refused() -> None:
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("there is such a device")
    (found,) = problems(
        PipelineBuilder(device="mps").dataset("phantom", samples=60, size=32).network(flat_network)
    )
    assert found.startswith("run.device: ")


def test_cuda_that_is_absent_is_refused() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    found = problems(
        PipelineBuilder(device="cuda").dataset("phantom", samples=60, size=32).network(flat_network)
    )
    why = "" if torch.version.cuda else "The installed torch is a build without CUDA. "
    assert found == [
        "run.device: The device 'cuda' was asked for, but there is no CUDA device. "
        f"{why}Set run.device = 'auto' to take the best there is."
    ]


REMEDY = (
    'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the command '
    "line --quarantine). medpipe check --data lists all that is wrong."
)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    root = image_folder(tmp_path)
    broken = root / "Hand" / "broken.png"
    broken.write_text("not a picture")
    assert problems(folder(root)) == [
        "dataset: 1 of 61 samples can't be used:\n"
        f"  The image {broken} is not a PNG, JPEG, TIFF, BMP, NIfTI, DICOM or NumPy image.\n"
        f"{REMEDY}"
    ]


def test_mixed_channels_name_the_setting_that_admits_them(tmp_path: Path) -> None:
    root = image_folder(tmp_path)
    save(root / "Hand" / "colour.png", noise(32, 32, 3))
    found = problems(folder(root))
    assert len(found) == 1
    assert found[0].startswith("dataset: images have different numbers of channels: (1, 32, 32) of")
    assert found[0].endswith("Set dataset.channels = 1 or 3 to convert them when they are read.")
    assert problems(folder(root, channels=1)) == []
    assert problems(folder(root, channels=3)) == []


def test_sizes_that_do_not_batch_name_resize(tmp_path: Path) -> None:
    root = image_folder(tmp_path)
    save(root / "Hand" / "large.png", noise(48, 40))
    found = problems(folder(root))
    assert len(found) == 1
    assert found[0].startswith(
        "transform: images leave the chain in different sizes, which do not batch: "
    )
    assert "(1, 40, 48) of 'Hand/large.png'" in found[0]
    assert found[0].endswith(
        "Add a step such as 'resize' or 'resize_with_pad_or_crop' with spatial_size, or set "
        "loader.batch_size = 1."
    )
    resized = folder(root).transform("resize", spatial_size=[32, 32], before="to_tensor")
    assert problems(resized) == []
    assert problems(folder(root).loader(batch_size=1)) == []


def array_dataset(labels: list[Any], kind: Any = "multiclass", names: Any = ("a", "b")) -> Dataset:
    return Dataset(
        samples=[
            Sample(id=f"s{index:03d}", image=noise(16, 16, seed=index), label=label)
            for index, label in enumerate(labels)
        ],
        task=Task(kind=kind, names=names),
    )


def ready(dataset: Dataset) -> PipelineBuilder:
    return (
        PipelineBuilder(device="cpu")
        .dataset(dataset)
        .network(flat_network)
        .loader(batch_size=8, workers=0)
    )


@pytest.mark.parametrize("label", [2, -1, 0.5, float("nan")])
def test_a_label_out_of_range_is_named(label: float) -> None:
    assert problems(ready(array_dataset([0, 1] * 20 + [label]))) == [
        "dataset: 1 of 41 samples can't be used:\n"
        f"  The sample 's040' has the label {label!r}, but the 2 classes (a, b) are 0 to 1.\n"
        "The ready dataset Dataset gives these labels: correct them there.\n"
        f"{REMEDY}"
    ]


def test_one_class_is_refused() -> None:
    assert problems(ready(array_dataset([0] * 20, names=("only",)))) == [
        "dataset: There is only one class, ('only',). A classifier needs two or more."
    ]


def test_a_regression_and_a_multilabel_task_run(tmp_path: Path) -> None:
    values = [float(index % 7) for index in range(40)]
    age = ready(array_dataset(values, "regression", ("age",)))
    run = age.trainer("supervised", max_epochs=1).build().run(tmp_path / "age")
    assert set(run.metrics["test"]) >= {"mae", "rmse", "r2", "loss", "intervals"}
    vectors = [(float(index % 2), float(index % 3 == 0)) for index in range(40)]
    findings = ready(array_dataset(vectors, "multilabel", ("x", "y")))
    run = findings.trainer("supervised", max_epochs=1).build().run(tmp_path / "findings")
    assert set(run.metrics["test"]["findings"]) == {"x", "y"}


def test_a_loss_of_another_task_is_refused() -> None:
    import medpipe

    builder = ready(array_dataset([0, 1] * 20)).trainer("supervised", loss=medpipe.step("mse"))
    assert problems(builder) == [
        f"trainer.loss: the loss step 'mse' (medpipe-imaging {medpipe.__version__}) is for "
        "labels of the form numbers, but those of a multiclass task are of the form class."
    ]


@attrs.frozen(kw_only=True)
class TopScore(MetricStep):
    """The largest probability."""

    name: ClassVar[str] = "top_score"
    direction: ClassVar[Literal["max", "min"]] = "max"
    answers: ClassVar[frozenset[str]] = frozenset({"class"})

    def rows(self, scores: Any, labels: Any, task: Task) -> Any:
        return scores.max(axis=1)


def medpipe_metrics() -> list[type[MetricStep]]:
    return [TopScore]


def test_a_monitor_of_another_task_is_refused() -> None:
    assert problems(ready(array_dataset([0, 1] * 20)).trainer("supervised", monitor="mae")) == [
        "trainer.monitor: 'mae' is not a metric of a multiclass task. There are accuracy, "
        "balanced_accuracy, f1, auc, average_precision, loss."
    ]


def test_a_monitor_that_no_metric_measures_is_to_be_added() -> None:
    odd = types.SimpleNamespace(medpipe_metrics=hookimpl(medpipe_metrics))
    registry = Registry.discover().with_plugin(odd, name="medpipe-odd")

    def said(monitor: str, *metrics: str) -> list[str]:
        builder = (
            PipelineBuilder(device="cpu", registry=registry)
            .dataset(array_dataset([0, 1] * 20))
            .network(flat_network)
            .loader(batch_size=8, workers=0)
        )
        return problems(builder.trainer("supervised", monitor=monitor).metrics(*metrics))

    missing = "trainer.monitor: the metric 'top_score' is not measured by this run."
    add = 'Add it: [[metric]] step = "top_score", in Python .metric("top_score").'
    assert said("top_score") == [f"{missing} {add}"]
    assert said("medpipe-odd:top_score") == [
        f"{missing} {add} The monitor names it 'top_score' then."
    ]
    assert said("medpipe-odd:top_score", "top_score") == [
        "trainer.monitor: 'medpipe-odd:top_score' names a metric with its distribution. Give its "
        "name alone: 'top_score'."
    ]
    assert said("top_score", "top_score") == []


def test_balanced_sampling_without_classes_is_refused() -> None:
    ages = ready(array_dataset([float(n % 7) for n in range(40)], "regression", ("age",)))
    assert problems(ages.loader(batch_size=8, workers=0, sampling="balanced")) == [
        "loader.sampling: 'balanced' draws every class equally often, and a regression task has no "
        'classes. Set it to "shuffled".'
    ]


def _not_averaged(predictions: Any, labels: Any) -> Any:
    return predictions


def _without_gradient(predictions: Any, labels: Any) -> Any:
    return predictions.detach().mean()


def _no_tensor(predictions: Any, labels: Any) -> Any:
    return 1.0


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (_not_averaged, "gives (4, 2), not one number. Average over the batch."),
        (_no_tensor, "gives float, not one number. Average over the batch."),
        (_without_gradient, "gives a number without a gradient. Compute it with torch alone."),
    ],
)
def test_a_loss_that_can_not_be_trained_with_is_refused(loss: Any, message: str) -> None:
    (found,) = problems(ready(array_dataset([0, 1] * 20)).trainer("supervised", loss=loss))
    assert found == f"trainer.loss: the ready loss {loss.__name__} {message}"


def test_a_network_that_gives_no_tensor_is_refused() -> None:
    def network(data: DataInfo) -> Any:
        from torch import nn

        class Twice(nn.Linear):
            def forward(self, image: Any) -> Any:
                found = super().forward(image.flatten(1))
                return found, found

        return Twice(256, data.outputs)

    (found,) = problems(ready(array_dataset([0, 1] * 20)).network(network))
    assert found.endswith(
        "gives a tuple, not one tensor of shape (8, 2). Return the predictions alone."
    )


def test_a_network_with_other_outputs_is_refused(tmp_path: Path) -> None:
    def network(data: DataInfo) -> Any:
        from torch import nn

        return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 5))

    title = "the ready network test_a_network_with_other_outputs_is_refused.<locals>.network"
    found = problems(folder(image_folder(tmp_path)).network(network))
    assert found == [
        f"network: {title} gives (8, 5) for a batch of 8; the 6 outputs (AbdomenCT, BreastMRI, "
        "CXR, ChestCT, Hand, HeadCT) need (8, 6). Take the number of outputs from "
        "DataInfo.outputs."
    ]


def test_a_network_that_does_not_fit_the_images_is_refused(tmp_path: Path) -> None:
    def network(data: DataInfo) -> Any:
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(7, data.outputs))

    found = problems(folder(image_folder(tmp_path)).network(network))
    assert len(found) == 1
    assert "fails on a batch of shape (8, 1, 32, 32): RuntimeError: " in found[0]


def test_a_network_that_raises_names_itself(tmp_path: Path) -> None:
    def network(data: DataInfo) -> Any:
        raise KeyError("weights")

    (found,) = problems(folder(image_folder(tmp_path)).network(network))
    assert without_place(found) == (
        "network: the ready network test_a_network_that_raises_names_itself.<locals>.network "
        "failed to build: KeyError: 'weights'"
    )


def test_a_transform_that_fails_names_step_plugin_and_sample(tmp_path: Path) -> None:
    import medpipe

    builder = folder(image_folder(tmp_path)).transform("squeeze_dim", dim=1)
    found = problems(builder)
    assert len(found) == 1
    start = (
        f"transform[4]: the transform step 'squeeze_dim' (medpipe-imaging {medpipe.__version__}), "
        "failed on the sample '"
    )
    assert found[0].startswith(start)


def test_nan_behind_the_chain_is_refused() -> None:
    def spoil(sample: dict[str, Any]) -> dict[str, Any]:
        return {**sample, "image": sample["image"] * float("nan")}

    assert problems(ready(array_dataset([0, 1] * 20)).transform(spoil)) == [
        "transform: the image of the sample 's000' leaves the chain with NaN or infinite values. "
        "Look at the file and at the steps that scale intensities."
    ]


def test_an_empty_chain_is_refused(tmp_path: Path) -> None:
    found = problems(folder(image_folder(tmp_path)).transforms())
    assert len(found) == 1
    assert found[0].endswith("Begin it with load_image and end it with to_tensor.")


@pytest.mark.long
def test_too_large_a_batch_for_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = folder(image_folder(tmp_path, samples=60)).network("densenet121")
    small = builder.build().check().memory
    large = builder.loader(batch_size=16).build().check().memory
    assert small is not None
    assert large is not None
    assert small.activations > 10**6
    assert large.activations == pytest.approx(2 * small.activations, rel=0.05)
    monkeypatch.setattr(pipeline_check, "device_memory", lambda device: small.total)
    assert problems(builder) == []
    (found,) = problems(builder.loader(batch_size=16))
    assert found.startswith("loader.batch_size: a training step takes about ")
    assert "Set loader.batch_size below 16, " in found


def test_memory_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(pipeline_check, "device_memory", lambda device: 1000)
    found = problems(folder(image_folder(tmp_path)))
    assert found == [
        "loader.batch_size: a training step takes about 0.0 MB, but cpu has 0.0 MB free. "
        "Set loader.batch_size below 8, with trainer.accumulation to make up for it. "
        "Or set trainer.recompute = true: the same batch takes less then."
    ]


@attrs.frozen(kw_only=True)
class Half(TrainerStep):
    """Trains half of the network."""

    name: ClassVar[str] = "half"
    wrong: str = ""

    def build(self, parts: TrainingParts) -> Training:
        import torch
        from monai.engines import SupervisedTrainer

        every = list(parts.network.parameters())
        some = every if self.wrong else every[1:]
        if self.wrong == "strangers":
            some = [*every, torch.nn.Parameter(torch.zeros(1))]
        optimizer = torch.optim.SGD(some, lr=0.1)
        engine = SupervisedTrainer(
            parts.device,
            self.max_epochs,
            parts.loader,
            parts.network,
            optimizer,
            parts.loss,
        )
        state = {"network": parts.network, "optimizer": optimizer}
        if self.wrong == "state":
            state.pop("network")
        return Training(engine=None if self.wrong == "engine" else engine, state=state)  # type: ignore[arg-type]


class HalfPlugin:
    """Offers it."""

    @hookimpl
    def medpipe_trainers(self) -> Any:
        return [Half]


def test_a_trainer_that_forgets_parameters_is_refused(tmp_path: Path) -> None:
    registry = Registry.discover().with_plugin(HalfPlugin(), name="halves")
    builder = PipelineBuilder(device="cpu", registry=registry).dataset(
        "image_folder", root=image_folder(tmp_path)
    )
    found = problems(builder.network(flat_network).loader(batch_size=8).trainer("half"))
    assert found == [
        "trainer: the trainer step 'half' (halves) does not train 1 of the network's parameters, "
        "such as '2.weight'. Give its optimizer network.parameters(), or freeze them."
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("engine", "gives an engine that is not an ignite.engine.Engine."),
        ("state", "leaves 'network' out of its state."),
        ("strangers", "trains 1 parameters that are not the network's."),
    ],
)
def test_a_trainer_that_gives_something_else_is_refused(wrong: str, message: str) -> None:
    registry = Registry.discover().with_plugin(HalfPlugin(), name="halves")
    builder = (
        PipelineBuilder(device="cpu", registry=registry)
        .dataset(array_dataset([0, 1] * 20))
        .network(flat_network)
        .loader(batch_size=8, workers=0)
    )
    assert problems(builder.trainer("half", wrong=wrong)) == [
        f"trainer: the trainer step 'half' (halves) {message}"
    ]


def test_a_split_file_of_other_data_says_what_changed(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data")
    builder = folder(root).trainer("supervised", max_epochs=1)
    run = builder.build().run(tmp_path / "run")
    files = sorted((root / "Hand").iterdir())
    save(files[0], noise(32, 32, seed=1))
    files[1].unlink()
    save(root / "Hand" / "new.png", noise(32, 32, seed=2))
    assert problems(builder.split(file=run.path / "splits.csv")) == [
        f"dataset: The data are not those that the split file {run.path / 'splits.csv'} was made "
        f"with:\n  1 of the file's samples is not in the data: 'Hand/{files[1].name}'.\n  1 of "
        "the data's samples is not in the file: 'Hand/new.png'.\n  1 of the samples is another "
        f"image (its SHA-256 differs): 'Hand/{files[0].name}'.\nRestore the data, or leave "
        "split.file out for a new split."
    ]


def test_groups_stay_whole_in_a_run(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data", samples=120)
    builder = folder(root, group_pattern=r"(p\d+)_").split(validation=0.2, test=0.2)
    prepared = builder.build().check().prepared
    assert prepared is not None
    groups = {
        split: {sample.group for sample in samples} for split, samples in prepared.by_split.items()
    }
    assert not groups["training"] & groups["test"]
    assert not groups["training"] & groups["validation"]
    assert not groups["validation"] & groups["test"]
