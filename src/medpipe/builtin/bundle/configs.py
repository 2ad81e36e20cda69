"""``inference.json`` and ``metadata.json`` of a MONAI bundle."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.plugin import WholeRun

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
"""MONAI's schema of metadata, by which ``verify_metadata`` goes."""
PACKAGES = {"pictures": "pillow", "nifti": "nibabel", "dicom": "pydicom"}
"""What MONAI's readers need."""


def lacking(whole: WholeRun) -> list[str]:
    """What of a run has no counterpart in MONAI, a sentence each."""
    task, files = whole.data.task.step, whole.files
    window = files.reading.window
    found = []
    if "dicom" in files.formats and window != "none":
        found.append(
            f"dataset.window = {window!r}: MONAI's readers know no windows of DICOM files."
        )
    found += [
        f"reader {reader.step.name}: MONAI reads files by its own readers."
        for reader in files.reading.readers
    ]
    other = sorted(files.formats - PACKAGES.keys())
    if other:
        found.append(f"files read by {', '.join(other)}: MONAI reads them in another way.")
    for step in whole.steps:
        reads = step.takes_decoded  # what its reading lacks is said above
        if step.bundle_form(files) is None and not (reads and found):
            found.append(f"transform {step.name}: MONAI has none with the same numbers.")
    if whole.network.bundle_form(whole.data) is None:
        found.append(f"network {whole.network.name}: it is no network of MONAI's.")
    if whole.inferer.bundle_form(whole.data) is None:
        found.append(f"inferer {whole.inferer.name}: MONAI has none that does the same.")
    if task.bundle_form(whole.data.statistics) is None:
        found.append(f"task {task.name}: MONAI has no transforms for its scores.")
    if task.dense:
        if task.label_form != "mask":
            found.append("structures that may overlap: the bundle writes one mask.")
        values = task.written_values(whole.data.task.names)
        if any(isinstance(value, str) for value in values):
            found.append("masks with colours for values: MONAI writes numbers.")
        if any(getattr(step, "axes", "wh") == "hw" for step in whole.steps):
            found.append('load_image with axes = "hw": MONAI\'s masks have the width first.')
    return found


def inference(whole: WholeRun) -> dict[str, Any]:
    """The configuration that MONAI runs; a bundle that `lacking` finds nothing in."""
    suffixes = list(whole.files.suffixes)
    steps = [one for step in whole.steps for one in step.bundle_form(whole.files) or ()]
    found = {
        "imports": ["$import os", "$import PIL.ImageOps as ImageOps"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/output'",
        "batch_size": 1,
        "suffixes": suffixes,
        "datalist": (
            "$[{'image': os.path.join(folder, name), 'file': os.path.join(folder, name)}"
            " for folder, _, names in sorted(os.walk(@dataset_dir)) for name in sorted(names)"
            " if name.lower().endswith(tuple(@suffixes)) and not name.startswith('.')]"
        ),
        "network_def": dict(whole.network.bundle_form(whole.data) or {}),
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": "@batch_size",
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": dict(whole.inferer.bundle_form(whole.data) or {}),
        "postprocessing": {"_target_": "Compose", "transforms": _after(whole)},
        "handlers": [_weights(), *([] if whole.data.task.step.dense else [_csv()])],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))  # tuples become lists
    return plain


def _weights() -> dict[str, Any]:
    return {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/model.pt'",
        "load_dict": {"model": "@network"},
        "map_location": "@device",
    }


def _csv() -> dict[str, Any]:
    """A row for each image: its path, and its scores in the order of the names."""
    return {
        "_target_": "ClassificationSaver",
        "output_dir": "@output_dir",
        "filename": "predictions.csv",
        "batch_transform": "$lambda items: [{'filename_or_obj': one['file']} for one in items]",
        "output_transform": "$lambda items: [one['pred'] for one in items]",
    }


