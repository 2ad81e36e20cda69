"""`ExportStep` and what it gets: how a trained network is written for other programs.

Nothing here imports torch, monai or numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.tasks import Step

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from torch import nn

    from medpipe.steps.kinds import InfererStep, NetworkStep, TransformStep
    from medpipe.steps.reading import ImageFiles
    from medpipe.steps.training import DataInfo

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
        buffers: The names of buffers that are the task's, not the network's own: see
            `TaskStep.buffers`.
    """

    network: nn.Module
    program: Callable[[], torch.export.ExportedProgram]
    outputs: tuple[str, ...]
    about: Mapping[str, str]
    buffers: tuple[str, ...] = ()


@attrs.frozen(kw_only=True, eq=False)
class WholeRun:
    """What a format that reads image files itself describes, from the files to the answers.

    Attributes:
        files: How files are read.
        steps: The steps of the chain that are not random, in order.
        network: The step of the network.
        inferer: How it is called.
        data: What was measured on the run's data, with its task.
        shape: Of the images that enter the network: channels, then sides; None: any.
        title: The name of the run.
        about: As `ExportParts.about`.
    """

    files: ImageFiles
    steps: tuple[TransformStep, ...]
    network: NetworkStep
    inferer: InfererStep
    data: DataInfo
    shape: tuple[int | None, ...]
    title: str
    about: Mapping[str, str]


class ExportStep(Step):
    """A format in which a trained network leaves medpipe: one file beside its contract.

    The library chooses what is in the graph, writes the contract and the samples, and compares
    what was written with the run before it gets its name. A format that reads image files itself
    (`reads_files`) has more files, and the methods `beside`, `prepare` and `predict` too.

    Attributes:
        suffix: The end of the file's name, without the dot: ``onnx``.
        folder: The folder of the file in the export; empty: none.
        holds_graph: Whether the file holds the whole graph. Else it holds weights alone, and all
            that comes before and after the network is the contract's to say.
        reads_files: Whether what is written takes files of images and gives the run's answers.
    """

    kind: ClassVar[str] = "export"
    required: ClassVar[tuple[str, ...]] = ("suffix", "write", "open", "about")
    suffix: ClassVar[str]
    folder: ClassVar[str] = ""
    holds_graph: ClassVar[bool] = True
    reads_files: ClassVar[bool] = False

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

    def beside(self, whole: WholeRun) -> Mapping[str, bytes]:
        """Give the other files of a format that reads image files, by their paths in the export.

        Raises:
            ValueError: The format can't hold a part of the run: the message names all such parts.
        """
        raise NotImplementedError(f"{type(self).__name__} has no beside method")

    def prepare(self, folder: Path) -> Callable[[str], Array]:
        """Give a function that prepares an image file as what is written in a folder does.

        It gives what enters the network, of shape (channels, spatial...).
        """
        raise NotImplementedError(f"{type(self).__name__} has no prepare method")

    def predict(self, folder: Path, images: Path, *, batch_size: int) -> Mapping[str, Array]:
        """Run what is written in a folder, in a process without medpipe, on a folder of images.

        Returns:
            The answer for each image, by its file's name: scores, or where labels are images the
            values of a mask, of shape (channels, spatial...) with the width first.

        Raises:
            ValueError: It fails; the message says why.
        """
        raise NotImplementedError(f"{type(self).__name__} has no predict method")
