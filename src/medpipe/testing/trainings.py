"""Small trainings on a set that can be learned, which checks of trainers and handlers watch.

Loaders, loop and checkpoints are the library's own. torch and Ignite are imported inside functions.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.assembly import Assembly
from medpipe.config import Configuration
from medpipe.data.chain import Chain
from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.settings import LoaderSettings
from medpipe.steps import (
    DataInfo,
    DatasetStep,
    NetworkStep,
    Reading,
    Sample,
    TrainerStep,
    Training,
    TrainingParts,
    TransformStep,
)
from medpipe.testing.check import Case, skip
from medpipe.testing.subjects import data_info, labels_of
from medpipe.training.determinism import seeded
from medpipe.training.stopping import StopRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch
    from torch import nn

    from medpipe.data.loading.loader import Loader
    from medpipe.training.loop import Progress
    from medpipe.training.run_checkpoints import Found

SIDES = {2: (12, 12), 3: (8, 8, 8)}
SAMPLES, BATCH, EPOCHS = 16, 4, 3
ENOUGH = 2000
"""Iterations after which a training that should be over is."""


@attrs.frozen(kw_only=True)
class _Listed(DatasetStep):
    """Stands where a configuration needs a data set."""

    name: ClassVar[str] = "listed"


@attrs.frozen(kw_only=True, eq=False)
class _Tensors(TransformStep):
    """Gives tensors of a sample's arrays."""

    name: ClassVar[str] = "tensors"
    masks: Mapping[str, Any] = attrs.field(factory=dict)

    def build(self) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
        import torch

        def give(sample: dict[str, Any]) -> Mapping[str, Any]:
            label = self.masks.get(sample["id"], sample["label"])
            return {**sample, "image": torch.tensor(sample["image"]), "label": label}

        return give


@attrs.frozen(kw_only=True)
class _Small(NetworkStep):
    """Two equal blocks, and dropout: it has buffers, and draws random numbers in training."""

    name: ClassVar[str] = "small"

    def build(self, data: DataInfo) -> nn.Module:
        import math

        from torch import nn

        dims, dense = data.spatial_dims, data.task.step.dense
        convolution: Any = nn.Conv3d if dims == 3 else nn.Conv2d
        normalization: Any = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.convolution = convolution(4, 4, 3, padding=1)
                self.normalization = normalization(4)

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                found: torch.Tensor = self.normalization(self.convolution(image)).relu() + image
                return found

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.stem = convolution(data.channels, 4, 3, padding=1)
                self.blocks = nn.ModuleList([Block(), Block()])
                self.dropout = nn.Dropout(0.1)
                self.head = (
                    convolution(4, data.outputs, 1)
                    if dense
                    else nn.Linear(4 * math.prod(SIDES[dims]), data.outputs)
                )

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                found = self.stem(image)
                for block in self.blocks:
                    found = block(found)
                found = self.dropout(found)
                answer: torch.Tensor = self.head(found if dense else found.flatten(1))
                return answer

        return Network()


