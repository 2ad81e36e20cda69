"""What `Pipeline.check_data` does: read every file once and list all faults."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.quality.faults import fault, leak_faults
from medpipe.data.quality.links import link_faults
from medpipe.data.quality.near_duplicates import PerceptualHashes, near_pairs
from medpipe.data.quality.non_finite import filled_by
from medpipe.data.quality.quarantine_file import written
from medpipe.data.quality.screening import TRAINABLE, Screened, screen, with_labels
from medpipe.data.quality.step_faults import blame, made_by_step, titled
from medpipe.data.splits.leak_removal import without_leaks
from medpipe.data.splits.leaks import predefined_splits
from medpipe.data.splits.split import Splits, make_splits
from medpipe.errors import DataError, Fault, MedpipeError, StepError
from medpipe.steps import SPLITS
from medpipe.system.gc_pause import paused_collector
from medpipe.system.hardware import available_cpus
from medpipe.system.html import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from medpipe.assembly import Assembly
    from medpipe.data.quality.non_finite import Fills
    from medpipe.data.scanning.label_scan import LabelScan
    from medpipe.steps import Dataset, Sample

SHOWN_KINDS = 6
"""How many kinds of faults the short form counts."""
SHOWN = 3
"""How many warnings of one kind are shown."""
MOST_PAIRS = 1000
"""How many pairs of near-duplicates are listed; all are counted."""


@attrs.frozen(kw_only=True)
class DataReport:
    """All that is wrong with a pipeline's data.

    Attributes:
        samples: How many samples were listed.
        faults: Faults that training refuses, in the order of the samples.
        warnings: What may be wrong, but does not stop training.
        notes: The data set's remarks, such as on files that it left out.
        near_pairs: The number of pairs of near-duplicate images.
        crossing_pairs: How many of these are in two splits.
        seconds: How long the check took.
    """

    samples: int
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    near_pairs: int = 0
    crossing_pairs: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether there are no faults."""
        return not self.faults

    @property
    def counts(self) -> dict[str, int]:
        """How many faults there are of each kind."""
        return dict(sorted(Counter(fault.kind for fault in self.faults).items()))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(item) for key, item in value.items()}
            if isinstance(value, (list, tuple)):
                return [plain(item) for item in value]
            return written(value) if isinstance(value, str) else value

        found: dict[str, Any] = plain(attrs.asdict(self))
        return {"ok": self.ok, "counts": self.counts, **found}

    def __repr__(self) -> str:
        counts = [
            f"{self.samples:,} samples",
            *(f"{n:,} {kind}" for kind, n in self.counts.items()),
        ]
        parts = [f"ok={self.ok}", *counts[:SHOWN_KINDS]]
        parts += [f"{len(self.warnings):,} warnings"] if self.warnings else []
        return f"DataReport({', '.join(parts)}; print it to see all)"

    def _repr_html_(self) -> str:
        said = [
            *(("note", note) for note in self.notes),
            *((one.kind, str(one)) for one in self.faults),
            *((f"warning: {one.kind}", str(one)) for one in self.warnings),
        ]
        rows = [(kind, written(text)) for kind, text in said]
        found = "no faults" if self.ok else f"{len(self.faults):,} faults"
        return table(rows, title=f"Data: {self.samples:,} samples, {found}")

    def __str__(self) -> str:
        lines = [_line("samples", f"{self.samples:,} looked at in {self.seconds:.1f} s")]
        lines += [_line("note", note) for note in self.notes]
        by_kind: dict[str, list[Fault]] = {}
        for one in self.warnings:
            by_kind.setdefault(one.kind, []).append(one)
        for kind, some in by_kind.items():
            total = self.near_pairs if kind == "near_duplicate" else len(some)
            lines += [_line("warning", f"{kind}: {one}") for one in some[:SHOWN]]
            if total > SHOWN:
                crossing = f", {self.crossing_pairs:,} of them across splits"
                more = crossing if kind == "near_duplicate" else ""
                lines.append(_line("warning", f"{kind}: {total:,} in all{more}"))
        lines += dict.fromkeys(_line(one.kind, str(one)) for one in self.faults)
        counts = ", ".join(f"{count:,} {kind}" for kind, count in self.counts.items())
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults):,} faults"
        lines.append("No faults were found." if self.ok else f"{count}: {counts}.")
        return written("\n".join(lines))


def examine_data(assembly: Assembly) -> DataReport:
    """Check all of a pipeline's data, except for what depends on something that failed.

    Args:
        assembly: Builds the pipeline's parts.
    """
    started = time.perf_counter()
    with paused_collector():
        report = _examined(assembly)
    return attrs.evolve(report, seconds=round(time.perf_counter() - started, 3))


