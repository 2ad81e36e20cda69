"""What tasks, metrics and handlers add to a report.

Nothing here imports numpy or matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True)
class ReportTable:
    """A table of a report.

    Attributes:
        columns: Their headings.
        rows: Cells, as many as there are columns: text or numbers. The first names the row.
        caption: What it shows.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""


@attrs.frozen(kw_only=True, eq=False)
class ReportSection:
    """A section that a step adds to the report of a run.

    Attributes:
        title: Its heading.
        text: Paragraphs, as plain text.
        tables: Tables.
        figures: Matplotlib figures by caption. They become SVG, and are left out of a report
            without images where they hold pixels.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[ReportTable] = ()
    figures: Mapping[str, Figure] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, eq=False)
class ReportContext:
    """The results that a step reports on.

    Attributes:
        output: The run directory, to read what the step has written there.
        split: ``test``, ``validation`` or ``evaluation``.
        names: The task's classes, findings or targets.
        unit: The unit of targets.
        scores: As `Predictions.scores`.
        labels: As `Predictions.labels`.
        metrics: Those of the split.
        measures: As `Predictions.measures`.
        paths: Whether paths, ids of samples and names of patients may be shown.
    """

    output: Path
    split: str
    names: tuple[str, ...]
    unit: str | None
    scores: Array
    labels: Array
    metrics: Mapping[str, Any]
    measures: Mapping[str, Array] = attrs.field(factory=dict)
    paths: bool = True
