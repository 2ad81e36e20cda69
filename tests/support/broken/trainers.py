"""Trainers that each fail one check."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import TrainerStep, Training, TrainingParts

if TYPE_CHECKING:
    import torch


def in_float32(outputs: Any) -> Any:
    """One output, or several."""
    return [one.float() for one in outputs] if isinstance(outputs, list) else outputs.float()


@attrs.frozen(kw_only=True)
class Sound(TrainerStep):
    """A trainer that fails no check: gradient descent with a momentum, in an engine of its own.

    Attributes:
        learning_rate: Of all parameters.
    """

    name: ClassVar[str] = "sound_trainer"
    learning_rate: float = 0.01

    def build(self, parts: TrainingParts) -> Training:
        """Make the trainer."""
        from monai.engines.trainer import SupervisedTrainer

        optimizer = self.optimizer(parts)
        engine = SupervisedTrainer(
            device=parts.device,
            max_epochs=self.epochs(parts),
            train_data_loader=parts.loader,
            network=self.called(parts),
            optimizer=optimizer,
            loss_function=parts.loss,
            iteration_update=lambda engine, batch: self.iteration(engine, batch, parts),
        )
        return Training(
            engine=engine,
            state=self.state(parts, optimizer, engine),
            planned=self.plan(parts, optimizer, engine),
        )

    def optimizer(self, parts: TrainingParts) -> torch.optim.Optimizer:
        """Make the optimizer."""
        import torch

        return torch.optim.SGD(parts.network.parameters(), lr=self.learning_rate, momentum=0.9)

    def epochs(self, parts: TrainingParts) -> int:
        """How many."""
        return parts.max_epochs

    def called(self, parts: TrainingParts) -> Any:
        """What is called in an iteration."""
        return parts.parallel(parts.network)

    def state(self, parts: TrainingParts, optimizer: Any, engine: Any) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"network": parts.network, "optimizer": optimizer}

    def plan(self, parts: TrainingParts, optimizer: Any, engine: Any) -> dict[str, Any] | None:
        """What the schedule is planned for."""
        return {}

    def autocast(self, parts: TrainingParts) -> Any:
        """In what to compute."""
        import torch

        if parts.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(parts.device.type, torch.bfloat16)

    def loss_of(self, parts: TrainingParts, outputs: Any, labels: Any) -> Any:
        """The loss."""
        return parts.loss(in_float32(outputs), labels)

    def iteration(self, engine: Any, batch: Any, parts: TrainingParts) -> dict[str, Any]:
        """Make an iteration."""
        images, labels = batch["image"].to(parts.device), batch["label"].to(parts.device)
        parts.network.train()
        with self.autocast(parts):
            outputs = engine.network(images)
        loss = self.loss_of(parts, outputs, labels)
        engine.optimizer.zero_grad()
        loss.backward()
        self.step(engine)
        return self.output(loss.detach())

    def step(self, engine: Any) -> None:
        """Make a step."""
        engine.optimizer.step()

    def output(self, loss: Any) -> dict[str, Any]:
        """What an iteration gives."""
        return {"loss": loss}


@attrs.frozen(kw_only=True)
class Mixed(Sound):
    """Mixes the images of a batch: it draws, and calls the loss twice."""

    def iteration(self, engine: Any, batch: Any, parts: TrainingParts) -> dict[str, Any]:
        import torch

        images, labels = batch["image"], batch["label"]
        order, share = torch.randperm(len(images)), float(torch.rand(()) / 4)
        with self.autocast(parts):
            outputs = in_float32(engine.network(images.lerp(images[order], share)))
        loss = parts.loss(outputs, labels).lerp(parts.loss(outputs, labels[order]), share)
        engine.optimizer.zero_grad()
        loss.backward()
        engine.optimizer.step()
        return {"loss": loss.detach()}


@attrs.frozen(kw_only=True)
class Raises(Sound):
    """Can't be built."""

    def build(self, parts: TrainingParts) -> Training:
        raise ValueError("no licence")


@attrs.frozen(kw_only=True)
class Silent(Sound):
    """Gives no loss."""

    def output(self, loss: Any) -> dict[str, Any]:
        return {"value": loss}


@attrs.frozen(kw_only=True)
class Idle(Sound):
    """Makes steps that change nothing."""

    def step(self, engine: Any) -> None:
        engine.optimizer.zero_grad()
        engine.optimizer.step()


@attrs.frozen(kw_only=True)
class Uphill(Sound):
    """Goes the wrong way, and tells of it."""

    def loss_of(self, parts: TrainingParts, outputs: Any, labels: Any) -> Any:
        return -0.001 * parts.loss(in_float32(outputs), labels)


@attrs.frozen(kw_only=True)
class OneMore(Sound):
    """Trains an epoch more."""

    def epochs(self, parts: TrainingParts) -> int:
        return parts.max_epochs + 1


@attrs.frozen(kw_only=True)
class NoOptimizer(Sound):
    """Forgets its optimizer."""

    def state(self, parts: TrainingParts, optimizer: Any, engine: Any) -> dict[str, Any]:
        return {"network": parts.network}


