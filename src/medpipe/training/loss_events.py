"""When the loss of an iteration is there.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ignite.engine import Engine


def on_loss(engine: Engine, handler: Callable[[], object]) -> None:
    """Call a handler once in an iteration, when its loss is there.

    That is before the step is applied, where the engine has MONAI's events and fires them.
    """
    from ignite.engine import Events
    from monai.engines.utils import IterationEvents

    told = 0

    def tell() -> None:
        nonlocal told
        if told != engine.state.iteration:
            told = engine.state.iteration
            handler()

    with suppress(ValueError):  # not one of its events
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, tell)
    # MONAI's trainer fires it in its own iteration alone, not in one that it was given.
    engine.add_event_handler(Events.ITERATION_COMPLETED, tell)
