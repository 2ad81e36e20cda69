"""`Pipeline`: check, run, resume, folds, seeds, and its parts as plain objects."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.assembly import Assembly
from medpipe.checks.data_report import DataReport, examine_data
from medpipe.checks.pipeline_check import examine
from medpipe.config import Configuration, toml_text
from medpipe.distributed.processes import processes
from medpipe.errors import RunError
from medpipe.registry.meanings import parameter_fields
from medpipe.registry.parameters import values_of
from medpipe.registry.registry import Registry
from medpipe.registry.wrapped import Wrapped
from medpipe.runs.record import RECORD
from medpipe.runs.resume import Changeable, allowed
from medpipe.runs.run_set import RunSet
from medpipe.runs.runner import Runner
from medpipe.steps import Step
from medpipe.system.file_errors import mode_of
from medpipe.system.gc_pause import paused_collector
from medpipe.system.html import table
from medpipe.system.narration import narrated
from medpipe.system.options import option
from medpipe.system.place import place
from medpipe.system.plain_numbers import plain
from medpipe.system.threads import threads
from medpipe.system.timing import Timings, recording

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping

    from ignite.engine import Engine
    from matplotlib.figure import Figure
    from torch import nn

    from medpipe.checks.check_report import CheckReport
    from medpipe.data.loading.loaders import Loaders
    from medpipe.data.splits.split_samples import SplitSamples
    from medpipe.runs.run import Run
    from medpipe.training.stopping import StopRequest

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

    def __repr__(self) -> str:
        made = self.configuration
        parts = [
            f"dataset={made.dataset.name}",
            f"transforms={len(made.transforms)}",
            f"network={made.network.name}",
            f"trainer={made.trainer.name}",
        ]
        return f"Pipeline({', '.join(parts)})"

    def _repr_html_(self) -> str:
        rows = [
            (path, step.name, _given(step), self._origin(step))
            for path, step in self.configuration.steps()
        ]
        rows += [
            (section, "", given, "")
            for section in ("weights", "loader", "split", "evaluation", "run")
            if (given := _given(getattr(self.configuration, section)))
        ]
        head = ("where", "step", "parameters that are not the default", "plugin")
        return table(rows, title="Pipeline", head=head)

    def _origin(self, step: Step) -> str:
        plugin = None if isinstance(step, Wrapped) else self.registry.plugin_of(step)
        return plugin.title if plugin else "this script"

    def describe(self) -> str:
        """Every step with its parameters and the plugin that supplied it, and the settings."""
        lines = []
        for path, step in self.configuration.steps():
            lines.append(f"{path}: {self.registry.title(step)}")
            if not isinstance(step, Wrapped):
                lines += _parameters(step)
        for section in ("weights", "loader", "split", "evaluation", "run"):
            lines.append(f"{section}:")
            lines += _parameters(getattr(self.configuration, section))
        return "\n".join(lines)

    def check(self, *, deep: bool = False) -> CheckReport:
        """Check the pipeline against its data and this machine.

        A few real samples go through every transform, one at a time and as a batch; the network
        runs on the meta device, the loss is called with real labels, the optimizer's parameters
        and the memory needed are checked, and a fresh network is trained on eight samples until a
        parameter changes. Every image is read once, to find duplicates; the result is cached.

        Args:
            deep: Also train on these samples for 100 iterations, or half a minute: the loss must
                fall.
        """
        with narrated(), threads(self.configuration.run.threads):
            logger.info("Checking the data, the network and the machine")
            return examine(self._assembly(), trial="deep" if deep else "step")

    def check_data(self) -> DataReport:
        """Read every file once and list all that is wrong with the data.

        Faults are what training refuses (see ``run.bad_data``). Warnings are copies,
        near-duplicates, constant images and links that lead out of the data. Where images differ
        in shape, a few are read again and go through the transforms.
        """
        with narrated():
            logger.info("Reading every image")
            return examine_data(self._assembly())

    def preview(self, count: int = 4, *, epochs: int = 3) -> Figure:
        """Draw training images before and after the random steps, as the network gets them.

        Each row is an image of the first training batch: without the random steps, then as drawn
        in each of the first epochs. Of volumes the slice in the middle is shown.

        Args:
            count: How many images.
            epochs: How many epochs.

        Returns:
            A Matplotlib figure, which shows itself in Jupyter; elsewhere ``savefig`` writes it.

        Raises:
            CheckFailed: The check found problems.
        """
        from medpipe.report.preview import preview_figure

        checked = examine(self._assembly(), caching=True, data_alone=True).checked()
        return preview_figure(checked.assembly, checked.prepared, count=count, epochs=epochs)

    def run(
        self,
        output: str | os.PathLike[str] | None = None,
        *,
        resume: bool = False,
        allow_changed: bool | Changeable | Collection[Changeable] = False,
        max_time: float | timedelta | None = None,
    ) -> Run:
        """Check, train, evaluate, and write it all to a run directory.

        With SIGTERM, SIGUSR1, SIGHUP or Ctrl-C, and when `max_time` is over, it finishes the
        iteration, saves a checkpoint and stops: the run's status is then ``stopped``, and `resume`
        continues from that iteration. After Ctrl-C, KeyboardInterrupt is raised; a second one
        is raised at once.

        Args:
            output: The run directory, empty or new; by default ``runs/<data set>-<time>``.
            resume: Resume the run in `output`; if there is none, start it. A finished run is
                returned as it is.
            allow_changed: What may have changed since the run to resume was started:
                ``"configuration"``, ``"data"``, ``"packages"``, ``"threads"``, ``"hardware"``,
                ``"processes"``, several of them, or True for all. What did change is recorded.
            max_time: Stop after this time, in seconds or as a ``timedelta``, from this call on.

        Raises:
            RunError: The output can't be written or is not empty, or the run to resume was
                started with something else.
            CheckpointError: The run to resume has no intact checkpoint.
            CheckFailed: The check found problems; it lists them all.
            TrainingError: Training can't continue; what was written until then stays.
        """
        from medpipe.training.stopping import StopRequest

        if resume and output is None:
            raise RunError("resume needs the run to resume: give its directory as output.")
        if output is None and place().max_restarts:
            raise RunError(
                "torchrun may start the processes anew, which then resume the run: give its "
                f"directory with {option('output')}, or --max-restarts 0 to torchrun."
            )
        path = Path(output) if output is not None else self._default_output()
        return Runner(
            assembly=self._assembly(),
            path=path,
            resume=resume or place().restart > 0,
            allow=allowed(allow_changed),
            stop=StopRequest(_seconds(max_time)),
        ).run()

    def run_folds(
        self,
        output: str | os.PathLike[str],
        *,
        resume: bool = False,
        allow_changed: bool | Changeable | Collection[Changeable] = False,
        max_time: float | timedelta | None = None,
    ) -> RunSet:
        """Run every fold of ``split.folds``, each in its folder ``fold-0``, ``fold-1``, ...

        Args:
            output: The folder of the runs.
            resume: Resume where an earlier call stopped; finished folds are left as they are.
            allow_changed: See `run`.
            max_time: Stop after so long in all; see `run`.

        Raises:
            RunError: ``split.folds`` is not set.
        """
        from medpipe.training.stopping import StopRequest

        split = self.configuration.split
        if split.folds is None:
            raise RunError("split.folds is not set. Set it to the number of folds, such as 5.")
        members = {
            f"fold-{fold}": attrs.evolve(self.configuration, split=attrs.evolve(split, fold=fold))
            for fold in range(split.folds)
        }
        stop, allow = StopRequest(_seconds(max_time)), allowed(allow_changed)
        return self._run_all(Path(output), members, resume=resume, allow=allow, stop=stop)

    def run_seeds(
        self,
        count: int,
        output: str | os.PathLike[str],
        *,
        resume: bool = False,
        allow_changed: bool | Changeable | Collection[Changeable] = False,
        max_time: float | timedelta | None = None,
    ) -> RunSet:
        """Run with several seeds on one split, each in its folder ``seed-0``, ``seed-1``, ...

        Args:
            count: How many seeds: ``run.seed`` and those that follow it.
            output: The folder of the runs.
            resume: Resume where an earlier call stopped; finished runs are left as they are.
            allow_changed: See `run`.
            max_time: Stop after so long in all; see `run`.

        Raises:
            RunError: There is no seed to run.
        """
        from medpipe.training.stopping import StopRequest

        count = plain(count)
        if count < 1:
            raise RunError(f"The number of seeds must be at least 1, got {count}.")
        run = self.configuration.run
        members = {
            f"seed-{seed}": attrs.evolve(self.configuration, run=attrs.evolve(run, seed=seed))
            for seed in range(run.seed, run.seed + count)
        }
        stop, allow = StopRequest(_seconds(max_time)), allowed(allow_changed)
        return self._run_all(Path(output), members, resume=resume, allow=allow, stop=stop)

    def splits(self) -> SplitSamples:
        """The samples of each split, as `run` would divide them; nothing is trained.

        Every file is read once, to find what is faulty, and images whose pixels are the same; the
        result is cached.

        Raises:
            BadDataError: Samples are faulty, and are not to be left out (``run.bad_data``).
            DataError: The samples can't be divided so.
            ChangedError: ``split.file`` was made with other data.
            StepError: The data set's step or a transform failed.
        """
        from medpipe.data.splits.split_samples import SplitSamples

        with narrated():
            assembly = self._assembly()
            prepared = assembly.prepare_data(assembly.chain())
        dataset = prepared.dataset
        return SplitSamples(
            by_split=prepared.by_split,
            task=dataset.task,
            reading=dataset.reading,
            notes=dataset.notes,
            splits=prepared.split,
            scan=prepared.scan,
        )

    def build_network(self) -> nn.Module:
        """The network as it is before training: a plain ``nn.Module`` on the CPU.

        Raises:
            CheckFailed: The check found problems.
        """
        from medpipe.training.determinism import seeded

        checked = self.check().checked()
        with seeded(self.configuration.run.seed):
            return checked.assembly.started_network(checked.data)

    def build_loaders(self) -> Loaders:
        """The batches of every split: plain ``DataLoader`` objects.

        Raises:
            CheckFailed: The check found problems.
        """
        with paused_collector():
            checked = examine(self._assembly(), caching=True, data_alone=True).checked()
            return checked.assembly.loaders(checked.prepared, checked.device)

    def build_trainer(self) -> Engine:
        """The trainer: a plain Ignite engine, MONAI's for the built-in trainer.

        Its ``run()`` trains and writes nothing.

        Raises:
            CheckFailed: The check found problems.
        """
        from medpipe.training.determinism import seeded

        checked = self.check().checked()
        with seeded(self.configuration.run.seed):
            assembly = checked.assembly
            training, _ = assembly.training(
                data=checked.data,
                loader=assembly.loaders(checked.prepared, checked.device).training,
                device=checked.device,
                precision=checked.precision,
            )
            engine: Engine = training.engine
            return engine

    def _assembly(self) -> Assembly:
        return Assembly(configuration=self.configuration, registry=self.registry)

    def _default_output(self) -> Path:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        return Path("runs") / f"{self.configuration.dataset.name}-{stamp}"

    def _run_all(
        self,
        output: Path,
        members: Mapping[str, Configuration],
        *,
        resume: bool,
        allow: frozenset[Changeable],
        stop: StopRequest,
    ) -> RunSet:
        if mode_of(output / RECORD):
            raise RunError(f"The output {output} holds a single run. Choose another folder.")
        with narrated():
            for number, (name, configuration) in enumerate(members.items()):
                member = Runner(
                    assembly=attrs.evolve(self._assembly(), configuration=configuration),
                    path=output / name,
                    resume=resume or place().restart > 0,
                    allow=allow,
                    stop=stop,
                )
                # The time before the first run counts as the first run's.
                with recording(Timings() if number else None):
                    run = member.run()
                if run.status != "finished":
                    break
        ours = processes(self.configuration.run.timeout)
        with ours.together():
            return ours.share(RunSet.load(output) if ours.leads else None)


def _seconds(max_time: float | timedelta | None) -> float | None:
    return max_time.total_seconds() if isinstance(max_time, timedelta) else plain(max_time)


def _given(value: Any) -> str:
    """The parameters that are not their defaults, as TOML writes them."""
    if isinstance(value, Wrapped):
        return ""
    fields = parameter_fields(type(value))
    return ", ".join(
        f"{name} = {toml_text(item)}"
        for name, item in values_of(value).items()
        if item is not None and not isinstance(item, Step) and item != fields[name].default
    )


def _parameters(value: Any) -> list[str]:
    """A line for each parameter that has a value, as TOML writes it."""
    lines = []
    for name, item in values_of(value).items():
        if item is not None and not isinstance(item, Step):  # that one has lines of its own
            lines.append(f"  {name} = {toml_text(item)}")
    return lines
