"""A plugin of medpipe with a network, ConvNeXt."""

from medpipe.plugin import NetworkStep, Step, hookimpl
from medpipe_convnext.network import ConvNeXt

__all__ = ["STEPS", "ConvNeXt"]

STEPS: list[type[Step]] = [ConvNeXt]


@hookimpl
def medpipe_networks() -> list[type[NetworkStep]]:
    """Offer the network."""
    return [ConvNeXt]
