"""Compare an export that reads files itself with its run, on the files that came with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.export.comparing import Found, compare
from medpipe.export.file_samples import FOLDER
from medpipe.export.samples import Known
from medpipe.system.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

    from medpipe.steps import ExportStep

    Array = np.ndarray[Any, np.dtype[Any]]


def wrong_files(contract: Mapping[str, Any], folder: Path, known: set[str]) -> list[str]:
    """What is wrong with the digests of files that are not in `known`."""
    found = []
    for name, digest in contract["files"].items():
        if name in known:
            continue
        try:
            same = sha256_of((folder / name).read_bytes()) == digest
        except OSError as error:
            found.append(f"{name} can't be read: {error.strerror}. Copy the export once more.")
            continue
        if not same:
            found.append(f"{name} was changed: it does not have the SHA-256 that was written.")
    return found


def compared_files(
    contract: Mapping[str, Any], folder: Path, step: ExportStep, held: bytes
) -> Found:
    """Run the export on its samples and compare the answers with the run's."""
    from safetensors.numpy import load

    found, names = Found(), contract["samples"]["names"]
    size = contract["samples"]["batch_size"]
    try:
        answers = step.predict(folder, folder / FOLDER, batch_size=size)
    except ValueError as error:
        found.wrong.append(str(error))
        return found
    found.batch_sizes |= {size, len(names) % size or size}
    known = load(held)
    wrong: dict[str, int] = {}
    for place, name in enumerate(names):
        own = f"{place}.outputs."
        outputs = {key.removeprefix(own): v for key, v in known.items() if key.startswith(own)}
        given = answers.get(name)
        if given is None:
            found.wrong.append(f"There is no answer for {FOLDER}/{name}.")
        elif "labels" in outputs:
            _compare_labels(outputs, given, found, wrong)
        else:
            _compare_scores(contract, outputs, given, found, wrong)
    for what, count in wrong.items():
        apart = f", {found.difference[what]:.3g} apart at most" if what == "scores" else ""
        kind = "numbers" if what == "scores" else "classes"
        found.wrong.append(
            f"{what}: other {kind} than the run's in {count} of {len(names)} answers{apart}."
        )
    return found


def _compare_labels(
    outputs: Mapping[str, Array], given: Array, found: Found, wrong: dict[str, int]
) -> None:
    """Voxel by voxel; where rounding may decide, either class will do."""
    labels, unsure = outputs["labels"], outputs["unsure"] != 0
    if given.shape != labels.shape:
        wrong["labels"] = wrong.get("labels", 0) + 1
        found.difference["labels"] = float("inf")
        return
    other = given != labels
    share = float(other.mean())
    found.difference["labels"] = max(found.difference.get("labels", 0.0), share)
    if (other & ~unsure).any():
        wrong["labels"] = wrong.get("labels", 0) + 1


def _compare_scores(
    contract: Mapping[str, Any],
    outputs: Mapping[str, Array],
    given: Array,
    found: Found,
    wrong: dict[str, int],
) -> None:
    """The numbers, and the class that they say."""
    import numpy as np

    answers: dict[str, Array] = {"scores": given}
    form = contract["after"]["answers"]
    if form == "class":
        answers["prediction"] = np.asarray(given.argmax())
    elif form == "findings":
        answers["prediction"] = (given >= 0.5).astype(np.int64)
    nothing = np.zeros(0)
    known = Known(input=nothing, prepared=nothing, outputs=dict(outputs))
    compare(contract, known, answers, found, wrong)
