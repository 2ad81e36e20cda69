"""The same by medpipe: ``python -m benchmarks.segmentation.library FOLDER EPOCHS SCRATCH``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.segmentation.script import processor_seconds
from medpipe import Pipeline, PipelineBuilder, step

SIDES = (48, 64, 48)
"""All volumes fit."""


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
            step("spatial_pad", spatial_size=SIDES),
            step("to_tensor"),
            step("augment", prob=0.9, rotate_range=0.25, translate_range=0.06, scale_range=0.15),
        )
        .network("unet")
        .trainer("supervised", max_epochs=epochs, learning_rate=5e-3, optimizer="adamw")
        .loader(batch_size=4)
        .split(validation=0.05)
        .build()
    )


def main(root: Path, epochs: int, scratch: Path) -> dict[str, Any]:
    """Train, and read what the run says of its test."""
    run = pipeline(root, epochs).run(scratch / f"hippocampus-{epochs}")
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
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
