"""Check a trainer: what it trains, for how long, and whether that is enough to learn anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.checks.schedule_findings import schedule_findings
from medpipe.errors import DataError, Problem
from medpipe.steps import resolved

if TYPE_CHECKING:
    from ignite.engine import Engine
    from torch import nn

    from medpipe.assembly import Assembly
    from medpipe.checks.check_report import CheckReport
    from medpipe.data.chain import Chain
    from medpipe.steps import Training

FEW = 100
"""Iterations below which a run hardly learns."""
LITTLE = 1e-3
"""What Adam moves a weight by at most, where a run hardly learns."""


def check_trainer(
    assembly: Assembly, network: nn.Module, chain: Chain, report: CheckReport
) -> None:
    """Build the trainer for the network on the meta device; check which parameters it trains."""
    import torch
    from ignite.engine import Engine

    from medpipe.training.planned import planned

    data, prepared = report.data, report.prepared
    assert data is not None
    assert prepared is not None
    _require_parameters(assembly, network)
    device = torch.device("cpu")
    loader = assembly.loader(prepared, chain, "training", device)
    assert loader is not None
    title = assembly.registry.title(assembly.configuration.trainer)
    training = assembly.trainer(
        assembly.parts(
            network=network,
            loss=assembly.loss(data, device),
            loader=loader,
            device=device,
            precision="float32",
            data=data,
        )
    )
    if not isinstance(training.engine, Engine):
        raise DataError(f"{title} gives an engine that is not an ignite.engine.Engine.")
    if "network" not in training.state:
        raise DataError(f"{title} leaves 'network' out of its state.")
    _check_length(assembly, title, training.engine, report)
    length = training.engine.state.epoch_length or len(loader)
    report.iterations = length, length * resolved(assembly.configuration.trainer.max_epochs)
    _warn_of_little_training(assembly, training, report)
    report.planned = planned(training)
    optimizers = [o for o in training.state.values() if isinstance(o, torch.optim.Optimizer)]
    owned = {id(p) for o in optimizers for group in o.param_groups for p in group["params"]}
    own = dict(network.named_parameters())
    missing = [name for name, p in own.items() if p.requires_grad and id(p) not in owned]
    strangers = owned - {id(parameter) for parameter in own.values()}
    if optimizers and missing:
        raise DataError(
            f"{title} does not train {len(missing)} of the network's parameters, such as "
            f"{missing[0]!r}. Give its optimizer network.parameters(), or freeze them."
        )
    if strangers:
        raise DataError(f"{title} trains {len(strangers)} parameters that are not the network's.")


def _require_parameters(assembly: Assembly, network: nn.Module) -> None:
    parameters = list(network.parameters())
    title = assembly.registry.title(assembly.configuration.network)
    if not parameters:
        raise DataError(f"{title} has no parameter to train.")
    if not any(parameter.requires_grad for parameter in parameters):
        raise DataError(
            f"{title} has no parameter to train: all {len(parameters)} are frozen. Leave "
            "requires_grad as it is where the network is built, and freeze some of its parameters "
            "by trainer.parameters."
        )


def _warn_of_little_training(assembly: Assembly, training: Training, report: CheckReport) -> None:
    """Warn where too little is trained to learn anything."""
    import torch

    assert report.prepared is not None
    assert report.iterations is not None
    size = resolved(assembly.configuration.loader.batch_size)
    count = assembly.epoch_samples(report.prepared)
    length, total = report.iterations
    if size >= count and length == 1:
        report.warnings.append(
            f"loader.batch_size = {size} is not below the {count} training samples, so that an "
            "epoch is one iteration. Lower it."
        )
    if total < FEW:
        fixed = getattr(assembly.configuration.trainer, "epoch_length", None) is not None
        other = "trainer.epoch_length" if fixed else "lower loader.batch_size"
        report.warnings.append(
            f"the run has {total} iterations in all, and fewer than {FEW} are seldom enough. Raise "
            f"trainer.max_epochs, or {other}."
        )
    rates = [
        group.get("initial_lr", group["lr"])
        for optimizer in training.state.values()
        if isinstance(optimizer, torch.optim.Optimizer)
        for group in optimizer.param_groups
    ]
    highest = max(map(float, rates), default=None)
    fresh = not assembly.configuration.pretrained
    if highest is not None and fresh and highest * total < LITTLE:
        report.warnings.append(
            f"with a learning rate of {highest:g} at most, {total} iterations hardly move a "
            "weight. Raise trainer.learning_rate, or leave it out."
        )
    report.warnings += schedule_findings(
        assembly,
        epoch_length=length,
        highest=highest,
        validated=bool(report.prepared.by_split["validation"]),
    )


def _check_length(assembly: Assembly, title: str, engine: Engine, report: CheckReport) -> None:
    """Check an engine's numbers of epochs and iterations, where they are known beforehand."""
    length, epochs = engine.state.epoch_length, engine.state.max_epochs
    wanted = resolved(assembly.configuration.trainer.max_epochs)
    if length == 0:
        message = f"{title} gives an engine whose epochs have no iteration."
        remedy = "Look at the loader that it takes its batches from, and at its epoch_length."
        report.problems.append(Problem(path="trainer", message=message, remedy=remedy))
    if epochs is not None and epochs != wanted:
        message = f"{title} gives an engine for {epochs} epochs, not trainer.max_epochs = {wanted}."
        remedy = "Give the engine the step's max_epochs."
        report.problems.append(Problem(path="trainer", message=message, remedy=remedy))
