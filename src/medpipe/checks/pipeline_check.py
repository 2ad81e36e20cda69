"""What `Pipeline.check` does before any long work, and what it reports."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

from medpipe.checks.check_report import CheckReport, size_of_memory
from medpipe.checks.data_info import data_info_of
from medpipe.checks.evaluation_check import check_evaluation
from medpipe.checks.loss_check import check_loss
from medpipe.checks.monitor_check import check_monitor
from medpipe.checks.processes_check import check_processes, parts_of
from medpipe.checks.split_findings import split_findings
from medpipe.checks.trainer_check import check_trainer
from medpipe.errors import DataError, DeviceError, MedpipeError, Problem, ProblemsError
from medpipe.optimization.deep_supervision import heads_of
from medpipe.registry.wrapped import WrappedNetwork, is_module
from medpipe.settings import WeightsSettings
from medpipe.steps import resolved
from medpipe.system.hardware import choose_device, choose_precision, device_memory
from medpipe.system.place import place
from medpipe.system.raised import described
from medpipe.system.start_methods import problems_of_workers, refuse_second_start
from medpipe.system.text import counted
from medpipe.system.threads import warning_of_busy_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from medpipe.assembly import Assembly
    from medpipe.data.chain import Chain
    from medpipe.steps import DataInfo

PROBABILITIES = {"Softmax": "class", "Sigmoid": "findings"}
"""Modules at the end of a network that repeat what a task does with outputs of the form."""


def examine(
    assembly: Assembly,
    *,
    caching: bool = False,
    data_alone: bool = False,
    trial: Literal["none", "step", "deep"] = "none",
) -> CheckReport:
    """Check a pipeline: the device, the data, the chain, the network, the loss, the trainer.

    What depends on something that failed is left out; everything else is still checked.

    Args:
        assembly: Builds the pipeline's parts.
        caching: Whether batches are made after the check: files are then read once, for the
            check and for the packed cache.
        data_alone: Leave out the network and the checks after it.
        trial: Whether to train on a few samples: for a ``step``, or until the loss falls
            (``deep``).
    """
    refuse_second_start()
    report = CheckReport()
    configuration = assembly.configuration
    try:
        report.device, said = choose_device(configuration.run.device)
        report.precision = choose_precision(configuration.trainer.precision, report.device)
        report.notes += [said] if said else []
        busy = warning_of_busy_cores() if report.device.type == "cpu" else ""
        report.warnings += [busy] if busy else []
    except DeviceError as error:
        report.problems.append(Problem(path="run.device", message=str(error)))
    chain = None
    try:
        chain = assembly.chain()
    except MedpipeError as error:
        report.problems.append(Problem(path="transform", message=str(error)))
    try:
        report.prepared = assembly.prepare_data(chain, caching=caching)
    except MedpipeError as error:
        report.problems.append(Problem(path="dataset", message=str(error)))
    if report.prepared is None or chain is None:
        return report
    report.data, problems = data_info_of(assembly, report.prepared, chain)
    if report.data is None:
        report.problems += problems
        return report
    report.notes += report.prepared.dataset.notes
    try:
        assembly = assembly.resolved(report.data, assembly.epoch_samples(report.prepared))
    except MedpipeError as error:
        report.problems.append(Problem(path="", message=str(error)))  # it names the step
        return report
    report.assembly = assembly
    has_batches = _check_batches(assembly, report)
    if data_alone:
        return report
    _guard(report, "dataset", lambda: _check_split(assembly, report))
    _guard(report, "transform", lambda: _check_chain(assembly, chain, report))
    _guard(report, "metric", lambda: check_monitor(assembly, report))
    _check_patience(assembly, report)
    _guard(report, "evaluation", lambda: _check_evaluation(assembly, report))
    _check_sampling(assembly, report)
    sendable = _guard(report, "loader.workers", lambda: _check_workers(assembly, chain))
    network = _guard(report, "network", lambda: _check_network(assembly, report))
    check_processes(assembly.configuration, network, report)
    if network is not None:
        _guard(report, "weights", lambda: _check_weights(assembly, network, report))
    data = report.data
    _guard(report, "inferer", lambda: assembly.inferer(data))
    loss_fits = _guard(report, "trainer.loss", lambda: check_loss(assembly, report))
    if network is not None and loss_fits and has_batches and sendable:
        _guard(report, "trainer", lambda: check_trainer(assembly, network, chain, report))
    _check_memory(assembly, report)
    if trial != "none" and not report.problems:
        _guard(report, "trainer", lambda: _try(assembly, chain, report, deep=trial == "deep"))
    return report


def _guard(report: CheckReport, path: str, examine_part: Callable[[], Any]) -> Any:
    """Run a part of the check; an error of a step becomes a problem."""
    try:
        return examine_part()
    except ProblemsError as error:
        report.problems += error.problems
    except MedpipeError as error:
        report.problems.append(Problem(path=path, message=str(error)))
    except Exception as error:  # a user's network or loss may raise anything
        report.problems.append(Problem(path=path, message=described(error)))
    return None


def _check_chain(assembly: Assembly, chain: Chain, report: CheckReport) -> None:
    from medpipe.checks.chain_check import chain_findings
    from medpipe.checks.image_findings import augmentation_notes, image_findings

    assert report.prepared is not None
    assert report.data is not None
    problems, warnings = chain_findings(assembly, report.prepared, chain)
    report.problems += problems
    report.warnings += warnings
    report.warnings += image_findings(assembly, report.prepared, report.data, chain)
    report.notes += augmentation_notes(assembly.configuration)
    labels = report.prepared.labels
    if labels is not None and not problems:
        from medpipe.checks.dice_ceiling import ceiling_findings

        lost, low, told = ceiling_findings(assembly, report.prepared.dataset, labels.counts, chain)
        report.problems += lost
        report.warnings += low
        report.notes += told


def _check_split(assembly: Assembly, report: CheckReport) -> None:
    assert report.prepared is not None
    assert report.data is not None
    warnings, notes = split_findings(assembly, report.prepared, report.data)
    report.warnings += warnings
    report.notes += notes


def _try(assembly: Assembly, chain: Chain, report: CheckReport, *, deep: bool) -> None:
    from medpipe.checks.trial import try_training

    assert report.data is not None
    assert report.prepared is not None
    report.problems += try_training(assembly, report.prepared, report.data, chain, deep=deep)


def _check_batches(assembly: Assembly, report: CheckReport) -> bool:
    """Check that an epoch has an iteration, and return whether it has."""
    assert report.prepared is not None
    count = assembly.epoch_samples(report.prepared)
    size = resolved(assembly.configuration.loader.batch_size)
    if not assembly.configuration.loader.drop_last or count >= size:
        return True
    message = (
        f"there is no iteration in an epoch: the training split has {count} samples, fewer than "
        f"loader.batch_size = {size}, and a last batch that isn't full is left out."
    )
    remedy = f"Set it to false, or loader.batch_size to {count} or less."
    report.problems.append(Problem(path="loader.drop_last", message=message, remedy=remedy))
    return False


def _check_patience(assembly: Assembly, report: CheckReport) -> None:
    """Check that early stopping has a validation split."""
    assert report.prepared is not None
    trainer = assembly.configuration.trainer
    if trainer.patience is not None and not report.prepared.by_split["validation"]:
        message = "it waits for a better validation, and the validation split is empty."
        remedy = "Set split.validation above 0, or leave it out."
        report.problems.append(Problem(path="trainer.patience", message=message, remedy=remedy))


def _check_evaluation(assembly: Assembly, report: CheckReport) -> None:
    assert report.prepared is not None
    assert report.data is not None
    prepared = report.prepared
    problems, warnings = check_evaluation(
        assembly.configuration.evaluation,
        report.data.task,
        prepared.by_split["validation"],
        grouped=any(sample.group is not None for sample in prepared.dataset.samples),
    )
    report.problems += problems
    report.warnings += warnings


def _check_sampling(assembly: Assembly, report: CheckReport) -> None:
    assert report.data is not None
    task = report.data.task
    balanced = assembly.configuration.loader.sampling == "balanced"
    if balanced and task.step.classes([]) is None:
        message = (
            f"'balanced' draws every class equally often, and a {task.kind} task has no classes."
        )
        remedy = f'Set it to "shuffled". {task.step.balancing_remedy}'.strip()
        report.problems.append(Problem(path="loader.sampling", message=message, remedy=remedy))


def _check_workers(assembly: Assembly, chain: Chain) -> bool:
    """Check that worker processes can be started, if there will be any."""
    from medpipe.data.chain import path_and_name

    if assembly.workers and chain.has_per_sample_stage(training=True):
        steps = [(path_and_name(title)[1], step) for title, step in chain.steps_for_workers]
        problems = problems_of_workers(steps)
        if problems:
            raise ProblemsError("Worker processes can't be started", problems)
    return True


def _check_network(assembly: Assembly, report: CheckReport) -> nn.Module | None:
    """Build the network on the meta device and send a batch through it."""
    import torch

    from medpipe.training.memory import forward_on_meta

    data, prepared = report.data, report.prepared
    assert data is not None
    assert prepared is not None
    title = assembly.registry.title(assembly.configuration.network)
    network = _meta_network(assembly, data)
    if network is None:
        report.notes.append(
            f"{title} can't be built on the meta device; its output was not checked."
        )
        return None
    report.parameters = sum(parameter.numel() for parameter in network.parameters())
    network.train()
    size = resolved(assembly.configuration.loader.batch_size)
    count = assembly.epoch_samples(prepared)
    sizes = parts_of(min(size, count))
    if count % size and not assembly.configuration.loader.drop_last:
        sizes |= parts_of(count % size)
    sides = [side or 64 for side in data.spatial_shape]
    for batch in sorted(sizes):
        try:
            output, estimate = forward_on_meta(
                network, (batch, data.channels, *sides), _recomputed(assembly, network)
            )
        except NotImplementedError:
            report.notes.append(f"{title} needs real values; its output was not checked.")
            return network
        except Exception as error:
            shape = (batch, data.channels, *sides)
            raise DataError(
                f"{title} fails on a batch of shape {shape}: {described(error).rstrip('.')}. "
                f"{_network_remedy(batch, size, error, data)}"
            ) from error
        expected = (batch, data.outputs, *(sides if data.task.step.dense else ()))
        if data.task.step.dense:
            output = heads_of(output, len(expected))[0]
        if not isinstance(output, torch.Tensor):
            raise DataError(
                f"{title} gives a {type(output).__name__}, not one tensor of shape {expected}. "
                "Return the predictions alone."
            )
        if tuple(output.shape) != expected:
            remedy = _outputs_remedy(output.ndim, len(expected), data)
            raise DataError(
                f"{title} gives {tuple(output.shape)} for a batch of {batch}; the "
                f"{data.outputs} outputs ({', '.join(data.task.names)}) need {expected}. {remedy}"
            )
        report.memory = estimate
    ending = [type(module).__name__ for module in network.modules()][-1]
    if PROBABILITIES.get(ending) == data.task.step.answer_form:
        report.warnings.append(
            f"{title} ends in {ending}, and the loss and the metrics apply that to its outputs "
            f"once more. Leave {ending} out: a network gives logits."
        )
    return network


def _outputs_remedy(axes: int, expected: int, data: DataInfo) -> str:
    """What to do about outputs of another shape, with so many axes."""
    if axes < expected and data.task.step.dense:
        return "Choose a network that gives an image, such as network.step = 'unet'."
    if axes <= expected:
        return "Take the number of outputs from DataInfo.outputs."
    if data.task.step.dense:
        return "Return one image for each output, of the sides of the images."
    return (
        f"Pool and flatten before the last layer: nn.AdaptiveAvgPool{data.spatial_dims}d(1), "
        "nn.Flatten(), and nn.Linear(..., data.outputs) at the end."
    )


def _network_remedy(batch: int, size: int, error: Exception, data: DataInfo) -> str:
    """What to do about a network that fails on a batch."""
    if batch == 1 and "more than 1 value" in str(error):  # batch normalization's words
        if size == 1:
            return "Set loader.batch_size above 1: batch normalization needs several values."
        whole = "" if place().alone else f" for {place().world_size} processes"
        return (
            f"It is the last batch of an epoch{whole}, and batch normalization needs several "
            "values: set loader.drop_last = true, or another loader.batch_size."
        )
    if not isinstance(error, (RuntimeError, ValueError, IndexError, AssertionError)):
        return "Mend its forward: this is no matter of the images' shape."
    sides = " x ".join(str(side) if side else "any" for side in data.spatial_shape)
    channels = counted(data.channels, "channel")
    return (
        f"Build it for images of {channels} and {sides} (DataInfo.channels, "
        "DataInfo.spatial_shape), or change these by transforms such as 'resize'."
    )


def _recomputed(assembly: Assembly, network: nn.Module) -> Sequence[nn.Module]:
    """The modules with activation checkpointing; an error is left to the trainer's check."""
    try:
        return assembly.configuration.trainer.recomputed_blocks(network)
    except MedpipeError:
        return ()


