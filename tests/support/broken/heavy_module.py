"""A module that imports torch when it is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs
import torch

from medpipe.plugin import TransformStep


@attrs.frozen(kw_only=True)
class Heavy(TransformStep):
    """Doubles values."""

    name: ClassVar[str] = "heavy"

    def build(self) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
        return lambda sample: {**sample, "image": torch.mul(sample["image"], 2)}
