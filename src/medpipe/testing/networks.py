"""Checks of networks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.steps import DataInfo, NetworkStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.network_data import (
    built,
    fitting,
    in_each,
    ready,
    shape_of,
    takes_other_axes,
    unless_refused,
)
from medpipe.testing.subjects import data_info, images
from medpipe.testing.use import Use, typical
from medpipe.training.determinism import seeded
from medpipe.training.memory_format import in_channels_last

if TYPE_CHECKING:
    import torch
    from torch import nn

PASSES = 4
"""How often the gradients are looked at: some networks leave out layers at random."""
CLOSE = 1e-4


@check(
    NetworkStep,
    protects="The library builds a network for the data that it found.",
    remedy="Mend what it says. Take channels, outputs and spatial_dims of the data info that build "
    "gets; pool and flatten before the last layer, unless labels are images.",
)
def builds_a_network(case: Case) -> None:
    """It builds a network that takes images of a built-in task, in training and in eval mode."""
    fitting(case)


@check(
    NetworkStep,
    protects="Who has volumes must be told why a network for images can't take them.",
    remedy="Build layers for data.spatial_dims, or raise a DataError that says what it is for.",
    needs=[builds_a_network],
)
def takes_images_and_volumes(case: Case) -> None:
    """Built for images or for volumes it takes them, or it refuses them with a message."""
    takes_other_axes(case)


@check(
    NetworkStep,
    protects="Images in colours, or of several sequences, have several channels.",
    remedy="Build the first layer for data.channels.",
    needs=[builds_a_network],
)
@in_each
def takes_three_channels(case: Case, data: DataInfo) -> None:
    """It takes images of one and of three channels."""
    unless_refused(case, attrs.evolve(data, channels=3))


@check(
    NetworkStep,
    protects="Data sets have other numbers of classes than the example.",
    remedy="Build the last layer for data.outputs.",
    needs=[builds_a_network],
)
@in_each
def gives_a_number_for_each_output(case: Case, data: DataInfo) -> None:
    """With five names it gives as many outputs as the task has."""
    five = data_info(data.task.kind, dims=data.spatial_dims, names=5)
    five = attrs.evolve(five, channels=data.channels, spatial_shape=data.spatial_shape)
    expected = shape_of(five, 2)
    found = tuple(unless_refused(case, five).shape)
    if found != expected:
        raise FailedError(f"it gives outputs of the shape {found} for two images, not {expected}")


@check(
    NetworkStep,
    protects="The check before a run builds the network without memory, to estimate it.",
    remedy="Create tensors by torch's own functions, without device= and without looking at them.",
    needs=[builds_a_network],
)
@in_each
def builds_on_meta(case: Case, data: DataInfo) -> None:
    """It builds on torch's meta device, and takes images there."""
    import torch

    with seeded(0), torch.device("meta"), torch.no_grad():
        network: Any = case.step.build(data)
        outputs = network.eval()(images(data).to("meta"))
    if tuple(outputs.shape) != shape_of(data, 2):
        raise FailedError(f"on the meta device it gives the shape {tuple(outputs.shape)}")


@check(
    NetworkStep,
    protects="medpipe trains in float32, with autocast where it is faster.",
    remedy="Create parameters in torch's default dtype.",
    needs=[builds_a_network],
)
@in_each
def is_of_float32(case: Case, data: DataInfo) -> None:
    """Its parameters and its outputs are float32."""
    import torch

    network = ready(case, data)
    for name, value in network.named_parameters():
        if value.dtype is not torch.float32:
            raise FailedError(f"its parameter {name} is {value.dtype}")
    if (found := network(images(data)).dtype) is not torch.float32:
        raise FailedError(f"its outputs are {found}")


@check(
    NetworkStep,
    protects="From NaN no training recovers.",
    remedy="Look for divisions, logarithms and roots of what may be 0.",
    needs=[builds_a_network],
)
@in_each
def gives_finite_outputs(case: Case, data: DataInfo) -> None:
    """Its outputs are finite, for images from 0 to 1 and for one of a single value."""
    import torch

    network = ready(case, data)
    for some in (images(data), torch.zeros_like(images(data))):
        if not bool(torch.isfinite(network(some)).all()):
            raise FailedError("its outputs are not finite")


@check(
    NetworkStep,
    protects="A parameter without a gradient is never trained, and several processes look for it.",
    remedy="Use every layer in forward, leave it out, or call requires_grad_(False); no detach().",
    needs=[builds_a_network],
)
@in_each
def gradients_reach_all_parameters(case: Case, data: DataInfo) -> None:
    """Each parameter that requires a gradient gets one."""
    network = built(case, data).train()
    for seed in range(PASSES):
        with seeded(seed):
            outputs = _first(network(images(data)))
        outputs.square().sum().backward()  # type: ignore[no-untyped-call]
        without = [
            name
            for name, value in network.named_parameters()
            if value.requires_grad and value.grad is None
        ]
        if not without:
            break
    else:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        raise FailedError(f"no gradient reaches {', '.join(without[:3])}{more}")


@check(
    NetworkStep,
    protects="A prediction that changes each time can't be reproduced.",
    remedy="Let what is random ask self.training, as torch's Dropout does.",
    needs=[builds_a_network],
)
@in_each
def is_deterministic_in_eval(case: Case, data: DataInfo) -> None:
    """In eval mode it gives the same twice."""
    import torch

    network, some = ready(case, data), images(data)
    with torch.no_grad():
        first, second = network(some), network(some)
    if not torch.equal(first, second):
        raise FailedError(
            f"in eval mode two passes differ by up to {float((first - second).abs().max()):.2g}"
        )


