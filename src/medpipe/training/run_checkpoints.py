"""The checkpoints of a run: last, previous and best.

Each of the first two holds all that is needed to resume, the best network by then included: the
third can be made from either.

Imports torch inside functions.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import CheckpointError, RunError
from medpipe.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOLDER = "checkpoints"
LAST, PREVIOUS = f"{FOLDER}/last.safetensors", f"{FOLDER}/previous.safetensors"
BEST = f"{FOLDER}/best.safetensors"
DAMAGED = f"{FOLDER}/damaged.safetensors"

BEST_NETWORK = "$best"
"""The best network in a checkpoint of another epoch's."""

logger = logging.getLogger("medpipe")


@attrs.frozen(kw_only=True, eq=False)
class Found:
    """A checkpoint to resume from.

    Attributes:
        states: The state dictionaries, by name.
        about: What was kept with them.
        instead_of: Why it is not the last one; empty where it is.
    """

    states: Mapping[str, Any]
    about: Mapping[str, Any]
    instead_of: str = ""


@attrs.define(kw_only=True)
class RunCheckpoints:
    """Reads and writes them.

    Attributes:
        run: The run directory.
    """

    run: Path
    _best: Mapping[str, Any] | None = attrs.field(default=None, init=False)

    def save(self, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write the last checkpoint; the one that was it stays as the one before.

        Args:
            state: Objects with ``state_dict``, by name, the network among them.
            about: Plain data to keep with them: the ``epoch`` that has just ended, or None, and
                the ``best_epoch`` are looked at.

        Raises:
            RunError: It can't be written; those that are there are whole.
        """
        from medpipe.training.checkpoint import on_cpu, save_checkpoint

        best = about["best_epoch"]
        if best is not None and best == about["epoch"]:
            self._best = on_cpu(state["network"].state_dict())
        elif self._best is not None:
            state = {**state, BEST_NETWORK: _State(self._best)}
        save_checkpoint(self.run / LAST, state, about=about, keep=self.run / PREVIOUS)
        if best is not None and best == about["epoch"]:
            self._write_best(about)

    @property
    def exist(self) -> bool:
        """Whether there is a checkpoint to resume from, whole or damaged."""
        return any((self.run / name).exists() for name in (LAST, PREVIOUS))

    def latest(self) -> Found:
        """The newest checkpoint that is whole.

        Nothing is changed by it. Where the last one is damaged or gone, the one before it is given.

        Raises:
            CheckpointError: There is none, or none is whole.
            RunError: One can't be read.
        """
        from medpipe.training.checkpoint import load_checkpoint

        damaged: list[str] = []
        for name in (LAST, PREVIOUS):
            if not (self.run / name).exists():
                if name == LAST and (self.run / PREVIOUS).exists():
                    damaged.append(f"{self.run / name} is missing.")
                continue
            try:
                states, about = load_checkpoint(self.run / name)
                _refuse_foreign(self.run / name, about)
            except CheckpointError as error:
                damaged.append(str(error))
                continue
            return Found(states=states, about=about, instead_of=" ".join(damaged))
        if damaged:
            raise CheckpointError(
                f"No checkpoint of {self.run} is intact. {' '.join(damaged)} Restore the run "
                "directory from a backup, or begin a new run in another output folder."
            )
        raise CheckpointError(
            f"The checkpoints of {self.run} are missing, so it can't be resumed. Restore the "
            f"folder {FOLDER!r} from a backup, or begin a new run in another output folder."
        )

    def settle(self, found: Found) -> None:
        """Bring the files into the order that `found` is to be resumed from.

        A damaged last checkpoint is put aside, so that it never takes the place of a whole one.
        The best network becomes the one of the epoch that was the best by then.

        Raises:
            RunError: The files can't be written.
        """
        files.remove_leftovers(self.run)
        if found.instead_of:
            logger.warning(
                "%s The run is resumed from the previous checkpoint, of iteration %d.",
                found.instead_of,
                found.about["progress"]["iteration"],
            )
            if (self.run / LAST).exists():
                files.rename(self.run / LAST, self.run / DAMAGED)
        if found.about["best_epoch"] is None:
            return
        self._best = found.states.get(BEST_NETWORK, found.states["network"])
        why = self._not_best(found.about["best_epoch"])
        if why:
            logger.warning("%s The best network is restored from the checkpoint.", why)
            self._write_best(found.about)

    def _write_best(self, about: Mapping[str, Any]) -> None:
        from medpipe.training.checkpoint import save_checkpoint

        kept = {
            "epoch": about["best_epoch"],
            "validation": about["metrics"].get("validation", {}),
        }
        assert self._best is not None
        save_checkpoint(self.run / BEST, {"network": _State(self._best)}, about=kept)

    def _not_best(self, epoch: int) -> str:
        """Why the file of the best network is not that of an epoch; empty where it is."""
        from medpipe.training.checkpoint import load_checkpoint

        try:
            _, about = load_checkpoint(self.run / BEST)
        except RunError as error:
            return str(error)
        if about["epoch"] == epoch:
            return ""
        return f"{self.run / BEST} is of epoch {about['epoch']}, but the best epoch was {epoch}."


_KEPT: dict[str, tuple[type, ...]] = {
    "epoch": (int, type(None)),
    "best_epoch": (int, type(None)),
    "metrics": (dict,),
    "history": (list,),
    "provenance_digests": (dict,),
    "progress": (dict,),
    "position": (list,),
    "classes": (dict,),
}
"""What is kept with the states of a run, and how JSON has it."""


def _refuse_foreign(path: Path, about: Any) -> None:
    """See that all is kept with a checkpoint that a run is to be resumed from.

    Raises:
        RunError: It is whole, and something is not there.
    """
    kept = about if isinstance(about, dict) else {}
    lacks = [
        name for name, kind in _KEPT.items() if name not in kept or not isinstance(kept[name], kind)
    ]
    if not lacks and type(kept["progress"].get("iteration")) is not int:
        lacks = ["progress"]
    if lacks:
        raise RunError(
            f"{path} is intact, but lacks {', '.join(lacks)}: it was written by another version of "
            "medpipe, or changed since. Resume with the medpipe that wrote it, or begin a new run "
            "in another output folder."
        )


@attrs.frozen
class _State:
    """A state dictionary as an object that has it."""

    state: Mapping[str, Any]

    def state_dict(self) -> Mapping[str, Any]:
        return self.state
