"""Checks of how trainers call the network."""

from __future__ import annotations

from medpipe.steps import TrainerStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.learnable import Small, learnable
from medpipe.testing.trainers import builds_a_trainer, fitting, keeps_network_and_optimizers
from medpipe.testing.trainings import training_of


@check(
    TrainerStep,
    protects="precision is what a configuration says, and the record of a run too.",
    remedy="Wrap the forward pass in torch.autocast where parts.precision is 'bfloat16'.",
    needs=[builds_a_trainer],
)
def computes_in_the_precision_it_is_given(case: Case) -> None:
    """It computes in float32, or in bfloat16 by autocast, as parts.precision says."""
    data = fitting(case)
    for precision in ("float32", "bfloat16"):
        with training_of(case, data, precision=precision) as tried:
            tried.run(1)
            found = tried.seen.types
            if found and found != {precision}:
                raise FailedError(
                    f"told to compute in {precision}, it computes in {', '.join(sorted(found))}"
                )
            kinds = {str(value.dtype) for value in tried.parts.network.parameters()}
            if kinds != {"torch.float32"}:
                raise FailedError(f"in {precision} it turns the parameters into {kinds}")


@check(
    TrainerStep,
    protects="On several processes gradients are averaged by the network that parallel gives.",
    remedy="Give the engine parts.parallel(parts.network), and keep parts.network in the state.",
    needs=[builds_a_trainer, keeps_network_and_optimizers],
)
def calls_the_parallel_network(case: Case) -> None:
    """It trains what parts.parallel gives, and keeps the network itself."""
    with training_of(case, fitting(case), parallel=True) as tried:
        tried.run(2)
        if "itself" in tried.seen.calls:
            raise FailedError("it calls parts.network, not what parts.parallel gives")
        if tried.training.state.get("network") is not tried.parts.network:
            raise FailedError("its state has what parts.parallel gives, not parts.network")


@check(
    TrainerStep,
    protects="With deep supervision a network for masks gives several outputs in training.",
    remedy="Give the engine parts.inferer(), and the network's outputs to parts.loss as they are.",
    needs=[builds_a_trainer, computes_in_the_precision_it_is_given],
)
def takes_several_outputs(case: Case) -> None:
    """It trains a network that gives a list of outputs, in float32 and in bfloat16."""
    data, loss = learnable("segmentation", 2), case.step.loss
    if loss != "auto" and data.task.step.label_form not in loss.labels:
        raise skip("its loss is for labels that are no masks")
    try:
        with training_of(case, data) as tried:
            tried.run(1)
    except Exception as error:
        raise skip(f"it does not train on masks: {described(error)}") from error
    for precision in ("float32", "bfloat16"):
        with training_of(case, data, network=Small(heads=2), precision=precision) as tried:
            try:
                tried.run(1)
            except Exception as error:
                raise FailedError(
                    f"in {precision} it does not train a network that gives several outputs: "
                    f"{described(error)}"
                ) from error
            if tried.engine.state.iteration != 1:
                raise FailedError(
                    f"in {precision} it makes no iteration with a network of several outputs"
                )
