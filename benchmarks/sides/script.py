"""The plain MONAI script, as the tutorial has it and a careful user would extend it.

The tutorial's MedNISTDataset is a CacheDataset over the files of a folder for each class; so is
this, so that any such folder will do.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from benchmarks.files import SUFFIXES
from benchmarks.machine import cores
from benchmarks.sides.arguments import (
    ANGLE,
    HALF,
    ZOOM,
    Options,
    answer,
    from_command,
    now,
)

if TYPE_CHECKING:
    import torch
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import Compose

    from benchmarks.measuring import Figures

    Rows = list[dict[str, Any]]


def listed(options: Options) -> tuple[dict[str, Rows], int]:
    """The files of each part, and the number of classes."""
    folders = sorted(folder for folder in options.data.iterdir() if folder.is_dir())
    rows = [
        {"image": str(file), "label": label}
        for label, folder in enumerate(folders)
        for file in sorted(folder.iterdir())
        if file.name.lower().endswith(SUFFIXES)
    ]
    random.Random(0).shuffle(rows)
    held = round(options.held_out * len(rows))
    parts = {
        "validation": rows[:held],
        "test": rows[held : 2 * held],
        "training": rows[2 * held :],
    }
    return parts, len(folders)


def transforms(options: Options, *, training: bool) -> Compose:
    """The tutorial's transforms, with resizing and augmentation where they are asked for."""
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        RandFlipd,
        RandRotated,
        RandZoomd,
        Resized,
        ScaleIntensityd,
        ToTensord,
    )

    steps: list[Any] = [
        LoadImaged("image", image_only=True),
        EnsureChannelFirstd("image"),
        ScaleIntensityd("image"),
    ]
    if options.input_side:
        steps.append(Resized("image", spatial_size=(options.input_side, options.input_side)))
    steps.append(ToTensord("image"))
    if options.augment and training:
        # At the end: a CacheDataset keeps what comes before the first random transform.
        steps += [
            RandFlipd("image", prob=HALF, spatial_axis=0),
            RandRotated("image", prob=HALF, range_x=ANGLE),
            RandZoomd("image", prob=HALF, min_zoom=ZOOM[0], max_zoom=ZOOM[1]),
        ]
    return Compose(steps)


def cached(rows: Rows, options: Options, *, training: bool = True) -> CacheDataset:
    """A part, its deterministic transforms' results in memory, made by a thread for each core."""
    from monai.data import CacheDataset

    chain = transforms(options, training=training)
    return CacheDataset(rows, chain, num_workers=cores(), progress=False)


def loader(data: CacheDataset, options: Options, *, shuffle: bool = True) -> DataLoader:
    from monai.data import DataLoader

    return DataLoader(
        data, batch_size=options.batch_size, shuffle=shuffle, num_workers=options.workers
    )


def made_network(options: Options, classes: int) -> torch.nn.Module:
    from monai.networks import nets

    volumes = any(file.name.endswith(".nii.gz") for file in options.data.glob("*/*.nii.gz"))
    if options.network == "densenet121":
        return nets.DenseNet121(
            spatial_dims=3 if volumes else 2, in_channels=1, out_channels=classes
        )
    network: torch.nn.Module = getattr(nets, options.network)(
        spatial_dims=3 if volumes else 2, n_input_channels=1, num_classes=classes
    )
    return network


def trainer_of(
    network: torch.nn.Module, batches: DataLoader, options: Options, **arguments: Any
) -> Any:
    """The tutorial's SupervisedTrainer."""
    import torch
    from monai.engines import SupervisedTrainer
    from monai.inferers import SimpleInferer

    return SupervisedTrainer(
        device=next(network.parameters()).device,
        train_data_loader=batches,
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=options.learning_rate),
        loss_function=torch.nn.CrossEntropyLoss(),
        inferer=SimpleInferer(),
        **arguments,
    )


def accuracy(network: torch.nn.Module, batches: DataLoader) -> float:
    import torch

    device = next(network.parameters()).device
    right = total = 0
    network.eval()
    with torch.no_grad():
        for batch in batches:
            predicted = network(batch["image"].to(device)).argmax(dim=1)
            right += int((predicted == batch["label"].to(device)).sum())
            total += len(predicted)
    return right / total


def on_device(network: torch.nn.Module) -> torch.nn.Module:
    import torch

    return network.to("cuda:0" if torch.cuda.is_available() else "cpu")


def loading(options: Options) -> Figures:
    """From files to the first batch, then batches without training."""
    started = time.perf_counter()
    data = cached(listed(options)[0]["training"], options)
    batches = loader(data, options)
    next(iter(batches))
    figures = {"seconds": time.perf_counter() - started, "from_command": from_command()}
    if not options.seconds:
        return figures
    count, started = 0, 0.0
    while not started or time.perf_counter() - started < options.seconds:
        for _ in batches:
            if not started:
                started = time.perf_counter()  # the first has the workers' start in it
                continue
            count += 1
            if time.perf_counter() - started >= options.seconds:
                break
    return {**figures, "batches_per_second": count / (time.perf_counter() - started)}


def training(options: Options) -> Figures:
    """Iterations of the trainer, the second half of them timed, and what an end would take."""
    from ignite.engine import Events

    started = time.perf_counter()
    parts, classes = listed(options)
    data = cached(parts["training"], options)
    cache = time.perf_counter() - started
    network = on_device(made_network(options, classes))
    trainer = trainer_of(
        network,
        loader(data, options),
        options,
        max_epochs=2,
        epoch_length=options.iterations,
    )
    ends: list[float] = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: ends.append(now()))
    trainer.run()
    seconds = (ends[1] - ends[0]) / options.iterations
    steps = -(-len(data) // options.batch_size)
    return {
        "images_per_second": options.batch_size / seconds,
        "phases": {"files": cache, "training": options.epochs * steps * seconds},
        "extrapolated": True,
    }


def whole(options: Options) -> Figures:
    """Every epoch of it, validated where there is a validation split, and the test at the end."""
    from ignite.engine import Events

    started = time.perf_counter()
    parts, classes = listed(options)
    data = cached(parts["training"], options)
    validation = None
    if options.augment:  # the tutorial does not validate
        held = cached(parts["validation"], options, training=False)
        validation = loader(held, options, shuffle=False)
    filled = time.perf_counter()
    network = on_device(made_network(options, classes))
    trainer = trainer_of(network, loader(data, options), options, max_epochs=options.epochs)
    if validation is not None:
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: accuracy(network, validation))
    trainer.run()
    trained = now()
    test = loader(cached(parts["test"], options, training=False), options, shuffle=False)
    reached = accuracy(network, test)
    return {
        "phases": {
            "files": filled - started,
            "training": trained - filled,
            "test": now() - trained,
        },
        "accuracy": reached,
    }


if __name__ == "__main__":
    tasks = {"loading": loading, "training": training, "whole": whole}
    answer(tasks, importing=tasks)
