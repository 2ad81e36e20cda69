"""The transform chain: every step on one sample, its randomness seeded for that sample.

What a random step draws depends on the run's seed, the epoch, the sample's id and the step's
place, and on nothing else: the number of workers changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from medpipe.errors import MedpipeError, StepError
from medpipe.steps import Reading, Sample, TransformStep


def sample_dictionary(sample: Sample, reading: Reading) -> dict[str, Any]:
    """What a transform gets: the sample's image, label and id, its extra columns, the reading."""
    return {
        **sample.extra,
        "image": sample.image,
        "label": sample.label,
        "id": sample.id,
        "reading": reading,
    }


def random_key(seed: int, epoch: int, sample: str, step: int) -> int:
    """A 128-bit number for one random step on one sample in one epoch."""
    text = f"{seed}\0{epoch}\0{sample}\0{step}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")


Apply = Callable[[dict[str, Any], int], Mapping[Any, Any]]
"""Applies one step to a sample, given the sample's random key."""


@attrs.frozen(kw_only=True, eq=False)
class _Link:
    title: str
    random: bool
    apply: Apply


class Chain:
    """The transforms of a pipeline, built, for one sample at a time.

    Args:
        steps: The steps and their titles for errors, in order.
        seed: The run's seed.

    Raises:
        StepError: A step could not be built; the message names it and its plugin.
    """

    def __init__(self, steps: Sequence[tuple[str, TransformStep]], *, seed: int) -> None:
        self._seed = seed
        self._links = [_link(title, step) for title, step in steps]

    def __call__(
        self, sample: Mapping[str, Any], *, training: bool, epoch: int = 0
    ) -> dict[str, Any]:
        """Apply the chain; random steps only where it is for training.

        Raises:
            DataError: The sample's file can't be read.
            StepError: A step failed; the message names it, its plugin and the sample.
        """
        current = dict(sample)
        for index, link in enumerate(self._links):
            if link.random and not training:
                continue
            key = random_key(self._seed, epoch, sample["id"], index) if link.random else 0
            try:
                current = {**link.apply(current, key)}
            except MedpipeError:
                raise
            except Exception as error:
                text = " ".join(str(error).split()) or "no message"
                raise StepError(
                    f"{link.title} failed on the sample {sample['id']!r}: "
                    f"{type(error).__name__}: {text}"
                ) from error
        return current


def _link(title: str, step: TransformStep) -> _Link:
    if type(step).draw is not TransformStep.draw:
        return _Link(title=title, random=True, apply=_drawn(step))
    try:
        transform = step.build()
    except MedpipeError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise StepError(f"{title} can't be built: {type(error).__name__}: {text}") from error
    if not callable(transform):
        raise StepError(f"{title} built {transform!r}, which can't be called on a sample.")
    if not step.random:
        return _Link(title=title, random=False, apply=lambda sample, _: transform(sample))
    return _Link(title=title, random=True, apply=_seeded(transform))


def _drawn(step: TransformStep) -> Apply:
    def apply(sample: dict[str, Any], key: int) -> Mapping[Any, Any]:
        import numpy as np

        return step.apply(sample, step.draw(np.random.Generator(np.random.PCG64(key))))

    return apply


def _seeded(transform: Callable[[dict[str, Any]], Mapping[Any, Any]]) -> Apply:
    from monai.transforms import Compose, Randomizable

    # Typed as Any: a callable that is also a MONAI class is nothing that mypy expects.
    composed: Any = transform
    if isinstance(composed, Compose):
        # OneOf and its kin draw a seed for each of their parts, so that sharing a state won't do.
        def apply_composed(sample: dict[str, Any], key: int) -> Mapping[Any, Any]:
            composed.set_random_state(seed=key % 2**32)
            return transform(sample)

        return apply_composed
    if isinstance(composed, Randomizable):
        import numpy as np

        # Reseeding one state costs microseconds where set_random_state costs hundreds.
        state = np.random.RandomState()
        composed.set_random_state(state=state)

        def apply_shared(sample: dict[str, Any], key: int) -> Mapping[Any, Any]:
            state.seed(key % 2**32)
            return transform(sample)

        return apply_shared

    def apply_global(sample: dict[str, Any], key: int) -> Mapping[Any, Any]:
        with _global_generators(key % 2**32):
            return transform(sample)

    return apply_global


@contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    """Seed the generators that a transform may reach, and put them back as they were."""
    import random

    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
