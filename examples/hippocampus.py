"""Train a U-Net on the hippocampus of the Medical Segmentation Decathlon, and report its Dice.

The folder ``Task04_Hippocampus`` or ``Task04_Hippocampus.tar.gz`` is looked for in the folder that
the environment variable ``MEDPIPE_DATA`` names; of the folds in its ``folds.csv`` the first is the
test. Without it: volumes that medpipe draws itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import medpipe
from medpipe.plugin import cache_directory, extract_archive

NAME = "Task04_Hippocampus"
# Most volumes fit in a patch of this size; of larger ones a part is trained on.
PATCH = (40, 56, 40)
EPOCHS = 40
BATCH = 2
LEARNING_RATE = 5e-2
NETWORK = {"act": "relu", "bias": False}
AUGMENTATION = {"rotate_range": 0.25, "scale_range": 0.15, "translate_range": 0.06}
# Of the drawn volumes, which a small network learns in a few epochs.
DRAWN = {"samples": 64, "size": 24}
DRAWN_PATCH = (24, 24, 24)
DRAWN_BATCH = 2
DRAWN_EPOCHS = 12
DRAWN_RATE = 3e-2
DRAWN_NETWORK = {"channels": (8, 16, 32), "strides": (2, 2), **NETWORK}


def find() -> Path | None:
    """The folder of the data; an archive is extracted once, into the cache directory."""
    places = os.environ.get("MEDPIPE_DATA")
    if not places:
        return None
    root = Path(places).expanduser()
    if (root / NAME / "dataset.json").is_file():
        return root / NAME
    archive = root / f"{NAME}.tar.gz"
    if not archive.is_file():
        return None
    return extract_archive(archive, cache_directory() / "datasets" / NAME, replace=True) / NAME


def choose() -> medpipe.PipelineBuilder:
    """Choose the data, and what fits them."""
    root = find()
    builder = medpipe.PipelineBuilder()
    if root is None:
        print(f"There is no {NAME} in MEDPIPE_DATA, so 'phantom_masks' is used: drawn volumes.")
        builder = builder.dataset("phantom_masks", dims=3, **DRAWN)
        builder = builder.network("unet", **DRAWN_NETWORK)
        patch, epochs, batch, rate = DRAWN_PATCH, DRAWN_EPOCHS, DRAWN_BATCH, DRAWN_RATE
    else:
        folds = "folds.csv" if (root / "folds.csv").is_file() else None
        builder = builder.dataset("decathlon", root=root, folds=folds)
        builder = builder.network("unet", **NETWORK)
        patch, epochs, batch, rate = PATCH, EPOCHS, BATCH, LEARNING_RATE
    return (
        builder.transforms(
            "load_image",
            "ensure_channel_first",
            "normalize_intensity",
            medpipe.step("spatial_pad", spatial_size=patch),
            medpipe.step("divisible_pad", k=8),  # the network halves each side three times
            "to_tensor",
            medpipe.step("rand_spatial_crop_samples", spatial_size=patch),
            medpipe.step("augment", **AUGMENTATION),
        )
        .trainer(
            "supervised",
            max_epochs=epochs,
            learning_rate=rate,
            loss="dice_ce",
            optimizer=medpipe.step("muon"),
            schedule=medpipe.step("one_cycle"),
            precision="auto",
        )
        .loader(batch_size=batch)
        .inferer("shifts")
    )


def main() -> None:
    """Choose, train, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", help="the run directory; by default runs/<data set>-<time>")
    parser.add_argument("--resume", action="store_true", help="resume the run in --output")
    arguments = parser.parse_args()
    pipeline = choose().build()
    run = pipeline.run(arguments.output, resume=arguments.resume)
    if run.status != "finished":  # by SIGTERM, as schedulers send it
        sys.exit(f"The run is not finished. Resume it with --output {run.path} --resume")

    test = run.metrics["test"]
    interval = test["intervals"]["dice"]
    spread = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    used = NAME if pipeline.configuration.dataset.name == "decathlon" else "drawn volumes"
    print(f"Test Dice {test['dice']:.4f} on {test['images']} images of {used}{spread}")
    print(f"The run is in {run.path}")
    print("Next: your own masks: docs/how-to/segmentation.md")


if __name__ == "__main__":
    main()
