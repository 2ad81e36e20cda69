"""`RunFacts`: what a tracker is told of a run; all of it is read from the run directory."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NOT_SENT = frozenset({"subgroups", "confusion"})
"""Tables of the metrics that are no curves; those of subgroups may be of a few patients."""


@attrs.frozen
class Point:
    """One number of a curve.

    Attributes:
        name: Of the curve: ``training/loss``, ``validation/accuracy``, ``test/auc_low``; of
            letters, digits and ``_-./``.
        step: The iteration that it belongs to, counted from 1.
        value: A number; of the training loss a tensor, which need not have been computed yet.
        seconds: When it was noted, in seconds since 1970.
    """

    name: str
    step: int
    value: Any
    seconds: float = attrs.field(factory=time.time)


@attrs.frozen(kw_only=True)
class RunFacts:
    """What a tracker is told of a run.

    Attributes:
        path: The run directory.
        id: The run's own id, which stays when the run is resumed or its folder is moved.
        name: The name of the run directory.
        status: As in ``run.json``.
        parameters: Every parameter of the configuration by its path; empty for a run with
            ready-made objects.
        tags: Digests of the data and the split, versions, device, seeds.
        record: The content of ``run.json``.
    """

    path: Path
    id: str
    name: str
    status: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    record: Mapping[str, Any] = attrs.field(repr=False)

    @classmethod
    def read(cls, path: Path) -> RunFacts:
        """Read them from a run directory.

        Raises:
            OSError: It can't be read.
            ValueError: A file of it is damaged.
        """
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
        try:
            configuration = tomllib.loads((path / "pipeline.toml").read_text(encoding="utf-8"))
        except FileNotFoundError:
            configuration = {}
        return cls(
            path=path,
            id=record["id"],
            name=record["name"],
            status=record["status"],
            parameters=dict(_named((name, _text(item)) for name, item in _leaves(configuration))),
            tags=_tags(record),
            record=record,
        )

    def history(self) -> list[Point]:
        """The curves of ``history.csv``, a point for each epoch."""
        points = []
        for row in _rows(self.path / "history.csv"):
            step = int(row.pop("iterations"))
            for column, text in row.items():
                if text:
                    points.append(Point(_curve(column), step, float(text)))
        return points

    def iterations(self, every: int) -> list[Point]:
        """The curves of ``iterations.csv``, which the handler ``csv`` writes; empty without it."""
        return [
            Point(f"training/{column}", step, float(text))
            for row in _rows(self.path / "iterations.csv")
            if (step := int(row.pop("iteration"))) % every == 0
            for column, text in row.items()
            if text
        ]

    def unsent(self, tracker: str) -> list[Point]:
        """The points of iterations that a tracker did not take while the run trained."""
        return unsent(self.path, tracker)

    def results(self) -> list[Point]:
        """The metrics of the test, each with the ends of its interval; none before the test."""
        steps = [int(row["iterations"]) for row in _rows(self.path / "history.csv")]
        found = self.record["metrics"].get("test", {})
        step = max(steps, default=0)
        return [Point(f"test/{name}", step, value) for name, value in _named(numbers(found))]

    def artifacts(self, names: Iterable[str]) -> list[Path]:
        """The files of these names that the run directory has, the largest last."""
        paths = {self.path / name for name in names}
        there = [path for path in paths if path.is_file()]
        return sorted(there, key=lambda path: (path.stat().st_size, path.name))


def unsent_name(tracker: str) -> str:
    """The file of a run directory with what a tracker did not take."""
    return f"unsent_{tracker}.csv"


def unsent(path: Path, tracker: str) -> list[Point]:
    """The points in that file; none where it is not there, or holds something else."""
    try:
        return [
            Point(row["curve"], int(row["step"]), float(row["value"]), float(row["seconds"]))
            for row in _rows(path / unsent_name(tracker))
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def unsent_text(points: Iterable[Point]) -> str:
    """The content of that file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["curve", "step", "value", "seconds"])
    for point in points:
        writer.writerow([point.name, point.step, repr(float(point.value)), point.seconds])
    return out.getvalue()


def numbers(metrics: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a table of metrics and of the tables in it, each under its path.

    What is undefined is left out. The interval of ``auc`` is ``auc_low`` and ``auc_high``.
    """
    for name, value in metrics.items():
        if name in _NOT_SENT:
            continue
        if name == "intervals":
            for metric, ends in value.items():
                if isinstance(ends, list | tuple) and len(ends) == 2:
                    ends = dict(zip((f"{metric}_low", f"{metric}_high"), ends, strict=True))
                    yield from numbers(ends, before)
        elif isinstance(value, Mapping):
            yield from numbers(value, f"{before}{name.replace('/', '_')}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{before}{name}", float(value)


Item = TypeVar("Item")


def _named(items: Iterable[tuple[str, Item]]) -> Iterator[tuple[str, Item]]:
    """The items under names of characters that trackers take, each name once."""
    used: Counter[str] = Counter()
    for name, item in items:
        clean = re.sub(r"[^\w\-./]", "_", name)
        clean = "/".join("_" if part in ("", ".", "..") else part for part in clean.split("/"))
        used[clean] += 1
        yield (clean if used[clean] == 1 else f"{clean}-{used[clean]}"), item


def _curve(column: str) -> str:
    """The name of a column of ``history.csv`` as a curve."""
    if column.startswith("validation_"):
        return f"validation/{column.removeprefix('validation_')}"
    return column if column == "epoch" else f"epoch/{column}"


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return list(csv.DictReader(text.splitlines()))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables by their paths: ``transform.0.step``."""
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        items = enumerate(value)
    else:
        yield path, value
        return
    for name, item in items:
        yield from _leaves(item, f"{path}.{name}" if path else str(name))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _tags(record: Mapping[str, Any]) -> dict[str, str]:
    git = record["git"] or {}
    found = {
        "id": record["id"],
        "split_digest": record["split"]["digest"],
        "data_digest": record["data"]["digest"],
        "fold": record["split"]["fold"],
        "seed": record["seeds"]["run"],
        **{f"samples.{split}": count for split, count in record["data"]["splits"].items()},
        "device": record["device"],
        "precision": record["precision"],
        "repeatable": record["repeatable"],
        "git_commit": git.get("commit"),
        **{f"version.{name}": version for name, version in record["versions"].items()},
    }
    return {f"medpipe.{name}": _text(value) for name, value in found.items() if value is not None}
