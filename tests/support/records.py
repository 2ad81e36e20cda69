"""The record of a run, changed as another machine, version or data set would have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def change_record(run: Path, **changes: Any) -> None:
    """Set values in ``run.json`` by their paths: ``hardware__cpu="Z80"``."""
    record = json.loads((run / "run.json").read_text())
    for path, value in changes.items():
        *sections, key = path.split("__")
        table = record
        for section in sections:
            table = table[section]
        table[key] = value
    (run / "run.json").write_text(json.dumps(record))
