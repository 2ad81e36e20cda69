"""Predictions into a file that end before they are whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from medpipe import Run, RunSet


def begin(
    monkeypatch: pytest.MonkeyPatch,
    run: Run | RunSet,
    paths: Any,
    output: Path,
    *,
    after: int = 2,
    **more: Any,
) -> None:
    """Predict files, two in a batch, and end, by an error, when so many batches are answered."""
    from medpipe.prediction.parts import KeptAnswers

    add, count = KeptAnswers.add, 0

    def ending(self: KeptAnswers, batch: Any) -> None:
        nonlocal count
        if count == after:
            raise KeyboardInterrupt
        count += 1
        add(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(KeptAnswers, "add", ending)
        with pytest.raises(KeyboardInterrupt):
            run.predict(paths, output=output, batch_size=2, **more)
