"""Volumes of blobs with two structures, in files with affines of several orientations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import attrs
import nibabel
import numpy as np

from medpipe import PipelineBuilder, Registry, step
from medpipe.plugin import Dataset, DatasetStep, LabelImage, Sample, Segmentation, Task, hookimpl

VALUES = ((0, ()), (2, (0,)), (5, (1,)))


@attrs.frozen(kw_only=True)
class Blobs(DatasetStep):
    """Volumes of different sizes; the mask has the values 2 (shell) and 5 (core)."""

    name: ClassVar[str] = "blobs"

    root: str
    samples: int = 20

    def build(self) -> Dataset:
        write(Path(self.root), self.samples)
        return Dataset(
            samples=[
                Sample(
                    id=f"b{number:02d}",
                    image=f"{self.root}/b{number:02d}.nii.gz",
                    label=LabelImage(image=f"{self.root}/m{number:02d}.nii.gz", values=VALUES),
                    group=f"p{number // 2}",
                )
                for number in range(self.samples)
            ],
            task=Task(kind=Segmentation(), names=("shell", "core")),
        )


def write(root: Path, samples: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for number in range(samples):
        if (root / f"m{number:02d}.nii.gz").exists():
            continue
        generator = np.random.default_rng(number)
        shape = tuple(int(side) for side in generator.integers(12, 17, 3))
        places = np.stack(np.meshgrid(*[np.arange(side) for side in shape], indexing="ij"))
        centre = np.array(shape) / 2 + generator.uniform(-2, 2, 3)
        distance = np.sqrt(((places - centre[:, None, None, None]) ** 2).sum(0))
        mask = np.zeros(shape, np.uint8)
        mask[distance < 5], mask[distance < 3] = 2, 5
        image = (mask > 0) + 1.0 * (mask == 5) + generator.normal(0, 0.2, shape)
        affine = np.diag([(-1.0) ** number, 1.5, 1.0, 1.0])[:, [1, 0, 2, 3]]
        affine[:3, 3] = number
        save(image.astype(np.float32), affine, root / f"b{number:02d}.nii.gz")
        save(mask, affine, root / f"m{number:02d}.nii.gz")


def save(values: Any, affine: Any, path: Path) -> None:
    made: Any = nibabel.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
    nibabel.save(made, path)  # type: ignore[no-untyped-call]


class Plugin:
    @hookimpl
    def medpipe_datasets(self) -> list[type[DatasetStep]]:
        return [Blobs]


REGISTRY = Registry.discover().with_plugin(Plugin(), name="blobs")
CHAIN = (
    step("load_image"),
    step("ensure_channel_first"),
    step("orientation"),
    step("normalize_intensity"),
    step("spatial_pad", spatial_size=(16, 16, 16)),
    step("to_tensor"),
    step("augment", scale_range=0.1),
)


def blobs(root: Path, *, epochs: int = 3, registry: Registry = REGISTRY, **loader: Any) -> Any:
    """A run on blobs that learns them."""
    return (
        PipelineBuilder(registry=registry, device="cpu")
        .dataset("blobs", root=str(root))
        .transforms(*CHAIN)
        .network("unet", channels=(8, 16), strides=(2,))
        .trainer("supervised", max_epochs=epochs, learning_rate=1e-2)
        .loader(batch_size=4, **{"workers": 0, **loader})
        .split(validation=0.2, test=0.2)
    )
