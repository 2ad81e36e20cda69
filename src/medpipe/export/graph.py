"""The graph that is exported: steps before the network, the network, and what outputs mean.

Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import nn

from medpipe.errors import ExportError
from medpipe.optimization.deep_supervision import first_output
from medpipe.system.raised import described

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medpipe.steps import DataInfo, Inferer

    Form = Callable[[torch.Tensor], torch.Tensor]


@attrs.frozen(kw_only=True)
class Answers:
    """What becomes of a network's outputs.

    Attributes:
        data: What was measured on the run's data, with its task.
        windows: Whether images come as windows, whose outputs are averaged outside: then they are
            left as they are.
        temperature: Of the calibrated probabilities; None without one.
    """

    data: DataInfo
    windows: bool = False
    temperature: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what the graph gives, in their order."""
        if self.windows:
            return ("outputs",)
        step = self.data.task.step
        if step.dense:
            return ("scores", "labels") if step.label_form in ("mask", "masks") else ("scores",)
        names = ["scores"]
        names += ["calibrated"] if self.temperature is not None else []
        return (*names, "prediction") if step.answer_form in ("class", "findings") else (*names,)

    def of(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """What outputs of shape (batch, outputs[, spatial...]) mean, by name."""
        if self.windows:
            return {"outputs": outputs}
        step, given = self.data.task.step, {}
        given["scores"] = scores = step.to_scores(outputs)
        if step.dense:
            if step.label_form == "mask":
                given["labels"] = outputs.argmax(dim=1, keepdim=True).to(torch.uint8)
            elif step.label_form == "masks":
                given["labels"] = (outputs > 0).to(torch.uint8)
            return given
        if self.temperature is not None:
            given["calibrated"] = step.to_scores(outputs / self.temperature)
        if step.answer_form == "class":
            given["prediction"] = scores.argmax(dim=1)
        elif step.answer_form == "findings":
            given["prediction"] = (scores >= 0.5).to(torch.int64)
        return given


class ExportedNetwork(nn.Module):
    """A network with what stands before it and after it, on batches of float32 images.

    Args:
        network: The network.
        forms: What the steps before it do; see `TransformStep.graph_form`.
        inferer: How it is called; None: as it is.
        answers: What becomes of its outputs.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        forms: Sequence[Form] = (),
        inferer: Inferer | None = None,
        answers: Answers,
    ) -> None:
        super().__init__()
        self.network = network
        self._forms, self._inferer, self._answers = tuple(forms), inferer, answers

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Give the outputs by name."""
        for form in self._forms:
            image = form(image)
        dense = self._answers.data.task.step.dense
        called: Any = first_output(self.network) if dense else self.network
        outputs = called(image) if self._inferer is None else self._inferer(image, called)
        return self._answers.of(outputs.float())


def program_of(
    graph: ExportedNetwork, example: torch.Tensor, *, free: Sequence[int]
) -> torch.export.ExportedProgram:
    """Trace a graph.

    Args:
        graph: The graph.
        example: Two images at least, which the program keeps; one alone would be taken for the
            only size of a batch.
        free: The spatial axes of any length, from 0; the batch is always free.

    Raises:
        ExportError: PyTorch can't trace it; the error has the reason.
    """
    any_length = torch.export.Dim.DYNAMIC
    axes = {0: any_length, **{axis + 2: any_length for axis in free}}
    try:
        with torch.no_grad():
            program = torch.export.export(
                graph.eval(), (example,), dynamic_shapes={"image": axes}, strict=False
            )
    except Exception as error:  # whatever the network, the inferer and PyTorch raise
        raise ExportError(
            f"PyTorch can't trace the network {type(graph.network).__name__} with what stands "
            f"before and after it: {described(error, most=600).rstrip('.')}. A network whose code "
            "asks for values or sizes of its images can't be a graph; --format safetensors writes "
            "its weights."
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program
