"""Export steps: safetensors, PyTorch's exported programs, ONNX, MONAI bundles."""

from __future__ import annotations

import importlib
import io
import json
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.builtin.bundle.step import Bundle
from medpipe.builtin.export_files import ABOUT, about_in_zip, answers_of
from medpipe.plugin import ExportStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from torch import nn

    from medpipe.plugin import Exported, ExportParts

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True)
class Safetensors(ExportStep):
    """The weights alone, for programs that build the network themselves.

    The contract says what comes before and after the network.
    """

    name: ClassVar[str] = "safetensors"
    suffix: ClassVar[str] = "safetensors"
    holds_graph: ClassVar[bool] = False

    def write(self, parts: ExportParts) -> bytes:
        """Give the tensors of the network's state dictionary."""
        from safetensors.torch import save

        state = parts.network.state_dict()
        # Copies: safetensors refuses tensors that share memory.
        tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
        return bytes(save(tensors, metadata=dict(parts.about)))

    def about(self, content: bytes) -> Mapping[str, str]:
        """Read the header's metadata."""
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return dict(header.get("__metadata__") or {})

    def open(self, content: bytes, rebuilt: Callable[[], nn.Module]) -> Exported:
        """Load the weights into the network that the contract describes."""
        from safetensors.torch import load

        graph: Any = rebuilt()
        graph.network.load_state_dict(load(content))
        return answers_of(graph)


@attrs.frozen(kw_only=True)
class TorchExport(ExportStep):
    """A program of `torch.export`, which PyTorch runs without medpipe, or AOTInductor compiles."""

    name: ClassVar[str] = "torch_export"
    suffix: ClassVar[str] = "pt2"

    def write(self, parts: ExportParts) -> bytes:
        """Give what `torch.export.save` writes."""
        import torch

        into = io.BytesIO()
        kept = {ABOUT: json.dumps(dict(parts.about))}
        torch.export.save(parts.program(), into, extra_files=kept)
        return into.getvalue()

    def about(self, content: bytes) -> Mapping[str, str]:
        """Read the file beside the program; the program is not loaded."""
        return about_in_zip(content)

    def open(self, content: bytes, rebuilt: Callable[[], nn.Module]) -> Exported:
        """Load the program."""
        import torch

        return answers_of(torch.export.load(io.BytesIO(content)).module())


@attrs.frozen(kw_only=True)
class Onnx(ExportStep):
    """ONNX, by PyTorch's exporter of `torch.export` programs; needs ``medpipe-imaging[onnx]``.

    Verified with ONNX Runtime on the CPU. A file is 2 GB large at most.

    Attributes:
        opset: The version of ONNX's operators; None: the one that PyTorch recommends.
    """

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = "onnx"
    opset: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(18))
    )

    def load(self) -> None:
        """Import what writes and what runs ONNX.

        Raises:
            ImportError: It is not installed.
        """
        for name in ("onnx", "onnxscript", "onnxruntime"):
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise ImportError(
                    f"The format onnx needs {name}, which is not installed. Install "
                    "medpipe-imaging[onnx]."
                ) from error

    def write(self, parts: ExportParts) -> bytes:
        """Give the serialized model, with `parts.about` among its metadata."""
        import torch

        found: Any = torch.onnx.export(
            parts.program(),
            input_names=["image"],
            output_names=list(parts.outputs),
            opset_version=self.opset,
            dynamo=True,
            verbose=False,
        )
        model = found.model_proto
        for node in model.graph.node:
            node.ClearField("metadata_props")  # stacks with paths of this machine
        for key, value in parts.about.items():
            model.metadata_props.add(key=key, value=value)
        return bytes(model.SerializeToString())

    def about(self, content: bytes) -> Mapping[str, str]:
        """Read the model's metadata."""
        import onnx

        return {one.key: one.value for one in onnx.load_from_string(content).metadata_props}

    def open(self, content: bytes, rebuilt: Callable[[], nn.Module]) -> Exported:
        """Load the model into ONNX Runtime; torch is not imported."""
        import onnxruntime

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        names = [output.name for output in session.get_outputs()]

        def answer(images: Array) -> Mapping[str, Array]:
            return dict(zip(names, session.run(names, {given.name: images}), strict=True))

        return answer


EXPORTS: tuple[type[ExportStep], ...] = (Safetensors, TorchExport, Onnx, Bundle)
"""All built-in export steps."""
