"""Leave out the training side of leaks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from medpipe.data.splits.leak_messages import leak_lines
from medpipe.data.splits.leaks import find_leaks, training_side
from medpipe.steps import SPLITS, Split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.data.scanning.scan import Scan
    from medpipe.steps import Dataset


def without_leaks(
    dataset: Dataset,
    scan: Scan,
    splits: Mapping[str, Split],
    *,
    source: str = "the data set's own splits",
) -> Dataset:
    """Leave out what `training_side` finds, with a note about it.

    Args:
        dataset: The samples.
        scan: Their fingerprints.
        splits: Of each sample.
        source: Whose splits they are, for the note.
    """
    lines = leak_lines(find_leaks(dataset.samples, scan, splits), splits)
    if not lines:
        return dataset
    dropped = {
        dataset.samples[leaking.index].id: leaking.split
        for leaking in training_side(dataset.samples, scan, splits)
    }
    counts = Counter(dropped.values())
    sides = " and ".join(f"{counts[split]} of {split}" for split in SPLITS if counts[split])
    verb = "sample was" if len(dropped) == 1 else "samples were"
    note = (
        f"{len(dropped)} {verb} left out ({sides}), since {source} divide groups or duplicate "
        f"images: {' '.join(lines)}"
    )
    return attrs.evolve(
        dataset,
        samples=[sample for sample in dataset.samples if sample.id not in dropped],
        notes=(*dataset.notes, note),
    )
