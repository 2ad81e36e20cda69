"""``contract.json``: what an export takes and gives, and what must be done around it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from medpipe.config.measured import info_record
from medpipe.errors import ExportError
from medpipe.registry.parameters import unstructure
from medpipe.system.files import sha256_of, write_json
from medpipe.system.versions import version_of, versions, writer_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medpipe.export.division import Division
    from medpipe.export.graph import Answers
    from medpipe.export.samples import Known
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.registry.registry import Registry
    from medpipe.steps import ExportStep, Step

FORMAT = 1
CONTRACT, SAMPLES, VERIFIED = "contract.json", "samples.safetensors", "verified.json"
ABSOLUTE, RELATIVE = 1e-4, 1e-3
"""How far an output may be from the run's: this, and this share of it."""
RUN, OF_CONTRACT = "medpipe_run", "medpipe_contract"
"""What an exported file keeps: the id of its run, and the digest of its contract."""

NEEDED = (
    "export",
    "run",
    "data",
    "graph",
    "outputs",
    "temperature",
    "tolerance",
    "samples",
    "files",
)
"""What `medpipe verify` reads of a contract."""

MEANINGS = {
    "outputs": "the network's outputs for a window, as they are: see after",
    "scores": "what the run predicts: probabilities, or values in the unit",
    "calibrated": "the probabilities at the temperature",
    "prediction": "the index of the likeliest class, or 1 for each finding from one half on",
    "labels": "the likeliest of the background (0) and the structures, or 1 for each structure",
}


def contract_of(
    trained: TrainedNetwork,
    record: Mapping[str, Any],
    *,
    step: ExportStep,
    division: Division,
    answers: Answers,
    sides: Sequence[int | None],
    samples: Sequence[Known],
    splits: Mapping[str, int],
) -> dict[str, Any]:
    """The contract of an export, without the digests of its files."""
    registry, data = trained.assembly.registry, trained.data
    chosen = trained.chosen or {}

    def plain(one: Step) -> Any:
        return unstructure(one, name_of=registry.saved_name)

    called = division.called
    return {
        "format": FORMAT,
        "export": {"step": plain(step), "file": _file(step)},
        "run": {"id": record["id"], "name": record["name"], "network": trained.which},
        "weights": weights_digest(trained.network),
        "data": {**info_record(data, registry), "spatial_shape": list(data.spatial_shape)},
        "before": {
            "reading": trained.reading.plain(),
            "readers": [plain(one.step) for one in trained.reading.readers],
            "steps": [plain(one) for one in division.before],
        },
        "input": {
            "name": "image",
            "dtype": "float32",
            **_axes(division, data.spatial_dims),
            "shape": [None, samples[0].input.shape[0], *sides],
            "channels": samples[0].input.shape[0],
            "spacing": _parameter(division.before, "spacing", "pixdim"),
            "range": [
                float(min(known.input.min() for known in samples)),
                float(max(known.input.max() for known in samples)),
            ],
        },
        "graph": {
            "steps": [plain(one) for one in division.inside],
            "network": plain(trained.assembly.configuration.network),
            "inferer": None if called is None else plain(called),
            "windows": None if division.window is None else list(division.window),
        },
        "outputs": [{"name": name, "meaning": MEANINGS[name]} for name in answers.names],
        "after": {
            "inferer": plain(division.inferer_step) if division.window is not None else None,
            "file_grid": data.task.step.dense,
        },
        "temperature": chosen.get("temperature"),
        "operating_point": chosen.get("operating_point"),
        "precision": {"export": "float32", "run": trained.precision},
        "tolerance": {"absolute": ABSOLUTE, "relative": RELATIVE},
        "samples": {"count": len(samples), "splits": dict(splits)},
        "versions": packages(),
    }


def _file(step: ExportStep) -> str:
    return f"{step.folder}/model.{step.suffix}".removeprefix("/")


def write_contract(folder: Path, contract: Mapping[str, Any]) -> None:
    """Write the contract of an export."""
    write_json(folder / CONTRACT, contract)


def _axes(division: Division, dims: int) -> dict[str, Any]:
    """The names of the input's axes, and where those of a volume point to."""
    loaded = next((one for one in division.before if one.name == "load_image"), None)
    first = ["height", "width"] if getattr(loaded, "axes", "wh") == "hw" else ["width", "height"]
    codes = _parameter(division.before, "orientation", "axcodes")
    return {
        "axes": ["batch", "channel", *[*first, "depth"][:dims]],
        "orientation": codes,  # of the three axes, where there is a step for it
    }


def _parameter(steps: Sequence[Step], name: str, parameter: str) -> Any:
    """A parameter of the last step of a name; None where there is none."""
    found = [getattr(one, parameter, None) for one in steps if one.name == name]
    value = found[-1] if found else None
    return list(value) if isinstance(value, tuple) else value


def packages() -> dict[str, str]:
    """The versions of this machine, with those of what writes and runs exports."""
    found = {name: version_of(name) for name in ("onnx", "onnxruntime", "onnxscript")}
    return {**versions(), **{name: version for name, version in found.items() if version}}


def weights_digest(network: Any) -> str:
    """The SHA-256 of a network's weights and buffers, with their names, types and shapes."""
    import torch

    parts: list[bytes] = []
    for name, tensor in sorted(network.state_dict().items()):
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        parts.append(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha256_of(*parts)


def digest_of(contract: Mapping[str, Any]) -> str:
    """The digest that an exported file keeps of its contract: of all but ``files``."""
    body = {key: item for key, item in contract.items() if key != "files"}
    return sha256_of(json.dumps(body, sort_keys=True, ensure_ascii=False).encode())


def read_contract(folder: Path) -> dict[str, Any]:
    """Read the contract of an export.

    Raises:
        ExportError: There is none, or it can't be read.
    """
    path = folder / CONTRACT
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(f"{folder} is no export of medpipe: it has no {CONTRACT}.") from error
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} can't be read: {error}. Copy the export once more.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ExportError(f"{path} has an unknown format. Use {writer_of(found)}.")
    lacking = [key for key in NEEDED if key not in found]
    if lacking:
        raise ExportError(f"{path} lacks {', '.join(lacking)}. Copy the export once more.")
    return found


def step_of(contract: Mapping[str, Any], registry: Registry) -> ExportStep:
    """The export step that wrote an export.

    Raises:
        UnknownStepError: It is that of a plugin that is not there.
    """
    from medpipe.steps import ExportStep

    parameters = dict(contract["export"]["step"])
    return registry.create(ExportStep, parameters.pop("step"), parameters)