def _after(whole: WholeRun) -> list[dict[str, Any]]:
    """From outputs to scores, or to masks on the grids of the files."""
    task, names = whole.data.task.step, whole.data.task.names
    found = [dict(one) for one in task.bundle_form(whole.data.statistics) or ()]
    if not task.dense:
        return found
    found.append(
        {
            "_target_": "Invertd",
            "keys": "pred",
            "orig_keys": "image",
            "transform": "@preprocessing",
            "nearest_interp": False,
        }
    )
    found.append({"_target_": "AsDiscreted", "keys": "pred", "argmax": True})
    values = [int(value) for value in task.written_values(names)]
    if values != list(range(len(values))):
        places = list(range(len(values)))
        given = {"orig_labels": places, "target_labels": values}
        found.append({"_target_": "MapLabelValued", "keys": "pred", **given})
    small = min(values) >= 0 and max(values) < 256
    found.append(
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "data_root_dir": "@dataset_dir",
            "output_ext": mask_suffix(whole),
            "output_postfix": "",
            "output_dtype": f"$np.{'uint8' if small else 'int16'}",
            "resample": False,
            "separate_folder": False,
        }
    )
    return found


def mask_suffix(whole: WholeRun) -> str:
    """The end of the names of masks: PNG for pictures."""
    return ".png" if whole.files.formats == {"pictures"} else ".nii.gz"


def metadata(whole: WholeRun, given: Mapping[str, str]) -> dict[str, Any]:
    """What ``metadata.json`` has, in the fields of MONAI's specification of bundles.

    Args:
        whole: The run.
        given: The version, authors, copyright and description.
    """
    task = whole.data.task
    question = {
        "class": f"Classification: {', '.join(task.names)}",
        "findings": f"Findings: {', '.join(task.names)}",
        "numbers": f"Regression: {', '.join(task.names)}",
        "cases": f"Segmentation: {', '.join(task.names)}",
    }.get(task.step.answer_form, task.kind)
    needed = ("pytorch-ignite", "fire", *(PACKAGES[form] for form in sorted(whole.files.formats)))
    return {
        "schema": SCHEMA,
        "version": given["version"],
        "changelog": {given["version"]: "Exported"},
        "monai_version": _version("monai"),
        "pytorch_version": _version("torch"),
        "numpy_version": _version("numpy"),
        "required_packages_version": {name: _version(name) for name in needed},
        "name": whole.title,
        "task": question,
        "description": given["description"] or f"{question}.",
        "authors": given["authors"],
        "copyright": given["copyright"],
        "intended_use": "Unknown: whoever publishes the bundle says it here.",
        "network_data_format": {"inputs": {"image": _input(whole)}, "outputs": _outputs(whole)},
        "medpipe": dict(whole.about),
    }


def _version(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "unknown"


def _input(whole: WholeRun) -> dict[str, Any]:
    window = getattr(whole.inferer, "roi_size", None)
    channels, *sides = whole.shape
    if window is not None:
        sides = [side if side > 0 else None for side in window]
    return {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": channels,
        "spatial_shape": ["*" if side is None else side for side in sides],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": window is not None,
        "channel_def": {str(place): "image" for place in range(channels or 0)},
    }


FORMATS = ("classification", "segmentation")
"""MONAI's words for what a network gives: numbers, or images."""


def _outputs(whole: WholeRun) -> dict[str, Any]:
    """What the plain network gives: the postprocessing follows."""
    data = whole.data
    task = data.task
    names = ["background", *task.names] if task.step.dense else task.names
    return {
        "pred": {
            "type": "image" if task.step.dense else "probabilities",
            "format": FORMATS[task.step.dense],
            "num_channels": data.outputs,
            "spatial_shape": _input(whole)["spatial_shape"] if task.step.dense else [],
            "dtype": "float32",
            "value_range": [],
            "is_patch_data": _input(whole)["is_patch_data"],
            "channel_def": {str(place): name for place, name in enumerate(names)},
        }
    }