def _check_weights(assembly: Assembly, network: nn.Module, report: CheckReport) -> None:
    """Compare the weights to start from with the network, by names and shapes."""
    settings = assembly.configuration.weights
    if settings != WeightsSettings():
        from medpipe.training.weights import examine_weights

        report.weights = examine_weights(network, settings)


def _meta_network(assembly: Assembly, data: DataInfo) -> nn.Module | None:
    import torch

    step = assembly.configuration.network
    if isinstance(step, WrappedNetwork) and is_module(step.value):
        return copy.deepcopy(step.value).to("meta")  # type: ignore[union-attr]
    try:
        with torch.device("meta"):
            return assembly.network(data, trained=True)
    except MedpipeError:
        # Some networks need real values to be built: only an error on the CPU counts.
        return assembly.network(data, trained=True).to("meta")


def _check_memory(assembly: Assembly, report: CheckReport) -> None:
    if report.memory is None or report.device is None:
        return
    free = device_memory(report.device)
    if free is not None and report.memory.total > free:
        message = (
            f"a training step takes about {size_of_memory(report.memory.total)}, but "
            f"{report.device} has {size_of_memory(free)} free."
        )
        size = resolved(assembly.configuration.loader.batch_size)
        remedy = f"Set loader.batch_size below {size}, with trainer.accumulation to make up for it."
        if getattr(assembly.configuration.trainer, "recompute", True) is False:
            remedy += " Or set trainer.recompute = true: the same batch takes less then."
        report.problems.append(Problem(path="loader.batch_size", message=message, remedy=remedy))
