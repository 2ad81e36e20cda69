"""The phantom data set: drawn images, the same on every machine."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import numpy as np
import pytest

from medpipe.builtin.datasets import phantom
from medpipe.builtin.datasets.phantom import Phantom
from medpipe.plugin import Dataset, Reading

NAMES = ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Phantom().build()


def pixels(dataset: Dataset) -> np.ndarray:
    return np.stack([np.asarray(sample.image) for sample in dataset.samples])


def test_the_bytes_are_pinned(dataset: Dataset) -> None:
    digest = hashlib.sha256(pixels(dataset).tobytes()).hexdigest()
    assert digest == "0a39656f408f9b6099613214f918124fae371b59cf68614d9a45a8600ef1b8aa"


def test_what_it_lists(dataset: Dataset) -> None:
    assert dataset.task.kind == "multiclass"
    assert dataset.task.names == NAMES
    assert dataset.reading == Reading()
    assert len({sample.id for sample in dataset.samples}) == 1200
    assert dataset.samples[123].id == "phantom/000123"
    assert set(Counter(sample.label for sample in dataset.samples).values()) == {200}
    assert {(sample.group, sample.split) for sample in dataset.samples} == {(None, None)}
    assert pixels(dataset).shape == (1200, 64, 64)
    assert pixels(dataset).dtype == np.uint8


def test_no_two_images_are_equal(dataset: Dataset) -> None:
    assert len({image.tobytes() for image in pixels(dataset)}) == 1200


def test_the_mean_tone_does_not_give_the_class_away(dataset: Dataset) -> None:
    labels = np.array([sample.label for sample in dataset.samples])
    tones = pixels(dataset).mean(axis=(1, 2)).astype(int) // 4
    right = sum(Counter(labels[tones == tone].tolist()).most_common(1)[0][1] for tone in set(tones))
    assert right / len(labels) < 0.6


def test_a_small_network_learns_it(dataset: Dataset) -> None:
    import torch
    from torch import nn

    images = torch.from_numpy(pixels(dataset)[:, None]).float() / 255
    labels = torch.tensor([sample.label for sample in dataset.samples])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 64, 6)),
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        for _ in range(100):
            batch = torch.randint(0, 900, (32,))
            loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = network(images[900:]).argmax(1) == labels[900:]
    assert right.float().mean() > 0.95


@pytest.mark.parametrize(("samples", "size"), [(12, 16), (13, 33), (14, 513)])
def test_other_numbers_and_sizes(samples: int, size: int) -> None:
    first = Phantom(samples=samples, size=size).build()
    assert pixels(first).shape == (samples, size, size)
    assert [sample.label for sample in first.samples] == [n % 6 for n in range(samples)]
    assert (pixels(first) == pixels(Phantom(samples=samples, size=size).build())).all()
    assert (pixels(first) != pixels(Phantom(samples=samples, size=size, seed=1).build())).any()


def test_everything_is_drawn_in_one_precision() -> None:
    """A stray float64 would be kept by some versions of numpy and not by others."""
    bits = np.random.PCG64(0)
    on = phantom._Sheet(bits, 2, 16)
    one, two = on.vary(0, 1), on.vary(0, 1)
    drawn = (one, on.x, on.y, on.ellipse(0, 0.1, 0.2, 0.3, 0.1), on.ellipse(one, 0, 0.2, two))
    assert {value.dtype for value in drawn} == {np.dtype(np.float32)}
    assert {v.dtype for v in on.rod((one, one), (two, one), 0.1)} == {np.dtype(np.float32)}
    assert on.texture(5).dtype == np.float32


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"samples": 11}, "'samples' must be >= 12: 11"),
        ({"size": 15}, "'size' must be >= 16: 15"),
        ({"seed": -1}, "'seed' must be >= 0: -1"),
    ],
)
def test_wrong_parameters(parameters: dict[str, int], expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        Phantom(**parameters)
