"""Checks of inferers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.steps import DataInfo, Inferer, InfererStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.network_data import fits_none
from medpipe.testing.subjects import data_info
from medpipe.testing.use import Use, typical
from medpipe.training.determinism import seeded

if TYPE_CHECKING:
    import torch
    from torch import nn

TRIED = {"multiclass": (2, 3), "segmentation": (2, 3)}
"""Tasks and numbers of axes for which an inferer is tried: of a task the first that it fits."""
SIDES = {2: (40, 32), 3: (24, 16, 20)}
OTHERS = {2: ((27, 45), (10, 12)), 3: ((13, 26, 9), (10, 12, 7))}
COUNT = 3
CLOSE = 1e-4
COARSE = 0.05
ALIKE = 0.9
"""The correlation of outputs with what a network of single pixels gives there."""


@attrs.frozen(kw_only=True, eq=False)
class Inferred:
    """Data that an inferer fits.

    Attributes:
        data: What was measured on them.
        inferer: The inferer, built for them.
        network: A convolution in evaluation mode; a mean over the image where labels are none.
        images: A batch.
    """

    data: DataInfo
    inferer: Inferer
    network: nn.Module
    images: torch.Tensor

    def outputs(self, some: torch.Tensor, network: Any = None) -> torch.Tensor:
        """What the inferer gives for images."""
        import torch

        with torch.no_grad():
            return self.inferer(some, network or self.network)

    def shape(self, some: torch.Tensor) -> tuple[int, ...]:
        """The shape that outputs must have."""
        dense = some.shape[2:] if self.data.task.step.dense else ()
        return (len(some), self.data.outputs, *dense)


@check(
    InfererStep,
    protects="Evaluation and prediction ask the inferer, not the network.",
    remedy="Give (batch, outputs), or (batch, outputs, spatial...) where labels are images.",
)
def infers_each_sample(case: Case) -> None:
    """It gives finite outputs for each sample of a batch, for one of the built-in tasks."""
    for one in _fitting(case):
        if not bool(one.outputs(one.images).isfinite().all()):
            raise FailedError("its outputs are not finite")


@check(
    InfererStep,
    protects="A prediction that changes each time can't be reproduced.",
    remedy="Draw nothing, or in each call from a new generator with a fixed seed.",
    needs=[infers_each_sample],
)
def infers_the_same_twice(case: Case) -> None:
    """The same images have the same outputs, whatever came before."""
    import torch

    for one in _fitting(case):
        first = one.outputs(one.images)
        one.outputs(one.images.flip(0))
        if not torch.equal(first, one.outputs(one.images)):
            raise FailedError("the same images have other outputs the second time")


@check(
    InfererStep,
    protects="A patient's prediction must not depend on who else is in the batch.",
    remedy="Treat each image of the batch alone.",
    needs=[infers_each_sample, infers_the_same_twice],
)
def infers_samples_apart(case: Case) -> None:
    """A sample alone has the outputs that it has in a batch."""
    import torch

    for one in _fitting(case):
        together = one.outputs(one.images)
        alone = torch.cat([one.outputs(image[None]) for image in one.images])
        _compare(together, alone, "an image's outputs alone and in a batch differ")


@check(
    InfererStep,
    protects="Volumes have sides of their own, odd ones and ones smaller than a window.",
    remedy="Take the sides from the images of each call; pad what is too small, and cut it off.",
    needs=[infers_each_sample],
)
def takes_images_of_other_sides(case: Case) -> None:
    """It takes images of other sides, or refuses such data when it is built."""
    for one in _fitting(case):
        varied = _varied(case, one)
        for sides in OTHERS[one.data.spatial_dims]:
            some = _drawn(one.data, sides)
            try:
                shape = tuple(varied.outputs(some).shape)
            except Exception as error:
                raise FailedError(
                    f"sides {sides}: it raises {described(error, most=300)}"
                ) from error
            if shape != one.shape(some):
                raise FailedError(f"sides {sides}: its outputs have the shape {shape}")


@check(
    InfererStep,
    protects="Volumes whose outputs do not fit into memory are predicted region by region.",
    remedy="Yield each place once, along one axis, with the outputs that the call gives there.",
    needs=[infers_each_sample, infers_the_same_twice],
)
def regions_make_the_whole(case: Case) -> None:
    """Its regions cover each image once, and are what it gives for the whole."""
    import torch

    dense = [one for one in _fitting(case) if one.data.task.step.dense]
    found = [one for one in dense if hasattr(one.inferer, "regions")]
    if not found:
        raise skip("it has no regions of outputs that are images")
    for one in found:
        whole = one.outputs(one.images)
        joined, covered = torch.zeros_like(whole), torch.zeros_like(whole[:, 0])
        inferer: Any = one.inferer
        with torch.no_grad():
            for (some, *region), outputs in inferer.regions(one.images, one.network):
                cut = [
                    axis
                    for axis, (part, side) in enumerate(zip(region, whole.shape[2:], strict=True))
                    if part.indices(side)[:2] != (0, side)
                ]
                if len(cut) > 1:
                    raise FailedError(f"a region is cut along the axes {cut}: one is allowed")
                joined[(some, slice(None), *region)] = outputs
                covered[(some, *region)] += 1
        if not bool((covered == 1).all()):
            raise FailedError(
                f"its regions cover pixels {int(covered.min())} to {int(covered.max())} times"
            )
        _compare(whole, joined, "its regions and the outputs of the whole differ")


@check(
    InfererStep,
    protects="A batch that fits into memory must not become one that does not.",
    remedy="Call the network several times, with no more images at once than there are.",
    needs=[infers_each_sample],
)
def calls_in_small_batches(case: Case) -> None:
    """The network gets no more pixels at once than are in the batch, but for windows."""
    for one in _fitting(case):
        sides = one.images.shape[2:]
        most, given = _most(one, one.images), one.images[:, 0].numel()
        if most <= given:
            continue
        try:
            larger = _drawn(one.data, tuple(2 * side for side in sides))
            if _most(_varied(case, one), larger) <= larger[:, 0].numel():
                continue  # windows of a size of their own
        except Exception:
            pass  # it takes these sides alone
        raise FailedError(
            f"for a batch of {len(one.images)} images the network gets {most / given:.3g} times "
            "as many pixels at once"
        )


@check(
    InfererStep,
    protects="A mask that is flipped or shifted is wrong, and looks right.",
    remedy="Turn outputs back as the images were turned, before they are averaged.",
    needs=[infers_each_sample],
)
def puts_outputs_where_they_belong(case: Case) -> None:
    """Of a network of single pixels, outputs lie where the image's values do."""
    import torch

    found = [one for one in _fitting(case) if one.data.task.step.dense]
    if not found:
        raise skip("its outputs lie nowhere: it is not for tasks whose labels are images")
    for one in found:
        network, ramp = _network(one.data, kernel=1), _ramp(one.images)
        with torch.no_grad():
            expected = network(ramp).log_softmax(1)
        outputs = one.outputs(ramp, network).float().log_softmax(1)
        pairs = torch.stack([expected[0].flatten(1), outputs[0].flatten(1)], 1)
        for pair in pairs:
            if float(pair[0].std()) < CLOSE:
                continue
            correlation = float(torch.corrcoef(pair)[0, 1])
            if not correlation > ALIKE:
                raise FailedError(
                    f"outputs correlate by {correlation:.2f} with the network's of single pixels"
                )