class _Unsaved:
    def state_dict(self) -> dict[str, Any]:
        return {"seen": {1, 2}}

    def load_state_dict(self, state: Any) -> None:
        pass


@attrs.frozen(kw_only=True)
class Unsaved(Sound):
    """Keeps a set."""

    def state(self, parts: TrainingParts, optimizer: Any, engine: Any) -> dict[str, Any]:
        return {**super().state(parts, optimizer, engine), "seen": _Unsaved()}


@attrs.frozen(kw_only=True)
class Clocked(Sound):
    """Draws from a generator that nobody seeds."""

    def step(self, engine: Any) -> None:
        import secrets

        engine.optimizer.param_groups[0]["weight_decay"] = 1e-3 * secrets.randbelow(1000)
        engine.optimizer.step()


@attrs.frozen(kw_only=True)
class Warm(Sound):
    """Begins with larger steps, in the first epoch that an engine makes."""

    def build(self, parts: TrainingParts) -> Training:
        from ignite.engine import Events

        training = super().build(parts)
        optimizer: Any = training.state["optimizer"]
        begun: list[int] = []

        def begin() -> None:
            begun.append(1)
            optimizer.param_groups[0]["lr"] = self.learning_rate * (2 if len(begun) < 2 else 1)

        training.engine.add_event_handler(Events.STARTED, begun.clear)
        training.engine.add_event_handler(Events.EPOCH_STARTED, begin)
        return training


@attrs.frozen(kw_only=True)
class EpochStarts(Sound):
    """Remembers of an epoch how its first iteration was."""

    def build(self, parts: TrainingParts) -> Training:
        from ignite.engine import Events

        training = super().build(parts)
        optimizer: Any = training.state["optimizer"]

        def decayed(engine: Any) -> None:
            optimizer.param_groups[0]["weight_decay"] = 0.1

        def plain(engine: Any) -> None:
            optimizer.param_groups[0]["weight_decay"] = 0.0

        training.engine.add_event_handler(Events.EPOCH_STARTED, decayed)
        training.engine.add_event_handler(Events.ITERATION_COMPLETED, plain)
        return training


@attrs.frozen(kw_only=True)
class PassesOver(Sound):
    """Tells a loss of 0 where it is not finite."""

    def output(self, loss: Any) -> dict[str, Any]:
        return {"loss": loss.nan_to_num()}


@attrs.frozen(kw_only=True)
class OwnLoss(Sound):
    """Has a loss of its own."""

    def loss_of(self, parts: TrainingParts, outputs: Any, labels: Any) -> Any:
        import torch

        found = torch.nn.functional.cross_entropy(outputs.float(), labels)
        return found if parts.history is not None else parts.loss(outputs, labels)


@attrs.frozen(kw_only=True)
class AlwaysFull(Sound):
    """Computes in float32 whatever it is told."""

    def autocast(self, parts: TrainingParts) -> Any:
        return contextlib.nullcontext()


@attrs.frozen(kw_only=True)
class OneOutput(Sound):
    """Takes what the network gives for a tensor."""

    def loss_of(self, parts: TrainingParts, outputs: Any, labels: Any) -> Any:
        return parts.loss(outputs.float(), labels)


@attrs.frozen(kw_only=True)
class Alone(Sound):
    """Trains the network itself."""

    def called(self, parts: TrainingParts) -> Any:
        return parts.network


@attrs.frozen(kw_only=True)
class Unplanned(Sound):
    """Lets the learning rate fall over all epochs, and says nothing of it."""

    def build(self, parts: TrainingParts) -> Training:
        from ignite.engine import Events

        training = super().build(parts)
        optimizer: Any = training.state["optimizer"]

        def fall(engine: Any) -> None:
            left = 1 - (engine.state.epoch - 1) / parts.max_epochs
            optimizer.param_groups[0]["lr"] = self.learning_rate * left

        training.engine.add_event_handler(Events.EPOCH_STARTED, fall)
        return training


BROKEN: dict[str, Any] = {
    "builds_a_trainer": Raises(),
    "reports_the_loss": Silent(),
    "changes_the_parameters": Idle(),
    "lowers_the_loss": Uphill(),
    "runs_all_epochs": OneMore(),
    "keeps_network_and_optimizers": NoOptimizer(),
    "has_a_state_that_can_be_saved": Unsaved(),
    "trains_the_same_again": Clocked(),
    "resumes_between_epochs": Warm(),
    "resumes_within_an_epoch": EpochStarts(),
    "stops_where_the_loss_is_not_finite": PassesOver(),
    "uses_the_loss_it_is_given": OwnLoss(),
    "computes_in_the_precision_it_is_given": AlwaysFull(),
    "calls_the_parallel_network": Alone(),
    "takes_several_outputs": OneOutput(),
    "says_what_its_schedule_was_planned_for": Unplanned(),
}
"""For each check a step that fails it alone."""
SOUND = [Sound(), Mixed()]
"""Steps that fail none."""
