"""Finished folds of a small run, to be taken together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import medpipe
from support.folders import image_folder


def builder(root: Path, seed: int = 0, **options: Any) -> medpipe.PipelineBuilder:
    return (
        medpipe.PipelineBuilder(device="cpu", seed=seed)
        .dataset("image_folder", root=str(root), group_pattern=r"(p\d+)_")
        .network("resnet10", widen_factor=0.125)
        .trainer("supervised", **{"max_epochs": 1, "learning_rate": 1e-3, **options})
        .loader(batch_size=16, workers=0)
        .split(folds=3)
    )


def finish(folder: Path) -> Path:
    """Three folds of which the first was run with two seeds, and one run of other epochs."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = image_folder(folder / "images", samples=60, size=32)
    for fold in range(3):
        builder(root).split(fold=fold).build().run(folder / "folds" / f"fold-{fold}")
    builder(root, seed=1).split(fold=0).build().run(folder / "again")
    builder(root, max_epochs=2).split(fold=1).build().run(folder / "longer")
    torch.set_num_threads(threads)
    return folder
