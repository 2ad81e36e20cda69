"""`Runner`: one run, from the lock on its folder to its end; started or resumed."""

from __future__ import annotations

import gc
import importlib
import logging
import time
from typing import TYPE_CHECKING

import attrs

from medpipe.assembly import Assembly
from medpipe.checks.pipeline_check import examine
from medpipe.config import unrepeatable, write
from medpipe.data.quality.quarantine_file import read_quarantine
from medpipe.distributed.processes import Processes, processes
from medpipe.distributed.same_data import refuse_other_data
from medpipe.errors import MedpipeError, RunError
from medpipe.report.files import REPORT, at_the_end, write_report
from medpipe.runs.record import (
    HISTORY,
    QUARANTINE,
    RECORD,
    first_record,
    later_record,
    machine_record,
    provenance_digests,
)
from medpipe.runs.recorder import Recorder
from medpipe.runs.resume import (
    Change,
    Changeable,
    changes_of_checkpoint,
    changes_of_configuration,
    changes_of_data,
    changes_of_machine,
    refuse,
    refuse_for_finished,
    refuse_no_longer,
    refuse_other_plan,
    refuse_too_few_epochs,
)
from medpipe.runs.run import Run
from medpipe.runs.session import Session
from medpipe.runs.told import Begun, Ready
from medpipe.steps import resolved
from medpipe.system import file_errors, files
from medpipe.system.narration import narrated
from medpipe.system.options import option
from medpipe.system.output_folders import claim_directory, only_writer
from medpipe.system.start_methods import refuse_second_start
from medpipe.system.threads import threads
from medpipe.system.timing import Timings, recording, timed
from medpipe.training.run_checkpoints import Found, RunCheckpoints
from medpipe.training.shared_stop import SharedStop

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from medpipe.checks.check_report import Checked
    from medpipe.errors import Fault
    from medpipe.training.handlers import Handlers
    from medpipe.training.stopping import StopRequest

logger = logging.getLogger("medpipe")

LIBRARIES = ("monai.engines", "monai.transforms", "torch._dynamo", "medpipe.training.loop")
"""Modules that every run imports; ``torch._dynamo`` comes with the first optimizer."""


