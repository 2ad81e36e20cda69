"""A session of a run: train, evaluate, write; from the beginning or from a checkpoint.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.assembly import Assembly
from medpipe.checks.check_report import Checked
from medpipe.config import Configuration
from medpipe.runs.evaluator import Evaluator
from medpipe.runs.record import PREDICTIONS
from medpipe.runs.recorder import Recorder
from medpipe.runs.resume import refuse_other_plan, refuse_too_few_epochs
from medpipe.steps import RunContext, resolved
from medpipe.system import file_errors, files
from medpipe.system.resource_errors import limits_named
from medpipe.system.timing import START_UP, WHOLE_START_UP, Timings, timed
from medpipe.training.allocation import follow_steps, kept_memory
from medpipe.training.first_steps import FirstSteps
from medpipe.training.monitored import never_defined, undefined_epoch
from medpipe.training.run_checkpoints import BEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from medpipe.data.loading.loader import Loader
    from medpipe.data.loading.loaders import Loaders
    from medpipe.evaluation.predictions import Predictions
    from medpipe.steps import TrainerStep, Training
    from medpipe.system.hardware import Precision
    from medpipe.training.handlers import Handlers
    from medpipe.training.loop import Epoch, Progress
    from medpipe.training.run_checkpoints import Found
    from medpipe.training.stopping import StopRequest

logger = logging.getLogger("medpipe")


@attrs.define(kw_only=True, eq=False)
class Session:
    """Trains and evaluates a pipeline whose check found no problem.

    Attributes:
        assembly: Builds the pipeline's parts.
        configuration: As it is written to the run directory.
        checked: What the check found.
        recorder: Writes the run directory.
        longer: Whether the run may train longer now than it was to.
        stop: Says whether the run is to stop.
        timings: Where the time went so far.
        handlers: What sees the training; None before it is attached.
    """

    assembly: Assembly
    configuration: Configuration
    checked: Checked
    recorder: Recorder
    longer: bool
    stop: StopRequest
    timings: Timings = attrs.field(factory=Timings)
    handlers: Handlers | None = attrs.field(default=None, init=False)
    _evaluator: Evaluator = attrs.field(init=False)
    _network: torch.nn.Module = attrs.field(init=False)
    _progress: Progress = attrs.field(init=False)
    _start: tuple[int, bool, bool] = attrs.field(init=False)

    @property
    def advanced(self) -> bool:
        """Whether this session made progress that the next one need not repeat."""
        return _place(self._progress) != self._start

    def run(self, found: Found | None) -> bool:
        """Train and evaluate.

        Args:
            found: The checkpoint to resume from; None: from the beginning.

        Returns:
            Whether the run came to its end; otherwise it stopped and can be resumed.
        """
        checked, processes = self.checked, self.assembly.processes
        with processes.in_turn(), timed("packing"), limits_named():
            made = self.assembly.loaders(checked.prepared, checked.device)
        sparing = _sparing(self.assembly.configuration.trainer, checked.precision)
        with closing(made) as loaders, kept_memory(checked.device), limits_named(sparing=sparing):
            return self._run(loaders, found)

    def _run(self, loaders: Loaders, found: Found | None) -> bool:
        from medpipe.evaluation.metrics import mode_of
        from medpipe.training.determinism import seed_apart
        from medpipe.training.loop import Progress, TrainingLoop
        from medpipe.training.planned import planned
        from medpipe.training.restoring import restore
        from medpipe.training.stopping import Stopped

        checked, processes = self.checked, self.assembly.processes
        task = checked.data.task
        trainer = self.assembly.configuration.trainer
        max_epochs = resolved(trainer.max_epochs)
        history: list[dict[str, float | None]] = []
        with timed("building"):
            training, loss = self.assembly.training(
                data=checked.data,
                loader=loaders.training,
                device=checked.device,
                precision=checked.precision,
                fresh=found is None,
                history=history,
            )
        self._network = training.state["network"]
        self._evaluator = Evaluator(
            assembly=self.assembly,
            checked=checked,
            network=self._network,
            loss=loss,
            stop=self.stop,
        )
        seed = self.configuration.run.seed
        if not processes.leads:
            seed_apart(seed, processes.here.rank, 0)
        self.handlers = handlers = self._attach(training)
        training = attrs.evolve(training, state={**training.state, **handlers.state})
        follow_steps(training.engine)
        progress = Progress()
        if found is not None:
            refuse_other_plan(self.recorder.path, found.about["planned"], planned(training))
            progress = restore(found, training, loaders.training, processes, seed=seed)
            refuse_too_few_epochs(self.recorder.path, attrs.asdict(progress), max_epochs)
            if progress.finished and self.longer:
                progress.finished = progress.over(max_epochs=max_epochs, patience=trainer.patience)
                progress.early = progress.early and progress.finished
            self.recorder.settle(found)
            if self.recorder.record["sessions"][-1]["changed"]:
                # The checkpoint must have the digests of the changed run.
                state, about = self._checkpoint(training, progress, loaders)
                self.recorder.save(state, {**about, "epoch": found.about["epoch"]})
            self.recorder.go_on(self.configuration, self.assembly.registry, checked.prepared)
        history += progress.history
        progress.history = history
        self._progress, self._start = progress, _place(progress)
        monitor = trainer.monitor

        def validate() -> Mapping[str, Any]:
            assert loaders.validation is not None
            predictions, metrics = self._evaluate(loaders.validation, "Validating")
            validated.append(predictions)
            handlers.fire("validation_completed", metrics)
            return metrics

        def on_epoch(epoch: Epoch, progress: Progress) -> None:
            _say(epoch, monitor)
            if loaders.validation is not None:
                _warn(undefined_epoch(monitor, progress.history))
            self._see_weights()
            if epoch.best and validated:
                self._write_predictions("validation", validated[-1])
            validated.clear()
            self.recorder.epoch(epoch, *self._checkpoint(training, progress, loaders))
            handlers.fire("checkpoint_saved")

        def on_save(progress: Progress) -> None:
            self._see_weights()
            self.recorder.save(*self._checkpoint(training, progress, loaders))
            handlers.fire("checkpoint_saved")

        validated: list[Predictions | None] = []
        loop = TrainingLoop(
            training=training,
            validate=validate if loaders.validation is not None else None,
            monitor=monitor,
            mode=mode_of(monitor, self.assembly.metrics(task)),
            patience=trainer.patience,
            max_epochs=max_epochs,
            on_epoch=on_epoch,
            on_save=on_save,
            save_every=60 * self.assembly.configuration.run.checkpoint_minutes,
            stop=self.stop,
            progress=progress,
        )
        compiles = getattr(trainer, "compile", False)
        FirstSteps(
            training.engine,
            on_first=self._note_start_up,
            on_later=self._note_compilation if compiles else _nothing,
        )
        if progress.finished:
            # It may have been killed between its last checkpoint and what handlers write of it.
            handlers.fire("checkpoint_saved")
        with self._timed("training"):
            loop.run()
        if not progress.finished:
            return False
        if loaders.validation is not None:
            _warn(never_defined(monitor, progress.history, progress.best_epoch))
        try:
            results = {} if loaders.test is None else self._test(loaders.test)
        except Stopped:
            return False
        self.recorder.finish(**results)
        return True

    def _see_weights(self) -> None:
        """See that the network may be saved: its weights are finite, in all processes the same."""
        from medpipe.distributed.wrapping import refuse_apart
        from medpipe.training.restoring import refuse_not_finite

        refuse_not_finite(self._network)
        title = self.assembly.registry.title(self.assembly.configuration.trainer)
        refuse_apart(self._network, self.assembly.processes, title)

    def _checkpoint(
        self, training: Training, progress: Progress, loaders: Loaders
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        from medpipe.training.restoring import checkpoint_of

        return checkpoint_of(training, progress, loaders.training, self.assembly.processes)

    def _attach(self, training: Training) -> Handlers:
        """Attach the handlers of the configuration, in the process that leads."""
        from medpipe.training.handlers import Handlers

        def context() -> RunContext:
            return RunContext(
                output=self.recorder.path,
                network=self._network,
                data=self.checked.data,
                write_text=self._write_text,
                write_network=self._write_network,
            )

        assembly = self.assembly
        steps = assembly.configuration.handlers if assembly.processes.leads else ()
        return Handlers.attach(steps, training, context, assembly.registry.title)

    def _write_network(self, name: str, state: Mapping[str, Any]) -> None:
        from medpipe.training.checkpoint import Tensors, save_checkpoint

        self.recorder.see_ours()
        save_checkpoint(self.recorder.path / name, {"network": Tensors(state)}, about={})

    def _write_text(self, name: str, text: str) -> None:
        self.recorder.see_ours()
        files.write_text(self.recorder.path / name, text)

    def _test(self, loader: Loader) -> dict[str, Any]:
        """Evaluate the best network on the test split."""
        from medpipe.training.checkpoint import load_checkpoint

        processes = self.assembly.processes
        with self._timed("test"):
            best, chosen = {}, {}
            if processes.leads:
                states, _ = load_checkpoint(self.recorder.path / BEST)
                best, chosen = states["network"], self._chosen_on_validation()
            best, chosen = processes.share((best, chosen))
            self._network.load_state_dict(best)
            predictions, metrics = self._evaluate(loader, "Testing", chosen)
            self._write_predictions("test", predictions)
        metrics = {**self.recorder.record["metrics"], "test": metrics}
        return {"chosen_on_validation": chosen, "metrics": metrics}

    def _chosen_on_validation(self) -> dict[str, Any]:
        """What the best network's predictions on the validation split decide."""
        from medpipe.evaluation.frozen import chosen_on_validation
        from medpipe.evaluation.predictions import read_predictions

        path = self.recorder.path / PREDICTIONS.format("validation")
        there = bool(file_errors.mode_of(path))
        validation = read_predictions(path, self.checked.data.task) if there else None
        return chosen_on_validation(validation, self.assembly.configuration.evaluation)

    def _evaluate(
        self, loader: Loader, description: str, chosen: Mapping[str, Any] | None = None
    ) -> tuple[Predictions | None, dict[str, Any]]:
        """Evaluate a split; see `Evaluator.evaluate`."""
        return self._evaluator.evaluate(loader, description, chosen, first=not self.advanced)

    def _write_predictions(self, split: str, predictions: Predictions | None) -> None:
        from medpipe.evaluation.predictions import write_predictions

        if predictions is None:  # another process writes them
            return
        self.recorder.see_ours()
        write_predictions(self.recorder.path / PREDICTIONS.format(split), predictions)

    def _note_start_up(self, batch: float, step: float) -> None:
        """Record the times until the first step; they replace those of an earlier session."""
        self.timings.add("first_batch", batch)
        self.timings.add("first_step", step)
        recorded = self.recorder.record["timings"]
        for name in START_UP:
            recorded.pop(name, None)
        recorded[WHOLE_START_UP] = round(self.timings.elapsed, 3)
        recorded.update(self.timings.seconds)

    def _note_compilation(self, first: float, later: float) -> None:
        """Record the time for compiling, over all sessions."""
        seconds = max(0.0, first - later)
        logger.info(
            "Compiling the network took %.1f s: the first step %.1f s, a later one %.3f s",
            seconds,
            first,
            later,
        )
        recorded = self.recorder.record["timings"]
        recorded["compile"] = round(recorded.get("compile", 0.0) + seconds, 3)

    def _timed(self, name: str) -> _Timer:
        return _Timer(self.recorder.record["timings"], name)


class _Timer:
    """Adds a block's seconds to a run's timings, over all its sessions."""

    def __init__(self, timings: dict[str, float], name: str) -> None:
        self._timings, self._name = timings, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = self._timings.get(self._name, 0.0) + time.perf_counter() - self._start
        self._timings[self._name] = round(seconds, 3)


def _sparing(trainer: TrainerStep, precision: Precision) -> list[str]:
    """Settings of the trainer that would reduce the memory of a step."""
    settings = []
    if getattr(trainer, "recompute", None) is False:
        settings.append("trainer.recompute = true")
    if precision == "float32":
        settings.append('trainer.precision = "bfloat16"')
    return settings


def _place(progress: Progress) -> tuple[int, bool, bool]:
    return progress.iteration, progress.validating, progress.finished


def _nothing(*_: object) -> None:
    pass


def _warn(said: str | None) -> None:
    if said is not None:
        logger.warning("%s", said)


def _say(epoch: Epoch, monitor: str) -> None:
    shown = epoch.validation.get(monitor)
    found = f", validation {monitor} {shown:.4f}" if shown is not None else ""
    logger.info(
        "Epoch %d: training loss %.4f%s (%.0f s)", epoch.number, epoch.loss, found, epoch.seconds
    )
