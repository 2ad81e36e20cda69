"""What of a run is in the graph of an export, and what must be done outside of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import ExportError
from medpipe.steps import InfererStep

if TYPE_CHECKING:
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import DataInfo, TransformStep


@attrs.frozen(kw_only=True, eq=False)
class Division:
    """Where the graph begins in the chain, and how it calls the network.

    Attributes:
        before: The steps that must be done before the graph, in order; no random ones.
        inside: Those that are in the graph.
        cut: How many steps of the whole chain stand before the graph.
        forms: What each of `inside` does.
        inferer: How the graph calls the network; None: as it is.
        called: The step of that inferer; None: as it is.
        inferer_step: The run's inferer.
        window: The sides of the windows that the graph takes in place of images; None where it
            takes whole images.
    """

    before: Sequence[TransformStep]
    inside: Sequence[TransformStep]
    cut: int
    forms: Sequence[Callable[[Any], Any]]
    inferer: Any
    called: InfererStep | None
    inferer_step: InfererStep
    window: tuple[int, ...] | None


def divided(trained: TrainedNetwork, *, holds_graph: bool, takes_windows: bool = True) -> Division:
    """Divide a run's chain and inferer.

    The graph takes the longest ending of the chain of which every step has a form for graphs.
    Where the task's labels are images, steps that move pixels stay outside, since the way back
    onto the file's grid is outside too. Windows are cut from images that were transformed whole.

    Args:
        trained: The network with its chain.
        holds_graph: Whether the format holds more than weights.
        takes_windows: Whether it takes windows where the inferer does, not images.

    Raises:
        ExportError: The inferer takes windows and does not say how large they are.
    """
    assembly, data = trained.assembly, trained.data
    chain, dense = assembly.chain(), data.task.step.dense
    step = assembly.configuration.inferer
    if step is None:
        step = assembly.registry.create(InfererStep, data.task.step.inferer)
    window: tuple[int, ...] | None = None
    inferer: Any = assembly.inferer(data)
    called: InfererStep | None = step
    if takes_windows and getattr(inferer, "regions", None) is not None:
        window = _window(step, data)
        called = getattr(step, "inferer", None)
        inferer = None if called is None else called.build(data)
    steps = [(one, random) for (_, one), random in zip(chain.steps, chain.random, strict=True)]
    cut, forms = len(steps), []
    while cut and holds_graph and window is None:
        one, random = steps[cut - 1]
        form = None if random or (dense and one.spatial) else one.graph_form()
        if form is None and not random:
            break
        forms += [] if form is None else [form]
        cut -= 1
    return Division(
        before=[one for one, random in steps[:cut] if not random],
        inside=[one for one, random in steps[cut:] if not random],
        cut=cut,
        forms=forms[::-1],
        inferer=inferer,
        called=called,
        inferer_step=step,
        window=window,
    )


def _window(step: InfererStep, data: DataInfo) -> tuple[int, ...]:
    sides = getattr(step, "roi_size", None)
    if sides is None or len(sides) != data.spatial_dims or min(sides) < 1:
        raise ExportError(
            f"The inferer {step.name!r} calls the network for windows of no fixed size. Give "
            "inferer.roi_size a number of pixels for each axis, which a graph needs."
        )
    return tuple(sides)
