"""How many networks of runs have weights in memory."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from medpipe import Run

if TYPE_CHECKING:
    import pytest


def networks_alive(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets, for each network that is loaded from now on, how many are in memory."""
    alive: list[int] = []
    known: list[weakref.ref[Any]] = []
    load = Run.network

    def network(self: Run, *arguments: Any, **options: Any) -> Any:
        found = load(self, *arguments, **options)
        known.append(weakref.ref(found))
        alive.append(sum(_has_weights(one()) for one in known))
        return found

    monkeypatch.setattr(Run, "network", network)
    return alive


def _has_weights(network: Any) -> bool:
    return network is not None and any(not weight.is_meta for weight in network.parameters())
