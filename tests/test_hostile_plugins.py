"""Plugins that do what they should not: each named with its cause, and nobody else hurt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from medpipe import MedpipeError, PipelineBuilder, Registry
from medpipe.plugin import (
    Dataset,
    DatasetStep,
    LossStep,
    NetworkStep,
    Sample,
    Task,
    TrainerStep,
    TransformStep,
    hookimpl,
)
from support.broken_hooks import HOSTILE, OFFER
from support.places import without_place
from support.programs import HEAD, install, listed, medpipe


def test_hostile_plugins_are_named_and_hurt_nobody(tmp_path: Path) -> None:
    files = {name: install(tmp_path, name, source) for name, (source, _) in HOSTILE.items()}
    plugins = listed(tmp_path)
    assert {name: plugins[name]["error"] for name in HOSTILE} == {
        name: message.format(file=files[name]) for name, (_, message) in HOSTILE.items()
    }
    assert plugins["medpipe-imaging"]["error"] is None


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("gone", "importing it raised ModuleNotFoundError: No module named 'gone' ("),
        (
            "there:nothing",
            "importing it raised AttributeError: module 'there' has no attribute 'nothing' (",
        ),
    ],
)
def test_an_entry_point_to_nothing(tmp_path: Path, point: str, message: str) -> None:
    install(tmp_path, "there", "x = 1")
    (tmp_path / "there-1.2.dist-info/entry_points.txt").write_text(f"[medpipe]\nplugin = {point}\n")
    error = listed(tmp_path)["there"]["error"]
    assert error.startswith(message)  # then the place in Python's own files


def test_ctrl_c_in_a_plugin_ends_the_command(tmp_path: Path) -> None:
    install(tmp_path, "interrupts", "raise KeyboardInterrupt")
    done = medpipe(tmp_path, "plugins", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_what_a_plugin_prints_is_no_output_of_the_command(tmp_path: Path) -> None:
    install(tmp_path, "prints", f"print('hello')\n{HEAD}\n{OFFER}")
    done = medpipe(tmp_path, "plugins", "--json")
    assert "hello" in done.stderr
    assert listed(tmp_path)["prints"]["error"] is None  # which reads the output as JSON


def test_a_plugin_that_ends_the_process_can_be_left_out(tmp_path: Path) -> None:
    install(tmp_path, "exits", f"import os\n{HEAD}@hookimpl\ndef medpipe_networks(): os._exit(9)")
    assert medpipe(tmp_path, "plugins").returncode == 9  # nothing can hold that up
    assert "exits" not in listed(tmp_path, MEDPIPE_PLUGINS="medpipe-imaging")


made: dict[str, Callable[..., Any]] = {}
"""What a step builds, by its kind."""


def step(cls: Any, kind: str) -> Any:
    """A step of a kind that builds what the test says."""

    @attrs.frozen(kw_only=True)
    class Odd(cls):  # type: ignore[misc]
        """Builds what the test says."""

        name: ClassVar[str] = "odd"

        def build(self, *arguments: Any) -> Any:
            return made[kind](*arguments)

    return Odd


ODD = {
    "dataset": step(DatasetStep, "dataset"),
    "transform": step(TransformStep, "transform"),
    "network": step(NetworkStep, "network"),
    "trainer": step(TrainerStep, "trainer"),
    "loss": step(LossStep, "loss"),
}


class Plugin:
    @hookimpl
    def medpipe_datasets(self) -> Any:
        return [ODD["dataset"]]

    @hookimpl
    def medpipe_transforms(self) -> Any:
        return [ODD["transform"]]

    @hookimpl
    def medpipe_networks(self) -> Any:
        return [ODD["network"]]

    @hookimpl
    def medpipe_trainers(self) -> Any:
        return [ODD["trainer"]]

    @hookimpl
    def medpipe_losses(self) -> Any:
        return [ODD["loss"]]


REGISTRY = Registry.discover().with_plugin(Plugin(), name="odd")


def network_of(forward: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def build(data: Any) -> Any:
        from torch import nn

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.last = nn.Linear(4, data.outputs)
                self.pool = nn.AdaptiveAvgPool2d(2)

            def forward(self, image: Any) -> Any:
                return forward(self.last(self.pool(image).flatten(1)))

        return Net()

    return build


def exits(*_: Any) -> Any:
    raise SystemExit(3)


TASK = Task(names=("a", "b"))
IN = "dataset: the dataset step 'odd' (odd) built a Dataset in which"

BUILDS: dict[str, tuple[str, Callable[..., Any], str]] = {
    "a data set that is none": (
        "dataset",
        lambda: [1],
        "dataset: the dataset step 'odd' (odd) built [1], which is not a Dataset.",
    ),
    "a data set that raises": (
        "dataset",
        lambda: 1 / 0,
        "dataset: the dataset step 'odd' (odd) failed to build: ZeroDivisionError: "
        "division by zero",
    ),
    "a data set of something else": (
        "dataset",
        lambda: Dataset(samples=[{"id": "x"}], task=TASK),  # type: ignore[list-item]
        f"{IN} \"{{'id': 'x'}}\" is among the samples and is not a Sample. "
        "Give medpipe.plugin.Sample objects.",
    ),
    "a data set whose ids are paths": (
        "dataset",
        lambda: Dataset(samples=[Sample(id=Path("x"), image="x", label=0)], task=TASK),  # type: ignore[arg-type]
        f"{IN} sample 0 (from 0) has the id {Path('x')!r}, which is not text. Give it as str.",
    ),
    "a data set whose groups are bytes": (
        "dataset",
        lambda: Dataset(samples=[Sample(id="x", image="x", label=0, group=b"p")], task=TASK),  # type: ignore[arg-type]
        f"{IN} the sample 'x' has the group b'p', which is not text. Give it as str, or None "
        "where it is unknown.",
    ),
    "a data set of one class twice": (
        "dataset",
        lambda: Dataset(samples=[], task=Task(names=("a", "b", "a\u200b"))),
        f"{IN} the task has names that look the same: 'a', 'a\\u200b'. Give each class or finding "
        "a name of its own.",
    ),
    "a data set of a class without a name": (
        "dataset",
        lambda: Dataset(samples=[], task=Task(names=("a", None))),  # type: ignore[arg-type]
        f"{IN} the task has the name None, which is not text. Give it as str.",
    ),
    "a transform that is none": (
        "transform",
        lambda: 7,
        "transform: transform[4], the transform step 'odd' (odd), built 7, which can't "
        "be called on a sample.",
    ),
    "a transform that gives nothing": (
        "transform",
        lambda: lambda sample: None,
        "transform[4]: the transform step 'odd' (odd), returned None for the sample "
        "'phantom/000001'. Return the sample, a dictionary.",
    ),
    "a transform that gives no image": (
        "transform",
        lambda: lambda sample: {"id": "x"},
        "transform: the chain gives no image tensor for the sample 'phantom/000001'. "
        "Begin it with load_image and end it with to_tensor.",
    ),
    "a transform that gives text": (
        "transform",
        lambda: lambda sample: {**sample, "image": "text"},
        "transform: the chain gives no image tensor for the sample 'phantom/000001'. "
        "Begin it with load_image and end it with to_tensor.",
    ),
    "a transform that ends the process": (
        "transform",
        lambda: exits,
        "transform[4]: the transform step 'odd' (odd), failed on the sample 'phantom/000001': "
        "SystemExit: 3",
    ),
    "a network that is none": (
        "network",
        lambda data: None,
        "network: the network step 'odd' (odd) built None, which is not an nn.Module.",
    ),
    "a network that is a class": (
        "network",
        lambda data: dict,
        "network: the network step 'odd' (odd) built <class 'dict'>, which is not an nn.Module.",
    ),
    "a network that gives a tuple": (
        "network",
        network_of(lambda out: (out, out)),
        "network: the network step 'odd' (odd) gives a tuple, not one tensor of shape "
        "(8, 6). Return the predictions alone.",
    ),
    "a network that gives too few": (
        "network",
        network_of(lambda out: out[:, :2]),
        "network: the network step 'odd' (odd) gives (8, 2) for a batch of 8; the 6 "
        "outputs (AbdomenCT, BreastMRI, CXR, ChestCT, Hand, HeadCT) need (8, 6). Take "
        "the number of outputs from DataInfo.outputs.",
    ),
    "a network that gives NaN": (
        "network",
        network_of(lambda out: out * float("nan")),
        "The loss is nan in epoch 1, iteration 1; the batch held 'phantom/000021', "
        "'phantom/000058', 'phantom/000004', 'phantom/000028', 'phantom/000022' and 3 "
        "more. Lower trainer.learning_rate, set trainer.gradient_clip, or check "
        "these samples.",
    ),
    "a network that gives text": (
        "network",
        network_of(lambda out: "text"),
        "network: the network step 'odd' (odd) gives a str, not one tensor of shape (8, "
        "6). Return the predictions alone.",
    ),
    "a loss that is none": (
        "loss",
        lambda data: None,
        "trainer.loss: the loss step 'odd' (odd) built None, which can't be called.",
    ),
    "a loss that gives a number": (
        "loss",
        lambda data: lambda out, label: 1.0,
        "trainer.loss: the loss step 'odd' (odd) gives float, not one number. Average "
        "over the batch.",
    ),
    "a loss that gives many": (
        "loss",
        lambda data: lambda out, label: out,
        "trainer.loss: the loss step 'odd' (odd) gives (4, 6), not one number. Average "
        "over the batch.",
    ),
    "a trainer that is none": (
        "trainer",
        lambda parts: None,
        "trainer: the trainer step 'odd' (odd) built None, which is not a Training.",
    ),
    "a trainer that raises": (
        "trainer",
        lambda parts: 1 / 0,
        "trainer: the trainer step 'odd' (odd) failed to build: ZeroDivisionError: "
        "division by zero",
    ),
}


def odd(kind: str) -> PipelineBuilder:
    builder = (
        PipelineBuilder(device="cpu", registry=REGISTRY)
        .dataset("phantom", samples=60, size=32)
        .trainer("supervised", max_epochs=1)
        .network("densenet121", init_features=4, growth_rate=2)
        .loader(batch_size=8, workers=0)
    )
    match kind:
        case "dataset":
            return builder.dataset("odd")
        case "transform":
            return builder.transform("odd")
        case "network":
            return builder.network("odd")
        case "trainer":
            return builder.trainer("odd", max_epochs=1)
        case _:
            import medpipe as library

            return builder.trainer("supervised", max_epochs=1, loss=library.step("odd"))


@pytest.mark.parametrize("case", BUILDS)
def test_what_a_step_builds_is_looked_at(case: str, tmp_path: Path) -> None:
    kind, build, message = BUILDS[case]
    made[kind] = build
    with pytest.raises(MedpipeError) as caught:
        odd(kind).build().run(tmp_path / "run")
    found = str(caught.value).removeprefix("The pipeline can't run:\n  ")
    assert (without_place(found) if "failed" in message else found) == message
