"""The data that a network is tried on: of each number of axes that it takes.

torch is imported inside functions.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from medpipe.errors import MedpipeError
from medpipe.system.raised import described
from medpipe.testing.check import Case, CheckSkipped, FailedError, skip
from medpipe.testing.remembered import remembered
from medpipe.testing.subjects import data_info, images
from medpipe.training.determinism import seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import nn

    from medpipe.steps import DataInfo

TRIED = (
    ("multiclass", 2),
    ("multiclass", 3),
    ("segmentation", 2),
    ("segmentation", 3),
    ("multilabel", 2),
    ("regression", 2),
)
"""Tasks and numbers of axes for which a network is tried: the first that it fits decides."""
NAMED = 6
"""How many of the data a failure names."""
LARGE = {2: 224, 3: 64}
"""The sides of images for networks that the small ones don't fit, by the number of axes."""


@remembered(8)
def fitting(case: Case) -> DataInfo:
    """Data that the network fits: of the first task and number of axes that it can be built for.

    Raises:
        FailedError: It fits none.
    """
    said: list[str] = []
    found = _first(case, TRIED, said)
    if found is None:
        raise fits_none(said)
    return found


def fits_none(said: Sequence[str]) -> FailedError:
    """The failure of a step that fits no data, with what is wrong with the first of them."""
    each = list(dict.fromkeys(said))
    more = [f"and {len(each) - NAMED} more"] if len(each) > NAMED else []
    return FailedError(f"it fits no data that were tried: {'; '.join([*each[:NAMED], *more])}")


@remembered(8)
def all_fitting(case: Case) -> list[DataInfo]:
    """As `fitting`, and data of the other number of axes where the network takes these too."""
    first = fitting(case)
    dims = 5 - first.spatial_dims
    kinds = [first.task.step.name, *(kind for kind, some in TRIED if some == dims)]
    other = _first(case, [(kind, dims) for kind in dict.fromkeys(kinds)], [])
    return [first] if other is None else [first, other]


def in_each(tries: Callable[[Case, DataInfo], None]) -> Callable[[Case], None]:
    """Let a check try a network in each number of axes that it takes.

    Where there are two, a failure says in which.

    Args:
        tries: Gets the network, and data that it fits.
    """

    @functools.wraps(tries)
    def tried(case: Case) -> None:
        fits, skipped = all_fitting(case), []
        for data in fits:
            try:
                tries(case, data)
            except CheckSkipped as reason:
                skipped.append(reason)
            except Exception as error:
                if len(fits) == 1:
                    raise
                raise FailedError(f"in {data.spatial_dims}-D {_said(error)}") from error
        if len(skipped) == len(fits):
            raise skipped[0]

    return tried


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, FailedError) else f"it raised {described(error)}"


def takes_other_axes(case: Case) -> None:
    """See that a network is told apart from one for the other number of axes.

    Raises:
        FailedError: It is built for them, and fails.
        CheckSkipped: It is for one number of axes alone.
    """
    fits = all_fitting(case)
    if len(fits) == 2:
        return
    (first,) = fits
    dims = 5 - first.spatial_dims
    data = data_info(first.task.kind, dims=dims, channels=first.channels)
    alone = f"it is for {first.spatial_dims}-D alone"
    try:
        network = built(case, data)
    except MedpipeError as error:
        raise skip(f"{alone}: {described(error)}") from error
    except Exception as error:
        raise FailedError(f"it can't be built in {dims}-D: {described(error)}") from error
    try:
        found = tuple(outputs_of(case, data).shape)
    except Exception as error:
        if _kinds(network) == _kinds(built(case, first)):
            raise skip(f"{alone}: {described(error)}") from error
        raise FailedError(f"built for {dims}-D, it raised {described(error)}") from error
    expected = shape_of(data, 2)
    raise FailedError(f"in {dims}-D it gives the shape {found} for two images, not {expected}")


def unless_refused(case: Case, data: DataInfo) -> torch.Tensor:
    """The outputs for data that a network may refuse, with a message of medpipe's kind.

    Raises:
        CheckSkipped: It refuses them.
    """
    try:
        return outputs_of(case, data)
    except MedpipeError as error:
        raise skip(f"it refuses them: {described(error)}") from error


def built(case: Case, data: DataInfo, *, seed: int = 0) -> nn.Module:
    """The network for data."""
    with seeded(seed):
        network: Any = case.step.build(data)
    return network  # type: ignore[no-any-return]


@remembered(2)
def ready(case: Case, data: DataInfo) -> nn.Module:
    """The network in eval mode, for checks that leave it as it is."""
    return built(case, data).eval()


def outputs_of(case: Case, data: DataInfo) -> torch.Tensor:
    """What it gives for two images in eval mode, after a pass in training mode."""
    import torch

    network = built(case, data)
    with torch.no_grad(), seeded(0):
        network.train()(images(data))
        outputs: torch.Tensor = network.eval()(images(data))
    return outputs


def shape_of(data: DataInfo, count: int) -> tuple[int, ...]:
    """The shape that outputs must have for so many images."""
    dense = images(data).shape[2:] if data.task.step.dense else ()
    return (count, data.outputs, *dense)


def _first(case: Case, tried: Sequence[tuple[Any, int]], said: list[str]) -> DataInfo | None:
    """The first data that the network fits; what is wrong with the others is added to `said`."""
    for channels, large in ((1, False), (1, True), (3, False), (3, True)):
        for kind, dims in tried:
            side = LARGE[dims] if large else None
            data = data_info(kind, dims=dims, channels=channels, side=side)
            try:
                found = tuple(outputs_of(case, data).shape)
            except Exception as error:
                said.append(f"{kind} in {dims}-D: {described(error)}")
                continue
            needed = shape_of(data, 2)
            if found == needed:
                return data
            said.append(f"{kind} in {dims}-D: outputs of the shape {found}, not {needed}")
    return None


def _kinds(network: nn.Module) -> set[Any]:
    """The classes of its layers, and how many axes their parameters have.

    They tell a network that is built for a number of axes from one that does not look at it.
    """
    return {
        (type(module).__name__, *(value.ndim for value in module.parameters(recurse=False)))
        for module in network.modules()
    }
