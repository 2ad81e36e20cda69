"""The export step ``bundle``."""

from __future__ import annotations

import importlib.util
import io
import json
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.builtin.bundle.configs import inference, lacking, metadata
from medpipe.builtin.bundle.running import prepared_by, run_bundle
from medpipe.builtin.bundle.texts import LICENSE, readme
from medpipe.builtin.export_files import ABOUT, about_in_zip, answers_of
from medpipe.plugin import ExportStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from torch import nn

    from medpipe.plugin import Exported, ExportParts, WholeRun

    Array = np.ndarray[Any, np.dtype[Any]]

NEEDED = ("monai", "ignite", "fire")


@attrs.frozen(kw_only=True)
class Bundle(ExportStep):
    """A MONAI bundle: MONAI's own transforms, network, inferer and writers as a configuration.

    ``python -m monai.bundle run`` reads a folder of images with it and writes the run's
    probabilities, numbers or masks, without medpipe. Needs ``medpipe-imaging[bundle]``.

    Attributes:
        version: Of the bundle.
        authors: Who made it.
        copyright: Whose it is.
        description: What it is for; empty: the task in a sentence.
    """

    name: ClassVar[str] = "bundle"
    suffix: ClassVar[str] = "pt"
    folder: ClassVar[str] = "models"
    holds_graph: ClassVar[bool] = False
    reads_files: ClassVar[bool] = True

    version: str = "0.1.0"
    authors: str = "unknown"
    copyright: str = "unknown"
    description: str = ""

    def load(self) -> None:
        """See that MONAI can run bundles.

        Raises:
            ImportError: Something is not installed.
        """
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise ImportError(
                f"The format bundle needs {', '.join(missing)}, which is not installed. Install "
                "medpipe-imaging[bundle]."
            )

    def write(self, parts: ExportParts) -> bytes:
        """Give the state dictionary of MONAI's network, as `torch.save` writes it."""
        from zipfile import ZipFile

        import torch

        state = parts.network.state_dict()
        into = io.BytesIO()
        tensors = {name: value for name, value in state.items() if name not in parts.buffers}
        torch.save(tensors, into)
        with ZipFile(into, "a") as archive:
            root = archive.namelist()[0].partition("/")[0]
            archive.writestr(f"{root}/{ABOUT}", json.dumps(dict(parts.about)))
        return into.getvalue()

    def about(self, content: bytes) -> Mapping[str, str]:
        """Read the file beside the weights, which are not loaded."""
        return about_in_zip(content)

    def open(self, content: bytes, rebuilt: Callable[[], nn.Module]) -> Exported:
        """Load the weights into the network that the contract describes."""
        import torch

        graph: Any = rebuilt()
        state = torch.load(io.BytesIO(content), weights_only=True)
        graph.network.load_state_dict({**graph.network.state_dict(), **state})
        return answers_of(graph)

    def beside(self, whole: WholeRun) -> Mapping[str, bytes]:
        """Give the configurations, the README and the LICENSE.

        Raises:
            ValueError: A part of the run has no counterpart in MONAI: all such parts.
        """
        wrong = lacking(whole)
        if wrong:
            raise ValueError(
                "\n".join(
                    [
                        "The run can't become a MONAI bundle:",
                        *(f"  {line}" for line in wrong),
                        "Use --format onnx, torch-export or safetensors.",
                    ]
                )
            )
        described = metadata(whole, attrs.asdict(self))
        return {
            "configs/inference.json": _json(inference(whole)),
            "configs/metadata.json": _json(described),
            "docs/README.md": readme(described, whole).encode(),
            "LICENSE": LICENSE.encode(),
        }

    def prepare(self, folder: Path) -> Callable[[str], Array]:
        """Build the bundle's own preprocessing."""
        return prepared_by(folder)

    def predict(self, folder: Path, images: Path, *, batch_size: int) -> Mapping[str, Array]:
        """Let MONAI run the bundle.

        Raises:
            ValueError: It fails.
        """
        return run_bundle(folder, images, batch_size=batch_size)


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
