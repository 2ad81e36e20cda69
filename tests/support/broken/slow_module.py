"""A module that takes long to import."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

from medpipe.plugin import TransformStep

while time.process_time() < 0.9:  # from the start of the process
    sum(range(10_000))


@attrs.frozen(kw_only=True)
class Slow(TransformStep):
    """Doubles values."""

    name: ClassVar[str] = "slow"

    def build(self) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
        return lambda sample: {**sample, "image": sample["image"] * 2}
