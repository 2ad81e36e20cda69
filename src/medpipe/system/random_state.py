"""Random state for single samples: generators, and transforms of MONAI or of others.

What a random step draws depends on a key alone, which is made from the run's seed, the epoch, the
sample's id and the step's place.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Apply = Callable[[dict[str, Any], int], Mapping[Any, Any]]
"""Applies one step to a sample, given the sample's random key."""


def random_key(seed: int, epoch: int, sample: str, step: int) -> int:
    """A 128-bit number for one random step on one sample in one epoch."""
    text = f"{seed}\0{epoch}\0{sample}\0{step}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")


_LOCAL = threading.local()
_INCREMENT = 0x5851F42D4C957F2D14057B7EF767814F


def generator(key: int) -> np.random.Generator:
    """The generator of one key, valid until the next call in the same thread.

    The key is a hash, so it can be the state itself: that takes a tenth of the time of making a
    generator from a seed.
    """
    import numpy as np

    generator: np.random.Generator | None = getattr(_LOCAL, "generator", None)
    if generator is None:
        generator = _LOCAL.generator = np.random.Generator(np.random.PCG64(0))
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": key, "inc": _INCREMENT},
        "has_uint32": 0,
        "uinteger": 0,
    }
    return generator


def seeded(transform: Callable[[dict[str, Any]], Mapping[Any, Any]]) -> Apply:
    """Let a random transform draw from a state of the sample's own.

    Args:
        transform: A MONAI transform, or a callable that draws from the global generators.
    """
    from monai.transforms import Compose, Randomizable

    # Typed as Any: mypy doesn't expect a callable that is also a MONAI class.
    composed: Any = transform
    if isinstance(composed, Compose):
        # OneOf and the like draw a seed for each of their parts, so a shared state isn't enough.
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
    """Seed the global generators that a transform may use, and restore them afterwards."""
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
