"""How files to predict reach the network: their list, portions, and the way out of a worker."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medpipe import Run
from medpipe.data.loading.sample_batches import EPOCHS, NARROW
from medpipe.prediction import batches
from medpipe.prediction.file_samples import FileSamples
from medpipe.steps import Series
from support.folders import image_folder
from support.trained import run_on

names = st.text(st.characters(exclude_categories=()), min_size=1)  # lone surrogates among them


@given(st.dictionaries(names, names | st.tuples(names, names) | st.builds(Path, st.just("a"))))
def test_the_list_of_files_gives_the_samples_that_were_put_in(images: dict[str, Any]) -> None:
    found: FileSamples = pickle.loads(pickle.dumps(FileSamples(images, 2)))
    expected = [(id_, image, 2) for id_, image in images.items()]
    for part in (slice(None), slice(1, None), slice(-2, None)):
        assert [(one.id, one.image, one.label) for one in found[part]] == expected[part]
    assert len(list(found)) == len(found) == len(expected)


def test_a_series_stays_what_it_is() -> None:
    series = Series(files=("a", "b"))
    found = FileSamples({"a": series, "c": "d"}, 0)
    assert found[0].image is series
    assert found[1].image == "d"


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0.0, 255.0], np.uint8),
        ([0.0, 256.0], np.uint16),
        ([0.0, 0.5], np.float32),
        ([0.0, -0.0], np.float32),
        ([0.0, np.nan], np.float32),
    ],
)
def test_images_are_sent_narrower_where_no_bit_changes(values: list[float], dtype: type) -> None:
    image = torch.tensor(values).reshape(2, 1, 1, 1)
    sent = batches._sent({"image": image, "id": ["a", "b"], EPOCHS: [0, 0]})
    assert sent["image"].dtype == dtype
    group = batches._received(pickle.loads(pickle.dumps(sent)))
    again = group["image"].float()
    assert again.numpy().tobytes() == image.numpy().tobytes()
    for place, one in enumerate(batches._singles(group)):
        assert one[NARROW] is True
        assert one["id"] == [["a", "b"][place]]
        assert one["image"].float().numpy().tobytes() == image[place : place + 1].numpy().tobytes()


def test_neither_portions_nor_the_way_out_of_a_worker_change_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder(tmp_path / "xray", samples=24)
    monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path / "cache"))
    run_on(root, tmp_path / "run")
    run = Run.load(tmp_path / "run")
    (root / "bad.png").write_bytes(b"no image")
    usual = run.predict(root)
    assert len(usual) == 24
    assert len(usual.errors) == 1
    for name in ("PORTION", "PIPED"):
        with monkeypatch.context() as patch:
            patch.setattr(batches, name, 0)
            found = run.predict(root)
        assert found.ids == usual.ids
        assert found.errors == usual.errors
        np.testing.assert_array_equal(found.scores, usual.scores)
