"""Checks of trainers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from medpipe.errors import RunError, TrainingError
from medpipe.steps import DataInfo, TrainerStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, CheckSkipped, FailedError, check, skip
from medpipe.testing.learnable import learnable
from medpipe.testing.trainings import EPOCHS, training_of
from medpipe.testing.use import Use, typical
from medpipe.testing.watched import difference

TRIED = (
    ("multiclass", 2),
    ("segmentation", 2),
    ("multilabel", 2),
    ("regression", 2),
    ("multiclass", 3),
    ("segmentation", 3),
)
"""Tasks and numbers of axes for which a trainer is tried: the first that it fits decides."""
FEW = 8
"""Iterations in which a parameter must change; gradients may be accumulated over some."""
MOST_EPOCHS = 25
FALLEN = 0.95
"""What the loss must fall to, relative to the first, in so many epochs."""


@check(
    TrainerStep,
    protects="A run builds its trainer from the parts that the library made.",
    remedy="Make an Ignite engine of the parts that build gets, and give it in a Training.",
)
def builds_a_trainer(case: Case) -> None:
    """It builds an engine that trains for an iteration on data of one of the built-in tasks."""
    fitting(case)


@check(
    TrainerStep,
    protects="The library shows the loss, stops where it is not finite, and keeps its history.",
    remedy="Let the engine's iteration return a dictionary with 'loss', one number.",
    needs=[builds_a_trainer],
)
def reports_the_loss(case: Case) -> None:
    """Each iteration's output has the loss, one number."""
    import torch

    with training_of(case, fitting(case)) as tried:
        found: list[Any] = []
        tried.run(2, lambda: found.append(tried.engine.state.output))
        for output in found:
            if not isinstance(output, Mapping) or "loss" not in output:
                raise FailedError(
                    f"the output of an iteration is {type(output).__name__}, no 'loss'"
                )
            if torch.as_tensor(output["loss"]).numel() != 1:
                raise FailedError(f"its loss has the shape {tuple(output['loss'].shape)}")


@check(
    TrainerStep,
    protects="A training in which nothing moves ends with the network that it began with.",
    remedy="Call backward and the optimizer's step, and give the optimizer all parameters.",
    needs=[builds_a_trainer],
)
def changes_the_parameters(case: Case) -> None:
    """Within a few iterations a parameter of the network changes."""
    import torch

    with training_of(case, fitting(case)) as tried:
        network = tried.parts.network
        before = [value.detach().clone() for value in network.parameters()]

        def moved() -> bool:
            now = zip(before, network.parameters(), strict=True)
            return any(not torch.equal(old, new) for old, new in now)

        tried.run(FEW, moved)
        if not moved():
            raise FailedError(f"no parameter of the network changes in {FEW} iterations")


@check(
    TrainerStep,
    protects="A trainer that goes the wrong way, or has lost the labels, learns nothing.",
    remedy="Look at the sign of the loss, the labels, and zero_grad before each backward.",
    needs=[changes_the_parameters],
)
def lowers_the_loss(case: Case) -> None:
    """The loss falls on a small set that can be learned."""
    from ignite.engine import Events

    with training_of(case, fitting(case), epochs=MOST_EPOCHS) as tried:
        before = tried.loss()

        def follow() -> None:
            if tried.loss() < FALLEN * before:
                tried.engine.terminate()

        tried.engine.add_event_handler(Events.EPOCH_COMPLETED, follow)
        tried.engine.run()
        after, count = tried.loss(), tried.engine.state.iteration
        if not after < FALLEN * before:
            raise FailedError(
                f"on a set that can be learned the loss is {before:.3g} before and {after:.3g} "
                f"after {count} iterations"
            )


@check(
    TrainerStep,
    protects="max_epochs is what a configuration says, and schedules are planned for.",
    remedy="Give the engine parts.max_epochs, and let nothing but the library end it.",
    needs=[builds_a_trainer, reports_the_loss],
)
def runs_all_epochs(case: Case) -> None:
    """The engine runs as many epochs as it is told, and counts them."""
    with training_of(case, fitting(case)) as tried:
        numbers = [epoch.number for epoch in tried.loop()]
        if numbers != [*range(1, EPOCHS + 1)]:
            raise FailedError(f"told to train {EPOCHS} epochs, it trains those numbered {numbers}")
        if tried.engine.state.max_epochs != EPOCHS:
            raise FailedError(f"its engine says that it trains {tried.engine.state.max_epochs}")


