"""Verify an export: that its files belong together, and give what the run gave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import ExportError
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
from medpipe.registry.registry import Registry
from medpipe.system.files import sha256_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from torch import nn

    from medpipe.steps import Exported, ExportStep

    Array = np.ndarray[Any, np.dtype[Any]]

DECISIONS = ("prediction", "labels")
"""Outputs that are answers: they are compared as classes, not as numbers."""


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
    if wrong:
        raise ExportError(_listed(folder, wrong))
    try:
        answer = step.open(content, _rebuilt(contract, known))
        samples = read(held)
    except Exception as error:  # whatever a foreign library raises
        raise ExportError(
            f"The {step.name} file of {folder} can't be loaded: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:600]}"
        ) from error
    found = _compared(contract, answer, samples)
    if found.wrong:
        raise ExportError(_listed(folder, found.wrong))
    return VerifiedExport(
        path=folder,
        format=step.name,
        run=contract["run"]["id"],
        samples=len(samples),
        batch_sizes=tuple(sorted(found.batch_sizes)),
        shapes=tuple(sorted({known.input.shape for known in samples})),
        difference=found.difference,
    )


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
        network = registry.create(NetworkStep, parameters.pop("step"), parameters).build(data)
        network = data.task.step.finish(network, data.statistics)
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


@attrs.define
class _Found:
    """What a comparison found."""

    wrong: list[str] = attrs.field(factory=list)
    difference: dict[str, float] = attrs.field(factory=dict)
    batch_sizes: set[int] = attrs.field(factory=set)


def _compared(contract: Mapping[str, Any], answer: Exported, samples: Sequence[Known]) -> _Found:
    """Compare all samples, alone and in batches."""
    found = _Found()
    far: dict[str, int] = {}
    for batch in _batches(samples):
        found.batch_sizes.add(len(batch))
        given = _asked(answer, [known.input for known in batch], found)
        if given is None:
            return found
        for place, known in enumerate(batch):
            _compare(contract, known, {n: v[place] for n, v in given.items()}, found, far)
    for name, count in far.items():
        what = "classes" if name in DECISIONS else "numbers"
        apart = "" if name in DECISIONS else f", {found.difference[name]:.3g} apart at most"
        found.wrong.append(
            f"{name}: other {what} than the run's in {count} of {_asks(samples)} answers{apart}."
        )
    if found.wrong and contract["graph"]["steps"] and _lacks_steps(contract, answer, samples):
        names = ", ".join(step["step"] for step in contract["graph"]["steps"])
        found.wrong.append(
            "It gives the run's numbers for images that were transformed before: the graph lacks "
            f"the preprocessing that the contract says it has ({names})."
        )
    return found


def _batches(samples: Sequence[Known]) -> Iterator[list[Known]]:
    """Each sample alone, then all of one shape; one that has its shape alone, twice."""
    by_shape: dict[tuple[int, ...], list[Known]] = {}
    for known in samples:
        by_shape.setdefault(known.input.shape, []).append(known)
        yield [known]
    for some in by_shape.values():
        yield some if len(some) > 1 else [*some, *some]


def _asks(samples: Sequence[Known]) -> int:
    return sum(len(batch) for batch in _batches(samples))


def _asked(
    answer: Exported, images: Sequence[Array], found: _Found | None = None
) -> Mapping[str, Array] | None:
    """What a model gives for a batch; None where it fails, with the reason in `found`."""
    import numpy as np

    batch = np.ascontiguousarray(np.stack(images), dtype=np.float32)
    try:
        return answer(batch)
    except Exception as error:  # whatever a foreign library raises
        if found is not None:
            found.wrong.append(
                f"It fails on {len(batch)} images of shape {batch.shape[1:]}: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            )
        return None


def _compare(
    contract: Mapping[str, Any],
    known: Known,
    given: Mapping[str, Array],
    found: _Found,
    far: dict[str, int],
) -> None:
    """Compare one sample."""
    import numpy as np

    for name, wanted in known.outputs.items():
        value = np.asarray(given.get(name, np.nan), dtype=np.float64)
        if value.shape != wanted.shape:
            far[name] = far.get(name, 0) + 1
            found.difference[name] = float("inf")
            continue
        gap = np.abs(value - wanted)
        largest = float(gap.max()) if np.isfinite(gap).all() else float("inf")
        found.difference[name] = max(found.difference.get(name, 0.0), largest)
        if not (gap <= _allowed(contract, wanted)).all():
            far[name] = far.get(name, 0) + 1
    for name in DECISIONS:
        if name in given and not _same_answer(contract, known, given[name]):
            far[name] = far.get(name, 0) + 1


def _allowed(contract: Mapping[str, Any], wanted: Array) -> Any:
    tolerance = contract["tolerance"]
    return tolerance["absolute"] + tolerance["relative"] * abs(wanted)


def _same_answer(contract: Mapping[str, Any], known: Known, answer: Array) -> bool:
    """Whether a decision is the run's; either will do where the scores are equal but for rounding.

    Two scores may each be off by the tolerance, so the run's answer is certain beyond twice that.
    """
    import numpy as np

    scores = known.outputs["scores"]
    exclusive = answer.size != scores.size
    if not exclusive:
        certain = np.abs(scores - 0.5) > contract["tolerance"]["absolute"] * 2
        return bool(((answer != 0) == (scores >= 0.5))[certain].all())
    first = np.asarray(answer).reshape(1, *scores.shape[1:]).astype(np.int64)
    if first.min() < 0 or first.max() >= len(scores):
        return False
    chosen = np.take_along_axis(scores, first, axis=0)
    best = scores.max(axis=0, keepdims=True)
    return bool((best - chosen <= 2 * _allowed(contract, best)).all())


def _lacks_steps(contract: Mapping[str, Any], answer: Exported, samples: Sequence[Known]) -> bool:
    """Whether a model gives the run's numbers for images that were transformed before."""
    found = _Found()
    far: dict[str, int] = {}
    for known in samples:
        given = _asked(answer, [known.prepared])
        if given is None:
            return False
        _compare(contract, known, {n: v[0] for n, v in given.items()}, found, far)
    return not far
