"""Export a run's network: write it, load it in a fresh process, compare, and only then name it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import ExportError
from medpipe.export.contract import (
    OF_CONTRACT,
    RUN,
    SAMPLES,
    VERIFIED,
    contract_of,
    digest_of,
    write_contract,
)
from medpipe.export.division import Division, divided
from medpipe.export.file_export import write_file_export
from medpipe.export.samples import known_samples, stored
from medpipe.export.verifying import VerifiedExport
from medpipe.steps import ExportParts
from medpipe.system import files
from medpipe.system.output_folders import refuse_existing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medpipe.export.graph import Answers
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import ExportStep


def export_network(
    trained: TrainedNetwork, record: Mapping[str, Any], path: Path, step: ExportStep
) -> VerifiedExport:
    """Write an export to a new folder, once a fresh process has found the run's answers in it.

    Args:
        trained: The network with its chain.
        record: The content of the run's ``run.json``.
        path: The folder.
        step: The format.

    Raises:
        ExportError: What the format needs is not installed, the network can't be traced, or what
            was written does not give what the run gives. Nothing is left then.
        RunError: The folder is there already, or can't be written.
    """
    refuse_existing(path, kind="folder")
    try:
        step.load()
    except ImportError as error:
        raise ExportError(str(error)) from error
    with files.staged_directory(path) as staging:
        write_unverified(trained, record, staging, step)
        found = _verified_elsewhere(staging, path, step)
        files.write_json(staging / VERIFIED, found)
    return VerifiedExport.of(path, found)


def write_unverified(
    trained: TrainedNetwork, record: Mapping[str, Any], folder: Path, step: ExportStep
) -> None:
    """Write the files of an export to a folder, unverified.

    Args:
        trained: The network with its chain.
        record: The content of the run's ``run.json``.
        folder: The folder.
        step: The format.

    Raises:
        ExportError: The network can't be traced, or the format can't hold the run.
    """
    write = write_file_export if step.reads_files else _write_export
    write(trained, record, folder, step)


def _write_export(
    trained: TrainedNetwork, record: Mapping[str, Any], folder: Path, step: ExportStep
) -> None:
    """Write the files of an export whose format holds a graph or weights."""
    import torch

    from medpipe.export.graph import Answers, ExportedNetwork, program_of

    network = trained.network.to("cpu").float().eval()
    division = divided(trained, holds_graph=step.holds_graph)
    answers = Answers(data=trained.data, windows=division.window is not None)
    answers = attrs.evolve(answers, temperature=_temperature(trained, answers))
    sides = _sides(trained, division)
    samples, splits = known_samples(trained, division, answers, sides=sides)
    contract = contract_of(
        trained,
        record,
        step=step,
        division=division,
        answers=answers,
        sides=sides,
        samples=samples,
        splits=splits,
    )
    held = stored(samples)
    contract["samples"]["sha256"] = files.sha256_of(held)
    graph = ExportedNetwork(
        network, forms=division.forms, inferer=division.inferer, answers=answers
    )
    # Not a sample: a program keeps what it was traced with.
    example = torch.zeros(2, *samples[0].input.shape)
    free = [axis for axis, side in enumerate(sides) if side is None]
    content = step.write(
        ExportParts(
            network=network,
            program=lambda: program_of(graph, example, free=free),
            outputs=answers.names,
            about={RUN: str(record["id"]), OF_CONTRACT: digest_of(contract)},
        )
    )
    file = contract["export"]["file"]
    contract["files"] = {file: files.sha256_of(content), SAMPLES: files.sha256_of(held)}
    files.write_bytes(folder / file, content)
    files.write_bytes(folder / SAMPLES, held)
    write_contract(folder, contract)


def _sides(trained: TrainedNetwork, division: Division) -> tuple[int | None, ...]:
    """The sides that images must have where they enter the graph; None: any."""
    import torch

    if division.window is not None:
        return division.window
    sides = trained.data.spatial_shape
    if not division.forms or None in sides:
        return sides
    # A step that gives every image one size takes images of any.
    wanted = [side for side in sides if side is not None]
    tried = torch.zeros(1, _channels(trained, division), *[side + 3 for side in wanted])
    for form in division.forms:
        tried = form(tried)
    left = tried.shape[2:]
    return tuple(None if own == side else side for own, side in zip(left, sides, strict=True))


def _channels(trained: TrainedNetwork, division: Division) -> int:
    """How many channels enter the graph."""
    import torch

    for channels in range(1, trained.data.channels + 1):
        tried = torch.zeros(1, channels, *[4] * trained.data.spatial_dims)
        try:
            for form in division.forms:
                tried = form(tried)
        except (RuntimeError, ValueError):
            continue
        if tried.shape[1] == trained.data.channels:
            return channels
    return trained.data.channels


def _temperature(trained: TrainedNetwork, answers: Answers) -> float | None:
    """The run's temperature, where outputs that are divided by it have the run's probabilities."""
    import torch

    from medpipe.evaluation.calibration import scaled_scores

    chosen = (trained.chosen or {}).get("temperature")
    step, data = answers.data.task.step, answers.data
    if chosen is None or answers.windows or step.dense:
        return None
    outputs = torch.linspace(-3, 3, 4 * data.outputs, dtype=torch.float64).reshape(4, -1)
    scores = step.to_scores(outputs).numpy()
    ours = step.to_scores(outputs / chosen).numpy()
    same = abs(ours - scaled_scores(scores, step.answer_form, chosen)).max() < 1e-9
    return float(chosen) if same else None


def _verified_elsewhere(staging: Path, path: Path, step: ExportStep) -> dict[str, Any]:
    """Let a fresh process verify what was written."""
    command = [sys.executable, "-m", "medpipe", "verify", str(staging), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}")[-3000:]
    raise ExportError(
        f"The export {path} is not written: a fresh process, which loaded the {step.name} file, "
        f"did not find the run's answers in it.\n{said.replace(str(staging), str(path))}"
    )
