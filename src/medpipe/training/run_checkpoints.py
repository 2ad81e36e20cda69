"""The checkpoints of a run: the last one, the one before it, the best network and its former.

Imports torch inside functions.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from medpipe import files
from medpipe.errors import CheckpointError, RunError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOLDER = "checkpoints"
LAST, PREVIOUS = f"{FOLDER}/last.safetensors", f"{FOLDER}/previous.safetensors"
BEST, FORMER_BEST = f"{FOLDER}/best.safetensors", f"{FOLDER}/former_best.safetensors"
DAMAGED = f"{FOLDER}/damaged-{{}}"

logger = logging.getLogger("medpipe")


@attrs.frozen(kw_only=True, eq=False)
class Found:
    """A checkpoint to go on from.

    Attributes:
        states: The state dictionaries, by name.
        about: What was kept with them.
        instead_of: Why it is not the last one; empty where it is.
    """

    states: Mapping[str, Any]
    about: Mapping[str, Any]
    instead_of: str = ""


@attrs.frozen(kw_only=True)
class RunCheckpoints:
    """Reads and writes them.

    Attributes:
        run: The run directory.
    """

    run: Path

    def save(self, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write the last checkpoint; the one that was it stays as the one before.

        Args:
            state: Objects with ``state_dict``, by name.
            about: Plain data to keep with them.

        Raises:
            RunError: It can't be written; those that are there are whole.
        """
        from medpipe.training.checkpoint import save_checkpoint

        save_checkpoint(self.run / LAST, state, about=about, keep=self.run / PREVIOUS)

    def save_best(self, network: Any, about: Mapping[str, Any]) -> None:
        """Write the best network; the one that was it stays as its former.

        Args:
            network: Has ``state_dict``.
            about: Its ``epoch``, and what else to keep with it.

        Raises:
            RunError: It can't be written; those that are there are whole.
        """
        from medpipe.training.checkpoint import save_checkpoint

        kept = self.run / FORMER_BEST
        save_checkpoint(self.run / BEST, {"network": network}, about=about, keep=kept)

    def latest(self) -> Found | None:
        """The newest checkpoint that is whole; None where there is none yet.

        Nothing is changed by it. Where the last one is damaged, the one before it is given.

        Raises:
            CheckpointError: There are checkpoints, and none is whole.
            RunError: One can't be read.
        """
        from medpipe.training.checkpoint import load_checkpoint

        damaged: list[str] = []
        for name in (LAST, PREVIOUS):
            if not (self.run / name).exists():
                continue
            try:
                states, about = load_checkpoint(self.run / name)
            except CheckpointError as error:
                damaged.append(str(error))
                continue
            return Found(states=states, about=about, instead_of=" ".join(damaged))
        if damaged:
            raise CheckpointError(
                f"No checkpoint of {self.run} is whole. {' '.join(damaged)} Take the run's "
                "directory from a backup, or begin a new run in another output."
            )
        return None

    def settle(self, found: Found) -> None:
        """Bring the files into the order that `found` is to be gone on from.

        A damaged last checkpoint is put aside, so that it never takes the place of a whole one.
        The best network becomes the one of the epoch that was the best by then.

        Raises:
            RunError: That network is nowhere whole any more, or the files can't be written.
        """
        files.remove_leftovers(self.run)
        files.remove_leftovers(self.run / FOLDER)
        if found.instead_of:
            logger.warning(
                "%s The run goes on from the checkpoint before it, of iteration %d.",
                found.instead_of,
                found.about["progress"]["iteration"],
            )
            self._put_aside(LAST)
        epoch = found.about["best_epoch"]
        if epoch is None or self._is_best(BEST, epoch):
            return
        if self._is_best(FORMER_BEST, epoch):
            # A copy, so that the former stays until there is a new best.
            files.write_bytes(self.run / BEST, (self.run / FORMER_BEST).read_bytes())
        elif found.about["epoch"] == epoch:
            self.save_best(
                _State(found.states["network"]),
                {"epoch": epoch, "validation": found.about["metrics"].get("validation", {})},
            )
        else:
            raise CheckpointError(
                f"The best network of {self.run}, of epoch {epoch}, is lost: neither {BEST} nor "
                f"{FORMER_BEST} holds it whole. Take them from a backup, or begin a new run in "
                "another output."
            )
        logger.warning("The best network, of epoch %d, was put back in %s.", epoch, BEST)

    def _is_best(self, name: str, epoch: int) -> bool:
        """Whether a file holds, whole, the network that was the best of an epoch."""
        from medpipe.training.checkpoint import load_checkpoint

        try:
            return bool(load_checkpoint(self.run / name)[1]["epoch"] == epoch)
        except CheckpointError as error:
            logger.warning("%s", error)
            self._put_aside(name)
        except RunError:
            pass
        return False

    def _put_aside(self, name: str) -> None:
        path = self.run / name
        if path.exists():
            files.rename(path, self.run / DAMAGED.format(path.name))


@attrs.frozen
class _State:
    """A state dictionary as an object that has it."""

    state: Mapping[str, Any]

    def state_dict(self) -> Mapping[str, Any]:
        return self.state