@check(
    TrainerStep,
    protects="A checkpoint holds what is in the state, and nothing else of a trainer.",
    remedy="Give Training(state={'network': parts.network, 'optimizer': optimizer, ...}).",
    needs=[builds_a_trainer],
)
def keeps_network_and_optimizers(case: Case) -> None:
    """The state holds the network that it was given, and every optimizer that makes steps."""
    with training_of(case, fitting(case)) as tried:
        tried.run(FEW)
        state = tried.training.state
        if state.get("network") is not tried.parts.network:
            raise FailedError("its state has no 'network', or another one than parts.network")
        for name, item in state.items():
            if not (hasattr(item, "state_dict") and hasattr(item, "load_state_dict")):
                raise FailedError(f"{name!r} of its state lacks state_dict or load_state_dict")
        held = [each for item in state.values() for each in (item, *_inner(item))]
        for optimizer in tried.seen.optimizers:
            if not any(each is optimizer for each in held):
                raise FailedError(f"its state lacks the optimizer {type(optimizer).__name__}")


@check(
    TrainerStep,
    protects="Checkpoints are safetensors and JSON: no code in them can run.",
    remedy="Let state_dict give tensors, numbers, texts, lists and dictionaries alone.",
    needs=[builds_a_trainer, reports_the_loss, keeps_network_and_optimizers],
)
def has_a_state_that_can_be_saved(case: Case) -> None:
    """Its state can be written to a checkpoint."""
    with training_of(case, fitting(case)) as tried:
        saved = case.folder / "checkpoint.safetensors"
        try:
            tried.loop(stop_at=1, save=lambda progress: tried.checkpoint(progress, saved))
        except RunError as error:
            raise FailedError(str(error).rstrip(".")) from error


@check(
    TrainerStep,
    protects="A run is repeated by its seed.",
    remedy="Draw from torch's, NumPy's or Python's generator, and never from the clock.",
    needs=[has_a_state_that_can_be_saved],
)
def trains_the_same_again(case: Case) -> None:
    """Two trainings with the same seed give the same state, bit by bit."""
    data = fitting(case)
    changed = difference(_whole(case, data), _whole(case, data))
    if changed:
        raise FailedError(f"two trainings with the same seed differ in {changed}")


@check(
    TrainerStep,
    protects="A run that was stopped ends with the network of one that was not.",
    remedy="Put into the state what changes from epoch to epoch, and depend on the engine's alone.",
    needs=[has_a_state_that_can_be_saved, runs_all_epochs, trains_the_same_again],
)
def resumes_between_epochs(case: Case) -> None:
    """Stopped and resumed between two epochs, it ends with the same weights, bit by bit."""
    _resumes(case, lambda length: length)


