"""`HandlerStep`, and `RunContext`: what it sees of a run, beside the engine.

Nothing here imports torch, monai or numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.tasks import ReportContext, ReportSection, Step

if TYPE_CHECKING:
    from pathlib import Path

    from ignite.engine import Engine
    from torch import nn

    from medpipe.steps.training import DataInfo

RunEvent = Literal[
    "validation_completed", "checkpoint_saved", "run_completed", "run_stopped", "run_failed"
]

Listener = Callable[..., object]


@attrs.frozen(kw_only=True, eq=False)
class RunContext:
    """The run that a handler is attached to.

    Attributes:
        output: The run directory. Write to it with `write_text` alone.
        network: The network that is trained.
        data: What was measured on the data.
        write_text: Writes a file of the run directory whole, by its name.
        write_network: Writes tensors by name as a safetensors file of the run directory, which
            ``weights.file`` takes.
        trial: Whether this is a try of `medpipe.Pipeline.check`: a few iterations, after which
            what was written is dropped. Tell no tracking server of it.
    """

    output: Path
    network: nn.Module
    data: DataInfo
    write_text: Callable[[str, str], None]
    write_network: Callable[[str, Mapping[str, Any]], None]
    trial: bool = False
    _listeners: dict[str, list[Listener]] = attrs.field(factory=dict, init=False)

    def on(self, event: RunEvent, listener: Listener) -> None:
        """Call a function at an event of the run.

        Args:
            event: ``validation_completed``: with the metrics of the validation split, before the
                checkpoint of the epoch is written; ``checkpoint_saved``: with nothing, when a
                checkpoint is on the disk, and again where a trained run is resumed;
                ``run_completed``: with the `medpipe.Run`; ``run_stopped``: with the `medpipe.Run`,
                which was stopped and can be resumed; ``run_failed``: with the error that ends the
                run.
            listener: The function.
        """
        self._listeners.setdefault(event, []).append(listener)

    def listeners(self, event: RunEvent) -> list[Listener]:
        """The functions that were given for an event, in order."""
        return list(self._listeners.get(event, ()))


class HandlerStep(Step):
    """Sees a training, and does not change it: logs, averages, plots, notifies.

    What it does runs with the random generators' states put back afterwards. A handler that fails
    ends the run, and is named; the checkpoint before it is whole.
    """

    kind: ClassVar[str] = "handler"
    required: ClassVar[tuple[str, ...]] = ("attach",)

    def attach(self, engine: Engine, context: RunContext) -> object | None:
        """Attach to the engine (``engine.add_event_handler``) and to the run (`RunContext.on`).

        Args:
            engine: The trainer's Ignite engine.
            context: The run.

        Returns:
            What a checkpoint is to hold of it: an object with ``state_dict`` and
            ``load_state_dict``, of tensors and plain data. None: nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} has no attach method")

    def report_sections(self, context: ReportContext) -> Sequence[ReportSection]:
        """Sections to add to the report of a finished run; none by default."""
        return ()
