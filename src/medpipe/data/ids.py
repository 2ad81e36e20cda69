"""Ids of samples, and names of groups and classes: valid and unique text."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from medpipe.errors import DataError
from medpipe.steps import Sample
from medpipe.system.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.steps import Dataset

_SHOWN = 60
"""How many characters an error shows of an object that is no sample."""
NAMED = 10
"""How many ids an error names."""


def no_names(dataset: Dataset) -> str | None:
    """What is wrong with ids, groups or class names, as the end of a sentence; None: nothing.

    Ids that several samples share are reported with the other faults of samples.
    """
    samples = dataset.samples
    if not all(issubclass(kind, Sample) for kind in set(map(type, samples))):
        other = next(one for one in samples if not isinstance(one, Sample))
        return (
            f"{str(other)[:_SHOWN]!r} is among the samples and is not a Sample. Give "
            "medpipe.plugin.Sample objects."
        )
    if not set(map(type, [sample.id for sample in samples])) <= {str}:
        number, odd = next((n, s) for n, s in enumerate(samples) if not isinstance(s.id, str))
        return f"sample {number} (from 0) has the id {odd.id!r}, which is not text. Give it as str."
    if not set(map(type, [sample.group for sample in samples])) <= {str, type(None)}:
        odd = next(s for s in samples if not isinstance(s.group, (str, type(None))))
        return (
            f"the sample {odd.id!r} has the group {odd.group!r}, which is not text. Give it as "
            "str, or None where it is unknown."
        )
    wrong = [name for name in dataset.task.names if not isinstance(name, str)]
    if wrong:
        return f"the task has the name {wrong[0]!r}, which is not text. Give it as str."
    looks = Counter(map(visible, dataset.task.names))
    same = [name for name in dataset.task.names if looks[visible(name)] > 1]
    if same:
        return (
            f"the task has names that look the same: {', '.join(map(repr, same))}. Give each class "
            "or finding a name of its own."
        )
    return None


def portable_id(sample_id: str) -> str:
    """An id as it is on every machine: composed letters (Unicode NFC) and forward slashes."""
    composed = sample_id if sample_id.isascii() else unicodedata.normalize("NFC", sample_id)
    return composed.replace("\\", "/")


def check_ids(samples: Sequence[Sample]) -> None:
    """Refuse ids that are empty, no valid Unicode or not unique.

    Raises:
        DataError: There are no samples, or ids are invalid.
    """
    if not samples:
        raise DataError("The data set has no samples.")
    twice, not_text = odd_ids(samples)
    for name in not_text:
        raise DataError(no_text(name))
    if twice:
        named = ", ".join(repr(name) for name in sorted(twice)[:NAMED])
        more = f" and {len(twice) - NAMED} more" if len(twice) > NAMED else ""
        raise DataError(
            f"Several samples have the same id: {named}{more}. Each sample needs an id of its own."
        )


def no_text(sample_id: str) -> str:
    """The sentence about an id that is empty or no valid Unicode."""
    if not sample_id:
        return "A sample has an empty id. Give each sample an id of its own."
    return f"The id {sample_id!r} is not valid Unicode text. Rename the file in UTF-8."


def odd_ids(samples: Sequence[Sample]) -> tuple[set[str], list[str]]:
    """Which ids look like another, as `portable_id` has them; which are empty or no Unicode."""
    ids = {sample.id for sample in samples}
    together = "".join(ids)
    plain = together.isascii() and together.isprintable() and "\\" not in together
    spaces = " " in together and any(id_ != id_.strip(" ") for id_ in ids)
    if len(ids) == len(samples) and plain and not spaces and "" not in ids:
        return set(), []  # as almost always
    seen: dict[str, str] = {}
    twice: set[str] = set()
    not_text: list[str] = []
    for sample in samples:
        name = portable_id(sample.id)
        look = visible(name) or name
        if look in seen:
            twice.update((name, seen[look]))
        seen.setdefault(look, name)
        if not name or (not (name.isascii() or name.isprintable()) and _has_surrogates(name)):
            not_text.append(sample.id)
    return twice, not_text


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
