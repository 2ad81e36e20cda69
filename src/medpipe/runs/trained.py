"""A run's configuration and networks, with what preprocesses images as in training."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from medpipe import config
from medpipe.config.measured import tuples
from medpipe.errors import RunError
from medpipe.runs.record import CONFIGURATION
from medpipe.steps import Reading
from medpipe.system.file_errors import mode_of
from medpipe.system.place import place
from medpipe.training.run_checkpoints import BEST, LAST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

    from medpipe.assembly import Assembly
    from medpipe.config import Configuration
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.registry.registry import Registry
    from medpipe.steps import DataInfo

logger = logging.getLogger("medpipe")


def read_configuration(
    path: Path, record: Mapping[str, Any], *, registry: Registry
) -> Configuration:
    """The configuration of a run.

    Args:
        path: The run directory.
        record: The content of ``run.json``.
        registry: Where steps are looked up.

    Raises:
        RunError: The run used ready-made objects, which no file holds.
        ConfigError: The configuration names a step that is not there.
    """
    file = path / CONFIGURATION
    if not mode_of(file):
        why = "; ".join(record["not_repeatable_because"])
        raise RunError(
            f"The run {path} can't be built again, since it used ready-made objects "
            f"({why}). Register them as steps to get repeatable runs."
        )
    document = config.parse(config.read_text(file), source=str(file))
    return config.load(document, registry=registry)


def loaded_network(
    path: Path,
    which: Literal["best", "last"],
    *,
    assembly: Callable[[], Assembly],
    data: DataInfo,
) -> nn.Module:
    """A network of a run, on the CPU and in evaluation mode; see `medpipe.Run.network`.

    Raises:
        RunError: There is no such checkpoint, or it does not fit.
    """
    from medpipe.training.checkpoint import load_checkpoint

    best, last = path / BEST, path / LAST
    if which == "best" and last.exists() and not best.exists():
        raise RunError(
            f"The run {path} has no best network yet, since no epoch is complete. Resume "
            "it (--resume), or use the last network (which='last'; --network last)."
        )
    states, _ = load_checkpoint(best if which == "best" else last)
    built = assembly()
    step, network = built.configuration.network, built.network(data)
    try:
        network.load_state_dict(states["network"])
    except RuntimeError as error:
        raise RunError(
            f"The checkpoint of {path} does not fit its network step {step.name!r}: "
            f"{' '.join(str(error).split())}"
        ) from error
    return network.eval()


def trained_network(
    path: Path,
    record: Mapping[str, Any],
    *,
    which: Literal["best", "last"],
    network: nn.Module,
    assembly: Assembly,
    data: DataInfo,
) -> TrainedNetwork:
    """The network of a run with its reading, chain and what was chosen; warns if it may change.

    Args:
        path: The run directory.
        record: The content of ``run.json``.
        which: Which network it is.
        network: The network.
        assembly: Builds the parts of the run again.
        data: What was measured on its data.
    """
    from medpipe.prediction.trained import TrainedNetwork

    reading = {name: tuples(item) for name, item in record["data"]["reading"].items()}
    if record["status"] != "finished" and place().leads:
        said = "The run %s is not finished (%s): this is its %s network so far."
        logger.warning(said, path, record["status"], which)
    return TrainedNetwork(
        path=path,
        which=which,
        network=network,
        assembly=assembly,
        data=data,
        reading=Reading(**reading, readers=assembly.readers()),
        precision=record["precision"],
        chosen=record.get("chosen_on_validation") if which == "best" else None,
        images=record["data"].get("images"),
    )
