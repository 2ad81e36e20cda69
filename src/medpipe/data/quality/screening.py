"""Screen the samples: faulty ones are refused, left out or trained on, as `run.bad_data` says."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from medpipe.data.quality.contradictions import contradictions
from medpipe.data.quality.faults import (
    contradiction_faults,
    defect_faults,
    error_fault,
    id_faults,
    label_faults,
    split_faults,
)
from medpipe.data.quality.non_finite import REMEDY, without_filled
from medpipe.data.quality.step_faults import blame, counted_samples, made_by_step
from medpipe.data.scanning.label_scan import scan_labels
from medpipe.data.scanning.pixel_defects import NOT_FINITE
from medpipe.data.scanning.scan import Scan, look_through
from medpipe.errors import BadDataError, DataError, Fault, FaultKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from medpipe.data.quality.non_finite import Fills
    from medpipe.data.scanning.label_scan import LabelScan
    from medpipe.data.scanning.scan import Ahead, Seen
    from medpipe.settings import BadData
    from medpipe.steps import Dataset

TRAINABLE: frozenset[FaultKind] = frozenset({"contradiction"})
"""The kinds of faults that can be trained on, if that is asked for."""
LISTED = "medpipe check --data lists all that is wrong."
NAMED = 3
"""How many samples a note names."""


@attrs.frozen(kw_only=True, eq=False)
class Screened:
    """A data set that was screened.

    Attributes:
        dataset: All that was listed.
        scan: Of the samples that could be read and have an id of their own.
        faults: What is wrong, in the order of the samples.
        warnings: What may be wrong, and is trained on.
        notes: The warnings in a sentence for each kind, for the run's record.
        filled: The sentence among them on images whose values the chain fills.
    """

    dataset: Dataset
    scan: Scan
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()

    def without(self, faults: Iterable[Fault]) -> Dataset:
        """The data set without the samples of these faults, and with the notes."""
        left_out = {fault.sample for fault in faults}
        samples = self.dataset.samples
        if left_out:
            samples = tuple([sample for sample in samples if sample.id not in left_out])
        notes = (*self.dataset.notes, *self.notes)
        return attrs.evolve(self.dataset, samples=samples, notes=notes, faults=())


def screen(
    dataset: Dataset,
    *,
    workers: int,
    ahead: Ahead | None = None,
    seen: Seen | None = None,
    fills: Fills | None = None,
) -> Screened:
    """Look at every sample once: its id, its label, its file and its pixels.

    Args:
        dataset: The samples.
        workers: How many threads read.
        ahead: See `medpipe.data.scanning.scan.scan`.
        seen: See `look_through`.
        fills: Tells whether the chain fills non-finite values; see
            `medpipe.data.quality.non_finite`.

    Raises:
        DataError: There are no samples, or fewer than two classes.
    """
    task = dataset.task
    if not dataset.samples and not dataset.faults:
        raise DataError("The data set has no samples.")
    wrong_names = task.step.names_problem(task.names)
    if wrong_names is not None:
        raise DataError(wrong_names)
    found = [*dataset.faults, *id_faults(dataset.samples)]
    no_names = {fault.sample for fault in found}
    named = dataset
    if no_names:
        samples = [sample for sample in dataset.samples if sample.id not in no_names]
        named = attrs.evolve(dataset, samples=samples)
    labels = [*label_faults(named.samples, task), *split_faults(named.samples)]
    scan, errors = look_through(named, workers=workers, ahead=ahead, seen=seen)
    if errors:
        by_id = {sample.id: sample for sample in named.samples}
        found += [error_fault(by_id[sample_id], error) for sample_id, error in errors]
    defects, filled = without_filled(
        list(defect_faults(named.samples, scan)), named.samples, dataset.reading, fills
    )
    constant = [fault for fault in defects if fault.kind == "constant"]
    found += [*labels, *(fault for fault in defects if fault.kind != "constant")]
    odd = {fault.sample for fault in found}
    good = [sample for sample in named.samples if sample.id not in odd] if odd else named.samples
    # Blank images are alike, whatever they show.
    blank = {fault.sample for fault in constant}
    contradicting = [c for c in contradiction_faults(good, scan, task) if c.sample not in blank]
    # Two readers may well see two things in one image, or measure two numbers.
    seen_twice = contradicting if task.step.several_readers else []
    notes = [*filled, *([_constant_note(constant)] if constant else [])]
    if seen_twice:
        notes += [contradictions(good, scan, task) or ""]
    else:
        found += contradicting
    return Screened(
        dataset=dataset,
        scan=scan,
        faults=_in_order(found, dataset),
        warnings=(*constant, *seen_twice),
        notes=tuple(notes),
        filled=tuple(filled),
    )


def with_labels(screened: Screened, *, workers: int) -> tuple[Screened, LabelScan | None]:
    """Read the masks too, where labels are images; those that can't be used are faults.

    Args:
        screened: What was found so far.
        workers: How many threads read.
    """
    dataset = screened.dataset
    if not dataset.task.step.dense:
        return screened, None
    odd = {fault.sample for fault in screened.faults}
    readable = [sample for sample in dataset.samples if sample.id not in odd]
    scan, faults = scan_labels(attrs.evolve(dataset, samples=readable), workers=workers)
    return attrs.evolve(
        screened,
        faults=_in_order([*screened.faults, *faults], dataset),
        notes=(*screened.notes, *scan.notes),
    ), scan


def choose(
    screened: Screened, bad_data: BadData, step: str = ""
) -> tuple[Dataset, tuple[Fault, ...]]:
    """Refuse, leave out or keep the faulty samples, as asked for.

    Args:
        screened: What was found.
        bad_data: See `medpipe.settings.RunSettings`.
        step: The dataset step, for errors; see `blame`.

    Returns:
        The data set to train on, and what was left out.

    Raises:
        BadDataError: Samples are faulty, and are not to be left out.
    """
    faults = screened.faults
    if bad_data == "quarantine":
        if not _some_left(screened):
            said = blame(made_by_step(faults, screened.dataset), step)
            remedies = [said or "Repair some, or add others."]
            raise BadDataError("All samples are faulty:", faults, remedies)
        return screened.without(faults), faults
    refused = faults
    if bad_data == "keep":
        refused = tuple(fault for fault in faults if fault.kind not in TRAINABLE)
    if refused:
        raise refusal(refused, screened.dataset, step)
    kept = screened.without(())
    if faults:
        note = contradictions(kept.samples, screened.scan, kept.task)
        kept = attrs.evolve(kept, notes=(*kept.notes, *([note] if note else [])))
    return kept, ()


LEAVE_OUT = (
    'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the command '
    f"line --quarantine). {LISTED}"
)


def refusal(
    faults: Sequence[Fault], dataset: Dataset, step: str = "", *, advice: str = LEAVE_OUT
) -> BadDataError:
    """The error for samples that can't be used.

    Args:
        faults: What is wrong.
        dataset: What was listed.
        step: The dataset step; see `blame`.
        advice: What to do, where most of it is not the step's own fault.
    """
    count, total = counted_samples(faults), len(dataset.samples) + counted_samples(dataset.faults)
    made = made_by_step(faults, dataset)
    said = blame(made, step)
    own = bool(said) and 2 * counted_samples(made) >= total  # too many to be left out
    remedies = [said] if said else []
    if not own:
        remedies.append(advice)
    elif advice == LEAVE_OUT:
        remedies.append(LISTED)
    if any(fault.kind in NOT_FINITE for fault in faults):
        remedies.append(REMEDY)
    if any(fault.kind in TRAINABLE for fault in faults):
        remedies.append('Images under two labels are trained on with run.bad_data = "keep".')
    return BadDataError(f"{count} of {total} samples can't be used:", faults, remedies)


def quarantine_note(faults: Sequence[Fault]) -> str:
    """A sentence about what was left out."""
    count = counted_samples(faults)
    verb = "sample was" if count == 1 else "samples were"
    return f"{count} faulty {verb} left out (run.bad_data): {counted_kinds(faults)}."


def counted_kinds(faults: Iterable[Fault]) -> str:
    """How many of each kind: ``2 empty, 1 nan``."""
    counts = Counter(fault.kind for fault in faults)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _some_left(screened: Screened) -> bool:
    faulty = {fault.sample for fault in screened.faults}
    return any(sample.id not in faulty for sample in screened.dataset.samples)


def _constant_note(constant: Sequence[Fault]) -> str:
    named = ", ".join(repr(fault.sample) for fault in constant[:NAMED])
    more = f" and {len(constant) - NAMED} more" if len(constant) > NAMED else ""
    verb = "image is" if len(constant) == 1 else "images are"
    return f"{len(constant)} {verb} constant, all pixels of one value: {named}{more}."


def _in_order(faults: Sequence[Fault], dataset: Dataset) -> tuple[Fault, ...]:
    """By the order of the samples; what was not even listed comes first."""
    if not faults:
        return ()
    places = {sample.id: place for place, sample in enumerate(dataset.samples)}
    return tuple(sorted(faults, key=lambda fault: places.get(fault.sample, -1)))
