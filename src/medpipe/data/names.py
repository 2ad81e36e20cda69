"""What a data set calls its samples, groups and classes: text, by which they can be told apart."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from medpipe.steps import Sample
from medpipe.text import visible

if TYPE_CHECKING:
    from medpipe.steps import Dataset

_SHOWN = 60


def no_names(dataset: Dataset) -> str | None:
    """What is no name, as the end of a sentence with what to do; None: nothing.

    Ids that several samples share are said with all that is wrong with single samples.
    """
    samples = dataset.samples
    if not all(issubclass(kind, Sample) for kind in set(map(type, samples))):
        other = next(one for one in samples if not isinstance(one, Sample))
        return f"{str(other)[:_SHOWN]!r} stands among the samples, which is no Sample."
    if not set(map(type, [sample.id for sample in samples])) <= {str}:
        number, odd = next((n, s) for n, s in enumerate(samples) if not isinstance(s.id, str))
        return f"sample {number} (from 0) has the id {odd.id!r}, which is no text. Give it as str."
    if not set(map(type, [sample.group for sample in samples])) <= {str, type(None)}:
        odd = next(s for s in samples if not isinstance(s.group, (str, type(None))))
        return (
            f"the sample {odd.id!r} has the group {odd.group!r}, which is no text. Give it as str, "
            "or None where it is unknown."
        )
    wrong = [name for name in dataset.task.names if not isinstance(name, str)]
    if wrong:
        return f"the task has the name {wrong[0]!r}, which is no text. Give it as str."
    looks = Counter(map(visible, dataset.task.names))
    same = [name for name in dataset.task.names if looks[visible(name)] > 1]
    if same:
        return (
            f"the task has names that look the same: {', '.join(map(repr, same))}. Give each class "
            "or finding a name of its own."
        )
    return None
