"""What is probably not meant in a split: rare classes, small splits, patients in two of them."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from medpipe.registry.parameters import parameter_types
from medpipe.steps import SPLITS, Split
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medpipe.assembly import Assembly
    from medpipe.data.preparation import PreparedData
    from medpipe.steps import DataInfo, Sample

EVALUATED: tuple[Split, ...] = ("validation", "test")
FEW = 10
"""Samples of a split below which its metrics say next to nothing."""
UNEVEN = 10
"""How many times the samples of the rarest class the most frequent one has where they are uneven.
"""
NAMED = 3
"""Classes that are named."""
LETTER = r"(?:^|[/_-])([pPsS][0-9]+)(?=[/_.-])"
"""What captures a patient as a letter with a number."""
PATIENTS = (r"(?i)((?:patient|subject|person|participant|sub|pat|pid)[-_ ]?[0-9]+)", LETTER)
"""Patterns that capture a patient in a name: a word with a number, or a letter with a number."""
FEWEST = 5
"""Groups that such a pattern must find."""
LARGEST = 0.2
"""The largest part of the images that one patient may have."""


def split_findings(
    assembly: Assembly, prepared: PreparedData, data: DataInfo
) -> tuple[list[str], list[str]]:
    """Look at the classes, the sizes and the groups of the splits.

    Returns:
        Warnings and notes.
    """
    warnings = [
        *_small(assembly, prepared),
        *_missing_classes(assembly, prepared),
        *_uneven(assembly, data),
    ]
    samples = [sample for split in SPLITS for sample in prepared.by_split[split]]
    patients = _patients(assembly, samples)
    warnings += [patients] if patients else []
    notes = [*_without_a_split(prepared), *_copies(prepared, samples)]
    return warnings, notes


def _small(assembly: Assembly, prepared: PreparedData) -> Iterator[str]:
    for split in EVALUATED:
        count = len(prepared.by_split[split])
        if 0 < count < FEW:
            yield (
                f"the {split} split has {counted(count, 'sample')}, and the metrics of "
                f"fewer than {FEW} say next to nothing. {_larger(assembly, prepared, split)}."
            )


def _larger(assembly: Assembly, prepared: PreparedData, split: Split) -> str:
    """How a split becomes larger, as the beginning of a sentence."""
    if any(sample.split is not None for sample in prepared.by_split[split]):
        return "Add data to it"
    if assembly.configuration.split.folds is not None and split == "test":
        return "Lower split.folds, or add data"
    return f"Raise split.{split}, or add data"


def _missing_classes(assembly: Assembly, prepared: PreparedData) -> Iterator[str]:
    task = prepared.dataset.task
    for split in EVALUATED:
        found = task.step.classes([sample.label for sample in prepared.by_split[split]])
        if not found:
            continue
        missing = [name for place, name in enumerate(task.names) if place not in set(found)]
        if missing:
            several = len(missing) > 1
            named = ", ".join(map(repr, missing[:NAMED]))
            named += f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            yield (
                f"the class{'es' * several} {named} {'have' if several else 'has'} no sample in "
                f"the {split} split, whose metrics say nothing of {'them' if several else 'it'}. "
                f"{_larger(assembly, prepared, split)}, or merge classes."
            )


def _uneven(assembly: Assembly, data: DataInfo) -> Iterator[str]:
    counts = data.class_counts
    if counts is None or assembly.configuration.loader.sampling == "balanced":
        return
    loss = assembly.loss_step(data)
    # A loss that has no weights may be made for uneven classes, as the focal one is.
    if getattr(loss, "class_weights", "none") is not None:
        return
    names = data.task.names
    most, least = counts.index(max(counts)), counts.index(min(counts))
    if counts[most] >= UNEVEN * counts[least]:
        share = counts[most] / sum(counts)
        yield (
            f"the class {names[most]!r} has {counts[most]} training samples and {names[least]!r} "
            f"{counts[least]}: to answer {names[most]!r} always is right in {share:.0%} of all. "
            'Set loader.sampling = "balanced", or trainer.loss.class_weights = "balanced".'
        )


def _patients(assembly: Assembly, samples: Sequence[Sample]) -> str | None:
    """A warning where no groups are given and names tell of patients with several images."""
    if any(sample.group is not None for sample in samples):
        return None
    for pattern in PATIENTS:
        search = re.compile(pattern).search
        found = [search(sample.id) for sample in samples]
        groups = Counter(match[1] for match in found if match)
        repeated = FEWEST <= len(groups) < len(samples)
        if all(found) and repeated and max(groups.values()) <= LARGEST * len(samples):
            return (
                f"the names tell of {len(groups)} patients, such as {min(groups)!r}, with "
                f"{len(samples)} images, and no group is given: images of one patient can be in "
                f"training and in test. {_group_remedy(assembly, pattern)}"
            )
    return None


def _group_remedy(assembly: Assembly, pattern: str) -> str:
    known = parameter_types(type(assembly.configuration.dataset))
    if "group_pattern" in known:
        also = "dataset.group to the column of patients, or " if "group" in known else ""
        return f"Set {also}dataset.group_pattern = '{pattern}'."
    return "Give each sample its patient as its group (Sample.group)."


def _without_a_split(prepared: PreparedData) -> Iterator[str]:
    if not prepared.by_split["validation"]:
        yield (
            "There is no validation split (split.validation = 0): nothing tells which epoch's "
            "network is the best, and the last one is taken."
        )
    if not prepared.by_split["test"]:
        yield (
            "There is no test split (split.test = 0): the metrics of the validation, by which the "
            "best network is chosen, are too good for new images."
        )


def _copies(prepared: PreparedData, samples: Sequence[Sample]) -> Iterator[str]:
    copies = prepared.scan.of(samples).pixels.copies()
    count = sum(len(places) - 1 for places in copies)
    if count:
        one, other = sorted(samples[place].id for place in copies[0][:2])
        verb = "image is a copy" if count == 1 else "images are copies"
        yield (
            f"{count} {verb} of others, pixel by pixel, such as {other!r} of {one!r}. Copies stay "
            "in one split."
        )
