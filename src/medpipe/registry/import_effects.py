"""What importing a plugin does beside defining its steps: it prints, starts threads, changes paths.

Nothing here imports torch.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAVY = ("torch", "monai", "ignite")


@contextmanager
def effects_of_import(found: list[str]) -> Iterator[None]:
    """Add a sentence for each thing that the block did beside importing.

    What it prints goes to standard error: a command's output is the command's. What would harm
    others is put back: the working directory, torch's default dtype, modules of medpipe.
    """
    before, threads = _state(), set(threading.enumerate())
    own = {name: each for name, each in sys.modules.items() if name.split(".")[0] == "medpipe"}
    modules = {name for name in HEAVY if name in sys.modules}
    noted = _Noted()
    try:
        with warnings.catch_warnings(record=True) as warned, redirect_stdout(cast("Any", noted)):
            yield
    finally:
        for each in warned:
            warnings.showwarning(each.message, each.category, each.filename, each.lineno)
        if noted.said:
            found.append(f"importing it prints {noted.said.strip()[:60]!r}.")
        if warned:
            said = " ".join(str(warned[0].message).split())[:100].rstrip(".")
            found.append(f"importing it warns: {warned[0].category.__name__}: {said}.")
        heavy = [name for name in HEAVY if name in sys.modules and name not in modules]
        if heavy:
            found.append(f"importing it imports {', '.join(heavy)}.")
        found += [
            f"importing it starts the thread {thread.name!r}."
            for thread in threading.enumerate()
            if thread not in threads
        ]
        after = _state()
        changed = [name for name in after if after[name] != before.get(name, after[name])]
        found += [f"importing it changes {name}." for name in changed]
        _put_back(before, changed)
        for name, module in own.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
                found.append(f"importing it replaces the module {name}.")


def _put_back(before: dict[str, Any], changed: list[str]) -> None:
    if "the working directory" in changed and before["the working directory"]:
        os.chdir(before["the working directory"])
    if "torch's default dtype" in changed:
        torch: Any = sys.modules["torch"]
        torch.set_default_dtype(getattr(torch, before["torch's default dtype"].split(".")[-1]))


def _state() -> dict[str, Any]:
    state: dict[str, Any] = {
        "sys.path": list(sys.path),
        "the environment variables": {k: v for k, v in os.environ.items() if k[:4] != "KMP_"},
        "the working directory": _working_directory(),
        "the limit of recursion": sys.getrecursionlimit(),
        "torch's default dtype": "torch.float32",
    }
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_default_dtype"):
        state["torch's default dtype"] = str(torch.get_default_dtype())
        state["torch's number of threads"] = torch.get_num_threads()
    return state


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""


class _Noted:
    """Standard error, which keeps what is printed there."""

    def __init__(self) -> None:
        self.said = ""

    def write(self, text: str) -> int:
        self.said += text
        return sys.stderr.write(text)

    def close(self) -> None:
        """Leave it open."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
