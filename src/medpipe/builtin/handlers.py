"""Handler steps: an average of the weights, and a table of all iterations."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import gt, lt

from medpipe.plugin import HandlerStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ignite.engine import Engine

    from medpipe.plugin import RunContext


@attrs.frozen(kw_only=True)
class EMA(HandlerStep):
    """The exponential moving average of the weights, as ``ema.safetensors``.

    The file is written with every checkpoint; ``weights.file`` starts a network from it. Running
    statistics are those of the network. Source: Polyak and Juditsky (1992).

    Attributes:
        decay: How much of the average stays at each iteration.
    """

    name: ClassVar[str] = "ema"
    decay: float = attrs.field(default=0.999, validator=[gt(0), lt(1)])

    def attach(self, engine: Engine, context: RunContext) -> object:
        """Average after each iteration."""
        from ignite.engine import Events

        average = _Average(context.network, self.decay)
        engine.add_event_handler(Events.ITERATION_COMPLETED, average.update)
        context.on(
            "checkpoint_saved",
            lambda: context.write_network("ema.safetensors", average.network_state()),
        )
        return average


class _Average:
    def __init__(self, network: Any, decay: float) -> None:
        self._network, self._decay = network, decay
        self._values = {name: value.detach().clone() for name, value in network.named_parameters()}

    def update(self) -> None:
        import torch

        with torch.no_grad():
            for name, value in self._network.named_parameters():
                self._values[name].lerp_(value, 1 - self._decay)

    def network_state(self) -> dict[str, Any]:
        return {**self._network.state_dict(), **self._values}

    def state_dict(self) -> dict[str, Any]:
        return dict(self._values)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            self._values[name].copy_(value)


@attrs.frozen(kw_only=True)
class CSV(HandlerStep):
    """The loss and the learning rate of every iteration, as ``iterations.csv``.

    The file is written with every checkpoint, and has each iteration once, also where a run was
    resumed.
    """

    name: ClassVar[str] = "csv"

    def attach(self, engine: Engine, context: RunContext) -> object:
        """Note each iteration."""
        from ignite.engine import Events

        table = _Table()
        engine.add_event_handler(Events.ITERATION_COMPLETED, table.add)
        context.on("checkpoint_saved", lambda: context.write_text("iterations.csv", table.text()))
        return table


class _Table:
    def __init__(self) -> None:
        self._rows: list[list[float]] = []

    def add(self, engine: Any) -> None:
        groups = engine.optimizer.param_groups if hasattr(engine, "optimizer") else []
        rates = [float(group["lr"]) for group in groups]
        # It stays where it is computed: to look at it would wait for the device.
        loss = engine.state.output["loss"]
        loss = loss.detach() if hasattr(loss, "detach") else loss  # or its graph stays too
        self._rows.append([engine.state.iteration, loss, *rates[:1]])

    def text(self) -> str:
        out = io.StringIO()
        out.write("iteration,loss,learning_rate\n")
        for iteration, loss, *rates in self._plain():
            rate = repr(rates[0]) if rates else ""
            out.write(f"{int(iteration)},{loss!r},{rate}\n")
        return out.getvalue()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._plain()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rows = [list(row) for row in state["rows"]]

    def _plain(self) -> list[list[float]]:
        self._rows = [[float(value) for value in row] for row in self._rows]
        return self._rows


HANDLERS: tuple[type[HandlerStep], ...] = (EMA, CSV)
"""All built-in handlers."""
