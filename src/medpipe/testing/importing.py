"""What importing a plugin's module takes, in a process of its own: asked once for each module."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys

import attrs

from medpipe.testing.check import skip

SECONDS = 0.5
"""How long importing a plugin's module may take, beyond medpipe and what Python has itself."""
TIMES = 3
"""How often it is measured, if it seems to take longer."""
_IMPORT = """
import sys, time
import attrs
from medpipe.plugin import *
sys.path[:0] = {path!r}
start = time.process_time()
__import__({module!r})
print(time.process_time() - start, *[name for name in {heavy!r} if name in sys.modules])
"""
_HEAVY = ("torch", "monai", "ignite")


@attrs.frozen(kw_only=True)
class Imported:
    """What importing a module took.

    Attributes:
        seconds: Of a CPU: others may be busy.
        heavy: Which heavy modules it imported.
    """

    seconds: float
    heavy: tuple[str, ...]


@functools.cache
def imported(module: str) -> Imported:
    """Import a module in another process.

    Raises:
        CheckSkipped: No other process can import it.
    """
    if module == "__main__" or importlib.util.find_spec(module.partition(".")[0]) is None:
        raise skip(f"its module {module!r} can't be imported by another process")
    found = _measured(module)
    for _ in range(TIMES - 1):
        if found.seconds <= SECONDS:
            break
        found = min(found, _measured(module), key=lambda one: one.seconds)
    return found


def _measured(module: str) -> Imported:
    source = _IMPORT.format(path=[p for p in sys.path if p], module=module, heavy=_HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        raise skip(f"its module {module!r} can't be imported by another process")
    seconds, *heavy = done.stdout.splitlines()[-1].split()
    return Imported(seconds=float(seconds), heavy=tuple(heavy))
