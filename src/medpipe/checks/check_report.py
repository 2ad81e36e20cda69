"""`CheckReport`: what `Pipeline.check` found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.assembly import Assembly
from medpipe.config import toml_text
from medpipe.data.preparation import PreparedData
from medpipe.data.splits.counts import GROUPS, as_html, class_counts, group_counts
from medpipe.errors import CheckFailed, Problem
from medpipe.steps import SPLITS, DataInfo
from medpipe.system.hardware import Precision
from medpipe.system.html import table
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from medpipe.training.memory import MemoryEstimate
    from medpipe.training.weights import WeightsReport

SHOWN = 10
"""Classes, notes and warnings that are shown."""


@attrs.frozen(kw_only=True, eq=False)
class Checked:
    """The results of a check without problems; see `CheckReport`."""

    assembly: Assembly
    prepared: PreparedData
    data: DataInfo
    device: torch.device
    precision: Precision
    weights: WeightsReport | None
    planned: Mapping[str, Any] | None


@attrs.define(kw_only=True, eq=False, repr=False)
class CheckReport:
    """What a check found.

    Attributes:
        problems: What must be fixed before the pipeline can run.
        warnings: What is probably not meant; the pipeline can run.
        notes: Remarks that do not stop the pipeline.
        assembly: Builds the parts, with what was decided in place of ``"auto"``.
        prepared: The samples, scanned and split; None where that failed.
        data: What was measured on the chain's output; None where that failed.
        device: Where the pipeline would run.
        precision: The precision that it would compute in.
        parameters: How many parameters the network has.
        weights: Which pretrained tensors are loaded; None where the network has random weights.
        iterations: Iterations in an epoch and in all; None where the trainer wasn't built.
        memory: The estimated memory of a training step.
        planned: The lengths of the trainer's schedules; None where the trainer wasn't built.
    """

    problems: list[Problem] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    assembly: Assembly | None = None
    prepared: PreparedData | None = None
    data: DataInfo | None = None
    device: torch.device | None = None
    precision: Precision | None = None
    parameters: int | None = None
    weights: WeightsReport | None = None
    iterations: tuple[int, int] | None = None
    memory: MemoryEstimate | None = None
    planned: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether the pipeline can run."""
        return not self.problems

    def raise_for_problems(self) -> None:
        """Raise an error if there are problems.

        Raises:
            CheckFailed: There are problems; it lists them all.
        """
        if self.problems:
            raise CheckFailed("The pipeline can't run", self.problems)

    def checked(self) -> Checked:
        """Return the results, of which none is missing where there is no problem.

        Raises:
            CheckFailed: There are problems; it lists them all.
        """
        self.raise_for_problems()
        assert self.assembly is not None
        assert self.prepared is not None
        assert self.data is not None
        assert self.device is not None
        assert self.precision is not None
        return Checked(
            assembly=self.assembly,
            prepared=self.prepared,
            data=self.data,
            device=self.device,
            precision=self.precision,
            weights=self.weights,
            planned=self.planned,
        )

    def __str__(self) -> str:
        count = len(self.problems)
        said = counted(count, "problem")
        lines = ["The pipeline can run." if self.ok else f"The pipeline can't run: {said}."]
        lines += [f"problem     {problem}" for problem in self.problems]
        lines += _some("warning", self.warnings)
        lines += self._details()
        lines += _some("note", self.notes)
        return "\n".join(lines)

    def __repr__(self) -> str:
        parts = [f"ok={self.ok}"]
        parts += [counted(len(self.problems), "problem")] if self.problems else []
        parts += [counted(len(self.warnings), "warning")] if self.warnings else []
        return f"CheckReport({', '.join(parts)}; print it to see all)"

    def _repr_html_(self) -> str:
        title, *lines = str(self).splitlines()
        words = ((line[:12].strip(), line[12:]) for line in lines)
        # Without a word it is a line of the split's table, which stands below.
        shown = table([row for row in words if row[0]], title=title)
        if self.prepared is None:
            return shown
        return shown + as_html(self.prepared.by_split, self.prepared.dataset.task)

    def _details(self) -> list[str]:
        lines = []
        if self.prepared is not None:
            counts = ", ".join(f"{len(self.prepared.by_split[split])} {split}" for split in SPLITS)
            lines.append(f"samples     {counts}")
            lines += _table(self.prepared)
        if self.data is not None:
            sides = " x ".join(str(side) if side else "any" for side in self.data.spatial_shape)
            lines.append(f"images      {counted(self.data.channels, 'channel')}, {sides}")
            task = self.data.task
            lines.append(f"task        {task.kind}: {', '.join(task.names)}")
        if self.assembly is not None and self.assembly.decided:
            chosen = [_chosen(*item) for item in self.assembly.decided.items()]
            lines.append(f"auto        {', '.join(chosen)}")
        if self.parameters is not None:
            lines.append(f"network     {self.parameters:,} parameters")
        if self.weights is not None:
            lines.append(f"weights     {self.weights}")
        if self.iterations is not None:
            each, total = self.iterations
            lines.append(f"iterations  {each:,} in an epoch, {total:,} in all")
        if self.memory is not None:
            lines.append(
                f"memory      about {size_of_memory(self.memory.total)} for a training step"
            )
        if self.device is not None:
            lines.append(f"device      {self.device}, {self.precision}")
        return lines


def _chosen(path: str, value: Any) -> str:
    """A setting and what stands for ``"auto"``: of a step its name."""
    return f"{path} = {value['step'] if isinstance(value, dict) else toml_text(value)}"


def _some(word: str, sentences: Sequence[str]) -> list[str]:
    lines = [f"{word:11} {sentence}" for sentence in sentences[:SHOWN]]
    more = len(sentences) - SHOWN
    return [*lines, f"{word:11} and {more} more"] if more > 0 else lines


def _table(prepared: PreparedData) -> list[str]:
    """Samples of each class, and groups, by split."""
    task = prepared.dataset.task
    rows = list(class_counts(prepared.by_split, task).items())[:SHOWN]
    groups = group_counts(prepared.by_split)
    rows += [(GROUPS, groups)] if groups else []
    if not rows:
        return []
    width = max(len(name) for name, _ in rows)
    lines = [f"            {'':{width}}  training  validation  test"]
    lines += [f"            {name:{width}}  {a:>8}  {b:>10}  {c:>4}" for name, (a, b, c) in rows]
    more = len(task.names) - SHOWN
    return [*lines, f"            and {more} more classes"] if more > 0 else lines


def size_of_memory(count: int) -> str:
    """Format a number of bytes: ``28.9 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
