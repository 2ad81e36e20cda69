"""Make faults of what listing, ids, labels, the scan and leaks show."""

from __future__ import annotations

from collections import Counter
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
    same = Counter(portable_id(sample.id) for sample in samples)
    for sample in samples:
        if sample.id in no_names:
            yield fault(sample, "id", no_text(sample.id))
        elif portable_id(sample.id) in twice:
            message = f"The id {sample.id!r} is that of several samples."
            if same[portable_id(sample.id)] == 1:
                message = f"The id {sample.id!r} differs from another only in invisible characters."
            yield fault(sample, "id", message, "Give each sample an id of its own.")


def label_faults(samples: Sequence[Sample], task: Task) -> Iterator[Fault]:
    """Samples whose labels are none of the task's."""
    problem, names = task.step.label_problem, task.names
    for sample in samples:
        why = problem(sample.label, names)
        if why is not None:
            message = f"The sample {sample.id!r} has the label {sample.label!r}{why}."
            yield fault(sample, "label", message)


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
