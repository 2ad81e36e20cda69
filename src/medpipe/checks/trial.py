"""Try a pipeline on a handful of samples: train a little, and measure.

Does a parameter move, does the loss fall, and do the inferer, the metrics and the handlers work?

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import MedpipeError, Problem, ProblemsError, TrainingError
from medpipe.registry.failures import failures_named
from medpipe.steps import RunContext, resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

    from medpipe.assembly import Assembly
    from medpipe.data.chain import Chain
    from medpipe.data.preparation import PreparedData
    from medpipe.steps import DataInfo, Sample
    from medpipe.training.handlers import Handlers

HANDFUL = 8
"""Samples that are trained on."""
FEW = 8
"""Iterations in which a parameter must change; gradients may be accumulated over some."""
MANY = 100
"""Iterations in which the loss must fall."""
SECONDS = 30.0
FALLEN = 0.9
"""What the loss must fall to, relative to the first."""


def try_training(
    assembly: Assembly,
    prepared: PreparedData,
    data: DataInfo,
    chain: Chain,
    *,
    deep: bool,
) -> list[Problem]:
    """Train a fresh network on a few samples, on the CPU, and measure it; nothing is kept.

    The handlers are attached and see the training, a validation and a checkpoint; what they write
    is dropped. The inferer predicts the same samples, and every metric is computed of that.

    Args:
        assembly: Builds the parts, without ``"auto"``.
        prepared: The samples.
        data: What was measured on them.
        chain: The transforms.
        deep: Whether the loss must fall in 100 iterations or half a minute; else that a
            parameter changes.

    Raises:
        MedpipeError: A part failed; it is named.
    """
    import torch

    from medpipe.training.determinism import seeded

    with seeded(assembly.configuration.run.seed):
        title = assembly.registry.title(assembly.configuration.trainer)
        network = assembly.network(data)
        before = {name: value.detach().clone() for name, value in network.named_parameters()}

        def moved() -> bool:
            now = dict(network.named_parameters())
            return any(not torch.equal(value, now[name]) for name, value in before.items())

        started = time.monotonic()

        def over(losses: list[float]) -> bool:
            if not deep:
                return len(losses) >= FEW or moved()
            return len(losses) >= MANY or time.monotonic() - started > SECONDS

        few = _shortened(assembly, prepared, data)
        losses, handlers = _losses(*few, data, chain, network, over)
        if all(map(math.isfinite, losses)):
            metrics = _measured(*few, data, chain, network)
            with _problems_at("handler"):
                handlers.fire("validation_completed", metrics)
                handlers.fire("checkpoint_saved")
    if not all(map(math.isfinite, losses)):
        message = f"the loss of {title} is not finite on {HANDFUL} samples: {losses[-1]}."
        remedy = "Lower trainer.learning_rate, and look at what the transforms give."
        return [Problem(path="trainer", message=message, remedy=remedy)]
    if not deep and not moved():
        message = f"no parameter of the network changed in {len(losses)} iterations of {title}."
        remedy = "Look at its learning rate, its schedule's beginning, and what is frozen."
        return [Problem(path="trainer", message=message, remedy=remedy)]
    first, last = _mean(losses[:5]), _mean(losses[-5:])
    if deep and not last < FALLEN * first:
        message = (
            f"the loss does not fall where {HANDFUL} samples are trained on again and again: "
            f"{first:.3g} at first, {last:.3g} after {len(losses)} iterations."
        )
        remedy = "Look at trainer.learning_rate, the labels, and whether the transforms keep "
        remedy += "what tells the samples apart."
        return [Problem(path="trainer", message=message, remedy=remedy)]
    return []


def _shortened(
    assembly: Assembly, prepared: PreparedData, data: DataInfo
) -> tuple[Assembly, PreparedData]:
    """The pipeline for a handful of samples, which are trained on and predicted."""
    configuration = assembly.configuration
    size = min(HANDFUL, resolved(configuration.loader.batch_size))  # 1 where sizes differ
    short = attrs.evolve(
        assembly,
        configuration=attrs.evolve(
            configuration,
            trainer=attrs.evolve(configuration.trainer, max_epochs=MANY),
            loader=attrs.evolve(configuration.loader, batch_size=size, workers=0, drop_last=False),
        ),
    )
    handful = _handful(prepared, data)
    splits = {**prepared.by_split, "training": handful, "validation": handful}
    return short, attrs.evolve(prepared, by_split=splits)


def _losses(
    assembly: Assembly,
    prepared: PreparedData,
    data: DataInfo,
    chain: Chain,
    network: nn.Module,
    over: Callable[[list[float]], bool],
) -> tuple[list[float], Handlers]:
    """The loss of each iteration, until it is over, and the handlers that saw them."""
    import torch
    from ignite.engine import Events

    from medpipe.training.handlers import Handlers

    device = torch.device("cpu")
    loader = assembly.loader(prepared, chain, "training", device)
    assert loader is not None
    training = assembly.trainer(
        assembly.parts(
            network=network.to(device),
            loss=assembly.loss(data, device),
            loader=loader,
            device=device,
            precision="float32",
            data=data,
        )
    )

    def context() -> RunContext:
        return RunContext(
            output=Path("check"),
            network=network,
            data=data,
            write_text=_drop_text,
            write_network=_drop_network,
            trial=True,
        )

    steps, title = assembly.configuration.handlers, assembly.registry.title
    with _problems_at("handler"):
        handlers = Handlers.attach(steps, training, context, title)
    losses: list[float] = []

    @training.engine.on(Events.ITERATION_COMPLETED)
    def follow(engine: Any) -> None:
        losses.append(engine.state.output["loss"].item())
        if over(losses) or not math.isfinite(losses[-1]):
            engine.terminate()

    training.engine.run()
    if not losses:
        raise TrainingError("The trainer's engine made no iteration.")
    return losses, handlers


def _measured(
    assembly: Assembly, prepared: PreparedData, data: DataInfo, chain: Chain, network: nn.Module
) -> dict[str, Any]:
    """Predict the samples as a validation does, and compute every metric with its interval."""
    import torch

    from medpipe.evaluation.metrics import compute_metrics
    from medpipe.training.predict import predict
    from medpipe.training.truths import Truths

    device = torch.device("cpu")
    loader = assembly.loader(prepared, chain, "validation", device)
    assert loader is not None
    step = assembly.configuration.inferer
    title = "The inferer" if step is None else assembly.registry.title(step)
    with _problems_at("inferer"), failures_named(title, "failed on a batch"):
        predictions, _ = predict(
            network,
            loader,
            device=device,
            precision="float32",
            task=data.task,
            samples=prepared.by_split["validation"],
            inferer=assembly.inferer(data),
            truths=Truths(prepared.dataset.reading),
        )
    with _problems_at("metric"):
        return compute_metrics(
            predictions,
            metrics=assembly.configuration.metrics,
            registry=assembly.registry,
            intervals=True,
        )


@contextmanager
def _problems_at(path: str) -> Iterator[None]:
    """Say where a step that fails stands.

    Raises:
        ProblemsError: It failed.
    """
    try:
        yield
    except MedpipeError as error:
        problem = Problem(path=path, message=str(error))
        raise ProblemsError("The pipeline can't run", [problem]) from error


def _drop_text(name: str, text: str) -> None:
    """See that a handler could write this."""
    if not (isinstance(name, str) and isinstance(text, str)):
        raise TypeError(f"write_text takes two texts, got {name!r} and a {type(text).__name__}.")


def _drop_network(name: str, state: Mapping[str, Any]) -> None:
    """See that a handler could write this."""
    from medpipe.training.checkpoint import Tensors

    Tensors(state).state_dict()


def _handful(prepared: PreparedData, data: DataInfo) -> tuple[Sample, ...]:
    """Some training samples, of several classes where there are any."""
    samples = prepared.by_split["training"]
    classes = data.task.step.classes([sample.label for sample in samples])
    if classes is None:
        return samples[:: max(1, len(samples) // HANDFUL)][:HANDFUL]
    by_class: dict[int, list[Sample]] = {}
    for sample, found in zip(samples, classes, strict=True):
        by_class.setdefault(found, []).append(sample)
    chosen: list[Sample] = []
    for turn in range(HANDFUL):
        chosen += [some[turn] for some in by_class.values() if turn < len(some)]
    return tuple(chosen[:HANDFUL])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
