"""Make faults of what listing, ids, labels, the scan and leaks show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.data.ids import no_text, odd_ids, portable_id
from medpipe.data.quality.contradictions import contradicting, label_text
from medpipe.data.readers.reader import source_of
from medpipe.data.readers.unreadable import UnreadableImageError
from medpipe.data.splits.leaks import training_side
from medpipe.data.splits.units import seen_as
from medpipe.errors import DataError, Fault, FaultKind
from medpipe.steps import SPLITS, Split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from medpipe.data.scanning.pixel_defects import PixelDefect
    from medpipe.data.scanning.scan import Scan
    from medpipe.steps import Dataset, Sample, Task

DEFECTS: Mapping[PixelDefect, str] = {
    "nan": "holds NaN values",
    "infinite": "holds infinite values, or values beyond float32",
    "constant": "is constant: all pixels have the same value",
}

NAMED = 2
"""How many classes a remedy names."""


def fault(sample: Sample, kind: FaultKind, message: str, remedy: str = "") -> Fault:
    """A fault of a sample."""
    return Fault(
        kind=kind,
        message=message,
        sample=sample.id,
        path=source_of(sample.image) or "",
        remedy=remedy,
    )


def image_of(sample: Sample) -> str:
    """How a sentence calls a sample's image."""
    path = source_of(sample.image)
    return f"The image {path}" if path else f"The image of the sample {sample.id!r}"


def id_faults(samples: Sequence[Sample]) -> Iterator[Fault]:
    """Samples whose ids are invalid: shared by several samples, or no valid Unicode."""
    twice, not_text = odd_ids(samples)
    if not twice and not not_text:
        return
    no_names = set(not_text)
    same: dict[str, list[Sample]] = {}
    for sample in samples:
        same.setdefault(portable_id(sample.id), []).append(sample)
    for sample in samples:
        if sample.id in no_names:
            yield fault(sample, "id", no_text(sample.id))
        elif portable_id(sample.id) in twice:
            sharing = same[portable_id(sample.id)]
            message = f"The id {sample.id!r} is that of {_shared(sharing)}."
            if len(sharing) == 1:
                message = f"The id {sample.id!r} differs from another only in invisible characters."
            yield fault(sample, "id", message, "Give each sample an id of its own.")


def _shared(samples: Sequence[Sample]) -> str:
    """How many samples there are, with two of their files, if they have any."""
    found = (source_of(sample.image) for sample in samples)
    files = list(dict.fromkeys(path for path in found if path))
    of = (
        f", such as {files[0]} and {files[1]}"
        if len(files) > 1
        else "".join(f", all of the file {path}" for path in files)
    )
    return f"{len(samples)} samples{of}"


def label_faults(samples: Sequence[Sample], task: Task) -> Iterator[Fault]:
    """Samples whose labels are none of the task's."""
    problem, names = task.step.label_problem, task.names
    wrong = [(one, why) for one in samples if (why := problem(one.label, names)) is not None]
    remedy = _label_remedy([one.label for one, _ in wrong], samples, task) if wrong else ""
    for sample, why in wrong:
        message = f"The sample {sample.id!r} has the label {sample.label!r}{why}."
        yield fault(sample, "label", message, remedy)


def _label_remedy(wrong: Sequence[object], samples: Sequence[Sample], task: Task) -> str:
    """What to give where all wrong labels are names of classes, texts, or counted from 1."""
    if task.step.label_form != "class":
        return ""
    texts = [label for label in wrong if isinstance(label, str)]
    if len(texts) < len(wrong):
        numbers = {sample.label for sample in samples if type(sample.label) is int}
        past = all(type(label) is int and label == len(task.names) for label in wrong)
        return "Classes are counted from 0." if past and 0 not in numbers else ""
    given = [name for name in task.names if name in texts]
    if set(texts) <= set(given):
        places = [f"{task.names.index(name)} for {name!r}" for name in given[:NAMED]]
        return f"Give the class's place, {' and '.join(places)}."
    decimal = all(text.isdecimal() for text in texts)
    return "Give the place of the class, a whole number from 0." if decimal else ""


def split_faults(samples: Sequence[Sample]) -> Iterator[Fault]:
    """Samples whose given split does not exist."""
    if {sample.split for sample in samples} <= {None, *SPLITS}:
        return
    for sample in samples:
        if sample.split not in (None, *SPLITS):
            message = f"The sample {sample.id!r} has the split {sample.split!r}."
            yield fault(sample, "split", message, f"The splits are {', '.join(SPLITS)}.")


def error_fault(sample: Sample, error: DataError) -> Fault:
    """The fault of a sample that can't be read."""
    if not isinstance(error, UnreadableImageError):
        return fault(sample, "unsupported", str(error))
    remedy = "" if error.remedy == UnreadableImageError.REMEDY else error.remedy
    return fault(sample, error.kind, f"The image {error.path} {error.reason}.", remedy)


def defect_faults(samples: Sequence[Sample], scan: Scan) -> Iterator[Fault]:
    """Samples whose images could be read and hold nothing to learn from."""
    defects = scan.fingerprints.with_defect()
    if not defects:
        return
    by_id = {sample.id: sample for sample in samples}
    for sample_id, defect in defects:
        sample = by_id[sample_id]
        yield fault(sample, defect, f"{image_of(sample)} {DEFECTS[defect]}.")


def contradiction_faults(samples: Sequence[Sample], scan: Scan, task: Task) -> Iterator[Fault]:
    """Samples whose pixels also appear under another label."""
    for same in contradicting(samples, scan):
        for sample in same:
            label = label_text(sample, task)
            other = next((o for o in same if label_text(o, task) != label), None)
            if other is not None:
                yield fault(
                    sample,
                    "contradiction",
                    f"{image_of(sample)} has the label {label!r}, and {other.id!r}, which has the "
                    f"same pixels, {label_text(other, task)!r}.",
                )


def _one_group(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and seen_as(one) == seen_as(other)


def leak_faults(dataset: Dataset, scan: Scan, splits: Mapping[str, Split]) -> Iterator[Fault]:
    """The training side of groups and copies that are in several splits."""
    samples = dataset.samples
    found = list(training_side(samples, scan, splits))
    if not found:
        return
    looks = scan.of(samples).pixels
    for leaking in found:
        sample = samples[leaking.index]
        group = [i for i in leaking.others if _one_group(sample.group, samples[i].group)]
        copy = [i for i in leaking.others if looks[i] == looks[leaking.index]]
        other = samples[(group or copy or leaking.others)[0]].id
        why = f"both are of the group {sample.group!r}"
        if not group:
            why = "both are the same image" if copy else "other samples join them into one group"
        yield fault(
            sample,
            "leak",
            f"The sample {sample.id!r} is in {leaking.split} and {other!r} in {leaking.stays}, but "
            f"{why}.",
        )