@check(
    InfererStep,
    protects="Validation stands in the middle of training, with the same network.",
    remedy="Change nothing of the network, or put it back: its mode, its weights, its statistics.",
    needs=[infers_each_sample],
)
def leaves_the_network_as_it_is(case: Case) -> None:
    """The network's weights, statistics and mode are the same afterwards."""
    import torch

    for one in _fitting(case):
        before = {name: value.clone() for name, value in one.network.state_dict().items()}
        one.outputs(one.images)
        if any(module.training for module in one.network.modules()):
            raise FailedError("it puts the network into training mode")
        after = one.network.state_dict()
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        if changed:
            raise FailedError(f"it changes the network's {', '.join(changed[:3])}")


@check(
    InfererStep,
    protects="With precision bfloat16 a network's outputs are in bfloat16.",
    remedy="Make outputs float32 before they are summed: outputs.float().",
    needs=[infers_each_sample],
)
def takes_outputs_in_bfloat16(case: Case) -> None:
    """With a network whose outputs are in bfloat16 it gives about the same."""
    for one in _fitting(case):

        def half(some: torch.Tensor, network: nn.Module = one.network) -> torch.Tensor:
            outputs: torch.Tensor = network(some)
            return outputs.bfloat16()

        expected = one.outputs(one.images)
        try:
            found = one.outputs(one.images, half)
        except Exception as error:
            raise FailedError(f"it raises {described(error, most=300)}") from error
        _compare(expected, found.float(), "in bfloat16 outputs differ", COARSE)


