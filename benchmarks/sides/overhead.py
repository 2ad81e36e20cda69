"""What builder, engine, handlers and loader cost over a hand-written loop of the same step.

Both train in one process and in turn, in blocks of a few iterations: medpipe's are those of an
ordinary run, whose trainer step hands over to the hand-written loop between its epochs.
"""

from __future__ import annotations

import copy
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from benchmarks.sides.arguments import Options, now
from medpipe.plugin import TrainerStep, Training, TrainingParts, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.measuring import Figures
    from medpipe import PipelineBuilder

Clocks = tuple[float, float]
"""Wall and processor time, in seconds."""


class HandWritten:
    """The loop that one would write by hand, over batches that lie ready.

    Args:
        parts: What the trainer step got; the network is copied, as it lies in memory.
        learning_rate: Adam's.
        batches: Images and labels.
    """

    def __init__(self, parts: TrainingParts, learning_rate: float, batches: Sequence[Any]) -> None:
        import torch

        self._network = copy.deepcopy(parts.network)
        self._loss = parts.loss
        self._device = parts.device
        self._batches = batches
        self._optimizer = torch.optim.Adam(
            self._network.parameters(), lr=learning_rate, fused=parts.device.type == "cuda" or None
        )

    def run(self, iterations: int) -> float:
        """Train; give the sum of the losses, which every such loop prints."""
        import torch

        total = torch.zeros((), device=self._device)
        self._network.train()
        for index in range(iterations):
            image, label = self._batches[index % len(self._batches)]
            image = image.to(self._device).contiguous(memory_format=torch.channels_last)
            self._optimizer.zero_grad(set_to_none=True)
            loss: Any = self._loss(self._network(image), label.to(self._device))
            loss.backward()
            self._optimizer.step()
            total += loss.detach()
        return float(total)


@attrs.frozen(kw_only=True)
class Paired(TrainerStep):
    """The trainer `supervised`, between whose epochs the hand-written loop does as much.

    Attributes:
        epoch_length: Iterations of a block.
        learning_rate: Of both.
    """

    name: ClassVar[str] = "paired"
    batches: ClassVar[list[Any]] = []
    blocks: ClassVar[list[tuple[Clocks, Clocks]]] = []

    epoch_length: int
    learning_rate: float

    def build(self, parts: TrainingParts) -> Training:
        """Make `supervised` with the clocks at its epochs."""
        from ignite.engine import Events

        from medpipe import Registry

        made: Any = Registry.discover().trainers["supervised"]
        training: Training = made(**attrs.asdict(self, recurse=False)).build(parts)
        if not self.batches:
            return training  # the check builds one, too
        by_hand = HandWritten(parts, self.learning_rate, self.batches)
        open_block: list[Clocks] = []

        def hand() -> Clocks:
            started = _clocks()
            by_hand.run(self.epoch_length)
            return _since(started)

        def begin(engine: Any) -> None:
            open_block.clear()
            if engine.state.epoch % 2:  # in turn: by hand first, medpipe first
                open_block.append(hand())
            open_block.append(_clocks())

        def end(engine: Any) -> None:
            library = _since(open_block[-1])
            self.blocks.append((open_block[0] if engine.state.epoch % 2 else hand(), library))

        training.engine.add_event_handler(Events.EPOCH_STARTED, begin)
        training.engine.add_event_handler(Events.EPOCH_COMPLETED, end)
        return training


@hookimpl
def medpipe_trainers() -> Iterable[type[TrainerStep]]:
    """Offer the trainer of this benchmark."""
    return [Paired]


def overhead(builder: Callable[..., PipelineBuilder], options: Options) -> Figures:
    """The share by which medpipe's blocks took longer, for each pair but the first."""
    from medpipe import Registry

    loaders = builder(options).build().build_loaders()
    taken = zip(range(max(2, options.iterations)), loaders.training, strict=False)
    Paired.batches += [(batch["image"], batch["label"]) for _, batch in taken]
    loaders.close()
    registry = Registry.discover().with_plugin(sys.modules[__name__], name="benchmarks")
    pipeline = builder(
        options,
        registry=registry,
        trainer="paired",
        max_epochs=options.blocks + 1,
        epoch_length=options.iterations,
    ).build()
    with TemporaryDirectory() as folder:
        pipeline.run(Path(folder) / "run")
    blocks = Paired.blocks[1:]
    return {
        "overhead": [library[0] / hand[0] - 1 for hand, library in blocks],
        "processor_overhead": [library[1] / hand[1] - 1 for hand, library in blocks],
        "hand_seconds": [hand[0] for hand, _ in blocks],
        "library_seconds": [library[0] for _, library in blocks],
    }


def _clocks() -> Clocks:
    return now(), time.process_time()


def _since(started: Clocks) -> Clocks:
    wall, processor = _clocks()
    return wall - started[0], processor - started[1]
