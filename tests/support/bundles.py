"""MONAI bundles in tests: an environment without medpipe, and what MONAI asks of metadata."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from medpipe import Registry, Run
from medpipe.export.file_export import write_file_export
from medpipe.steps import ExportStep


def written(run: Run, folder: Path) -> Path:
    """A bundle as `Run.export` writes it before a fresh process verifies it."""
    folder.mkdir(parents=True)
    step = Registry.discover().create(ExportStep, "bundle")
    write_file_export(run.trained("best", None), run.record, folder, step)
    return folder


def without_medpipe(folder: Path) -> Path:
    """The Python of a new environment with this one's packages, but for medpipe.

    An editable install is a ``.pth`` file, and those in a folder that a ``.pth`` file names are
    not read; a medpipe that lies in the folder itself would be found, and is looked for.
    """
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "packages.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    python = folder / "bin" / "python"
    done = subprocess.run(
        [python, "-c", "import medpipe"], env={}, cwd=folder, capture_output=True, text=True
    )
    assert "No module named 'medpipe'" in done.stderr, done.stderr
    return python


# Fields that MONAI's specification of bundles calls required, with their types, and those of
# each input and output. The schema that ``verify_metadata`` downloads is in no package.
_TEXT = {"type": "string", "minLength": 1}
_TENSOR = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {
            "type": _TEXT,
            "format": _TEXT,
            "num_channels": {"type": "integer", "minimum": 1},
            "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
            "dtype": {"enum": ["float32"]},
            "value_range": {"type": "array"},
            "is_patch_data": {"type": "boolean"},
            "channel_def": {"type": "object", "additionalProperties": _TEXT},
        },
        "required": [
            "type",
            "format",
            "num_channels",
            "spatial_shape",
            "dtype",
            "value_range",
            "is_patch_data",
            "channel_def",
        ],
    },
}
_VERSION = {"type": "string", "pattern": r"^\d+\.\d+(\.\d+)?"}
METADATA_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "version": _VERSION,
        "changelog": {"type": "object", "additionalProperties": _TEXT},
        "monai_version": _VERSION,
        "pytorch_version": _VERSION,
        "numpy_version": _VERSION,
        "required_packages_version": {"type": "object", "additionalProperties": _VERSION},
        "task": _TEXT,
        "description": _TEXT,
        "authors": _TEXT,
        "copyright": _TEXT,
        "network_data_format": {
            "type": "object",
            "properties": {"inputs": _TENSOR, "outputs": _TENSOR},
            "required": ["inputs", "outputs"],
        },
    },
    "required": [
        "version",
        "changelog",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "task",
        "description",
        "authors",
        "copyright",
        "network_data_format",
    ],
}


def schema_file(folder: Path) -> Path:
    """The schema where MONAI looks for it before it downloads one."""
    path = folder / "schema.json"
    path.write_text(json.dumps(METADATA_SCHEMA), encoding="utf-8")
    return path
