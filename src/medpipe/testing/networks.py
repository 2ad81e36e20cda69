"""Checks of networks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import MedpipeError
from medpipe.steps import DataInfo, NetworkStep
from medpipe.testing.check import Case, FailedError, check, described, skip
from medpipe.testing.remembered import remembered
from medpipe.testing.subjects import data_info, images
from medpipe.testing.use import Use, typical
from medpipe.training.determinism import seeded

if TYPE_CHECKING:
    import torch
    from torch import nn

TRIED = (
    ("multiclass", 2),
    ("multiclass", 3),
    ("segmentation", 2),
    ("segmentation", 3),
    ("multilabel", 2),
    ("regression", 2),
)
"""Tasks and numbers of axes for which a network is tried: the first that it fits decides."""
LARGE = {2: 224, 3: 64}
"""The sides of images for networks that the small ones don't fit, by the number of axes."""
PASSES = 4
"""How often the gradients are looked at: some networks leave out layers at random."""
CLOSE = 1e-4


@check(
    NetworkStep,
    protects="The library builds a network for the data that it found.",
    remedy="Take channels, outputs and spatial_dims of the data info that build gets.",
)
def builds_a_network(case: Case) -> None:
    """It builds a network that takes images of a built-in task, in training and in eval mode."""
    _fitting(case)


@check(
    NetworkStep,
    protects="Images in colours, or of several sequences, have several channels.",
    remedy="Build the first layer for data.channels.",
    needs=[builds_a_network],
)
def takes_three_channels(case: Case) -> None:
    """It takes images of one and of three channels."""
    _unless_refused(case, attrs.evolve(_fitting(case), channels=3))


@check(
    NetworkStep,
    protects="Data sets have other numbers of classes than the example.",
    remedy="Build the last layer for data.outputs.",
    needs=[builds_a_network],
)
def gives_a_number_for_each_output(case: Case) -> None:
    """With five names it gives as many outputs as the task has."""
    first = _fitting(case)
    five = data_info(first.task.kind, dims=first.spatial_dims, names=5)
    data = attrs.evolve(five, channels=first.channels, spatial_shape=first.spatial_shape)
    expected = _shape(data, 2)
    found = tuple(_unless_refused(case, data).shape)
    if found != expected:
        raise FailedError(f"it gives outputs of the shape {found} for two images, not {expected}")


@check(
    NetworkStep,
    protects="The check before a run builds the network without memory, to estimate it.",
    remedy="Create tensors by torch's own functions, without device= and without looking at them.",
    needs=[builds_a_network],
)
def builds_on_meta(case: Case) -> None:
    """It builds on torch's meta device, and takes images there."""
    import torch

    data = _fitting(case)
    with seeded(0), torch.device("meta"), torch.no_grad():
        network: Any = case.step.build(data)
        outputs = network.eval()(images(data).to("meta"))
    if tuple(outputs.shape) != _shape(data, 2):
        raise FailedError(f"on the meta device it gives the shape {tuple(outputs.shape)}")


@check(
    NetworkStep,
    protects="medpipe trains in float32, with autocast where it is faster.",
    remedy="Create parameters in torch's default dtype.",
    needs=[builds_a_network],
)
def is_of_float32(case: Case) -> None:
    """Its parameters and its outputs are float32."""
    import torch

    data = _fitting(case)
    network = _ready(case)
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
def gives_finite_outputs(case: Case) -> None:
    """Its outputs are finite, for images from 0 to 1 and for one of a single value."""
    import torch

    data = _fitting(case)
    network = _ready(case)
    for some in (images(data), torch.zeros_like(images(data))):
        if not bool(torch.isfinite(network(some)).all()):
            raise FailedError("its outputs are not finite")


