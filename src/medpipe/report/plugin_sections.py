"""Sections that tasks, metrics and handlers of plugins add to a report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medpipe.report.blocks import Section, Shown

if TYPE_CHECKING:
    from medpipe.report.facts import ReportFacts


def plugin_sections(facts: ReportFacts, split: str | None, shown: Shown) -> Iterator[Section]:
    """The sections of the run's steps, in the order of the configuration."""
    yield from ()