@attrs.frozen(kw_only=True)
class Runner:
    """A run to start or to resume.

    Attributes:
        assembly: Builds its parts.
        path: The run directory.
        resume: Whether to resume an existing run; if there is none, it is started.
        allow: What may have changed since it was started.
        stop: Tells it when to stop.
    """

    assembly: Assembly
    path: Path
    resume: bool
    allow: frozenset[Changeable]
    stop: StopRequest

    def run(self) -> Run:
        """Check, train, evaluate, and write it all; see `medpipe.Pipeline.run`."""
        with narrated(), threads(self.assembly.configuration.run.threads):
            refuse_second_start()  # before a folder is claimed
            with self.processes.together():
                return self._run() if self.processes.leads else self._follow()

    @property
    def processes(self) -> Processes:
        """Those that run it together."""
        return processes(self.assembly.configuration.run.timeout)

    def _run(self) -> Run:
        started = time.perf_counter()
        before, changes = self._before()
        if before is None:
            claim_directory(self.path, marker=RECORD)
        elif before.status == "finished" and not _longer(changes):
            refuse_for_finished(before, changes)
            logger.info("The run %s is finished; nothing is left to do.", self.path)
            self.processes.share(Begun(path=self.path, ended=before.record))
            return before
        elif self.processes.restarted and self.processes.left(f"stopped/{self.path}"):
            self.processes.share(Begun(path=self.path, ended=before.record))
            return before  # torchrun starts what was to stop anew
        with only_writer(self.path) as see_ours, recording() as timings:
            before, changes = self._before()  # another process may have written until now
            with timed("imports"):
                _import_libraries()
            logger.info("Checking the data, the network and the machine")
            begun = Begun(
                path=self.path,
                decided={} if before is None else before.record["auto"],
                left_out=self._left_out(before),
            )
            self.processes.share(begun)
            with timed("checking"), self.processes.in_turn():
                report = examine(self._assembly_of(begun), caching=True)
            for note in report.notes:
                logger.info("%s", note)
            for warning in report.warnings:
                logger.warning("Warning: %s", warning)
            checked = report.checked()
            found, recorder = self._recorder(checked, before, changes)
            recorder.see_ours = see_ours
            if found is None:
                seconds = time.perf_counter() - started
                recorder.record["timings"]["check"] = round(seconds, 3)
                self._tidy()
                assembly = checked.assembly
                recorder.begin(self.assembly.configuration, assembly.registry, checked.prepared)
                logger.info("The run is written to %s", self.path)
            longer = _longer(changes)
            self.processes.share(Ready(record=recorder.record, found=found, longer=longer))
            return self._train(checked, recorder, found, timings, longer=longer)

    def _follow(self) -> Run:
        """What a process does that does not lead: it reads what the first has cached, and trains.

        Raises:
            TrainingError: It sees other data than the process that leads.
        """
        begun: Begun = self.processes.share()
        if begun.ended is not None:
            return Run(path=begun.path, record=begun.ended)
        with recording() as timings:
            _import_libraries()
            with self.processes.in_turn():
                report = examine(self._assembly_of(begun), caching=True)
            checked = report.checked()
            ready: Ready = self.processes.share()
            prepared = checked.prepared
            refuse_other_data(
                (prepared.digest, prepared.split.digest),
                tuple(ready.record[name]["digest"] for name in ("data", "split")),
                self.processes,
                more=", or splits them in another way",
            )
            recorder = Recorder(begun.path, ready.record, provenance_digests={}, writes=False)
            return self._train(checked, recorder, ready.found, timings, longer=ready.longer)

    def _assembly_of(self, begun: Begun) -> Assembly:
        return attrs.evolve(self.assembly, left_out=begun.left_out, decided=begun.decided)

    def _before(self) -> tuple[Run | None, list[Change]]:
        """The run to resume, and what has changed in the configuration since it was started.

        Returns:
            None for the run where there is none, or one that begins anew: it saved nothing.

        Raises:
            RunError: There is a run, and it is not to be resumed, or can't be.
        """
        if not file_errors.mode_of(self.path / RECORD):
            return None, []
        before = Run.load(self.path)
        noted = any("saved" in session for session in before.record["sessions"])
        if not (noted or before.status == "finished" or RunCheckpoints(run=self.path).exist):
            return None, []
        if not (self.resume or self.processes.restarted):
            raise RunError(
                f"The output {self.path} holds another run, which medpipe does not overwrite. "
                f"Resume it with {option('resume', True)}, choose another folder with "
                f"{option('output')}, or remove it."
            )
        changes = self._changes_of_configuration(before)
        if before.status != "finished" or _longer(changes):
            refuse(before, changes, self.allow)
        return before, changes

    def _tidy(self) -> None:
        """Remove what a run left that ended before it saved anything."""
        files.remove_leftovers(self.path)
        if file_errors.mode_of(self.path / RECORD):
            error = Run.load(self.path).record.get("error")
            why = f": it failed with {error}" if error else ""
            logger.info("The run in %s saved no checkpoint, so it begins anew%s", self.path, why)
            for name in (HISTORY, QUARANTINE):
                files.remove_file(self.path / name)

    def _changes_of_configuration(self, before: Run) -> list[Change]:
        configuration, registry = self.assembly.configuration, self.assembly.registry
        why = unrepeatable(configuration, registry=registry)
        text = None if why else write(configuration, registry=registry)
        return changes_of_configuration(before, text, registry=registry)

    def _left_out(self, before: Run | None) -> tuple[Fault, ...]:
        """The samples that a resumed run left out; they stay out, even if repaired since."""
        if before is None or self.assembly.configuration.run.bad_data != "quarantine":
            return ()
        return read_quarantine(self.path / QUARANTINE)

    def _recorder(
        self, checked: Checked, before: Run | None, changes: list[Change]
    ) -> tuple[Found | None, Recorder]:
        """The checkpoint to resume from, if there is one, and the recorder; both unused yet.

        Args:
            checked: What the check found.
            before: The run on disk; None: there is none.
            changes: What is known to have changed since.
        """
        from medpipe.system.hardware import describe_hardware
        from medpipe.training.loop import Progress

        configuration, registry = self.assembly.configuration, self.assembly.registry
        machine = machine_record(
            str(checked.device),
            checked.precision,
            describe_hardware(checked.device),
            self.processes.here.world_size,
        )
        record = first_record(
            configuration,
            registry,
            checked.prepared,
            data=checked.data,
            weights=None if checked.weights is None else checked.weights.record(),
            decided=checked.assembly.decided,
            machine=machine,
            name=self.path.name,
        )
        now = provenance_digests(configuration, registry, record)
        if before is not None:
            changes = [*changes, *changes_of_data(before.record, now)]
            changes += changes_of_machine(before.record, machine, record["plugins"])
            refuse(before, changes, self.allow)
        if before is None:
            return None, Recorder(self.path, record, provenance_digests=now)
        found = RunCheckpoints(run=self.path).latest()
        changes += changes_of_checkpoint(before, found.about, now)
        refuse(before, changes, self.allow)
        trainer = checked.assembly.configuration.trainer
        if before.status == "finished":
            refuse_no_longer(self.path, Progress(**found.about["progress"]), trainer)
        refuse_too_few_epochs(self.path, found.about["progress"], resolved(trainer.max_epochs))
        if checked.planned is not None:
            refuse_other_plan(self.path, found.about["planned"], checked.planned)
        for change in changes:
            logger.warning("The run is resumed with a change since it was started: %s", change.line)
        lines = [change.line for change in changes]
        record = later_record(
            before.record, record, about=found.about, changed=lines, instead_of=found.instead_of
        )
        return found, Recorder(
            self.path, record, provenance_digests=now, rows=found.about["history"]
        )

    def _train(
        self,
        checked: Checked,
        recorder: Recorder,
        found: Found | None,
        timings: Timings,
        *,
        longer: bool,
    ) -> Run:
        from medpipe.training.determinism import seeded

        configuration, processes, stop = self.assembly.configuration, self.processes, self.stop
        if not processes.alone:
            processes.heed(lambda: self.stop.signalled)
            stop = SharedStop(stop, processes)
        session = Session(
            assembly=attrs.evolve(checked.assembly, processes=processes),
            configuration=configuration,
            checked=checked,
            recorder=recorder,
            longer=longer,
            stop=stop,
            timings=timings,
        )
        with seeded(configuration.run.seed), self.stop.listening():
            try:
                ended = session.run(found)
            except BaseException as error:
                raised = processes.fail(error)
                recorder.fail(raised)
                if session.handlers is not None and isinstance(raised, Exception):
                    _tell(session.handlers, raised)
                if raised is error:
                    raise
                raise raised from error
        if not ended:
            recorder.stop(str(stop.reason), interrupted=stop.interrupted)
            processes.leave(f"stopped/{self.path}", str(stop.reason))
        run = Run(
            path=recorder.path,
            record=processes.share(recorder.record),
            configuration=configuration,
            registry=self.assembly.registry,
        )
        if ended and processes.leads:
            dataset, folder = checked.prepared.dataset, self.path / REPORT
            at_the_end(lambda: write_report(run.facts(dataset), folder))
        if session.handlers is not None:
            session.handlers.fire("run_completed" if ended else "run_stopped", run)
        stands_still = not (ended or session.advanced)
        # An engine and its handlers form a reference cycle: without a collection, one fold's
        # network would occupy device memory during the next.
        del session
        gc.collect()
        if not ended:
            logger.info("The run was stopped by %s and can be resumed.", stop.reason)
        if stands_still and not stop.interrupted:
            problem = RunError(
                f"The run {self.path} was stopped by {stop.reason} before it made any progress, "
                "and would end the same way if it were submitted again unchanged. Give the job "
                "more time before the signal: enough for the check and all of a validation or test."
            )
            recorder.fail(problem)  # so that scripts that read the record don't submit it again
            raise problem
        if stop.interrupted:
            logger.info("Resume it with %s.", option("resume", True))
            raise KeyboardInterrupt
        return run


def _longer(changes: Collection[Change]) -> bool:
    return any(change.longer for change in changes)


def _tell(handlers: Handlers, error: Exception) -> None:
    """Tell the handlers that a run failed; one that fails too must not hide why."""
    try:
        handlers.fire("run_failed", error)
    except MedpipeError as another:
        logger.warning("%s", another)


def _import_libraries() -> None:
    """Import them in one place, so that the time for it is measured on its own."""
    for name in LIBRARIES:
        importlib.import_module(name)
    from torch.autograd.profiler import record_function

    # torch imports a module at the first one, and would swallow that a worker died meanwhile.
    with record_function("medpipe"):
        pass
