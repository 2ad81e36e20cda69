"""``medpipe run``: train and evaluate, once or over folds or seeds."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medpipe.cli.arguments import ANYTHING
from medpipe.cli.source import QUARANTINED, builder_of
from medpipe.errors import RunError
from medpipe.runs.resume import Changeable
from medpipe.runs.run import Run
from medpipe.runs.run_set import RunSet
from medpipe.system.timing import Timings, recording, table

STOPPED = 75
"""The exit code of a run that stopped and can be resumed: "temporary failure" in sysexits.h."""


def run(
    configuration: str = "mednist",
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    unset: Annotated[list[str] | None, Parameter(negative="")] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    allow_changed: Annotated[
        list[Changeable | Literal["all"]] | None, Parameter(negative="")
    ] = None,
    max_time: str | None = None,
    fold: int | None = None,
    folds: Annotated[bool, Parameter(negative="")] = False,
    seeds: int | None = None,
    timings: Annotated[bool, Parameter(negative="")] = False,
    quarantine: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Check, train and evaluate a pipeline, and write a run directory.

    Ends with exit code 0 when all is done, 2 for a problem, and 75 when it was stopped by
    --max-time, SIGTERM, SIGUSR1 or SIGHUP and can be resumed.

    Args:
        configuration: A file that ends in .toml, or the name of a recipe.
        output: The run directory; by default runs/DATASET-TIME.
        set_: PATH=VALUE, as often as needed: --set trainer.max_epochs=5.
        unset: PATH, as often as needed: its default replaces its value.
        resume: Resume the run in --output, or start it if there is none.
        allow_changed: Resume although something has changed since the run was started, and
            record it: --allow-changed for anything, or --allow-changed=hardware, as often as
            needed.
        max_time: Save and stop after HH:MM:SS, or D-HH:MM:SS.
        fold: The fold to hold out, from 0; needs split.folds.
        folds: Run all folds, each in a folder of its own in --output.
        seeds: Run this many seeds on one split, each in a folder of its own in --output.
        timings: At the end, show where the time went.
        quarantine: Leave faulty samples out: short for --set run.bad_data=quarantine.
    """
    settings = [*(set_ or []), *([] if fold is None else [f"split.fold={fold}"])]
    settings += [QUARANTINED] if quarantine else []
    if folds and (fold is not None or seeds is not None):
        other = "--fold" if fold is not None else "--seeds"
        raise RunError(f"--folds can't be given with {other}. Give one of them.")
    if (folds or seeds is not None) and output is None:
        raise RunError(
            f"{'--folds' if folds else '--seeds'} needs a folder for the runs. Name it with "
            "--output."
        )
    limit = None if max_time is None else _duration(max_time)
    allow: bool | list[Changeable] = [kind for kind in allow_changed or [] if kind != ANYTHING]
    if ANYTHING in (allow_changed or []):
        allow = True
    if allow and not resume:
        raise RunError("--allow-changed needs --resume. Give both.")
    with recording(_timings()):
        pipeline = builder_of(configuration, settings, unset).build()
        members: Collection[str] = ()
        if output is not None and folds:
            members = [f"fold-{fold}" for fold in range(pipeline.configuration.split.folds or 0)]
            some = pipeline.run_folds(output, resume=resume, allow_changed=allow, max_time=limit)
        elif output is not None and seeds is not None:
            first = pipeline.configuration.run.seed
            members = [f"seed-{seed}" for seed in range(first, first + seeds)]
            some = pipeline.run_seeds(
                seeds, output, resume=resume, allow_changed=allow, max_time=limit
            )
        else:
            done = pipeline.run(output, resume=resume, allow_changed=allow, max_time=limit)
            _finish(done, timings=timings)
            return
    print(some)
    if timings:
        for member in (*some.runs, *some.unfinished):
            print(f"{member.path.name}:\n{table(member.timings)}")
    stopped = _stopped(some, members)
    if stopped is not None:
        _stop(stopped.path, stopped.record["sessions"][-1]["stopped_by"])
    print(f"The runs are in {output}")


def _stopped(some: RunSet, members: Collection[str]) -> Run | None:
    """The run at which this command stopped; None where it came to its end.

    The folder may hold other unfinished runs, of a command with more folds or seeds; resuming
    this command would never finish those.
    """
    there = (run for run in some.unfinished if run.path.parent == some.path)
    return next((run for run in there if run.path.name in members), None)


def _finish(done: Run, *, timings: bool) -> None:
    if done.status == "finished":
        print(done.summary())
    if timings:
        print(table(done.timings))
    if done.status != "finished":
        _stop(done.path, done.record["sessions"][-1]["stopped_by"])
    print(f"The run is in {done.path}")


def _timings() -> Timings:
    """Timings from the start of the process, if it is the ``medpipe`` command."""
    program = Path(sys.argv[0])
    if program.stem != "medpipe" and program.parts[-2:] != ("medpipe", "__main__.py"):
        return Timings()  # a script that calls it, which may have done other things before
    before = _since_process_start()
    timings = Timings(before=before)
    timings.add("imports", before)
    return timings


def _since_process_start() -> float:
    """Seconds since this process began; 0 where the system doesn't say."""
    try:
        text = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        # After the program's name, which may hold anything, the 20th value is the start.
        ticks = int(text.rpartition(")")[2].split()[19])
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        return max(0.0, now - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError, IndexError):  # not Linux
        return 0.0


def _stop(path: Path, reason: str) -> None:
    reason = f"the signal {reason}" if reason.startswith("SIG") else reason
    way = f"Resume it with the same command and --output {path} and --resume."
    print(f"The run in {path} was stopped by {reason}. {way}")
    sys.exit(STOPPED)


def _duration(text: str) -> timedelta:
    """A time as job schedulers write it.

    Raises:
        RunError: The text is not a time.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d)", text)
    if found is None:
        raise RunError(f"--max-time must be HH:MM:SS or D-HH:MM:SS, got {text!r}.")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
