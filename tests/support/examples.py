"""How many examples hypothesis tries: all, six of ten in CI, by default a quarter."""

from __future__ import annotations

from hypothesis import settings

ALL = 100


def register_profiles() -> None:
    """Name what `--hypothesis-profile` may choose, and choose the quick one.

    No test has a deadline: a machine that does other things too would miss it.
    """
    settings.register_profile("all", deadline=None, max_examples=ALL)
    settings.register_profile("ci", deadline=None, max_examples=ALL * 3 // 5)
    settings.register_profile("default", deadline=None, max_examples=ALL // 4)
    settings.load_profile("default")


def examples(count: int) -> int:
    """How many of so many examples are tried."""
    return max(1, count * settings().max_examples // ALL)
