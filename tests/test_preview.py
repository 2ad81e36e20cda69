"""The preview shows the images of the first training batch, as the network gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medpipe
from medpipe.errors import CheckFailed
from support.reported import builder


def pictures(figure: Any) -> list[list[Any]]:
    """The arrays of the figure's axes, in rows."""
    rows: dict[int, list[Any]] = {}
    for axes in figure.axes:
        place = axes.get_subplotspec().rowspan.start
        rows.setdefault(place, []).append(np.asarray(axes.images[0].get_array()))
    return list(rows.values())


def test_it_shows_the_first_batch_upright(tmp_path: Path) -> None:
    pipeline = (
        medpipe.PipelineBuilder(device="cpu")
        .dataset("phantom", samples=60, size=48)
        .transform("rand_rotate", range_x=0.5, prob=1.0)
        .transform("rand_scale_intensity", factors=0.5, prob=1.0)
        .loader(batch_size=16, workers=0)
        .split(validation=0.2, test=0.2)
        .build()
    )
    figure = pipeline.preview(3, epochs=2)
    loaders = pipeline.build_loaders()
    batches = [next(iter(loaders.training))]
    shown = pictures(figure)
    assert len(shown) == 3
    dataset = {sample.id: sample for sample in pipeline.check().prepared.dataset.samples}
    for row, id_, image in zip(shown, batches[0]["id"], batches[0]["image"], strict=False):
        before = dataset[id_].image / 1.0
        low, high = before.min(), before.max()
        np.testing.assert_allclose(row[0], (before - low) / (high - low), atol=1e-6)
        # The chain has the width first, and scales to [0, 1] before the random steps.
        drawn = np.clip(image[0].numpy().T, 0, 1)
        np.testing.assert_allclose(row[1], drawn, atol=1e-5)
        assert not np.allclose(row[1], row[2], atol=0.01)
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert titles == ["before", "epoch 1", "epoch 2"]
    figure.savefig(tmp_path / "preview.png")
    assert (tmp_path / "preview.png").stat().st_size > 5000
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_it_shows_the_middle_slice_of_volumes(tmp_path: Path) -> None:
    pipeline = (
        builder(tmp_path, "multiclass", volumes=True).transform("rand_flip", prob=1.0).build()
    )
    rows = pictures(pipeline.preview(2, epochs=1))
    assert len(rows) == 2
    for before, after in rows:
        assert before.ndim == after.ndim == 2
        assert before.std() > 0.01


def test_data_that_can_not_be_trained_on_is_named(tmp_path: Path) -> None:
    pipeline = medpipe.PipelineBuilder().dataset("image_folder", root=str(tmp_path)).build()
    with pytest.raises(CheckFailed):
        pipeline.preview()
