"""Small trained runs on image files, shared by the tests of prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe import PipelineBuilder

if TYPE_CHECKING:
    from pathlib import Path

    from medpipe import Run


def builder(**loader: Any) -> PipelineBuilder:
    """A network of a registered step, so that a run can be loaded again."""
    return (
        PipelineBuilder(device="cpu")
        .network("resnet10", widen_factor=0.125, conv1_t_size=3)
        .trainer("supervised", max_epochs=1, learning_rate=3e-3)
        .loader(batch_size=16, **{"workers": 0, **loader})
        .split(validation=0.2, test=0.2)
    )


def run_on(root: Path, output: Path) -> Run:
    """A run on a folder of classes."""
    return builder().dataset("image_folder", root=root, channels=1).build().run(output)


def write_png(path: Path, values: Any) -> Path:
    """Write one image."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path
