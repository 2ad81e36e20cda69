"""The plain MONAI script: what a careful user would write for a set of the decathlon.

``python -m benchmarks.segmentation.script SET FOLDER EPOCHS SEED`` ends with a line of JSON.
"""

from __future__ import annotations

import csv
import json
import resource
import sys
from pathlib import Path
from typing import Any

TEST_FOLD = "0"
BATCH = 8
PATCHES = {"hippocampus": (32, 48, 32), "organs": (64, 64, 24)}
STRUCTURES = {"hippocampus": 2, "organs": 4}


def pairs(root: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The training and the test pairs: published fold 0 is the test."""
    training: list[dict[str, str]] = []
    test: list[dict[str, str]] = []
    for row in csv.DictReader((root / "folds.csv").open(encoding="utf-8")):
        pair = {key: str(root / row[key]) for key in ("image", "label")}
        (test if row["fold"] == TEST_FOLD else training).append(pair)
    return training, test


def main(name: str, root: Path, epochs: int, seed: int) -> dict[str, Any]:
    """Train, and measure the mean Dice of each structure on the test."""
    import torch
    from monai.data import CacheDataset, DataLoader, decollate_batch
    from monai.inferers import sliding_window_inference
    from monai.losses import DiceCELoss
    from monai.metrics import DiceMetric
    from monai.networks.nets import UNet
    from monai.transforms import (
        AsDiscrete,
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        NormalizeIntensityd,
        Orientationd,
        RandAffined,
        RandCropByPosNegLabeld,
        SpatialPadd,
    )
    from monai.utils import set_determinism

    set_determinism(seed=seed)
    patch, classes = PATCHES[name], STRUCTURES[name] + 1
    keys = ["image", "label"]
    prepared = [
        LoadImaged(keys=keys),
        EnsureChannelFirstd(keys=keys),
        Orientationd(keys=keys, axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
        NormalizeIntensityd(keys="image"),
    ]
    random = [
        SpatialPadd(keys=keys, spatial_size=patch),
        RandCropByPosNegLabeld(
            keys=keys, label_key="label", spatial_size=patch, pos=1, neg=1, num_samples=2
        ),
        RandAffined(
            keys=keys,
            prob=0.75,
            rotate_range=(0.25,) * 3,
            scale_range=(0.15,) * 3,
            mode=("bilinear", "nearest"),
            padding_mode="border",
        ),
    ]
    training, test = pairs(root)
    cached = CacheDataset(training, Compose([*prepared, *random]), progress=False)
    loader = DataLoader(cached, batch_size=BATCH // 2, shuffle=True)
    network = UNet(3, 1, classes, channels=(16, 32, 64, 128), strides=(2, 2, 2), norm="batch")
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(epochs):
        network.train()
        for batch in loader:
            optimizer.zero_grad()
            loss(network(batch["image"]), batch["label"]).backward()
            optimizer.step()
    trained = processor_seconds()
    network.eval()
    metric: Any = DiceMetric(include_background=False, reduction="mean_batch")
    one_hot: Any = AsDiscrete(to_onehot=classes)
    answer: Any = AsDiscrete(argmax=True, to_onehot=classes)
    with torch.no_grad():
        for batch in DataLoader(CacheDataset(test, Compose(prepared), progress=False)):
            outputs = sliding_window_inference(batch["image"], patch, 4, network)
            metric(
                [answer(one) for one in decollate_batch(outputs)],
                [one_hot(one) for one in decollate_batch(batch["label"])],
            )
    dice: list[float] = metric.aggregate().tolist()
    return {"dice": dice, "training": trained, "total": processor_seconds()}


def processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    name, folder, epochs, seed = sys.argv[1:]
    print(json.dumps(main(name, Path(folder), int(epochs), int(seed))))
