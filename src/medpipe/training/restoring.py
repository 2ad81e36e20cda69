"""Restore a checkpoint, after verifying that all of it fits.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch

from medpipe.distributed.processes import ALONE, Processes
from medpipe.errors import RunError, TrainingError
from medpipe.training.checkpoint import Gradients, Tensors
from medpipe.training.determinism import Generators, seed_apart
from medpipe.training.loop import Progress
from medpipe.training.planned import planned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.data.loading.loader import Loader
    from medpipe.steps import Training
    from medpipe.training.run_checkpoints import Found

GENERATORS, GRADIENTS = "$generators", "$gradients"


def checkpoint_of(
    training: Training, progress: Progress, loader: Loader, processes: Processes = ALONE
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that is needed to resume as if nothing had happened: states by name, and plain data."""
    own, *others = processes.gather(Generators().state_dict())
    state: dict[str, Any] = {**training.state, GENERATORS: Tensors(own)}
    for rank, generators in enumerate(others, start=1):
        state[_generators_of(rank)] = Tensors(generators)
    if progress.losses:  # at an epoch's end all gradients have been applied
        state[GRADIENTS] = Gradients(training.state["network"])
    return state, {
        "progress": attrs.asdict(progress),
        "planned": planned(training),
        "position": list(loader.position),
        "classes": {name: _class(item) for name, item in training.state.items()},
    }


def _generators_of(rank: int) -> str:
    return f"{GENERATORS}_{rank}" if rank else GENERATORS


def restore(
    found: Found,
    training: Training,
    loader: Loader,
    processes: Processes = ALONE,
    *,
    seed: int = 0,
) -> Progress:
    """Put everything back.

    Args:
        found: The checkpoint.
        training: What the trainer step gave, freshly built.
        loader: Of the training split.
        processes: Those of the run; one that was not there before gets random numbers of its own.
        seed: The run's seed.

    Returns:
        How far it had come. Where an epoch has another length now, the one that had begun begins
        again.

    Raises:
        RunError: The checkpoint doesn't fit; nothing on the disk has been changed by then.
    """
    try:
        progress = Progress(**found.about["progress"])
        this_pass, batch = found.about["position"]
        problems = _problems(found, training)
    except _FOREIGN as error:
        raise _foreign(error) from error
    if problems:
        raise RunError("The checkpoint to resume from doesn't fit: " + " ".join(problems))
    gradients = found.states.get(GRADIENTS, {})
    length = training.engine.state.epoch_length
    if length and progress.epoch_length and progress.epoch_length != length:
        progress.iteration = progress.iteration // progress.epoch_length * length
        progress.epoch_length, batch, gradients = length, 0, {}
        progress.losses = progress.losses if progress.validating else []
    try:
        for name, item in training.state.items():
            item.load_state_dict(found.states[name])
        Gradients(training.state["network"]).load_state_dict(gradients)
        loader.start_at((this_pass, batch))
        rank = processes.here.rank
        generators = found.states.get(_generators_of(rank))
        if generators is None:
            seed_apart(seed, rank, progress.iteration)
        else:
            Generators().load_state_dict(generators)
    except _FOREIGN as error:
        raise _foreign(error) from error
    return progress


_FOREIGN = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError)
"""What may come of a state that is of another form than the run's."""


def _foreign(error: Exception) -> RunError:
    return RunError(
        "The checkpoint to resume from is of another form: "
        f"{type(error).__name__}: {' '.join(str(error).split())}. It was written by another "
        "version of medpipe, or changed since. Begin a new run in another output folder."
    )


def refuse_not_finite(network: torch.nn.Module) -> None:
    """See that a network may be saved.

    Raises:
        TrainingError: A weight is not finite.
    """
    names = [name for name, value in network.named_parameters() if not _finite(value)]
    if names:
        raise TrainingError(
            f"The network's {names[0]!r} is no longer finite, so the network is not saved; earlier "
            "checkpoints are kept. Lower trainer.learning_rate, or set trainer.gradient_clip."
        )


def _problems(found: Found, training: Training) -> list[str]:
    """What of a checkpoint doesn't fit, in sentences."""
    problems = []
    for name, item in training.state.items():
        if name not in found.states:
            problems.append(f"The checkpoint has no state of {name!r}.")
            continue
        before, now = found.about["classes"][name], _class(item)
        if before != now:
            problems.append(f"The checkpoint's {name!r} is a {before}, the run's a {now}.")
        elif isinstance(item, torch.optim.Optimizer):
            problems += _misfit_groups(name, found.states[name], item)
    if GENERATORS not in found.states:
        problems.append("The checkpoint has no state of the random generators.")
    if not problems:
        problems += _misfits(found.states["network"], training.state["network"].state_dict())
    return problems


def _misfit_groups(name: str, saved: Mapping[str, Any], own: torch.optim.Optimizer) -> list[str]:
    before = [len(group["params"]) for group in saved["param_groups"]]
    now = [len(group["params"]) for group in own.param_groups]
    if before == now:
        return []
    return [f"The checkpoint's {name!r} has groups of {before} parameters, the run's of {now}."]


def _misfits(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What of the network's tensors is missing, too many, of another shape or not finite."""
    problems = [f"The checkpoint's network has no {name!r}." for name in own if name not in saved]
    problems += [f"The run's network has no {name!r}." for name in saved if name not in own]
    for name in own:
        before, now = saved.get(name), own[name]
        if not (isinstance(before, torch.Tensor) and isinstance(now, torch.Tensor)):
            continue
        if before.shape != now.shape:
            was, is_ = tuple(before.shape), tuple(now.shape)
            problems.append(f"The checkpoint's {name!r} has the shape {was}, the run's {is_}.")
        elif not _finite(before) and _finite(now):  # a mask may hold infinity by design
            problems.append(f"The checkpoint's {name!r} is not finite.")
    return problems[:3] + ([f"And {len(problems) - 3} more."] if len(problems) > 3 else [])


def _finite(value: torch.Tensor) -> bool:
    return bool(torch.isfinite(value).all())


def _class(item: object) -> str:
    return f"{type(item).__module__}.{type(item).__qualname__}"
