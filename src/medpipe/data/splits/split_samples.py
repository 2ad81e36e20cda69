"""`SplitSamples`: the samples of each split, for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from medpipe.data.splits.counts import as_html
from medpipe.data.splits.split import Splits
from medpipe.data.splits.split_file import write_splits
from medpipe.steps import SPLITS, Reading, Sample, Split, Task

if TYPE_CHECKING:
    import os

    from medpipe.data.scanning.scan import Scan

__all__ = ["SplitSamples"]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SplitSamples(Mapping[Split, tuple[Sample, ...]]):
    """The samples of each split, as a run of the pipeline would divide them.

    A mapping: ``splits["test"]`` are the samples of the test, sorted by id. No two splits share a
    group or the pixels of an image.

    Attributes:
        by_split: The samples of ``"training"``, ``"validation"`` and ``"test"``.
        task: The question that the labels answer.
        reading: How the samples' files are to be decoded.
        notes: Sentences about what was left out and why.
    """

    by_split: Mapping[Split, tuple[Sample, ...]]
    task: Task
    reading: Reading
    notes: tuple[str, ...]
    _splits: Splits
    _scan: Scan

    def __getitem__(self, split: Split) -> tuple[Sample, ...]:
        return self.by_split[split]

    def __iter__(self) -> Iterator[Split]:
        return iter(SPLITS)

    def __len__(self) -> int:
        return len(SPLITS)

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={len(samples)}" for split, samples in self.items())
        return f"SplitSamples({counts})"

    def _repr_html_(self) -> str:
        return as_html(self.by_split, self.task)

    def ids(self, split: Split) -> tuple[str, ...]:
        """The ids of a split, sorted."""
        return tuple(sample.id for sample in self[split])

    @property
    def digest(self) -> str:
        """A SHA-256 of which id is where: the same on every machine for the same split."""
        return self._splits.digest

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the split as a CSV file, whole or not at all; ``split.file`` reads it back.

        The columns are id, split, with folds the fold, label, group, SHA-256 of the file and hash
        of the pixels: later images can be compared with these.

        Args:
            path: The file, such as ``splits.csv``.

        Raises:
            RunError: The file can't be written.
        """
        samples = [sample for split in SPLITS for sample in self[split]]
        write_splits(Path(path), self._splits, samples, self._scan)
