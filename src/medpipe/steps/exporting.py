"""`ExportStep` and `ExportParts`: how a trained network is written for other programs.

Nothing here imports torch, monai or numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.tasks import Step

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    Array = np.ndarray[Any, np.dtype[Any]]

Exported = Callable[["Array"], Mapping[str, "Array"]]


@attrs.frozen(kw_only=True, eq=False)
class ExportParts:
    """What an export step gets to write a file from.

    Attributes:
        network: The trained network alone, on the CPU, in evaluation mode and float32.
        program: Gives the whole graph as a `torch.export.ExportedProgram`: the steps before the
            network that a graph can hold, the network, and what follows it. Its input is ``image``
            of shape (batch, channels, spatial...), its output a dictionary of tensors.
        outputs: The names of the outputs, in their order.
        about: What the file must keep, and `ExportStep.about` gives back: of which run and which
            contract it is.
    """

    network: nn.Module
    program: Callable[[], torch.export.ExportedProgram]
    outputs: tuple[str, ...]
    about: Mapping[str, str]


class ExportStep(Step):
    """A format in which a trained network leaves medpipe: one file beside its contract.

    The library chooses what is in the graph, writes the contract and the samples, and compares
    what was written with the run before it gets its name.

    Attributes:
        suffix: The end of the file's name, without the dot: ``onnx``.
        holds_graph: Whether the file holds the whole graph. Else it holds weights alone, and all
            that comes before and after the network is the contract's to say.
    """

    kind: ClassVar[str] = "export"
    required: ClassVar[tuple[str, ...]] = ("suffix", "write", "open", "about")
    suffix: ClassVar[str]
    holds_graph: ClassVar[bool] = True

    def load(self) -> None:
        """Import what the format needs.

        Raises:
            ImportError: It is not installed; the message says how to install it.
        """

    def write(self, parts: ExportParts) -> bytes:
        """Give the content of the file; `parts.about` must be in it."""
        raise NotImplementedError(f"{type(self).__name__} has no write method")

    def open(self, content: bytes, rebuilt: Callable[[], nn.Module]) -> Exported:
        """Load a file, in a process that knows nothing of the run.

        Args:
            content: Of the file.
            rebuilt: Builds the graph with an untrained network, as the contract describes it: a
                module whose attribute ``network`` is the network, and whose output is a dictionary.
                For formats that hold weights alone.

        Returns:
            A function on float32 images of shape (batch, channels, spatial...), which gives the
            outputs by name.
        """
        raise NotImplementedError(f"{type(self).__name__} has no open method")

    def about(self, content: bytes) -> Mapping[str, str]:
        """What `write` was told to keep; what else is raised is taken for damage of the file."""
        raise NotImplementedError(f"{type(self).__name__} has no about method")
