"""`load_image` and `ensure_channel_first` give what MONAI's classes give, metadata and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirstd
from PIL import Image

from medpipe import Registry
from medpipe.plugin import DecodedImage, Reading, TransformStep

AFFINE = np.diag([0.5, -2.0, 3.0, 1.0])


def made(name: str, **parameters: Any) -> Any:
    return Registry.discover().create(TransformStep, name, parameters).build()


def image(axes: int, channels: bool, affine: bool) -> DecodedImage:
    shape = (6, 5, 4)[:axes] + (3,) * channels
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    return DecodedImage(values=values, channels=channels, affine=AFFINE if affine else None)


def same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert torch.equal(one, other)
    assert one.dtype == other.dtype
    if isinstance(one, MetaTensor):
        assert one.meta.keys() == other.meta.keys()
        for key, value in one.meta.items():
            np.testing.assert_array_equal(value, other.meta[key])
        assert torch.equal(one.affine, other.affine)
        assert one.applied_operations == other.applied_operations == []
        assert one.is_batch is other.is_batch
        assert one.pending_operations == other.pending_operations == []
        assert one.peek_pending_shape() == other.peek_pending_shape()
        assert one.spatial_ndim == other.spatial_ndim


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("order", ["wh", "hw"])
def test_an_image_as_its_constructor_would_make_it(
    axes: int, channels: bool, affine: bool, order: str
) -> None:
    given = image(axes, channels, affine)
    loaded = made("load_image", axes=order)({"image": given, "id": "x"})["image"]
    values = given.values.swapaxes(0, 1) if order == "wh" else given.values
    swapped = AFFINE if order == "wh" else AFFINE[:, [1, 0, 2, 3]]
    meta = {
        "original_channel_dim": -1 if channels else float("nan"),
        "filename_or_obj": "x",
        "space": "RAS",
        "spacing_of": "patient" if affine else "unknown",
    }
    place = torch.from_numpy(swapped.copy()) if affine else None
    expected = MetaTensor(
        torch.from_numpy(values.astype(np.float32)), affine=place, meta=dict(meta)
    )
    same(loaded, expected)
    ours = made("ensure_channel_first")({"image": loaded})["image"]
    theirs = EnsureChannelFirstd("image")({"image": expected})["image"]
    same(ours, theirs)


@pytest.mark.parametrize("channel_dim", ["no_channel", 0, -1])
def test_a_channel_dimension_that_is_said_counts(channel_dim: Any) -> None:
    values = torch.arange(24.0).reshape(2, 3, 4)
    for tensor in (values, MetaTensor(values, meta={"original_channel_dim": 1})):
        ours = made("ensure_channel_first", channel_dim=channel_dim)({"image": tensor})["image"]
        theirs = EnsureChannelFirstd("image", channel_dim=channel_dim)({"image": tensor})["image"]
        same(ours, theirs)


def test_without_a_word_about_channels_monai_says_so() -> None:
    for tensor in (torch.zeros(3, 4), MetaTensor(torch.zeros(3, 4))):
        with pytest.raises(ValueError, match="channel_dim"):
            made("ensure_channel_first")({"image": tensor})


def test_what_one_image_says_reaches_no_other() -> None:
    load = made("load_image")
    one, other = (load({"image": image(2, False, False), "id": i})["image"] for i in "ab")
    one.affine[0, 0] = 7
    one.meta["note"] = "mine"
    assert float(other.affine[0, 0]) == 1
    assert "note" not in other.meta
    assert (one.meta["filename_or_obj"], other.meta["filename_or_obj"]) == ("a", "b")
    assert "note" not in load({"image": image(2, False, False), "id": "c"})["image"].meta


def test_a_decoded_image_is_named_by_its_file(tmp_path: Path) -> None:
    from medpipe.plugin import read_sample_image, source_of

    file = tmp_path / "a.png"
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(file)
    decoded = read_sample_image(str(file), Reading())
    assert source_of(str(file)) == str(file)
    assert source_of((file, file)) == str(file)
    assert source_of(decoded) is None
    import attrs

    named = attrs.evolve(decoded, source=str(file))
    assert made("load_image")({"image": named, "id": "x"})["image"].meta["filename_or_obj"] == str(
        file
    )
