"""The plain MONAI script, as the tutorial has it; one figure of it for each call.

The tutorial's MedNISTDataset is a CacheDataset over the files of a folder for each class; so is
this, so that any such folder will do.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import Figures, arguments, report

if TYPE_CHECKING:
    import argparse

    from monai.data import CacheDataset, DataLoader


def cached(options: argparse.Namespace) -> tuple[CacheDataset, int]:
    """The training part, its transforms' results in memory, and the number of classes."""
    from monai.data import CacheDataset
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        ScaleIntensityd,
        ToTensord,
    )

    folders = sorted(folder for folder in Path(options.data).iterdir() if folder.is_dir())
    rows = [
        {"image": str(file), "label": label}
        for label, folder in enumerate(folders)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in (".jpeg", ".jpg", ".png")
    ]
    random.Random(0).shuffle(rows)
    transform = Compose(
        [
            LoadImaged("image", image_only=True),
            EnsureChannelFirstd("image"),
            ScaleIntensityd("image"),
            ToTensord("image"),
        ]
    )
    part = rows[: round(0.8 * len(rows))]  # as the tutorial: a tenth for each of the others
    data = CacheDataset(part, transform, num_workers=options.workers, progress=False)
    return data, len(folders)


def loader(data: CacheDataset, options: argparse.Namespace) -> DataLoader:
    from monai.data import DataLoader

    return DataLoader(
        data, batch_size=options.batch_size, shuffle=True, num_workers=options.workers
    )


def trained(options: argparse.Namespace) -> Figures:
    """Iterations of the tutorial's SupervisedTrainer."""
    import torch
    from ignite.engine import Events
    from monai.engines import SupervisedTrainer
    from monai.inferers import SimpleInferer
    from monai.networks.nets import DenseNet121

    started = time.perf_counter()
    data, classes = cached(options)
    ready = time.perf_counter() - started
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=classes).to(device)
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=options.iterations,
        epoch_length=1,
        train_data_loader=loader(data, options),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=1e-5),
        loss_function=torch.nn.CrossEntropyLoss(),
        inferer=SimpleInferer(),
    )
    ends: list[float] = []

    def note(_: Any) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    # The first iteration has the workers' start in it.
    seconds = (ends[-1] - ends[0]) / (len(ends) - 1)
    steps = -(-len(data) // options.batch_size)
    return {
        "images_per_second": options.batch_size / seconds,
        "whole_seconds": ready + 3 * steps * seconds,
    }


def first_batch(options: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    next(iter(loader(cached(options)[0], options)))
    return {"seconds": time.perf_counter() - started}


def batches(options: argparse.Namespace) -> Figures:
    data, _ = cached(options)
    count, started = 0, None
    while started is None or time.perf_counter() - started < options.seconds:
        for _ in loader(data, options):
            started = started or time.perf_counter()
            count += 1
            if time.perf_counter() - started >= options.seconds:
                break
    return {"batches_per_second": (count - 1) / (time.perf_counter() - started)}


if __name__ == "__main__":
    chosen = arguments()
    # MONAI takes seconds to import, for both sides alike: it is in the wall time alone.
    import monai.engines  # noqa: F401

    report({"first_batch": first_batch, "batches": batches, "train": trained}[chosen.row](chosen))
