"""Marks of single parameters."""

from __future__ import annotations

from typing import Any

import pytest


def long(*values: Any) -> Any:
    """Parameters that take long, and that others of the test are like."""
    return pytest.param(*values, marks=pytest.mark.long)


def rare(*values: Any) -> Any:
    """Parameters that take long, and on which others of the test nearly always agree."""
    return pytest.param(*values, marks=[pytest.mark.long, pytest.mark.rare])
