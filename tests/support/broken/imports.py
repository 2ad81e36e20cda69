"""Steps whose modules take too much to import."""

from __future__ import annotations

from typing import Any

from support.broken.heavy_module import Heavy
from support.broken.slow_module import Slow

BROKEN: dict[str, list[Any]] = {
    "imports_nothing_heavy": [Heavy()],
    "imports_quickly": [Slow()],
}
"""For each check steps that fail it alone."""
SOUND: list[Any] = []
