"""Small runs of every task to export, shared by the tests of exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medpipe import Dataset, PipelineBuilder, Sample, Task
from support.drawn_dicom import write_dicom
from support.trained import write_png

if TYPE_CHECKING:
    from medpipe import Run

RESIZED = (
    "load_image",
    "ensure_channel_first",
    ("resize", {"spatial_size": [24, 24]}),
    "scale_intensity",
    "to_tensor",
)


def small(builder: PipelineBuilder, output: Path) -> Run:
    """Train for an epoch."""
    return (
        builder.trainer("supervised", max_epochs=1, learning_rate=3e-3)
        .loader(batch_size=8, workers=0)
        .split(validation=0.3, test=0.3)
        .build()
        .run(output)
    )


def on_cpu() -> PipelineBuilder:
    """A builder for the CPU."""
    return PipelineBuilder(device="cpu")


def with_chain(builder: PipelineBuilder, chain: Any) -> PipelineBuilder:
    """The steps of a chain, of which some have parameters."""
    from medpipe import step

    made = [one if isinstance(one, str) else step(one[0], **one[1]) for one in chain]
    return builder.transforms(*made)


def resnet(builder: PipelineBuilder) -> PipelineBuilder:
    """A small network of a registered step."""
    return builder.network("resnet10", widen_factor=0.125, conv1_t_size=3)


def mixed_files(root: Path, samples: int = 48) -> Path:
    """Two classes: PNG of 8 and 16 bits, and DICOM with a rescale, of three sizes."""
    random = np.random.default_rng(1)
    for number in range(samples):
        side = (24, 32, 40)[number // 3 % 3]
        bright = number % 2
        values = random.integers(0, 60, (side, side + 4)) + 120 * bright
        folder = root / ("dark", "bright")[bright]
        kind = number % 3
        if kind == 0:
            write_png(folder / f"{number}.png", values.astype(np.uint8))
        elif kind == 1:
            write_png(folder / f"{number}.png", (values * 200).astype(np.uint16))
        else:
            stored = (values * 10).astype(np.int16)
            rescale = {"RescaleSlope": 0.5, "RescaleIntercept": -1024.0}
            write_dicom(folder / f"{number}.dcm", stored, **rescale)
    return root


def in_memory(task: Task, label: Any, *, shape: tuple[int, ...], samples: int = 48) -> Dataset:
    """Drawn images whose brightness is what is asked for."""
    random = np.random.default_rng(2)
    made = []
    for number in range(samples):
        values = random.integers(0, 100, shape) + number
        image: Any = values.astype(np.uint8)
        if len(shape) == 3:
            from medpipe.plugin import DecodedImage

            image = DecodedImage(values=image)
        made.append(Sample(id=f"{number:03d}", image=image, label=label(number)))
    return Dataset(samples=made, task=task)
