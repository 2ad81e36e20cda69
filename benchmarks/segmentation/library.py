"""The same by medpipe.

``python -m benchmarks.segmentation.library SET FOLDER EPOCHS SEED SCRATCH`` prints a line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.segmentation.script import PATCHES, processor_seconds
from medpipe import Pipeline, PipelineBuilder, step

HIPPOCAMPUS = (40, 56, 40)
"""84 % of the volumes fit."""


def chain(name: str) -> list[Any]:
    """The transforms, patches included."""
    loaded = [
        step("load_image"),
        step("ensure_channel_first"),
        step("orientation"),
        step("normalize_intensity"),
    ]
    moved = step("augment", prob=0.5, rotate_range=0.25, translate_range=0.06, scale_range=0.15)
    if name == "hippocampus":
        return [
            *loaded,
            step("spatial_pad", spatial_size=HIPPOCAMPUS),
            step("divisible_pad", k=8),
            step("to_tensor"),
            step("rand_spatial_crop_samples", spatial_size=HIPPOCAMPUS),
            moved,
        ]
    patches = step("rand_crop_by_label_classes", spatial_size=PATCHES[name], num_samples=2)
    return [*loaded, step("to_tensor"), patches, moved]


def pipeline(name: str, root: Path, epochs: int, *, seed: int = 0) -> Pipeline:
    """Much as `examples/hippocampus.py` has it."""
    builder = PipelineBuilder(seed=seed, device="cpu")
    if name == "hippocampus":
        builder = builder.inferer("shifts")
    else:
        builder = builder.inferer("sliding_window", roi_size=PATCHES[name])
    return (
        builder.dataset("decathlon", root=root, folds="folds.csv", test_fold=0)
        .transforms(*chain(name))
        .network("unet", act="relu", bias=False)
        .trainer(
            "supervised",
            max_epochs=epochs,
            learning_rate=5e-2,
            optimizer="muon",
            schedule="one_cycle",
            precision="bfloat16",
        )
        .loader(batch_size=2)
        .split(validation=0)
        .build()
    )


def main(name: str, root: Path, epochs: int, seed: int, scratch: Path) -> dict[str, Any]:
    """Train, and read what the run says of its test."""
    run = pipeline(name, root, epochs, seed=seed).run(scratch / f"{name}-{epochs}-{seed}")
    trained = processor_seconds()
    metrics = run.metrics["test"]
    return {
        "dice": [one["dice"] for one in metrics["name_table"].values()],
        "intervals": metrics["intervals"]["dice"],
        "timings": run.timings,
        "total": trained,
    }


if __name__ == "__main__":
    name, folder, epochs, seed, scratch = sys.argv[1:]
    print(json.dumps(main(name, Path(folder), int(epochs), int(seed), Path(scratch))))
