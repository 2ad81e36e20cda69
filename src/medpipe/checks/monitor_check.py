"""Look at the metrics of a pipeline, and at the one that chooses the best network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.errors import Problem
from medpipe.registry.wording import suggestion
from medpipe.steps import MetricStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.assembly import Assembly
    from medpipe.checks.check_report import CheckReport
    from medpipe.registry.registry import Registry
    from medpipe.steps import Task


def check_monitor(assembly: Assembly, report: CheckReport) -> None:
    """Add problems for metrics that don't fit the task, and a monitor that is none of them."""
    from medpipe.evaluation.mask_measures import measure_problems
    from medpipe.evaluation.metrics import LOSS

    assert report.data is not None
    task = report.data.task
    metrics = assembly.metrics(task)
    for number, step in enumerate(assembly.configuration.metrics):
        if task.step.answer_form not in step.answers:
            fits = ", ".join(sorted(step.answers))
            message = (
                f"{assembly.registry.title(step)} is for predictions of the form {fits}, but those "
                f"of a {task.kind} task are of the form {task.step.answer_form}."
            )
            report.problems.append(Problem(path=f"metric[{number}]", message=message))
    for number, message in measure_problems(
        task, assembly.configuration.metrics, assembly.registry
    ):
        report.problems.append(Problem(path=f"metric[{number}]", message=message))
    monitor, known = assembly.configuration.trainer.monitor, (*metrics, LOSS)
    if monitor not in known:
        report.problems.append(_unknown(monitor, known, task, assembly.registry))


def _unknown(monitor: str, known: Sequence[str], task: Task, registry: Registry) -> Problem:
    """What is wrong with a monitor that is no metric of the run, and what to do about it."""
    path, bare = "trainer.monitor", monitor.rpartition(":")[2]
    if bare in known:
        message = f"{monitor!r} names a metric with its distribution."
        return Problem(path=path, message=message, remedy=f"Give its name alone: {bare!r}.")
    addable = [
        name
        for name, cls in registry.names(MetricStep).items()
        if monitor in (name, cls.name, registry.saved_name(cls))
        and task.step.answer_form in getattr(cls, "answers", ())
    ]
    if addable:
        message = f"the metric {bare!r} is not measured by this run."
        named = " or ".join(
            f'[[metric]] step = "{name}", in Python .metric("{name}")' for name in addable
        )
        alone = "" if monitor == bare else f" The monitor names it {bare!r} then."
        return Problem(path=path, message=message, remedy=f"Add it: {named}.{alone}")
    message = f"{monitor!r} is not a metric of a {task.kind} task."
    remedy = suggestion(monitor, list(known)) or f"There are {', '.join(known)}."
    return Problem(path=path, message=message, remedy=remedy)
