"""What importing a module takes, seen in a fresh process."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys

import attrs

from medpipe.testing.check import skip

SECONDS = 0.5
"""How long importing a plugin's module may take, beyond medpipe and what Python has itself."""
WAITS = 5.0
"""Seconds from which on waiting counts too; below, a busy machine would be taken for a plugin."""

_IMPORT = """
import sys, time
import attrs
from medpipe.plugin import *
sys.path[:0] = {path!r}
start = time.perf_counter(), time.process_time()
__import__({module!r})
took = time.perf_counter() - start[0], time.process_time() - start[1]
print()
heavy = [name for name in {heavy!r} if name in sys.modules]
print(took[1] if took[0] < {waits} else took[0], *heavy)
"""
_HEAVY = ("torch", "monai", "ignite")


@attrs.frozen(kw_only=True)
class Imported:
    """What importing a module took.

    Attributes:
        seconds: How long, without what medpipe has itself.
        heavy: What heavy packages it imported.
    """

    seconds: float
    heavy: tuple[str, ...]


@functools.cache
def import_elsewhere(module: str, path: tuple[str, ...]) -> Imported | None:
    """Import a module in a fresh process, the quicker of two times; None if it can't be.

    Args:
        module: Its name.
        path: Where modules are looked for first.
    """
    source = _IMPORT.format(path=list(path), module=module, heavy=_HEAVY, waits=WAITS)
    found: list[Imported] = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode:
            return None
        seconds, *heavy = done.stdout.splitlines()[-1].split()
        found.append(Imported(seconds=float(seconds), heavy=tuple(heavy)))
        if found[-1].seconds <= SECONDS:
            break
    return min(found, key=lambda one: one.seconds)


def imported(module: str) -> Imported:
    """What importing the module of a step takes.

    Raises:
        CheckSkipped: No other process can import it.
    """
    found = None
    if module != "__main__" and importlib.util.find_spec(module.partition(".")[0]) is not None:
        found = import_elsewhere(module, tuple(p for p in sys.path if p))
    if found is None:
        raise skip(f"its module {module!r} can't be imported by another process")
    return found
