"""The same by medpipe: ``python -m benchmarks.segmentation.library FOLDER EPOCHS SEED SCRATCH``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.segmentation.script import processor_seconds
from medpipe import Pipeline, PipelineBuilder, step

PATCH = (40, 56, 40)
"""84 % of the volumes fit."""


def pipeline(root: Path, epochs: int, *, seed: int = 0) -> Pipeline:
    """Much as `examples/hippocampus.py` has it."""
    return (
        PipelineBuilder(seed=seed, device="cpu")
        .dataset("decathlon", root=root, folds="folds.csv", test_fold=0)
        .transforms(
            step("load_image"),
            step("ensure_channel_first"),
            step("orientation"),
            step("normalize_intensity"),
            step("spatial_pad", spatial_size=PATCH),
            step("divisible_pad", k=8),
            step("to_tensor"),
            step("rand_spatial_crop_samples", spatial_size=PATCH),
            step("augment", prob=0.9, rotate_range=0.25, translate_range=0.06, scale_range=0.15),
        )
        .network("unet")
        .trainer(
            "supervised",
            max_epochs=epochs,
            learning_rate=1.2e-2,
            optimizer=step("adamw", betas=(0.9, 0.98)),
            schedule="one_cycle",
            precision="bfloat16",
        )
        .loader(batch_size=2)
        .split(validation=0.05)
        .build()
    )


def main(root: Path, epochs: int, seed: int, scratch: Path) -> dict[str, Any]:
    """Train, and read what the run says of its test."""
    run = pipeline(root, epochs, seed=seed).run(scratch / f"hippocampus-{epochs}-{seed}")
    trained = processor_seconds()
    predictions = run.predictions("test")
    cases = predictions.scores.reshape(len(predictions), len(run.data.task.names), -1)
    return {
        "dice": cases[:, :, 0].mean(axis=0).tolist(),
        "intervals": run.metrics["test"]["intervals"]["dice"],
        "timings": run.timings,
        "total": trained,
    }


if __name__ == "__main__":
    folder, epochs, seed, scratch = sys.argv[1:]
    print(json.dumps(main(Path(folder), int(epochs), int(seed), Path(scratch))))
