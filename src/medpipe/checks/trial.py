"""Try a pipeline's training on a handful of samples: does anything move, and does the loss fall?

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import Problem, TrainingError
from medpipe.steps import resolved

if TYPE_CHECKING:
    from collections.abc import Callable

    from medpipe.assembly import Assembly
    from medpipe.data.chain import Chain
    from medpipe.data.preparation import PreparedData
    from medpipe.steps import DataInfo, Sample

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
    """Train a fresh network on a few samples, on the CPU; nothing is kept.

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

        losses = _losses(assembly, prepared, data, chain, network, over)
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


def _losses(
    assembly: Assembly,
    prepared: PreparedData,
    data: DataInfo,
    chain: Chain,
    network: Any,
    over: Callable[[list[float]], bool],
) -> list[float]:
    """The loss of each iteration, until it is over."""
    import torch
    from ignite.engine import Events

    device = torch.device("cpu")
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
    few = attrs.evolve(
        prepared, by_split={**prepared.by_split, "training": _handful(prepared, data)}
    )
    loader = short.loader(few, chain, "training", device)
    assert loader is not None
    training = short.trainer(
        network=network.to(device),
        loss=short.loss(data, device),
        loader=loader,
        device=device,
        precision="float32",
        data=data,
    )
    losses: list[float] = []

    @training.engine.on(Events.ITERATION_COMPLETED)
    def follow(engine: Any) -> None:
        losses.append(engine.state.output["loss"].item())
        if over(losses) or not math.isfinite(losses[-1]):
            engine.terminate()

    training.engine.run()
    if not losses:
        raise TrainingError("The trainer's engine made no iteration.")
    return losses


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
