"""Seed all random generators, and restore them afterwards."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from medpipe.system.random_state import random_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with MONAI's `set_determinism`, then put every generator back.

    Python's, NumPy's and torch's generators are as they were after the block, so that a run
    inside somebody's script changes nothing of theirs.

    Args:
        seed: The run's seed.
    """
    import torch
    from monai.utils import set_determinism

    before = Generators().state_dict()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    set_determinism(seed=seed)
    try:
        yield
    finally:
        with suppress(RuntimeError):  # it draws a seed, for which no file handle may be left
            set_determinism(seed=None)
        Generators().load_state_dict(before)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


def seed_apart(seed: int, rank: int, iteration: int) -> None:
    """Give a process random numbers of its own, from this iteration of the run on.

    Args:
        seed: The run's seed.
        rank: Which process it is.
        iteration: Iterations done.
    """
    import random

    import numpy as np
    import torch

    key = random_key(seed, iteration, "process", rank) % 2**32
    random.seed(key)
    np.random.seed(key)
    torch.manual_seed(key)


class Generators:
    """The state of every global random generator, for a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Python's, NumPy's and torch's, with every CUDA device's."""
        import random

        import numpy as np
        import torch

        version, words, gauss = random.getstate()
        legacy: Any = np.random.get_state(legacy=False)
        state: dict[str, Any] = {
            "python": [version, list(words), gauss],
            "numpy": {
                **{key: legacy[key] for key in ("bit_generator", "has_gauss", "gauss")},
                "position": int(legacy["state"]["pos"]),
                "key": legacy["state"]["key"].tolist(),
            },
            "torch": torch.get_rng_state(),
        }
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put them back."""
        import random

        import numpy as np
        import torch

        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        numpy = state["numpy"]
        inner = {"key": np.array(numpy["key"], np.uint32), "pos": numpy["position"]}
        np.random.set_state(
            {
                **{key: numpy[key] for key in ("bit_generator", "has_gauss", "gauss")},
                "state": inner,
            }
        )
        torch.set_rng_state(state["torch"])
        if torch.cuda.is_available() and "cuda" in state:
            torch.cuda.set_rng_state_all(state["cuda"])
