"""The defaults are MONAI's first-model tutorial: compared with the plain script, side by side."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

import medpipe
from medpipe import PipelineBuilder, Registry, config
from medpipe.settings import FRACTION
from medpipe.steps import DataInfo, Task
from support.folders import image_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEPS = 3
BATCH = 16


def builder(root: Path) -> PipelineBuilder:
    image_folder(root / "MedNIST", samples=90, size=64, suffix="jpeg")
    return PipelineBuilder(device="cpu").dataset("mednist", root=root).loader(batch_size=BATCH)


def script(files: list[str], labels: list[int], order: list[list[int]]) -> Any:
    """The plain MONAI script, on a list of files in a given order."""
    import torch
    from monai.data import Dataset
    from monai.engines import SupervisedTrainer
    from monai.inferers import SimpleInferer
    from monai.networks.nets import DenseNet121
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        ScaleIntensityd,
        ToTensord,
    )
    from monai.utils import set_determinism

    set_determinism(seed=0)
    chain = Compose(
        [
            LoadImaged(keys="image"),
            EnsureChannelFirstd(keys="image"),
            ScaleIntensityd(keys="image"),
            ToTensord(keys="image"),
        ]
    )
    items = [{"image": f, "label": n} for f, n in zip(files, labels, strict=True)]
    loader = torch.utils.data.DataLoader(Dataset(items, chain), batch_sampler=order)
    network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=6)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=3,
        train_data_loader=loader,
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=1e-5),
        loss_function=torch.nn.CrossEntropyLoss(),
        inferer=SimpleInferer(),
    )
    return trainer, chain, items


def first_losses(trainer: Any) -> list[float]:
    from ignite.engine import Events

    losses: list[float] = []

    def record() -> None:
        output = trainer.state.output
        output = output[0] if isinstance(output, list) else output
        losses.append(float(output["loss"]))
        if len(losses) == STEPS:
            trainer.terminate()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, record)
    trainer.run()
    return losses


@pytest.mark.long
def test_the_defaults_train_as_the_plain_script_does(tmp_path: Path) -> None:
    import torch

    pipeline = builder(tmp_path).loader(workers=0).build()
    loaders = pipeline.build_loaders()
    batches: Any = loaders.training.dataset
    order: Any = loaders.training.batch_sampler
    samples = batches.samples
    epoch = order.order(0)
    places = [epoch[start : start + BATCH] for start in range(0, len(epoch), BATCH)]
    files, labels = [str(sample.image) for sample in samples], [s.label for s in samples]
    plain, chain, items = script(files, labels, places)
    ours: Any = pipeline.build_trainer()

    assert type(ours) is type(plain)
    assert type(ours.network) is type(plain.network)
    for (name, mine), (other, theirs) in zip(
        ours.network.state_dict().items(), plain.network.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(mine, theirs)
    assert type(ours.optimizer) is type(plain.optimizer)
    for key, value in plain.optimizer.param_groups[0].items():
        if key != "params":
            assert ours.optimizer.param_groups[0][key] == value, key
    assert isinstance(ours.loss_function, torch.nn.CrossEntropyLoss)
    for name in ("weight", "label_smoothing", "reduction", "ignore_index"):
        assert getattr(ours.loss_function, name) == getattr(plain.loss_function, name)
    assert type(ours.inferer) is type(plain.inferer)
    assert ours.state.max_epochs == plain.state.max_epochs == 3
    assert ours.state.epoch_length == plain.state.epoch_length
    assert ours.amp == plain.amp

    batch = next(iter(loaders.training))
    for image, place in zip(batch["image"], places[0], strict=True):
        assert torch.equal(image, chain(items[place])["image"].as_tensor())

    mine, theirs = first_losses(ours), first_losses(plain)
    assert mine == pytest.approx(theirs, abs=1e-4)


CHOSEN: dict[str, Callable[[PipelineBuilder], PipelineBuilder]] = {
    "nothing": lambda builder: builder,
    "a network": lambda builder: builder.network("resnet18"),
    "a transform": lambda builder: builder.transform("rand_flip"),
    "a loss": lambda builder: builder.trainer("supervised", loss=medpipe.step("focal")),
}


@pytest.mark.parametrize("samples", [54, 47_163])
@pytest.mark.parametrize("chosen", CHOSEN)
def test_with_mednist_the_settings_are_the_tutorials(chosen: str, samples: int) -> None:
    configuration = CHOSEN[chosen](PipelineBuilder()).build().configuration
    task = Task(names=("a", "b", "c", "d", "e", "f"))
    data = DataInfo(task=task, channels=1, spatial_shape=(64, 64), spatial_dims=2, outputs=6)
    configuration, found = config.decided(
        configuration, data, samples, earlier={}, registry=Registry.discover()
    )
    assert found["loader.batch_size"] == 512
    assert configuration.dataset.name == "mednist"
    names = [step.name for step in configuration.transforms]
    added = ["rand_flip"] if chosen == "a transform" else []
    assert names == [*config.DEFAULT_TRANSFORMS, *added]
    network: Any = configuration.network
    assert network.name == ("resnet18" if chosen == "a network" else "densenet121")
    if chosen != "a network":
        assert (network.init_features, network.growth_rate) == (64, 32)
    trainer: Any = configuration.trainer
    assert (trainer.name, trainer.max_epochs, trainer.learning_rate) == ("supervised", 3, 1e-5)
    assert (trainer.optimizer.name, trainer.schedule.name, trainer.precision) == (
        "adam",
        "constant",
        "float32",
    )
    loader, split, run = configuration.loader, configuration.split, configuration.run
    assert (loader.batch_size, loader.workers, loader.sampling) == (512, 30, "shuffled")
    assert (split.validation, split.test, FRACTION, split.seed) == (None, None, 0.1, 0)
    assert (run.seed, run.device) == (0, "auto")


def test_the_fractions_are_those_of_monais_data_set() -> None:
    from monai.apps import MedNISTDataset

    signature = inspect.signature(MedNISTDataset.__init__).parameters
    assert signature["val_frac"].default == FRACTION
    assert signature["test_frac"].default == FRACTION
