"""The order of samples and batches: a function of the seed and the epoch alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.system.place import Place
from medpipe.system.random_state import random_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np


@attrs.frozen(eq=False)
class BatchKey:
    """The key of one batch, which the sampler sends to the data set and its workers.

    Attributes:
        this_pass: The pass over the data, from 0.
        places: The places of the samples in their split, int64 of shape (batch,); where a pass
            has a sample several times, as patches or by chance, the number of samples is added
            for the second time, and so on.
        counts: Whether the samples are this process's. If not, it has none in this batch, and the
            one that is here stands in for them: every process takes every step.
    """

    this_pass: int
    places: np.ndarray[Any, Any]
    counts: bool = True

    def epochs(self, count: int, patches: int) -> list[int]:
        """The epoch of each sample for its random steps: no two times of a sample have one.

        Args:
            count: How many samples the split has.
            patches: How many patches of each sample a pass has.
        """
        found: list[int] = epochs_of(self.this_pass, self.places // count, patches).tolist()
        return found


def epochs_of(this_pass: int, times: np.ndarray[Any, Any], patches: int) -> np.ndarray[Any, Any]:
    """A number for each time, from 0, that a sample comes in a pass; over all passes once.

    From 0 on, pass by pass, for as many times as each sample has patches. Of samples that are
    drawn with replacement nobody knows how often they come: for more times they are below 0, by
    Cantor's pairing of two numbers.
    """
    import numpy as np

    more = np.maximum(times - patches, 0)
    diagonal = this_pass + more
    below = -1 - (diagonal * (diagonal + 1) // 2 + more)
    found: np.ndarray[Any, Any] = np.where(times < patches, this_pass * patches + times, below)
    return found


class EpochBatchSampler:
    """The batches of one split; each iteration over it is the next pass.

    Each key carries the pass, so that persistent workers know it. Of several processes each gets
    its part of every training batch; or, where nothing is trained, its part of the split.

    Args:
        count: How many samples the split has.
        batch_size: Samples in a batch.
        drop_last: Leave out a last batch that is not full.
        seed: The run's seed; None for the samples' own order in every pass.
        classes: For balanced sampling, the class of each sample; else None.
        patches: How many patches of each sample a pass has.
        here: Which of the run's processes this is.
    """

    def __init__(
        self,
        *,
        count: int,
        batch_size: int,
        drop_last: bool = False,
        seed: int | None = None,
        classes: Sequence[int] | None = None,
        patches: int = 1,
        here: Place = Place(),  # noqa: B008  (frozen)
    ) -> None:
        self._count = count
        self._all = count * patches
        self._here = here
        self._own = range(self._all)
        self._batch_size = batch_size
        if seed is None:
            self._own = self._own[here.share(self._all)]
            self._batch_size = -(-batch_size // here.world_size)
        self._drop_last = drop_last
        self._seed = seed
        self._classes = classes
        self.start: tuple[int, int] = (0, 0)
        """The pass and the batch, each counted from 0, at which the next iteration begins."""

    def __len__(self) -> int:
        full, rest = divmod(len(self._own), self._batch_size)
        return full + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[BatchKey]:
        this_pass, skipped = self.start
        self.start = (this_pass + 1, 0)
        order = self.order(this_pass)
        for batch in range(skipped, len(self)):
            start = batch * self._batch_size
            places = order[start : start + self._batch_size]
            if self._seed is None:
                yield BatchKey(this_pass, places)
                continue
            part = places[self._here.share(len(places))]
            counts = len(part) > 0
            yield BatchKey(this_pass, part if counts else places[:1], counts)

    def order(self, this_pass: int) -> np.ndarray[Any, Any]:
        """The places of a pass, in their order: int64 of shape (count * patches,).

        Where nothing is trained, those of this process.
        """
        import numpy as np

        if self._seed is None:
            return np.asarray(self._own)
        # A bit generator's raw stream never changes between versions of numpy; what
        # Generator.permutation makes of it may.
        bits = np.random.PCG64(random_key(self._seed, this_pass, "order", 0))
        draws = bits.random_raw(self._all)
        if self._classes is None:
            return _sorting(draws)
        classes = np.asarray(self._classes)
        by_class = np.argsort(classes, kind="stable")
        _, firsts, sizes = np.unique(classes[by_class], return_index=True, return_counts=True)
        chosen = draws % np.uint64(len(sizes))
        choices = bits.random_raw(self._all) % sizes.astype(np.uint64)[chosen]
        places: np.ndarray[Any, Any] = by_class[firsts[chosen] + choices.astype(np.int64)]
        places += _times(places) * self._count
        return places


def _times(places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How often each place came before in an order."""
    import numpy as np

    order = np.argsort(places, kind="stable")
    _, firsts, sizes = np.unique(places[order], return_index=True, return_counts=True)
    times: np.ndarray[Any, Any] = np.empty_like(places)
    times[order] = np.arange(len(places)) - np.repeat(firsts, sizes)
    return times


def _sorting(draws: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A stable argsort of the draws.

    An unstable sort is several times faster. Equal 64-bit draws occur in one pass of billions.
    """
    import numpy as np

    places: np.ndarray[Any, Any] = np.argsort(draws)
    in_order = draws[places]
    if (in_order[1:] == in_order[:-1]).any():
        return np.argsort(draws, kind="stable")
    return places