@check(
    NetworkStep,
    protects="A parameter without a gradient is never trained, and several processes look for it.",
    remedy="Use every layer in forward, leave it out, or call requires_grad_(False); no detach().",
    needs=[builds_a_network],
)
def gradients_reach_all_parameters(case: Case) -> None:
    """Each parameter that requires a gradient gets one."""
    data = _fitting(case)
    network = _built(case, data).train()
    for seed in range(PASSES):
        with seeded(seed):
            outputs = _first(network(images(data, count=4)))
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
def is_deterministic_in_eval(case: Case) -> None:
    """In eval mode it gives the same twice."""
    import torch

    data = _fitting(case)
    network, some = _ready(case), images(data)
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
def keeps_samples_apart_in_eval(case: Case) -> None:
    """In eval mode a sample alone has the outputs that it has in a batch."""
    network, some = _ready(case), images(_fitting(case), count=3)
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
def draws_weights_from_the_seed(case: Case) -> None:
    """The same seed gives the same weights, and another one other weights."""
    import torch

    data, states, drawn = _fitting(case), [], []
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
def comes_back_from_its_state(case: Case) -> None:
    """A network of another seed that loads the state gives the same outputs."""
    import torch

    data = _fitting(case)
    network, other = _built(case, data), _built(case, data, seed=1)
    network.train()(images(data, count=4))  # so that running statistics are not as built
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
    protects="'medpipe export' writes the network as a graph.",
    remedy="Decide by shapes, not by values of tensors; see torch.export's messages.",
    needs=[builds_a_network, is_deterministic_in_eval],
)
def can_be_exported(case: Case) -> None:
    """torch.export traces it, with the outputs that it has."""
    import torch

    data = _fitting(case)
    network, some = _ready(case), images(data)
    try:
        with torch.no_grad():
            program = torch.export.export(network, (some,))
            found, expected = program.module()(some), network(some)
    except Exception as error:
        raise FailedError(f"torch.export refuses it: {described(error)[:300]}") from error
    if not _apart(found, expected) <= 10 * CLOSE:
        raise FailedError("what torch.export makes of it gives other outputs")


@typical("network")
def _use(case: Case) -> Use:
    """A pass in eval mode; building draws weights from the global generator, as it should."""
    import torch

    data = _fitting(case)
    network, some = _built(case, data).eval(), images(data)

    def call() -> object:
        with torch.no_grad():
            return network(some)

    return Use(given=[some], call=call)


@remembered(8)
def _fitting(case: Case) -> DataInfo:
    """Data that the network fits: of the first task and number of axes that it can be built for."""
    said = []
    for channels, large in ((1, False), (1, True), (3, False), (3, True)):
        for kind, dims in TRIED:
            side = LARGE[dims] if large else None
            data = data_info(kind, dims=dims, channels=channels, side=side)
            try:
                outputs = _outputs(case, data)
            except Exception as error:
                said.append(f"{kind} in {dims}-D: {described(error)}")
                continue
            if tuple(outputs.shape) == _shape(data, 2):
                return data
            said.append(f"{kind} in {dims}-D: outputs of the shape {tuple(outputs.shape)}")
    raise FailedError(f"it fits no data that were tried: {'; '.join(said)[:600]}")


@remembered(1)
def _ready(case: Case) -> nn.Module:
    """The network in eval mode, for checks that leave it as it is."""
    return _built(case, _fitting(case)).eval()


def _apart_in_a_batch(network: nn.Module, some: torch.Tensor) -> float:
    import torch

    with torch.no_grad():
        together = network(some)
        return _apart(together, torch.cat([network(one[None]) for one in some]))


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, as a share of the largest value where that is above 1."""
    return float((one - other).abs().max()) / max(1.0, float(one.abs().max()))


def _unless_refused(case: Case, data: DataInfo) -> torch.Tensor:
    """The outputs for data that a network may refuse, with a message of medpipe's kind."""
    try:
        return _outputs(case, data)
    except MedpipeError as error:
        raise skip(f"it refuses them: {described(error)}") from error


def _built(case: Case, data: DataInfo, *, seed: int = 0) -> nn.Module:
    with seeded(seed):
        network: Any = case.step.build(data)
    return network  # type: ignore[no-any-return]


def _outputs(case: Case, data: DataInfo) -> torch.Tensor:
    import torch

    network = _built(case, data)
    with torch.no_grad(), seeded(0):
        network.train()(images(data))
        outputs: torch.Tensor = network.eval()(images(data))
    return outputs


def _first(outputs: Any) -> torch.Tensor:
    """The outputs of which the loss is taken; with deep supervision the sum of all."""
    if isinstance(outputs, list | tuple):
        total: torch.Tensor = sum((one.sum() for one in outputs), start=outputs[0].new_zeros(()))
        return total
    only: torch.Tensor = outputs
    return only


def _shape(data: DataInfo, count: int) -> tuple[int, ...]:
    dense = images(data).shape[2:] if data.task.step.dense else ()
    return (count, data.outputs, *dense)
