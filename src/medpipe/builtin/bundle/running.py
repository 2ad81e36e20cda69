"""A MONAI bundle at work: in MONAI's command, and its preprocessing alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_ERROR = re.compile(r"[A-Za-z_.]+(Error|Exception)\b")
BLOCKED = "raise ImportError('medpipe is blocked: a bundle must run without it')\n"


def run_bundle(folder: Path, images: Path, *, batch_size: int) -> Mapping[str, Array]:
    """Run a bundle by ``python -m monai.bundle run``, where medpipe can't be imported.

    Args:
        folder: The bundle.
        images: A folder of images.
        batch_size: How many images the network gets at once.

    Returns:
        By the name of an image's file: its scores, or its mask (channels, spatial...).

    Raises:
        ValueError: The command fails; the message has its last words.
    """
    with tempfile.TemporaryDirectory() as work:
        output, root = Path(work, "output"), folder.resolve()
        # The first module of a name that is found is taken: this folder comes before all others.
        empty = Path(work, "without_medpipe")
        empty.mkdir()
        (empty / "medpipe.py").write_text(BLOCKED, encoding="utf-8")
        first = [str(empty), *filter(None, [os.environ.get("PYTHONPATH")])]
        given = {
            "config_file": str(root / "configs" / "inference.json"),
            "meta_file": str(root / "configs" / "metadata.json"),
            "bundle_root": str(root),
            "dataset_dir": str(images.resolve()),
            "output_dir": str(output),
            "batch_size": batch_size,
            "device": "$torch.device('cpu')",
        }
        # A file of arguments: the command line would take a comma in a path for a tuple.
        arguments = Path(work, "arguments.json")
        arguments.write_text(json.dumps(given), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "monai.bundle", "run", "--args_file", str(arguments)],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(first)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ValueError(f"python -m monai.bundle run fails: {_causes(done.stderr)}")
        table = output / "predictions.csv"
        return _scores(table, images) if table.exists() else _masks(output, images)


def _causes(said: str) -> str:
    """The errors of a trace, the first cause first; MONAI wraps each several times."""
    found = [line for line in said.splitlines() if _ERROR.match(line)]
    causes = [line for line in found if "applying transform" not in line]
    return "; ".join([*dict.fromkeys(causes)][:3])[:1500] or said[-1500:]


def _scores(table: Path, images: Path) -> dict[str, Array]:
    """The rows of images; MONAI quotes no path, whatever commas are in it."""
    import numpy as np

    start = f"{images.resolve()}{os.sep}"
    rows = (row.removeprefix(start).split(",") for row in table.read_text("utf-8").splitlines())
    return {name: np.array(scores, np.float64) for name, *scores in rows}


def _masks(output: Path, images: Path) -> dict[str, Array]:
    """The masks of images, whose names differ in their suffixes alone."""
    import numpy as np

    found: dict[str, Array] = {}
    for image in images.iterdir():
        for mask in output.glob(f"{image.name.partition('.')[0]}.*"):
            if mask.suffix == ".png":
                from PIL import Image

                values: Array = np.asarray(Image.open(mask)).T
            else:
                import nibabel

                loaded: Any = nibabel.load(mask)
                values = np.asarray(loaded.dataobj)
            found[image.name] = values[None]
    return found


def prepared_by(folder: Path) -> Callable[[str], Array]:
    """What a bundle's preprocessing makes of a file."""
    from monai.bundle import ConfigParser

    parser: Any = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    transforms = parser.get_parsed_content("preprocessing")

    def prepare(path: str) -> Array:
        import numpy as np

        return np.asarray(transforms({"image": path})["image"])

    return prepare
