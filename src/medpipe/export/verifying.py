"""Verify an export: that its files belong together, and give what the run gave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import ExportError
from medpipe.export.comparing import compared
from medpipe.export.contract import (
    OF_CONTRACT,
    RUN,
    SAMPLES,
    digest_of,
    packages,
    read_contract,
    step_of,
)
from medpipe.export.samples import Known, read
from medpipe.export.verifying_files import compared_files, wrong_files
from medpipe.registry.registry import Registry
from medpipe.system.files import sha256_of
from medpipe.system.raised import described

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from torch import nn

    from medpipe.steps import Exported, ExportStep

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True)
class VerifiedExport:
    """An export that was loaded and gave what its run gives.

    Attributes:
        path: Its folder.
        format: The name of its export step.
        run: The id of its run.
        samples: On how many samples it was compared.
        batch_sizes: In batches of how many.
        shapes: The shapes of the images, with their channels.
        difference: The largest absolute difference, by output.
    """

    path: Path
    format: str
    run: str
    samples: int
    batch_sizes: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    difference: dict[str, float]

    @classmethod
    def of(cls, path: Path, found: Mapping[str, Any]) -> VerifiedExport:
        """The plain data of a comparison, with the folder's name."""
        return cls(
            path=path,
            format=found["format"],
            run=found["run"],
            samples=found["samples"],
            batch_sizes=tuple(found["batch_sizes"]),
            shapes=tuple(tuple(shape) for shape in found["shapes"]),
            difference=dict(found["difference"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the versions of this machine."""
        found = attrs.asdict(self, filter=lambda field, _: field.name != "path")
        return {**found, "versions": packages()}


def verify_export(
    path: str | os.PathLike[str], *, registry: Registry | None = None
) -> VerifiedExport:
    """Verify an export, without its run and its data.

    Its files must be those that were written together. Then the model is loaded and gets the
    samples that came with it, alone and in a batch: no number may be farther from the run's than
    the tolerance of the contract, and every class must be the run's.

    Args:
        path: The folder.
        registry: Where the format is looked up; by default every installed plugin.

    Raises:
        ExportError: It is no export, was changed, belongs to another run, lacks a part of the
            graph, or gives other answers: all that was found, each with its reason.
    """
    folder, known = Path(path), registry or Registry.discover()
    contract = read_contract(folder)
    step = step_of(contract, known)
    try:
        step.load()
    except ImportError as error:
        raise ExportError(str(error)) from error
    content, held = _content(folder, contract["export"]["file"]), _content(folder, SAMPLES)
    wrong = [
        *_wrong_file(contract, step, content),
        *_wrong_samples(contract, held),
    ]
    if step.reads_files:
        wrong += wrong_files(contract, folder, {contract["export"]["file"], SAMPLES})
    if wrong:
        raise ExportError(_listed(folder, wrong))
    if step.reads_files:
        found, count = (
            compared_files(contract, folder, step, held),
            len(contract["samples"]["names"]),
        )
        shapes = {tuple(shape) for shape in contract["samples"]["shapes"]}
    else:
        answer, samples = _opened(contract, folder, step, content, held, known)
        found, count = compared(contract, answer, samples), len(samples)
        shapes = {known.input.shape for known in samples}
    if found.wrong:
        raise ExportError(_listed(folder, found.wrong))
    return VerifiedExport(
        path=folder,
        format=step.name,
        run=contract["run"]["id"],
        samples=count,
        batch_sizes=tuple(sorted(found.batch_sizes)),
        shapes=tuple(sorted(shapes)),
        difference=found.difference,
    )


def _opened(
    contract: Mapping[str, Any],
    folder: Path,
    step: ExportStep,
    content: bytes,
    held: bytes,
    registry: Registry,
) -> tuple[Exported, list[Known]]:
    """The model and the samples.

    Raises:
        ExportError: One can't be loaded.
    """
    try:
        return step.open(content, _rebuilt(contract, registry)), read(held)
    except Exception as error:  # whatever a foreign library raises
        raise ExportError(
            f"The {step.name} file of {folder} can't be loaded: {described(error, most=600)}"
        ) from error


def _listed(folder: Path, wrong: Sequence[str]) -> str:
    return "\n".join([f"The export {folder} can't be used:", *(f"  {line}" for line in wrong)])


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ExportError(
            f"{folder / name} can't be read: {error.strerror}. Copy the export once more."
        ) from error


def _wrong_file(contract: Mapping[str, Any], step: ExportStep, content: bytes) -> list[str]:
    """What is wrong with a model file before it is loaded."""
    name, run = contract["export"]["file"], contract["run"]["id"]
    same = sha256_of(content) == contract["files"].get(name)
    try:
        about = step.about(content)
    except Exception as error:  # whatever a foreign library raises
        return [f"{name} is damaged: {type(error).__name__}: {' '.join(str(error).split())[:300]}."]
    if about.get(RUN) != run:
        return [
            f"{name} is of another run: of {about.get(RUN)}, and the contract of {run}. Files of "
            "two exports were mixed."
        ]
    wrong = []
    if not same:
        wrong.append(
            f"{name} was changed: it does not have the SHA-256 that was written, so its weights "
            "or its graph are not the run's. Copy or export it once more."
        )
    if about.get(OF_CONTRACT) != digest_of(contract):
        wrong.append(
            f"The contract was changed, or is that of another export: it is not the one that "
            f"{name} was written with."
        )
    return wrong


def _wrong_samples(contract: Mapping[str, Any], held: bytes) -> list[str]:
    if sha256_of(held) == contract["samples"]["sha256"]:
        return []
    return [f"{SAMPLES} was changed: it does not have the SHA-256 that was written."]


def _rebuilt(contract: Mapping[str, Any], registry: Registry) -> Callable[[], nn.Module]:
    """What builds the graph with an untrained network, of the contract alone."""

    def build() -> nn.Module:
        from medpipe.config.measured import info_of
        from medpipe.export.graph import Answers, ExportedNetwork
        from medpipe.steps import InfererStep, NetworkStep

        data = info_of(contract["data"], registry)
        parameters = dict(contract["graph"]["network"])
        step = registry.create(NetworkStep, parameters.pop("step"), parameters)
        network = data.task.step.finish(step.untrained().build(data), data.statistics)
        inferer = None
        if contract["graph"]["inferer"] is not None:
            called = dict(contract["graph"]["inferer"])
            inferer = registry.create(InfererStep, called.pop("step"), called).build(data)
        answers = Answers(
            data=data,
            windows=contract["graph"]["windows"] is not None,
            temperature=contract["temperature"]
            if any(one["name"] == "calibrated" for one in contract["outputs"])
            else None,
        )
        return ExportedNetwork(network.eval(), inferer=inferer, answers=answers).eval()

    return build
