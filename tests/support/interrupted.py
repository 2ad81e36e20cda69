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


ENDING = """
import os, signal, sys, time
from pathlib import Path
from medpipe.prediction.parts import KeptAnswers, parts_of
import medpipe.__main__
from medpipe.cli import main
parts, add = parts_of(Path(sys.argv[sys.argv.index("-o") + 1])), KeptAnswers.add
def ending(self, batch):
    add(self, batch)
    answered = sum(batch.member == int(os.environ["MEMBER"]) for batch in self.whole())
    if os.environ["RANK"] == "1" and answered >= int(os.environ["ANSWERED"]):
        while not all(path.stat().st_size for path in parts.glob("*.jsonl")):
            time.sleep(0.01)  # until the other has answered something too
        os.kill(os.getpid(), signal.SIGKILL)
KeptAnswers.add = ending
main(sys.argv[1:])
"""
"""A module by which process 1 is killed, once it has so many batches of a network."""