@typical("inferer", found_by=infers_each_sample)
def _use(case: Case) -> Use:
    found = _fitting(case)
    return Use(
        given=[one.images for one in found],
        call=lambda: [one.outputs(one.images) for one in found],
    )


def _fitting(case: Case) -> list[Inferred]:
    """Data of each task that the inferer fits, with the first number of axes."""
    found, said = [], []
    for kind, axes in TRIED.items():
        for dims in axes:
            data = attrs.evolve(data_info(kind, dims=dims), spatial_shape=SIDES[dims])
            some = _drawn(data, SIDES[dims])
            try:
                one = Inferred(
                    data=data,
                    inferer=case.step.build(data),
                    network=_network(data),
                    images=some,
                )
                shape = tuple(one.outputs(some).shape)
            except Exception as error:
                said.append(f"{kind} in {dims}-D: {described(error)}")
                continue
            needed = one.shape(some)
            if shape == needed:
                found.append(one)
                break
            said.append(f"{kind} in {dims}-D: outputs of the shape {shape}, not {needed}")
    if not found:
        raise fits_none(said)
    return found


def _varied(case: Case, one: Inferred) -> Inferred:
    """The same, built for data whose sides vary."""
    data = attrs.evolve(one.data, spatial_shape=(None,) * one.data.spatial_dims)
    try:
        return attrs.evolve(one, data=data, inferer=case.step.build(data))
    except Exception as error:
        raise skip(f"it refuses data whose sides vary: {described(error, most=200)}") from error


def _network(data: DataInfo, *, kernel: int = 3) -> nn.Module:
    from torch import nn

    convolution: Any = {2: nn.Conv2d, 3: nn.Conv3d}[data.spatial_dims]
    axes = tuple(range(2, 2 + data.spatial_dims))

    class Answer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = convolution(data.channels, data.outputs, kernel, padding=kernel // 2)
            self.norm = nn.BatchNorm1d(data.outputs)  # in training mode it would learn

        def forward(self, some: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.layer(some)
            outputs = self.norm(outputs.flatten(2)).reshape(outputs.shape)
            return outputs if data.task.step.dense else outputs.square().mean(axes)

    with seeded(0):
        return Answer().eval()


def _most(one: Inferred, some: torch.Tensor) -> int:
    """The most pixels that the network gets at once."""
    most = [0]

    def counted(given: torch.Tensor) -> Any:
        most[0] = max(most[0], given[:, 0].numel())
        return one.network(given)

    one.outputs(some, counted)
    return most[0]


def _drawn(data: DataInfo, sides: tuple[int, ...]) -> torch.Tensor:
    """Images of a batch, each brighter than the one before."""
    import torch

    generator = torch.Generator().manual_seed(0)
    brightness = torch.arange(1.0, COUNT + 1).reshape(-1, *[1] * (1 + len(sides)))
    return brightness * torch.rand((COUNT, data.channels, *sides), generator=generator)


def _ramp(some: torch.Tensor) -> torch.Tensor:
    """An image that rises along each axis, with a hill near a corner; as many as in a batch."""
    import torch

    axes = [torch.linspace(0, 1, side) for side in some.shape[2:]]
    grid = torch.meshgrid(*axes, indexing="ij")
    ramp = torch.stack([part ** (place + 1) for place, part in enumerate(grid)]).sum(0)
    far = torch.stack([(part - 0.25) ** 2 for part in grid]).sum(0)
    return (ramp + 2 * (-far / 0.02).exp()).expand_as(some).clone()


def _compare(one: torch.Tensor, other: torch.Tensor, said: str, tolerance: float = CLOSE) -> None:
    if one.shape != other.shape:
        raise FailedError(f"{said}: shapes {tuple(one.shape)} and {tuple(other.shape)}")
    largest = float((one - other).abs().max())
    if not largest <= tolerance * max(1.0, float(one.abs().max())):
        raise FailedError(f"{said} by up to {largest:.2g}")
