"""``medpipe evaluate``: the network of a run, or of several, on an external data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from medpipe import Registry, config
from medpipe.cli.opened import run_or_set
from medpipe.errors import ConfigError, Problem
from medpipe.evaluation.lines import metric_lines, result_lines
from medpipe.steps import DatasetStep
from medpipe.system.output_folders import refuse_existing
from medpipe.system.text import counted


def evaluate(
    run: Path,
    /,
    *,
    data: Path,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    network: Literal["best", "last"] = "best",
    device: str = "auto",
    batch_size: int | None = None,
    allow_overlap: Annotated[bool, Parameter(negative="")] = False,
    allow_mixed: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Measure the network of a run, or the mean over several, on an external data set.

    Args:
        run: The run directory, or a folder of runs (folds or seeds).
        data: A file with a [dataset] table and nothing else; the rest is the run's.
        output: A new folder for metrics.json and predictions.csv; by default nothing is written.
        network: The network that is best by the monitored metric, or the last.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: Images in a batch; by default the run's.
        allow_overlap: Allow images that the run was trained on; they are recorded.
        allow_mixed: Of a folder of runs: also accept runs that differ in more than fold and seed,
            as long as their networks get and answer the same.
    """
    if output is not None:
        refuse_existing(output, kind="folder")
    registry = Registry.discover()
    trained = run_or_set(run, allow_mixed=allow_mixed)
    step = _dataset_step(data, registry)
    done = trained.evaluate(
        step,
        output=output,
        which=network,
        device=device,
        batch_size=batch_size,
        allow_overlap=allow_overlap,
        registry=registry,
    )
    print("\n".join(_lines(done.metrics)))
    if output is not None:
        print(f"The metrics and predictions are in {output}")


def _dataset_step(path: Path, registry: Registry) -> DatasetStep:
    document = config.parse(config.read_text(path), source=str(path))
    problems = [
        Problem(
            path=section,
            message="can't be chosen here: a run is evaluated as it was trained.",
            remedy="Leave it out: [dataset] is enough.",
        )
        for section in document
        if section not in ("format", "dataset")
    ]
    problems += config.format_problems(document, required=False)
    if "dataset" not in document:
        remedy = 'Write [dataset] with step = "table", "image_folder" or another.'
        problems.append(Problem(path="dataset", message="required.", remedy=remedy))
        step: Any = None
    else:
        step, found = config.build_step(
            DatasetStep, document["dataset"], path="dataset", registry=registry
        )
        problems += found
    if problems:
        raise ConfigError(f"{path} has problems", problems)
    built: DatasetStep = step
    return built


def _lines(metrics: Any, indent: str = "") -> list[str]:
    """The metrics with their intervals, and below them those of the subgroups."""
    count = counted(metrics["images"], "image")
    shown = result_lines if not indent else metric_lines
    lines = [f"{indent}on {count}:", *shown(metrics, f"{indent}  ")]
    for column, tables in metrics.get("subgroups", {}).items():
        for value, table in tables.items():
            lines.append(f"{indent}{column} = {value or '(blank)'}")
            lines += _lines(table, f"{indent}  ")
    return lines