@check(
    TrainerStep,
    protects="A run that was stopped ends with the network of one that was not.",
    remedy="Keep no counts of your own: use engine.state.iteration, or put them into the state.",
    needs=[resumes_between_epochs],
)
def resumes_within_an_epoch(case: Case) -> None:
    """Stopped and resumed within an epoch, it ends with the same weights, bit by bit."""
    _resumes(case, lambda length: length + length // 2 if length > 1 else 0)


@check(
    TrainerStep,
    protects="The loss of the configuration is what is trained, and several processes share it.",
    remedy="Call parts.loss(outputs, labels) in each iteration.",
    needs=[builds_a_trainer],
)
def uses_the_loss_it_is_given(case: Case) -> None:
    """Each iteration calls parts.loss."""
    with training_of(case, fitting(case)) as tried:
        counts: list[int] = [0]
        tried.run(3, lambda: counts.append(tried.seen.losses))
        if any(now == before for before, now in itertools.pairwise(counts)):
            raise FailedError("it has iterations that do not call parts.loss")


@check(
    TrainerStep,
    protects="From NaN no training recovers, and hours of it are lost.",
    remedy="Give the loss in the output as it was computed: the library stops the run.",
    needs=[reports_the_loss, uses_the_loss_it_is_given],
)
def stops_where_the_loss_is_not_finite(case: Case) -> None:
    """A loss that is not finite ends the run with a message."""

    def spoilt(value: Any, times: int) -> Any:
        return value * float("nan") if times > 1 else value

    with training_of(case, fitting(case), loss=spoilt) as tried:
        try:
            tried.loop()
        except TrainingError as error:
            if "The loss is" not in str(error):
                raise
        else:
            raise FailedError("it goes on where the loss is NaN")


@check(
    TrainerStep,
    protects="A schedule that was laid out for another number of epochs jumps when it is resumed.",
    remedy="Give Training(planned={'steps': ...}), or what follow_schedule gives.",
    needs=[builds_a_trainer],
)
def says_what_its_schedule_was_planned_for(case: Case) -> None:
    """Where the learning rate depends on the number of epochs, it is said in the plan."""
    from medpipe.training.planned import planned

    data = fitting(case)
    rates, plans = [], []
    for epochs in (2, 5):
        with training_of(case, data, epochs=epochs) as tried:
            length = tried.engine.state.epoch_length or len(tried.loader)
            plans.append(planned(tried.training))
            tried.run(2 * length)
            rates.append(tried.seen.rates)
    if not rates[0]:
        raise skip("its optimizers are not torch's, so that no learning rate was seen")
    if rates[0] != rates[1] and plans[0] == plans[1]:
        raise FailedError(
            "its learning rates are other ones with another max_epochs, and its plan is the same"
        )


@typical("trainer", found_by=builds_a_trainer)
def _use(case: Case) -> Use:
    """Two iterations; what is random in a training draws from the global generators."""
    data = fitting(case)

    def call() -> object:
        with training_of(case, data) as tried:
            tried.run(2)
            return tried.training

    return Use(given=None, call=call)


def fitting(case: Case) -> DataInfo:
    """Data on which the trainer trains: of the first task and number of axes that it fits."""
    said: list[str] = []
    for kind, dims in TRIED:
        data = learnable(kind, dims)
        loss = case.step.loss
        if loss != "auto" and data.task.step.label_form not in loss.labels:
            continue
        try:
            with training_of(case, data) as tried:
                tried.run(1)
        except Exception as error:
            said.append(f"{kind} in {dims}-D: {described(error)}")
            if isinstance(error, CheckSkipped):
                raise
            continue
        if tried.engine.state.iteration != 1:
            said.append(f"{kind} in {dims}-D: its engine makes no iteration")
            continue
        return data
    raise FailedError(f"it trains on no data that were tried: {'; '.join(said)[:600]}")


def _whole(case: Case, data: DataInfo) -> dict[str, Any]:
    """The states after a training that was never stopped."""
    with training_of(case, data) as tried:
        tried.loop()
        return tried.states()


def _resumes(case: Case, place: Any) -> None:
    data = fitting(case)
    saved = case.folder / "checkpoint.safetensors"
    with training_of(case, data) as tried:
        tried.loop()
        whole, length = tried.states(), tried.engine.state.epoch_length
    at = place(length)
    if not at:
        raise skip("its epochs have one iteration")
    with training_of(case, data) as tried:
        tried.loop(stop_at=at, save=lambda progress: tried.checkpoint(progress, saved))
        if tried.engine.state.iteration != at:
            raise FailedError(f"asked to stop after {at} iterations, it stops at another one")
    resumed = _resumed(case, data, saved)
    changed = difference(whole, resumed)
    if changed:
        raise FailedError(
            f"stopped after {at} iterations and resumed, it ends with another {changed}"
        )


def _resumed(case: Case, data: DataInfo, saved: Any) -> dict[str, Any]:
    with training_of(case, data) as tried:
        progress = tried.restore(saved)
        tried.loop(progress=progress)
        return tried.states()


def _inner(item: object) -> list[Any]:
    """What an object of the state holds, such as the optimizer that a wrapper steps."""
    return [] if isinstance(item, type) else list(getattr(item, "__dict__", {}).values())
