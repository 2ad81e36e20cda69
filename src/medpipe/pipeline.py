"""`Pipeline`: what a builder builds. It checks itself, runs, and hands its parts out."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe import files
from medpipe.assembly import Assembly, Loaders, to_device
from medpipe.checks import CheckReport, examine
from medpipe.config import Configuration
from medpipe.parameters import parameter_types
from medpipe.ready import Ready
from medpipe.recording import RECORD, Recorder, first_record
from medpipe.registry import Registry
from medpipe.run import Run
from medpipe.steps import Step

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from ignite.engine import Engine
    from torch import nn

    from medpipe.training.loop import Epoch

__all__ = ["Pipeline"]

logger = logging.getLogger("medpipe")


@attrs.frozen(kw_only=True)
class Pipeline:
    """A checked configuration, ready to run.

    Attributes:
        configuration: Its steps and settings.
        registry: Where its steps come from.
    """

    configuration: Configuration
    registry: Registry = attrs.field(eq=False, repr=False)

    def describe(self) -> str:
        """Every step with its parameters and the plugin that supplied it, and the settings."""
        lines = []
        for path, step in self.configuration.steps():
            lines.append(f"{path}: {self.registry.title(step)}")
            if not isinstance(step, Ready):
                lines += _parameters(step)
        for section in ("weights", "loader", "split", "run"):
            lines.append(f"{section}:")
            lines += _parameters(getattr(self.configuration, section))
        return "\n".join(lines)

    def check(self) -> CheckReport:
        """Try everything that can be tried before any long work.

        A few real samples go through every transform, the network sees a batch's shape without
        memory, the loss sees real labels, the optimizer's parameters and the memory are compared
        with what is there. Every image is read once, to find duplicates; that is remembered.
        """
        return examine(self._assembly())

    def run(self, output: str | os.PathLike[str] | None = None) -> Run:
        """Check, train, evaluate, and write it all to a run directory.

        Args:
            output: The run directory, empty or new; by default ``runs/<data set>-<time>``.

        Raises:
            RunError: The output can't be written, or holds something.
            CheckFailed: The check found problems; it lists them all.
            TrainingError: Training can't go on; what was written until then stays.
        """
        started = time.perf_counter()
        path = Path(output) if output is not None else self._default_output()
        files.claim_directory(path, marker=RECORD)
        report = self.check()
        for note in report.notes:
            logger.info("%s", note)
        report.raise_for_problems()
        checked = time.perf_counter() - started
        return self._train(path, report, checked)

    def build_network(self) -> nn.Module:
        """The network as it is before training: a plain ``nn.Module`` on the processor.

        Raises:
            CheckFailed: The check found problems.
        """
        from medpipe.training.determinism import seeded

        report = self._checked()
        assert report.data is not None
        with seeded(self.configuration.run.seed):
            return self._assembly().network(report.data)

    def build_loaders(self) -> Loaders:
        """The batches of every part: plain ``DataLoader`` objects.

        Raises:
            CheckFailed: The check found problems.
        """
        report = self._checked()
        assert report.prepared is not None
        assert report.device is not None
        return self._assembly().loaders(report.prepared, report.device)

    def build_trainer(self) -> Engine:
        """The trainer: a plain Ignite engine, MONAI's for the built-in trainer.

        Its ``run()`` trains and writes nothing.

        Raises:
            CheckFailed: The check found problems.
        """
        from medpipe.training.determinism import seeded

        report = self._checked()
        assert report.prepared is not None
        assert report.device is not None
        with seeded(self.configuration.run.seed):
            loaders = self._assembly().loaders(report.prepared, report.device)
            engine: Engine = self._build_training(report, loaders)[0].engine
            return engine

    def _assembly(self) -> Assembly:
        return Assembly(configuration=self.configuration, registry=self.registry)

    def _checked(self) -> CheckReport:
        report = self.check()
        report.raise_for_problems()
        return report

    def _default_output(self) -> Path:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        return Path("runs") / f"{self.configuration.dataset.name}-{stamp}"

    def _build_training(self, report: CheckReport, loaders: Loaders) -> tuple[Any, Any]:
        assembly = self._assembly()
        assert report.data is not None
        assert report.device is not None
        assert report.precision is not None
        network = assembly.network(report.data).to(report.device)
        loss = to_device(assembly.loss(report.data), report.device)
        training = assembly.training(
            network=network,
            loss=loss,
            loader=loaders.training,
            device=report.device,
            precision=report.precision,
            data=report.data,
        )
        return training, loss

    def _train(self, path: Path, report: CheckReport, checked: float) -> Run:
        from medpipe.training.determinism import seeded
        from medpipe.training.hardware import describe_hardware

        assert report.prepared is not None
        assert report.data is not None
        assert report.device is not None
        record = first_record(
            self.configuration,
            self.registry,
            report.prepared,
            data=report.data,
            device=str(report.device),
            precision=str(report.precision),
            hardware=describe_hardware(report.device),
            name=path.name,
        )
        record["timings"]["check"] = round(checked, 3)
        recorder = Recorder(path, record)
        recorder.begin(self.configuration, self.registry, report.prepared)
        logger.info("The run is written to %s", path)
        try:
            with seeded(self.configuration.run.seed):
                self._train_and_test(recorder, report)
        except BaseException as error:
            recorder.fail(error)
            raise
        return Run(path=path, record=recorder.record, configuration=self.configuration)

    def _train_and_test(self, recorder: Recorder, report: CheckReport) -> None:
        from medpipe.evaluation.metrics import MONITORS, compute_metrics, default_monitor
        from medpipe.evaluation.predictions import write_predictions
        from medpipe.recording import BEST
        from medpipe.training.checkpoint import load_checkpoint
        from medpipe.training.loop import train
        from medpipe.training.predict import predict

        prepared = report.prepared
        assert prepared is not None
        task = prepared.dataset.task
        loaders = self._assembly().loaders(prepared, report.device)  # type: ignore[arg-type]
        training, loss = self._build_training(report, loaders)
        network = training.state["network"]
        groups = {sample.id: sample.group for sample in prepared.dataset.samples}
        trainer = self.configuration.trainer
        monitor = trainer.monitor or default_monitor(task)
        timings = recorder.record["timings"]

        def evaluate(loader: Any, description: str) -> tuple[Any, float | None]:
            return predict(
                network,
                loader,
                device=report.device,  # type: ignore[arg-type]
                precision=report.precision,  # type: ignore[arg-type]
                task=task,
                groups=groups,
                loss=loss,
                description=description,
            )

        def validate() -> Mapping[str, Any]:
            predictions, mean_loss = evaluate(loaders.validation, "Validating")
            return {"loss": mean_loss, **compute_metrics(predictions)}

        def on_epoch(epoch: Epoch) -> None:
            shown = epoch.validation.get(monitor)
            found = f", validation {monitor} {shown:.4f}" if shown is not None else ""
            logger.info(
                "Epoch %d: training loss %.4f%s (%.0f s)",
                epoch.number,
                epoch.loss,
                found,
                epoch.seconds,
            )
            recorder.epoch(epoch, training.state)

        start = time.perf_counter()
        train(
            training,
            validate=validate if loaders.validation is not None else None,
            monitor=monitor,
            mode=MONITORS[task.kind][monitor],
            patience=trainer.patience,
            on_epoch=on_epoch,
            max_epochs=trainer.max_epochs,
        )
        timings["training"] = round(time.perf_counter() - start, 3)
        results: dict[str, Any] = {}
        if loaders.test is not None:
            start = time.perf_counter()
            states, _ = load_checkpoint(recorder.path / BEST)
            network.load_state_dict(states["network"])
            predictions, mean_loss = evaluate(loaders.test, "Testing")
            write_predictions(recorder.path / "predictions_test.csv", predictions)
            test = {"loss": mean_loss, **compute_metrics(predictions, intervals=True)}
            results["metrics"] = {**recorder.record["metrics"], "test": test}
            timings["test"] = round(time.perf_counter() - start, 3)
        recorder.finish(**results)


def _parameters(value: Any) -> list[str]:
    lines = []
    for name in parameter_types(type(value)):
        item = getattr(value, name)
        if not isinstance(item, Step):  # it has lines of its own
            lines.append(f"  {name} = {item!r}")
    return lines
