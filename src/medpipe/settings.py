"""The settings that are not steps: the loader's, the split's and the run's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import attrs
from attrs.validators import ge, lt


@attrs.frozen(kw_only=True)
class LoaderSettings:
    """How batches are made.

    Attributes:
        batch_size: Samples in a batch.
        workers: Worker processes asked for; never more than the job has processors, and none
            where it has only one.
        sampling: ``shuffled``: every training sample once in a pass; ``balanced``: as many
            draws in a pass, each class equally likely.
        drop_last: Leave out a last training batch that is not full.
    """

    batch_size: int = attrs.field(default=512, validator=ge(1))
    workers: int = attrs.field(default=30, validator=ge(0))
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    drop_last: bool = False


def _fits(settings: SplitSettings, _: attrs.Attribute[Any], test: float) -> None:
    if settings.validation + test >= 1:
        raise ValueError(
            f"validation ({settings.validation:g}) and test ({test:g}) must leave a part for "
            "training: together they must be below 1."
        )


@attrs.frozen(kw_only=True)
class SplitSettings:
    """How the samples are divided.

    Attributes:
        validation: The fraction for validation.
        test: The fraction for the test.
        seed: Decides which samples go where; apart from the run's seed.
        file: A ``splits.csv`` to take instead, written by an earlier run.
    """

    validation: float = attrs.field(default=0.1, validator=[ge(0), lt(1)])
    test: float = attrs.field(default=0.1, validator=[ge(0), lt(1), _fits])
    seed: int = attrs.field(default=0, validator=ge(0))
    file: Path | None = None


@attrs.frozen(kw_only=True)
class RunSettings:
    """How the pipeline runs.

    Attributes:
        seed: Decides the network's first weights, the order and the augmentation.
        device: ``auto``: the first CUDA device, else the best there is; or a name such as
            ``cpu``, ``cuda``, ``cuda:1``, ``mps``, which must then be there.
    """

    seed: int = attrs.field(default=0, validator=[ge(0), lt(2**32)])
    device: str = attrs.field(default="auto")

    @device.validator
    def _is_a_device(self, _: attrs.Attribute[Any], device: str) -> None:
        import re

        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
            raise ValueError(f"must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got {device!r}.")
