"""A plugin of medpipe with a handler that sends runs to a server."""

from medpipe.plugin import HandlerStep, Step, hookimpl
from medpipe_webhook.handler import Webhook

__all__ = ["STEPS", "Webhook"]

STEPS: list[type[Step]] = [Webhook]


@hookimpl
def medpipe_handlers() -> list[type[HandlerStep]]:
    """Offer the handler."""
    return [Webhook]
