"""Ways to handle errors, which type checkers accept."""

from __future__ import annotations

import medpipe
from medpipe.plugin import NetworkStep


def paths_of_configuration_problems(text: str) -> list[str]:
    try:
        medpipe.PipelineBuilder.from_toml(text).build()
    except medpipe.ConfigError as error:
        return [problem.path for problem in error.problems]
    return []


def remedies_of_a_check(pipeline: medpipe.Pipeline) -> tuple[medpipe.Problem, ...]:
    try:
        pipeline.check().raise_for_problems()
    except medpipe.CheckFailed as error:
        return error.problems
    return ()


def files_with_faults(pipeline: medpipe.Pipeline) -> list[str]:
    try:
        pipeline.run()
    except medpipe.BadDataError as error:
        return [fault.path for fault in error.faults if fault.kind == "truncated"]
    except (medpipe.TrainingError, medpipe.DeviceError) as error:
        return [str(error)]
    return []


def missing_step_is_a_lookup_error(registry: medpipe.Registry) -> str:
    try:
        registry.get(NetworkStep, "missing")
    except LookupError as error:
        return str(error)
    return ""


def damaged_run(path: str) -> medpipe.Run | None:
    try:
        return medpipe.Run.load(path)
    except medpipe.RunError:
        return None
