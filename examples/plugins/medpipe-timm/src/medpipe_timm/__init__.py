"""A plugin of medpipe with the networks of timm."""

from medpipe.plugin import NetworkStep, Step, hookimpl
from medpipe_timm.network import TimmNetwork

__all__ = ["STEPS", "TimmNetwork"]

STEPS: list[type[Step]] = [TimmNetwork]


@hookimpl
def medpipe_networks() -> list[type[NetworkStep]]:
    """Offer the network."""
    return [TimmNetwork]
