"""The model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medpipe.report.blocks import Shown
    from medpipe.report.facts import ReportFacts


def model_card(facts: ReportFacts, shown: Shown) -> str:
    """The model card."""
    return ""
