"""Fine-tuning on few images beats training on them from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medpipe import PipelineBuilder

if TYPE_CHECKING:
    from pathlib import Path


def drawn(samples: int, seed: int, epochs: int) -> PipelineBuilder:
    """A training on drawn images; another seed draws other images."""
    return (
        PipelineBuilder(device="cpu")
        .dataset("phantom", samples=samples, size=32, seed=seed)
        .network("resnet10", widen_factor=0.25, conv1_t_size=3)
        .trainer("supervised", max_epochs=epochs, learning_rate=1e-3)
        .loader(batch_size=16, workers=0)
    )


@pytest.mark.long
def test_with_few_images_a_run_on_other_images_is_a_better_start_than_none(tmp_path: Path) -> None:
    first = drawn(600, seed=1, epochs=3).split(validation=0.1, test=0.1).build().run(tmp_path / "1")
    accuracy: dict[str, list[float]] = {"scratch": [], "tuned": []}
    for seed in (11, 12, 13):
        few = drawn(400, seed=seed, epochs=4).split(validation=0.1, test=0.8).settings(seed=seed)
        starts = {"scratch": few, "tuned": few.weights(run=first.path, skip=["^fc"])}
        for name, builder in starts.items():
            run = builder.build().run(tmp_path / f"{name}{seed}")
            accuracy[name].append(run.metrics["test"]["balanced_accuracy"])
    # Measured: 0.99 to 1.00 against 0.25 to 0.31.
    assert min(accuracy["tuned"]) > max(accuracy["scratch"]) + 0.2, accuracy
