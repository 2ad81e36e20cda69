"""Mistakes of a first project that would train on in silence: each is found before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch

import medpipe
from medpipe.plugin import Dataset, Sample, Task, TransformStep


@attrs.frozen(kw_only=True)
class Batched(TransformStep):
    """Doubles an image; what it does to a batch is set by a test."""

    name: ClassVar[str] = "batched"
    random: ClassVar[bool] = False
    wrong: str = ""

    def build(self) -> Any:
        return lambda sample: {**sample, "image": 2 * sample["image"]}

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        image = batch["image"]
        right = {**batch, "image": 2 * image}
        changes: dict[str, Any] = {
            "": right,
            "black": {**batch, "image": 0 * image},
            "mixed up": {**batch, "image": 2 * image.flip(0)},
            "cut": {**batch, "image": 2 * image[..., 1:]},
            "lost": {"image": 2 * image, "label": batch["label"]},
            "labels": {**right, "label": 1 - batch["label"]},
            "nothing": None,
            "rounded": {**batch, "image": 2 * image + 1e-3},
        }
        found: Mapping[str, Any] = changes[self.wrong]
        return found


def dataset(count: int = 100) -> Dataset:
    random = np.random.default_rng(0)
    samples = [
        Sample(
            id=f"{n:03}",
            image=random.normal(100 + 60 * (n % 2), 10, (16, 16)).astype(np.float32),
            label=n % 2,
            group=f"p{n // 2}",
        )
        for n in range(count)
    ]
    return Dataset(samples=samples, task=Task(names=("dark", "light")))


def builder(*transforms: Any, **trainer: Any) -> medpipe.PipelineBuilder:
    chain = ("load_image", "ensure_channel_first", "scale_intensity", "to_tensor")
    return (
        medpipe.PipelineBuilder(device="cpu")
        .dataset(dataset())
        .transforms(*chain, *transforms)
        .network("resnet10", widen_factor=0.0625, conv1_t_size=3)
        .trainer("supervised", **trainer)
        .loader(workers=0)
    )


def test_a_pipeline_without_a_mistake() -> None:
    report = builder(Batched()).build().check(deep=True)
    assert (report.problems, report.warnings) == ([], [])
    lines = str(report).splitlines()
    assert lines[0] == "The pipeline can run."
    assert lines[1:6] == [
        "samples     80 training, 10 validation, 10 test",
        "                      training  validation  test",
        "            dark            40           5     5",
        "            light           40           5     5",
        "            (groups)        40           5     5",
    ]
    assert "iterations  10 in an epoch, 1,000 in all" in lines
    assert repr(report) == "CheckReport(ok=True; print it to see all)"
    assert len(lines) <= 40


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("black", "gives other images for a batch than for its samples one at a time: the largest"),
        ("mixed up", "gives other images for a batch"),
        ("rounded", "the largest difference is 0.001"),
        ("cut", "gives images of the shape (1, 16, 15), not (1, 16, 16) as one at a time."),
        ("lost", "loses 'id' of a batch."),
        ("labels", "changes the labels of a batch."),
        ("nothing", "returned None for the batch of the sample '"),
    ],
)
def test_a_batched_form_that_does_something_else(wrong: str, said: str) -> None:
    report = builder(Batched(wrong=wrong)).build().check()
    (problem,) = [p for p in report.problems if p.path.startswith("transform")]
    assert problem.path in ("transform[4]", "transform")
    assert "the transform step 'batched' (not registered)" in problem.message
    assert said in problem.message
    assert str(report).startswith("The pipeline can't run: 1 problem.\nproblem     transform")


def test_a_transform_that_returns_nothing() -> None:
    def forgetful(sample: dict[str, Any]) -> Any:
        sample["image"] = sample["image"] * 2

    report = builder(forgetful).build().check()
    (problem,) = report.problems
    assert "returned None for the sample '" in problem.message
    assert problem.message.endswith("Return the sample, a dictionary.")


def test_images_of_one_value() -> None:
    def black(sample: dict[str, Any]) -> Any:
        return {**sample, "image": torch.zeros_like(sample["image"])}

    report = builder(black).build().check()
    assert report.warnings == [
        "each of the 4 training images that were tried leaves the transforms with a single value, "
        "such as 0."
    ]


@pytest.mark.parametrize(
    ("changed", "warnings"),
    [
        (
            lambda b: b.loader(batch_size=512).trainer("supervised", max_epochs=3),
            [
                "loader.batch_size = 512 is not below the 80 training samples, so that an epoch is "
                "one iteration. Lower it.",
                "the run has 3 iterations in all, and fewer than 100 are seldom enough. Raise "
                "trainer.max_epochs, or lower loader.batch_size.",
            ],
        ),
        (
            lambda b: b.loader(batch_size=512).trainer("supervised", max_epochs=3, epoch_length=20),
            [
                "the run has 60 iterations in all, and fewer than 100 are seldom enough. Raise "
                "trainer.max_epochs, or trainer.epoch_length.",
            ],
        ),
        (
            lambda b: b.trainer("supervised", learning_rate=1e-7),
            [
                "with a learning rate of 1e-07 at most, 1000 iterations hardly move a "
                "weight. Raise trainer.learning_rate, or leave it out."
            ],
        ),
    ],
)
def test_too_little_training_is_said(changed: Any, warnings: list[str]) -> None:
    report = changed(builder()).build().check()
    assert report.ok, report
    assert report.warnings == warnings
    assert f"\nwarning     {warnings[0]}\n" in str(report)


def test_a_network_that_does_not_move() -> None:
    class Stuck(torch.nn.Module):
        """Its output has a gradient, but no weight has one."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(256, 2)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = 0 * self.layer(image.flatten(1))
            return found

    report = builder().network(Stuck()).build().check()
    assert "trainer: no parameter of the network changed in 8 iterations of the trainer" in str(
        report
    )


def test_a_loss_that_does_not_fall_is_found_by_the_deep_check() -> None:
    slow = builder(learning_rate=1e-7, schedule="constant").build()
    assert slow.check().ok
    report = slow.check(deep=True)
    assert "trainer: the loss does not fall where 8 samples are trained on again and again" in str(
        report
    )


def test_a_loss_that_is_not_finite() -> None:
    report = (
        builder(learning_rate=1e30, optimizer="sgd", schedule="constant").build().check(deep=True)
    )
    assert "is not finite on 8 samples" in str(report)


def test_random_states_are_left_as_they_were() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    builder().build().check(deep=True)
    assert torch.equal(before, torch.get_rng_state())