@check(
    NetworkStep,
    protects="A patient's prediction must not depend on who else is in the batch.",
    remedy="Normalize over a sample, or by running statistics, in eval mode.",
    needs=[builds_a_network, is_deterministic_in_eval],
)
@in_each
def keeps_samples_apart_in_eval(case: Case, data: DataInfo) -> None:
    """In eval mode a sample alone has the outputs that it has in a batch."""
    network, some = ready(case, data), images(data, count=3)
    largest = _apart_in_a_batch(network, some)
    if largest > CLOSE:  # rounding grows in deep networks that are not trained: not in float64
        largest = _apart_in_a_batch(copy.deepcopy(network).double(), some.double())
    if largest > CLOSE:
        raise FailedError(
            f"an image's outputs alone and in a batch differ by {largest:.2g} of the largest"
        )


@check(
    NetworkStep,
    protects="A run is repeated by its seed, and seeds are compared.",
    remedy="Draw weights from torch's generator, and never set a seed.",
    needs=[builds_a_network],
)
@in_each
def draws_weights_from_the_seed(case: Case, data: DataInfo) -> None:
    """The same seed gives the same weights, and another one other weights."""
    import torch

    states, drawn = [], []
    for seed in (0, 0, 1):
        with seeded(seed):
            states.append(case.step.build(data).state_dict())
            drawn.append(torch.get_rng_state())
    first, again, other = states
    if any(not torch.equal(first[key], again[key]) for key in first):
        raise FailedError("the same seed gives other weights")
    if torch.equal(drawn[0], drawn[2]):
        raise FailedError("building it sets the seed: another one gives the same")
    if all(torch.equal(first[key], other[key]) for key in first):
        raise skip("its weights are not drawn, as those of a pretrained network")


@check(
    NetworkStep,
    protects="Checkpoints, resuming and prediction keep a network as its state alone.",
    remedy="Register tensors with register_buffer, and make them in __init__, not in forward.",
    needs=[builds_a_network, is_deterministic_in_eval],
)
@in_each
def comes_back_from_its_state(case: Case, data: DataInfo) -> None:
    """A network of another seed that loads the state gives the same outputs."""
    import torch

    network, other = built(case, data), built(case, data, seed=1)
    network.train()(images(data))  # so that running statistics are not as built
    try:
        other.load_state_dict(network.state_dict())
    except RuntimeError as error:
        raise FailedError(f"its state can't be loaded: {described(error)}") from error
    with torch.no_grad():
        first, second = (one.eval()(images(data)) for one in (network, other))
    if not torch.allclose(first, second, rtol=1e-5, atol=1e-6):
        raise FailedError("with the state of another it gives other outputs")


@check(
    NetworkStep,
    protects="Networks are evaluated in channels last, where it is faster.",
    remedy="Look at shapes alone: not at strides or is_contiguous(), nor at a tensor's memory.",
    needs=[builds_a_network, is_deterministic_in_eval],
)
@in_each
def answers_alike_in_channels_last(case: Case, data: DataInfo) -> None:
    """With its weights and images in channels last it gives the outputs that it has."""
    network, some = ready(case, data), images(data)
    largest = _apart_in_channels_last(network, some)
    if largest > CLOSE:  # see keeps_samples_apart_in_eval
        largest = _apart_in_channels_last(copy.deepcopy(network).double(), some.double())
    if largest > CLOSE:
        raise FailedError(f"its outputs in channels last differ by {largest:.2g} of the largest")


@check(
    NetworkStep,
    protects="'medpipe export' writes the network as a graph.",
    remedy="Decide by shapes, not by values of tensors; see torch.export's messages.",
    needs=[builds_a_network, is_deterministic_in_eval],
)
@in_each
def can_be_exported(case: Case, data: DataInfo) -> None:
    """torch.export traces it, with the outputs that it has."""
    import torch

    network, some = ready(case, data), images(data)
    try:
        with torch.no_grad():
            program = torch.export.export(network, (some,))
            found, expected = program.module()(some), network(some)
    except Exception as error:
        raise FailedError(f"torch.export refuses it: {described(error, most=300)}") from error
    if not _apart(found, expected) <= 10 * CLOSE:
        raise FailedError("what torch.export makes of it gives other outputs")


@typical("network", found_by=builds_a_network)
def _use(case: Case) -> Use:
    """A pass in eval mode; building draws weights from the global generator, as it should."""
    import torch

    data = fitting(case)
    network, some = built(case, data).eval(), images(data)

    def call() -> object:
        with torch.no_grad():
            return network(some)

    return Use(given=[some], call=call)


def _apart_in_a_batch(network: nn.Module, some: torch.Tensor) -> float:
    import torch

    with torch.no_grad():
        together = network(some)
        return _apart(together, torch.cat([network(one[None]) for one in some]))


def _apart_in_channels_last(network: nn.Module, some: torch.Tensor) -> float:
    import torch

    with torch.no_grad():
        plain = network(some)
        with in_channels_last(copy.deepcopy(network)) as run:
            return _apart(run(some), plain)


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, as a share of the largest value where that is above 1."""
    return float((one - other).abs().max()) / max(1.0, float(one.abs().max()))


def _first(outputs: Any) -> torch.Tensor:
    """The outputs of which the loss is taken; with deep supervision the sum of all."""
    if isinstance(outputs, list | tuple):
        total: torch.Tensor = sum((one.sum() for one in outputs), start=outputs[0].new_zeros(()))
        return total
    only: torch.Tensor = outputs
    return only