def _examined(assembly: Assembly) -> DataReport:
    looks = PerceptualHashes()
    try:
        dataset = assembly.listed()
        screened = screen(dataset, workers=available_cpus(), seen=looks.see, fills=_fills(assembly))
        screened, labels = with_labels(screened, workers=available_cpus())
    except MedpipeError as error:
        return DataReport(samples=0, faults=(Fault(kind="listing", message=str(error)),))
    keep = assembly.configuration.run.bad_data == "keep"
    allowed = [one for one in screened.faults if keep and one.kind in TRAINABLE]
    faults = [one for one in screened.faults if not (keep and one.kind in TRAINABLE)]
    good = screened.without(faults)
    faults += _unfit(assembly, good, screened)
    good = _without(good, faults)
    if good.on_leak == "error" and assembly.configuration.split.file is None:
        leaks = list(leak_faults(good, screened.scan, predefined_splits(good.samples)))
        faults += leaks
        good = _without(good, leaks)
    splits = _splits(assembly, good, screened, faults)
    pairs, near, crossing = _near(good.samples, screened, looks.hashes(), splits)
    copies = _copies(good.samples, screened)
    links = list(link_faults(dataset.samples))
    step = titled(assembly.configuration.dataset, assembly.registry)
    blamed = blame(made_by_step(screened.faults, dataset), step)
    low: list[Fault] = []
    told = [] if labels is None else list(labels.notes)
    if labels is not None and not faults:
        lost, low, said = _resampled(assembly, good, labels)
        faults += lost
        told += said
    return DataReport(
        samples=len(dataset.samples) + len({one.sample for one in dataset.faults}),
        faults=tuple(faults),
        warnings=(*screened.warnings, *allowed, *low, *links, *copies, *pairs),
        notes=(*dataset.notes, *screened.filled, *told, *([blamed] if blamed else [])),
        near_pairs=near,
        crossing_pairs=crossing,
    )


def _fills(assembly: Assembly) -> Fills | None:
    try:
        return filled_by(assembly.chain())
    except MedpipeError:  # `_unfit` reports it
        return None


def _resampled(
    assembly: Assembly, good: Dataset, labels: LabelScan
) -> tuple[list[Fault], list[Fault], list[str]]:
    """Structures that the transforms lose, those that they change much, and a note."""
    from medpipe.checks.dice_ceiling import ceiling_findings

    try:
        problems, warnings, notes = ceiling_findings(
            assembly, good, labels.counts, assembly.chain()
        )
    except MedpipeError:  # the chain's, which `_unfit` reports
        return [], [], []
    lost = [Fault(kind="transform", message=str(problem)) for problem in problems]
    return lost, [Fault(kind="transform", message=text) for text in warnings], notes


def _unfit(assembly: Assembly, good: Dataset, screened: Screened) -> Sequence[Fault]:
    """Faults of samples that leave the chain unlike the rest, or of the chain itself."""
    if not good.samples:
        return []
    try:
        return assembly.unfit(assembly.chain())(good, screened.scan)
    except StepError as error:
        return [Fault(kind="transform", message=str(error))]


def _splits(
    assembly: Assembly, good: Dataset, screened: Screened, faults: list[Fault]
) -> Splits | None:
    """The splits of the good samples; an error is added to the faults."""
    from medpipe.data.splits.split_file import read_splits

    settings = assembly.configuration.split
    if not good.samples:
        return None
    try:
        if settings.file is not None:
            return read_splits(settings.file, good, screened.scan, settings)[1]
        if good.on_leak == "drop_train":
            good = without_leaks(good, screened.scan, predefined_splits(good.samples))
        return make_splits(good.samples, screened.scan, settings, good.task)
    except DataError as error:
        faults.append(Fault(kind="split", message=str(error)))
        return None


def _copies(samples: Sequence[Sample], screened: Screened) -> list[Fault]:
    """A warning for each group of samples that hold the same image."""
    blank = _blank(screened)
    copies = (
        [samples[place] for place in places] for places in screened.scan.of(samples).pixels.copies()
    )
    return [
        fault(
            same[0],
            "duplicate",
            f"{' = '.join(repr(sample.id) for sample in same)}: the same pixels.",
        )
        for same in copies
        if same[0].id not in blank  # then all of them are blank
    ]


def _near(
    samples: Sequence[Sample], screened: Screened, hashes: dict[str, int], splits: Splits | None
) -> tuple[list[Fault], int, int]:
    """Warnings about near-duplicates, the number of pairs, and how many of these cross splits.

    Exact copies and blank images are left out.
    """
    left_out = _blank(screened)
    for same in screened.scan.of(samples).pixels.copies():
        left_out.update(samples[place].id for place in same[1:])
    some = [sample for sample in samples if sample.id not in left_out]
    if len(some) < 2:
        return [], 0, 0
    placed = {} if splits is None else splits.by_id
    numbers = [SPLITS.index(placed[s.id]) if s.id in placed else len(SPLITS) for s in some]
    found = near_pairs([hashes[sample.id] for sample in some], numbers, most=MOST_PAIRS)

    def named(place: int) -> str:
        id_ = some[place].id
        return f"{id_!r} ({placed[id_]})" if id_ in placed else repr(id_)

    warnings = [
        fault(some[one], "near_duplicate", f"{named(one)} and {named(other)} look alike.")
        for one, other in found.pairs
    ]
    return warnings, found.count, found.crossing


def _blank(screened: Screened) -> set[str]:
    return {one.sample for one in screened.warnings if one.kind == "constant"}


def _without(dataset: Dataset, faults: Iterable[Fault]) -> Dataset:
    left_out = {one.sample for one in faults}
    samples = [sample for sample in dataset.samples if sample.id not in left_out]
    return attrs.evolve(dataset, samples=samples)


def _line(what: str, text: str) -> str:
    return f"{what:<14} {text}"
