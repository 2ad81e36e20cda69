"""Which samples come when: a function of the seed and the pass, and of nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.data.chain import random_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Key = tuple[int, int]
"""A pass of the data and the place of a sample in its part."""


class PassOrder:
    """The batches of one part; each iteration over it is the next pass.

    The pass travels with each index, so that worker processes that live for the whole run know
    it without being told.

    Args:
        count: How many samples the part has.
        batch_size: Samples in a batch.
        drop_last: Leave out a last batch that is not full.
        seed: The run's seed; None for the samples' own order in every pass.
        classes: For balanced sampling, the class of each sample; else None.
    """

    def __init__(
        self,
        *,
        count: int,
        batch_size: int,
        drop_last: bool = False,
        seed: int | None = None,
        classes: Sequence[int] | None = None,
    ) -> None:
        self._count = count
        self._batch_size = batch_size
        self._drop_last = drop_last
        self._seed = seed
        self._classes = classes
        self.start: tuple[int, int] = (0, 0)
        """The pass and the batch, each counted from 0, at which the next iteration begins."""

    def __len__(self) -> int:
        full, rest = divmod(self._count, self._batch_size)
        return full + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[list[Key]]:
        this_pass, skipped = self.start
        self.start = (this_pass + 1, 0)
        order = self.order(this_pass)
        for batch in range(skipped, len(self)):
            start = batch * self._batch_size
            yield [(this_pass, index) for index in order[start : start + self._batch_size]]

    def order(self, this_pass: int) -> list[int]:
        """The places of a pass's samples, in their order."""
        if self._seed is None:
            return list(range(self._count))
        import numpy as np

        # A bit generator's raw stream never changes between versions of numpy; what
        # Generator.permutation makes of it may.
        bits = np.random.PCG64(random_key(self._seed, this_pass, "order", 0))
        draws = bits.random_raw(self._count)
        if self._classes is None:
            return [int(place) for place in np.argsort(draws, kind="stable")]
        classes = np.asarray(self._classes)
        members = [np.flatnonzero(classes == number) for number in np.unique(classes)]
        rows = [members[int(draw) % len(members)] for draw in draws]
        choices = bits.random_raw(self._count)
        return [int(row[int(draw) % len(row)]) for row, draw in zip(rows, choices, strict=True)]
