"""Exports that read files themselves: written, and verified on the samples' files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import ExportError
from medpipe.export.contract import (
    ABSOLUTE,
    OF_CONTRACT,
    RELATIVE,
    RUN,
    SAMPLES,
    contract_of,
    digest_of,
    write_contract,
)
from medpipe.export.division import divided
from medpipe.export.file_samples import ALIKE, FOLDER, KnownFile, known_files
from medpipe.export.samples import Known
from medpipe.steps import ExportParts, ImageFiles, WholeRun
from medpipe.system import files
from medpipe.system.raised import described

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from medpipe.export.division import Division
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import ExportStep

    Array = np.ndarray[Any, np.dtype[Any]]

SEVERAL = 5
"""How many images a verified batch has, where all enter the network with one size."""
FEW = 3
"""How many files a message names."""


def write_file_export(
    trained: TrainedNetwork, record: Mapping[str, Any], folder: Path, step: ExportStep
) -> None:
    """Write an export that reads files itself to a folder, unverified.

    The run's own files are read by what was written, and must enter the network as in the run.

    Raises:
        ExportError: The format can't hold a part of the run, or reads a file differently.
    """
    network = trained.network.to("cpu").float().eval()
    division = divided(trained, holds_graph=False, takes_windows=False)
    whole = _run_as_a_whole(trained, record, division)
    _refused(step, whole)  # before samples are read
    samples, splits = known_files(trained, allowed=ABSOLUTE + RELATIVE)
    formats = frozenset().union(*(known.formats for known in samples))
    read = ImageFiles(reading=trained.reading, formats=formats, suffixes=_suffixes(samples))
    whole, held = attrs.evolve(whole, files=read), _stored(samples)
    contract = _contract(trained, record, step, division, samples, splits)
    _describe(contract, whole, samples, held)
    about = {RUN: str(record["id"]), OF_CONTRACT: digest_of(contract)}
    parts = ExportParts(
        network=network,
        program=_no_program,
        outputs=("scores",),
        about=about,
        buffers=trained.data.task.step.buffers,
    )
    content = {
        contract["export"]["file"]: step.write(parts),
        **_refused(step, attrs.evolve(whole, about=about)),
        **{f"{FOLDER}/{known.name}": known.content for known in samples},
        SAMPLES: held,
    }
    contract["files"] = {name: files.sha256_of(one) for name, one in content.items()}
    for name, one in content.items():
        files.make_directories((folder / name).parent, sync=False)
        files.write_bytes(folder / name, one)
    write_contract(folder, contract)
    _read_alike(step, folder, samples)


def _run_as_a_whole(
    trained: TrainedNetwork, record: Mapping[str, Any], division: Division
) -> WholeRun:
    """What the format describes, without what only the samples tell."""
    return WholeRun(
        files=ImageFiles(reading=trained.reading, formats=frozenset(), suffixes=()),
        steps=tuple(division.before),
        network=trained.assembly.configuration.network,
        inferer=division.inferer_step,
        data=trained.data,
        shape=(trained.data.channels, *trained.data.spatial_shape),
        title=str(record["name"] or record["id"]),
        about={},
    )


def _contract(
    trained: TrainedNetwork,
    record: Mapping[str, Any],
    step: ExportStep,
    division: Division,
    samples: Sequence[KnownFile],
    splits: Mapping[str, int],
) -> dict[str, Any]:
    from medpipe.export.graph import Answers

    return contract_of(
        trained,
        record,
        step=step,
        division=division,
        answers=Answers(data=trained.data),
        sides=trained.data.spatial_shape,
        samples=[
            Known(input=known.prepared, prepared=known.prepared, outputs={}) for known in samples
        ],
        splits=splits,
    )


def _no_program() -> Any:
    raise ExportError("A format that reads files can't be a graph of PyTorch's as well.")


def _refused(step: ExportStep, whole: WholeRun) -> Mapping[str, bytes]:
    """The files beside the model; an error where the format can't hold a part of the run."""
    try:
        return step.beside(whole)
    except ValueError as error:
        raise ExportError(str(error)) from error


def _suffixes(samples: Sequence[KnownFile]) -> tuple[str, ...]:
    found = {suffix for known in samples for suffix in known.suffixes}
    for alike in ALIKE:
        found |= set(alike) if found & set(alike) else set()
    return tuple(sorted(found))


def _stored(samples: Sequence[KnownFile]) -> bytes:
    """The run's answers, as safetensors, by the place of the sample."""
    import numpy as np
    from safetensors.numpy import save

    return bytes(
        save(
            {
                f"{place}.outputs.{name}": np.ascontiguousarray(value)
                for place, known in enumerate(samples)
                for name, value in known.outputs.items()
            }
        )
    )


def _describe(
    contract: dict[str, Any], whole: WholeRun, samples: Sequence[KnownFile], held: bytes
) -> None:
    """Change a contract to that of an export that does all steps itself."""
    before, shapes = contract["before"], sorted({known.prepared.shape for known in samples})
    contract["graph"]["steps"], before["steps"] = before["steps"], []
    contract["after"] = {
        "inferer": None,
        "file_grid": False,
        "answers": whole.data.task.step.answer_form,
    }
    names = ("labels",) if whole.data.task.step.dense else ("scores",)
    contract["outputs"] = [one for one in contract["outputs"] if one["name"] in names]
    contract["input"] = {
        "name": "image",
        "formats": sorted(whole.files.formats),
        "suffixes": list(whole.files.suffixes),
        "channels": contract["input"]["channels"],
        "orientation": contract["input"]["orientation"],
        "spacing": contract["input"]["spacing"],
    }
    contract["samples"] |= {
        "sha256": files.sha256_of(held),
        "names": [known.name for known in samples],
        "shapes": [list(shape) for shape in shapes],
        "batch_size": SEVERAL if len(shapes) == 1 else 1,
    }


def _read_alike(step: ExportStep, folder: Path, samples: Sequence[KnownFile]) -> None:
    """Compare how the run's own files enter the network with how they did in the run.

    Raises:
        ExportError: It names the files that are read or transformed differently.
    """
    import numpy as np

    prepare, wrong = step.prepare(folder), []
    for known in samples:
        if known.original is None:
            continue
        try:
            given = prepare(known.original)
        except Exception as error:  # whatever a foreign library raises
            wrong.append(f"{known.original} fails: {described(error, most=300)}")
            continue
        if given.shape != known.prepared.shape:
            wrong.append(
                f"{known.original} has the shape {given.shape}, in the run {known.prepared.shape}"
            )
            continue
        gap = np.abs(given - known.prepared)
        if not (gap <= ABSOLUTE * max(1.0, float(np.abs(known.prepared).max()))).all():
            wrong.append(f"{known.original} has values that are {gap.max():.3g} apart at most")
    if wrong:
        more = [f"and {len(wrong) - FEW} more"] if len(wrong) > FEW else []
        raise ExportError(
            "\n".join(
                [
                    f"The format {step.name} reads or transforms files in another way than the "
                    "run:",
                    *(f"  {line}" for line in [*wrong[:FEW], *more]),
                    "Use --format onnx, torch-export or safetensors.",
                ]
            )
        )
