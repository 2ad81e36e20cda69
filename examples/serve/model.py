"""An ONNX export of medpipe: what its contract says, and its answers for files."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from images import read_image, shown
from refused import Refused
from steps import made_steps

if TYPE_CHECKING:
    from pathlib import Path

FORMAT, FILE = 1, "model.onnx"
KINDS = {"multiclass": "classes", "multilabel": "findings", "regression": "numbers"}
READERS = {"dicom", "nifti", "numpy", "pictures"}
"""Readers that read PNG and DICOM as this program does, or neither."""
OWN_RANGE = 0.25
"""How far values may lie outside the samples' range, as a share of it, before that is said."""


class Model:
    """The model of a folder that `medpipe export --format onnx` wrote.

    Args:
        folder: The export.

    Raises:
        Refused: It can't be read, was changed, or needs what this program doesn't do; all
            reasons at once.
    """

    def __init__(self, folder: Path) -> None:
        contract = _read(folder / "contract.json")
        try:
            problems, self._steps = _unknown(contract)
            if problems:
                listed = "".join(f"\n- {one}" for one in problems)
                raise Refused(f"{folder} can't be served by this program:{listed}")
            self.contract = contract
            self.name = folder.resolve().name
            self.kind = KINDS[contract["data"]["task"]["kind"]["step"]]
            self._session = _session(folder / FILE, contract)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            told = f"{type(error).__name__}: {error}"
            raise Refused(f"{folder / 'contract.json'} is not whole: {told}.") from error

    def about(self) -> dict[str, Any]:
        """What the page says of the model."""
        contract = self.contract
        task, point = contract["data"]["task"], contract["operating_point"]
        return {
            "export": self.name,
            "run": {key: contract["run"][key] for key in ("id", "name")},
            "kind": self.kind,
            "names": task["names"],
            "unit": task["unit"],
            "temperature": self._calibrated and contract["temperature"],
            "operating_point": point,
            "network": contract["graph"]["network"]["step"],
            "versions": {key: contract["versions"][key] for key in ("medpipe", "onnx")},
        }

    def answer(self, content: bytes) -> dict[str, Any]:
        """What the model says of a file.

        Args:
            content: The whole file.

        Raises:
            Refused: The file can't be read, or doesn't fit to the model.
        """
        format_, values = read_image(content, self.contract["before"]["reading"])
        try:
            image = values
            for step in self._steps:
                image = step(image)
        except ValueError as error:
            raise Refused(f"The image can't be prepared: {error}.") from error
        self._check(image)
        try:
            given = self._session.run(None, {"image": np.ascontiguousarray(image[None])})
        except Exception as error:  # onnxruntime's own errors have no common class
            raise Refused("The model can't take this image; it may be too small.") from error
        outputs = dict(zip(self._outputs, given, strict=True))
        if not all(np.isfinite(one).all() for one in outputs.values()):
            raise Refused("The model gives no number for this image.")
        return {
            "export": self.name,
            "run": self.contract["run"]["id"],
            "image": {
                "format": format_,
                "width": values.shape[1],
                "height": values.shape[0],
                "channels": values.shape[2] if values.ndim == 3 else 1,
                "range": [float(values.min()), float(values.max())],
                "shown": "data:image/png;base64," + base64.b64encode(shown(values)).decode(),
            },
            "remarks": self._remarks(image),
            **self._meaning(outputs),
        }

    @property
    def _outputs(self) -> list[str]:
        return [one.name for one in self._session.get_outputs()]

    @property
    def _calibrated(self) -> bool:
        return "calibrated" in self._outputs

    def _check(self, image: np.ndarray) -> None:
        """Refuse an image of other channels or sides than the model takes."""
        wanted = self.contract["input"]
        if image.shape[0] != wanted["channels"]:
            told = {1: "grey", 3: "RGB"}
            have = told.get(image.shape[0], f"of {image.shape[0]} channels")
            need = told.get(wanted["channels"], f"of {wanted['channels']} channels")
            raise Refused(f"The image is {have}, and the model takes images that are {need}.")
        names, sides = wanted["axes"][2:], wanted["shape"][2:]
        wrong = [
            f"the {name} {own} and not {side}"
            for name, own, side in zip(names, image.shape[1:], sides, strict=True)
            if side not in (None, own)
        ]
        if wrong:
            raise Refused(f"The image has {' and '.join(wrong)}, which the model alone takes.")

    def _remarks(self, image: np.ndarray) -> list[str]:
        low, high = self.contract["input"]["range"]
        own = float(image.min()), float(image.max())
        room = OWN_RANGE * (high - low)
        if own[0] >= low - room and own[1] <= high + room:
            return []
        return [
            f"Its values reach from {own[0]:g} to {own[1]:g}; those of the samples that the "
            f"export was compared on from {low:g} to {high:g}. It may not be an image of their "
            "kind."
        ]

    def _meaning(self, outputs: dict[str, np.ndarray]) -> dict[str, Any]:
        """The answers by name."""
        task, point = self.contract["data"]["task"], self.contract["operating_point"]
        scores = [float(one) for one in outputs["scores"][0]]
        answers: list[dict[str, Any]] = [
            {"name": name, "score": score}
            for name, score in zip(task["names"], scores, strict=True)
        ]
        found: dict[str, Any] = {"kind": self.kind, "unit": task["unit"], "answers": answers}
        if self._calibrated:
            for one, calibrated in zip(answers, outputs["calibrated"][0], strict=True):
                one["calibrated"] = float(calibrated)
        if self.kind == "classes":
            found["prediction"] = task["names"][int(outputs["prediction"][0])]
        elif self.kind == "findings":
            for one, there in zip(answers, outputs["prediction"][0], strict=True):
                one["found"] = bool(there)
        if point is not None:
            score = scores[task["names"].index(point["class"])]
            keys = ("class", "threshold", "wanted", "at_least")
            found["operating_point"] = {key: point[key] for key in keys}
            found["operating_point"].update(score=score, found=score >= point["threshold"])
        return found


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refused(f"{path.parent} is no export of medpipe: it has no {path.name}.") from error
    except (OSError, ValueError) as error:
        raise Refused(f"{path} can't be read: {error}.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise Refused(f"{path} has an unknown format. Use the program that came with its medpipe.")
    return found


def _unknown(contract: dict[str, Any]) -> tuple[list[str], list[Any]]:
    """What a contract needs that this program doesn't do; and the steps before the model."""
    problems = []
    data, before, after = contract["data"], contract["before"], contract["after"]
    kind, export = data["task"]["kind"]["step"], contract["export"]["step"]["step"]
    if export != "onnx":
        problems.append(f"its format is {export}: export the run with --format onnx")
    if data["spatial_dims"] != 2:
        problems.append(f"the model takes volumes of {data['spatial_dims']} axes, not images")
    if contract["graph"]["windows"] is not None or after["inferer"] is not None:
        problems.append("the model takes windows, whose outputs must be averaged")
    if after["file_grid"]:
        problems.append("the answers are masks, which are not shown here")
    elif kind not in KINDS:
        problems.append(f"the task {kind} is not known here, only {', '.join(KINDS)}")
    if contract["input"]["dtype"] != "float32":
        problems.append(f"the model takes {contract['input']['dtype']}, not float32")
    point = contract["operating_point"]
    if point is not None and not _is_number(point["threshold"]):
        problems.append(f"the operating point has the threshold {point['threshold']}")
    problems += [
        f"files are read by {one['step']}, which is not known here"
        for one in before["readers"]
        if one["step"] not in READERS
    ]
    problems += _unknown_reading(before["reading"])
    steps, more = made_steps(before["steps"])
    return [*problems, *more], steps


def _unknown_reading(reading: dict[str, Any]) -> list[str]:
    known: dict[str, Any] = {
        "channels": (None, 1, 3, "auto"),
        "padding": ("lowest", "keep"),
        "frames": ("positions", "volume", "first"),
        "missing_spacing": ("error", "unknown"),
    }
    problems = [
        f"before.reading.{key} is {reading[key]!r}, which is not known here"
        for key in known
        if reading[key] not in known[key]
    ]
    window = reading["window"]
    pair = isinstance(window, list) and len(window) == 2 and all(map(_is_number, window))
    if window not in ("none", "voi") and not (pair and window[1] >= 1):
        problems.append(f"before.reading.window is {window!r}, which is not known here")
    more = sorted({*reading} - {*known, "window"})
    return [*problems, *(f"before.reading.{key} is not known here" for key in more)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _session(path: Path, contract: dict[str, Any]) -> onnxruntime.InferenceSession:
    """The model, once it is certain that it is the contract's."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"{path} can't be read: {error}.") from error
    if hashlib.sha256(content).hexdigest() != contract["files"][FILE]:
        raise Refused(f"{path} was changed, or is of another export. Copy the export once more.")
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors have no common class
        raise Refused(f"{path} can't be opened by onnxruntime: {error}") from error
    body = {key: item for key, item in contract.items() if key != "files"}
    text = json.dumps(body, sort_keys=True, ensure_ascii=False).encode()
    kept = session.get_modelmeta().custom_metadata_map
    if kept.get("medpipe_contract") != hashlib.sha256(text).hexdigest():
        raise Refused(f"{path} is of another contract than that beside it. Copy the export again.")
    given = {one.name for one in session.get_outputs()}
    if given != {one["name"] for one in contract["outputs"]}:
        raise Refused(f"{path} has other outputs than its contract says: {sorted(given)}.")
    return session
