"""Steps that each fail one of the checks for all kinds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs

from medpipe.plugin import TransformStep

Sample = dict[str, Any]


@attrs.frozen(kw_only=True)
class Times(TransformStep):
    """Multiplies values.

    Attributes:
        factor: By what.
    """

    name: ClassVar[str] = "times"
    factor: float = 2.0

    def build(self) -> Callable[[Sample], Mapping[str, Any]]:
        return self.changed

    def changed(self, sample: Sample) -> Sample:
        return {**sample, "image": sample["image"] * self.factor}


@attrs.frozen(kw_only=True)
class GivesNoExamples(Times):
    """Multiplies values.

    Attributes:
        offset: What has no default.
    """

    offset: float


@attrs.frozen(kw_only=True)
class BadName(Times):
    """Multiplies values."""

    name: ClassVar[str] = "Times Two"


@attrs.frozen(kw_only=True)
class CountsUses(Times):
    """Multiplies values.

    Attributes:
        uses: How often it was built.
    """

    uses: int = 0

    def build(self) -> Callable[[Sample], Mapping[str, Any]]:
        object.__setattr__(self, "uses", self.uses + 1)
        return self.changed


@attrs.frozen(kw_only=True, eq=False)
class EqualsNothing(TransformStep):
    """Doubles values."""

    name: ClassVar[str] = "equals_nothing"

    def build(self) -> Callable[[Sample], Mapping[str, Any]]:
        return lambda sample: {**sample, "image": sample["image"] * 2}


@attrs.frozen(kw_only=True)
class IgnoresParameter(Times):
    """Multiplies values.

    Attributes:
        factor: By what.
    """

    factor: float = attrs.field(default=2.0, eq=False)


@attrs.frozen(kw_only=True)
class TextOrPath(Times):
    """Multiplies values.

    Attributes:
        where: A path, which comes back as a text.
    """

    where: str | Path = "here"


@attrs.frozen(kw_only=True)
class BadDefault(Times):
    """Multiplies values.

    Attributes:
        often: How often.
    """

    often: int = "once"  # type: ignore[assignment]  # what is tried


@attrs.frozen(kw_only=True)
class MeaningMissing(Times):
    """Multiplies values."""

    offset: float = 0.0


@attrs.frozen(kw_only=True)
class NoDocstring(Times):
    pass


@attrs.frozen(kw_only=True)
class LooksUp(Times):
    """Multiplies values.

    Attributes:
        mode: The name of a factor.
    """

    mode: str = "twice"

    def __attrs_post_init__(self) -> None:
        {"twice": 2, "thrice": 3}[self.mode]


def made_in_a_function() -> type[Times]:
    @attrs.frozen(kw_only=True)
    class Inside(Times):
        """Multiplies values."""

    return Inside


@attrs.frozen(kw_only=True)
class DrawsGlobally(Times):
    """Draws a number that it does not use."""

    def changed(self, sample: Sample) -> Sample:
        import numpy as np

        np.random.rand()
        return Times.changed(self, sample)


@attrs.frozen(kw_only=True)
class SeedsGlobally(Times):
    """Sets the seed, as the check before did."""

    def changed(self, sample: Sample) -> Sample:
        import torch

        torch.manual_seed(0)
        return Times.changed(self, sample)


@attrs.frozen(kw_only=True)
class InPlace(Times):
    """Multiplies values."""

    def changed(self, sample: Sample) -> Sample:
        sample["image"] *= self.factor
        return sample


@attrs.frozen(kw_only=True)
class OneThread(Times):
    """Sets a variable of the environment, always to the same."""

    def changed(self, sample: Sample) -> Sample:
        os.environ["OMP_DYNAMIC"] = "TRUE"
        return Times.changed(self, sample)


@attrs.frozen(kw_only=True)
class DoublePrecision(Times):
    """Sets torch's default dtype."""

    def build(self) -> Callable[[Sample], Mapping[str, Any]]:
        import torch

        torch.set_default_dtype(torch.float64)
        return self.changed


@attrs.frozen(kw_only=True)
class Prints(Times):
    """Multiplies values."""

    def changed(self, sample: Sample) -> Sample:
        sys.stdout.write("multiplied")
        return Times.changed(self, sample)


BROKEN: dict[str, list[Any]] = {
    "gives_examples": [GivesNoExamples],
    "can_be_registered": [BadName()],
    "stays_as_it_is": [CountsUses()],
    "equals_its_copy": [EqualsNothing()],
    "differs_by_parameters": [IgnoresParameter()],
    "comes_back_from_toml": [TextOrPath(where=Path("there"))],
    "has_valid_defaults": [BadDefault(often=1)],
    "documents_its_parameters": [MeaningMissing()],
    "documents_itself": [NoDocstring()],
    "refuses_wrong_values": [LooksUp()],
    "can_be_pickled": [made_in_a_function()()],
    "leaves_random_state": [DrawsGlobally(), SeedsGlobally()],
    "leaves_what_it_is_given": [InPlace()],
    "leaves_settings": [OneThread(), DoublePrecision()],
    "prints_nothing": [Prints()],
}
"""For each check steps that fail it alone."""
SOUND = [Times(), Times]
"""Steps that fail none."""
