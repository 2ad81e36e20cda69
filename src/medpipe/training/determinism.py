"""One seed for everything that draws, and the generators put back afterwards."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with MONAI's `set_determinism`, then put every generator back.

    Python's, NumPy's and torch's generators are as they were after the block, so that a run
    inside somebody's script changes nothing of theirs.

    Args:
        seed: The run's seed.
    """
    import random

    import numpy as np
    import torch
    from monai.utils import set_determinism

    python, numpy = random.getstate(), np.random.get_state()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with torch.random.fork_rng():
        set_determinism(seed=seed)
        try:
            yield
        finally:
            set_determinism(seed=None)
            random.setstate(python)
            np.random.set_state(numpy)
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