@attrs.define(eq=False)
class Seen:
    """What was seen of a training.

    Attributes:
        losses: How often the loss was called.
        calls: How the network was called for a gradient: by what `TrainingParts.parallel` gave, or
            by itself.
        types: The types of what its last layer gave.
        optimizers: The optimizers that made steps.
        rates: Their learning rates, at each step.
    """

    losses: int = 0
    calls: list[Literal["parallel", "itself"]] = attrs.field(factory=list)
    types: set[str] = attrs.field(factory=set)
    optimizers: list[Any] = attrs.field(factory=list)
    rates: list[list[float]] = attrs.field(factory=list)
    inside: bool = False

    def watch(self, network: nn.Module) -> None:
        """See the calls of a network."""
        import torch

        def before(module: nn.Module, _: object) -> None:
            if module is network and torch.is_grad_enabled():
                self.calls.append("parallel" if self.inside else "itself")

        def after(_: nn.Module, __: object, output: Any) -> None:
            if torch.is_grad_enabled():
                self.types.add(str(output.dtype).removeprefix("torch."))

        network.register_forward_pre_hook(before)
        network.head.register_forward_hook(after)  # type: ignore[operator, union-attr]

    def parallel(self, network: nn.Module) -> nn.Module:
        """Wrap a network, as torch's `DistributedDataParallel` does."""
        from torch import nn

        seen = self

        class Parallel(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module = network

            def forward(self, *inputs: Any, **options: Any) -> Any:
                seen.inside = True
                try:
                    return self.module(*inputs, **options)
                finally:
                    seen.inside = False

        return Parallel()

    def step(self, optimizer: Any, *_: object) -> None:
        """See a step of an optimizer."""
        if not any(optimizer is known for known in self.optimizers):
            self.optimizers.append(optimizer)
        self.rates.append([float(group["lr"]) for group in optimizer.param_groups])


class _StopsAt(StopRequest):
    """Asks to stop after so many iterations."""

    def __init__(self, engine: Any, iteration: int) -> None:
        super().__init__()
        self._engine, self._iteration = engine, iteration

    @property
    def reason(self) -> str | None:
        return "the check" if self._engine.state.iteration >= self._iteration else None


@attrs.frozen(kw_only=True, eq=False)
class Tried:
    """A training that is tried.

    Attributes:
        training: What the trainer step gave.
        parts: What it was given.
        loader: The library's loader.
        seen: What was seen of it.
        history: The validation metrics so far.
    """

    training: Training
    parts: TrainingParts
    loader: Loader
    seen: Seen
    history: list[dict[str, float | None]]

    @property
    def engine(self) -> Any:
        """The trainer's engine."""
        return self.training.engine

    def run(self, iterations: int, each: Callable[[], object] | None = None) -> None:
        """Let the engine run for so many iterations, calling a function after each."""
        from ignite.engine import Events

        done = 0

        def follow() -> None:
            nonlocal done
            done += 1
            if (each is not None and each()) or done >= iterations:
                self.engine.terminate()

        self.engine.add_event_handler(Events.ITERATION_COMPLETED, follow)
        self.engine.run()

    def loop(
        self,
        *,
        progress: Progress | None = None,
        stop_at: int = ENOUGH,
        save: Callable[[Progress], object] = lambda _: None,
        fire: Callable[..., object] = lambda *_: None,
    ) -> list[Any]:
        """Train as a run does, with a validation after each epoch.

        Args:
            progress: How far it has come.
            stop_at: Stop after so many iterations.
            save: Called where a checkpoint is written.
            fire: Tells handlers of the run's events.

        Returns:
            The epochs, as the library counts them.
        """
        from medpipe.training.loop import Progress, TrainingLoop

        epochs: list[Any] = []
        reached = progress or Progress()
        self.history[:] = reached.history
        reached.history = self.history

        def validate() -> dict[str, float | None]:
            metrics: dict[str, float | None] = {"loss": self.loss()}
            fire("validation_completed", metrics)
            return metrics

        def on_epoch(epoch: Any, now: Progress) -> None:
            epochs.append(epoch)
            on_save(now)

        def on_save(now: Progress) -> None:
            save(now)
            fire("checkpoint_saved")

        TrainingLoop(
            training=self.training,
            validate=validate,
            monitor="loss",
            mode="min",
            patience=None,
            max_epochs=self.parts.max_epochs,
            on_epoch=on_epoch,
            on_save=on_save,
            stop=_StopsAt(self.engine, stop_at),
            progress=reached,
        ).run()
        return epochs

    def loss(self) -> float:
        """The loss of the network on the whole set, in evaluation mode."""
        import torch

        batches = self.loader.dataset
        key = next(iter(EpochBatchSampler(count=SAMPLES, batch_size=SAMPLES, seed=None)))
        batch: Any = batches[key]
        network = self.parts.network
        was_training = network.training
        with torch.no_grad():
            outputs = network.eval()(batch["image"])
            found = float(_plain_loss(self.parts)(outputs, batch["label"]))
        network.train(was_training)
        return found

    def states(self) -> dict[str, Any]:
        """The states of what a checkpoint holds, by name."""
        return {
            name: copy.deepcopy(item.state_dict()) for name, item in self.training.state.items()
        }

    def checkpoint(self, progress: Progress, path: Path) -> None:
        """Write a checkpoint as a run does."""
        from medpipe.training.checkpoint import save_checkpoint
        from medpipe.training.restoring import checkpoint_of

        state, about = checkpoint_of(self.training, progress, self.loader)
        save_checkpoint(path, state, about=about)

    def restore(self, path: Path) -> Progress:
        """Put a checkpoint back as a resumed run does."""
        from medpipe.training.checkpoint import load_checkpoint
        from medpipe.training.restoring import restore

        return restore(_found(*load_checkpoint(path)), self.training, self.loader, seed=0)


def _found(states: Mapping[str, Any], about: Mapping[str, Any]) -> Found:
    from medpipe.training.run_checkpoints import Found

    return Found(states=states, about=about)


def _plain_loss(parts: TrainingParts) -> Any:
    return getattr(parts.loss, "plain", parts.loss)


@contextmanager
def training_of(
    case: Case,
    data: DataInfo,
    *,
    trainer: TrainerStep | None = None,
    epochs: int = EPOCHS,
    precision: Literal["float32", "bfloat16"] = "float32",
    parallel: bool = False,
    loss: Callable[[Any, int], Any] = lambda value, _: value,
) -> Iterator[Tried]:
    """Build a training as a run does, from the seed 0; all generators are put back afterwards.

    Args:
        case: The trainer, unless another is given.
        data: What to train on.
        trainer: The trainer.
        epochs: For how many epochs.
        precision: In what to compute.
        parallel: Whether the network is wrapped as in a run on several processes.
        loss: Changes a loss, which has been called so many times.
    """
    import torch
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    seen = Seen()
    history: list[dict[str, float | None]] = []
    with seeded(0):
        assembly = _assembly(case, data, trainer or case.step, epochs)
        loader, device = _loader(data), torch.device("cpu")
        network = assembly.network(data)
        seen.watch(network)
        plain = assembly.loss(data, device)

        def watched(outputs: Any, labels: Any) -> Any:
            seen.losses += 1
            return loss(plain(outputs, labels), seen.losses)

        watched.plain = plain  # type: ignore[attr-defined]
        parts = assembly.parts(
            network=network,
            loss=plain,
            loader=loader,
            device=device,
            precision=precision,
            data=data,
            history=history,
        )
        parts = attrs.evolve(parts, loss=watched)
        if parallel:
            parts = attrs.evolve(parts, parallel=seen.parallel)
        training = assembly.trainer(parts)
        if isinstance(logger := getattr(training.engine, "logger", None), logging.Logger):
            logger.disabled = True  # Ignite would tell the errors that checks ask for
        handle = register_optimizer_step_pre_hook(seen.step)
        try:
            yield Tried(
                training=training, parts=parts, loader=loader, seen=seen, history=history
            )
        finally:
            handle.remove()


def _assembly(case: Case, data: DataInfo, trainer: TrainerStep, epochs: int) -> Assembly:
    try:
        trainer = attrs.evolve(trainer, max_epochs=epochs, patience=None)
    except ValueError as error:
        raise skip(f"it can't train for {epochs} epochs: {error}") from error
    configuration = Configuration(
        dataset=_Listed(),
        transforms=(),
        network=_Small(),
        trainer=trainer,
        loader=LoaderSettings(batch_size=BATCH, workers=0, sampling="shuffled"),
    )
    assembly = Assembly(configuration=configuration, registry=case.registry)
    return assembly.resolved(data, SAMPLES)


def learnable(kind: str, dims: int) -> DataInfo:
    """Data of a built-in task, on which a training learns something in a hundred iterations."""
    return attrs.evolve(data_info(kind, dims=dims), spatial_shape=SIDES[dims])


def _loader(data: DataInfo) -> Loader:
    import torch

    from medpipe.data.loading.loader import make_loader
    from medpipe.data.loading.sample_batches import SampleBatches

    samples, masks = _samples(data)
    batches = SampleBatches(
        samples,
        chain=Chain([("transform[0], tensors,", _Tensors(masks=masks))], seed=0),
        task=data.task,
        reading=Reading(),
        training=True,
    )
    order = EpochBatchSampler(count=len(samples), batch_size=BATCH, seed=0)
    return make_loader(batches, order, workers=0, device=torch.device("cpu"))


def _samples(data: DataInfo) -> tuple[Sequence[Sample], dict[str, Any]]:
    """Samples whose images show their labels, and the masks of those whose label is an image."""
    import numpy as np
    import torch

    rng = np.random.default_rng(0)
    shape, names = SIDES[data.spatial_dims], len(data.task.names)
    noise = rng.normal(0, 0.3, (SAMPLES, data.channels, *shape)).astype(np.float32)
    ids = [f"sample{place:02}" for place in range(SAMPLES)]
    if data.task.step.dense:
        masks = rng.integers(0, data.outputs, (SAMPLES, 1, *[side // 4 for side in shape]))
        for axis in range(data.spatial_dims):
            masks = masks.repeat(4, axis=axis + 2)
        pictures = noise + masks.astype(np.float32)
        of_id = {id_: torch.tensor(mask.astype(np.uint8)) for id_, mask in zip(ids, masks, strict=True)}
        return _listed(ids, pictures, [0] * SAMPLES), of_id
    labels = labels_of(data.task, count=SAMPLES)
    patterns = rng.normal(0, 1, (names, *shape))
    weights = np.eye(names)[labels] if data.task.step.label_form == "class" else np.array(labels)
    shown = np.tensordot(weights, patterns, axes=1)[:, None]
    return _listed(ids, (noise + shown).astype(np.float32), labels), {}


def _listed(ids: Sequence[str], pictures: Any, labels: Sequence[Any]) -> list[Sample]:
    return [
        Sample(id=id_, image=picture, label=label)
        for id_, picture, label in zip(ids, pictures, labels, strict=True)
    ]
