"""The data sheet: counts by split and patient, duplicates, the leak check, what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medpipe.report.blocks import Block, Points, Shown, Table, Text
from medpipe.steps import SPLITS
from medpipe.system.text import counted

if TYPE_CHECKING:
    from medpipe.report.facts import ReportFacts
    from medpipe.steps import Task

Rows = Sequence[Mapping[str, str]]


def data_sheet(facts: ReportFacts, rows: Rows, shown: Shown) -> list[Block]:
    """What is known of the run's data without reading an image.

    Args:
        facts: The run.
        rows: Those of its ``splits.csv``.
        shown: What may be in the report.
    """
    record = facts.record["data"]
    info = facts.data
    sides = " x ".join(str(side) if side else "any" for side in info.spatial_shape)
    task = info.task
    blocks: list[Block] = [
        Text(
            text=f"{counted(record['samples'], 'sample')}. The task is {task.kind} with "
            f"{_names(task)}. "
            f"Images leave the transforms with {counted(info.channels, 'channel')} and {sides} "
            f"{'pixels' if info.spatial_dims == 2 else 'voxels'}."
        )
    ]
    if rows:
        blocks += [_by_split(rows), *_by_label(facts, rows)]
        blocks.append(Points(items=_duplicates_and_leaks(rows)))
    left = record.get("quarantine") or {}
    if left:
        items = [f"{kind.replace('_', ' ')}: {count}" for kind, count in left.items()]
        blocks.append(Text(text=f"Left out because something is wrong: {', '.join(items)}."))
    notes = [*record.get("notes", ()), *facts.notes]
    if notes and shown.paths:
        blocks.append(Points(items=notes))
    elif notes:
        blocks.append(Text(text=f"{counted(len(notes), 'note')} on the data may name files."))
    return blocks


def _by_split(rows: Rows) -> Table:
    cells: list[list[Any]] = []
    for split in SPLITS:
        some = [row for row in rows if row["split"] == split]
        if some:
            cells.append([split, len(some), _groups(some)])
    cells.append(["all", len(rows), _groups(rows)])
    return Table(columns=["split", "images", "patients or other groups"], rows=cells)


def _groups(rows: Rows) -> int:
    return len({row["group"] for row in rows if row["group"]}) + sum(
        not row["group"] for row in rows
    )


def _by_label(facts: ReportFacts, rows: Rows) -> list[Block]:
    """How many samples of each split have each class or finding."""
    task = facts.data.task
    form = task.step.label_form
    if form not in ("class", "findings"):
        return []
    there = [split for split in SPLITS if any(row["split"] == split for row in rows)]
    counts: dict[str, Counter[int]] = {split: Counter() for split in there}
    unknown: dict[str, Counter[int]] = {split: Counter() for split in there}
    for row in rows:
        numbers = [float(text) for text in row["label"].split()]
        places = enumerate(numbers) if form == "findings" else [(int(numbers[0]), 1.0)]
        for place, value in places:
            if value == 1:
                counts[row["split"]][place] += 1
            elif value != value:
                unknown[row["split"]][place] += 1
    cells: list[list[Any]] = []
    for place, name in enumerate(task.names):
        found = [counts[split][place] for split in there]
        if any(unknown[split][place] for split in there):
            missing = [unknown[split][place] for split in there]
            cells.append(
                [name, *(f"{n:,} (unknown: {m:,})" for n, m in zip(found, missing, strict=True))]
            )
        else:
            cells.append([name, *found])
    return [Table(columns=[task.step.word, *there], rows=cells)]


def _duplicates_and_leaks(rows: Rows) -> list[str]:
    if not all(row.get("pixels") for row in rows):
        return ["Copies can't be counted: splits.csv has no hashes of the pixels."]
    same: dict[str, set[str]] = defaultdict(set)
    images: Counter[str] = Counter()
    groups: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        same[row["pixels"]].add(row["split"])
        images[row["pixels"]] += 1
        if row["group"]:
            groups[row["group"]].add(row["split"])
    copies = sum(count - 1 for count in images.values())
    leaked_images = sum(len(splits) > 1 for splits in same.values())
    leaked_groups = sum(len(splits) > 1 for splits in groups.values())
    said = [
        f"{counted(copies, 'image')} {'is' if copies == 1 else 'are'} an exact copy of another."
    ]
    if copies == 0:
        said = ["No image is an exact copy of another."]
    if leaked_images or leaked_groups:
        said.append(
            f"{counted(leaked_images, 'image')} and {counted(leaked_groups, 'group')} are in more "
            "than one split: the results are too good."
        )
    else:
        said.append("No image and no group is in more than one split.")
    if not groups:
        said.append(
            "The samples have no groups: if a patient has several images, they may be in several "
            "splits."
        )
    return said


def _names(task: Task) -> str:
    word = task.step.word
    many = f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{len(task.names)} {word if len(task.names) == 1 else many}"
