"""How worker processes are started here, whether they can be, and what can't be sent to them.

Under ``fork`` a worker inherits everything. Under ``forkserver`` and ``spawn`` (macOS, Windows,
Linux from Python 3.14) it is a new interpreter, which imports the script again and gets the rest
pickled.
"""

from __future__ import annotations

import ast
import logging
import multiprocessing
import pickle
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("medpipe")

GUARD = 'if __name__ == "__main__":'
DAEMON = (
    "This process is a daemon of multiprocessing, which may start no processes of its own: it "
    "does the work of loader workers itself."
)
NO_SECOND_START = (
    "A worker process imported this script and came upon the run again. Put what starts the run "
    f"below '{GUARD}', or set loader.workers = 0."
)

StartMethod = Literal["fork", "forkserver", "spawn"]


@attrs.frozen
class Way:
    """How worker processes are to be started.

    Attributes:
        method: The start method; None: no process may be started.
        chosen: Whether medpipe chose another method than the process has, which then may give
            way to no workers at all.
    """

    method: StartMethod | None
    chosen: bool = False


def way_to_start() -> Way:
    """How this process can start others, by what its program set or its Python's default.

    A daemonic process may have no children. Beside a thread that does something else at the same
    moment, such as another run, fork copies locks that nobody will release: outside the main
    thread its place is taken by a server that forks while it has no threads.
    """
    if multiprocessing.current_process().daemon:
        return Way(None)
    # Asked so, the default isn't settled for the program that we are part of.
    method: Any = multiprocessing.get_start_method(allow_none=True)
    method = method or multiprocessing.get_all_start_methods()[0]
    if method == "fork" and threading.current_thread() is not threading.main_thread():
        return Way("forkserver", chosen=True)
    return Way(method)


def forks() -> bool:
    """Whether a worker may be forked off this process, here and now."""
    return sys.platform.startswith("linux") and way_to_start().method == "fork"


def refuse_second_start() -> None:
    """See that this is no worker process that imports the script of its own run.

    Raises:
        RunError: It is one: the script has no guard.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RunError(NO_SECOND_START)


def unguarded_script() -> Path | None:
    """The script whose top level is running without a guard, so that workers would run it again.

    None where there is a guard, or no script that a new interpreter imports.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is None or file is None or _imported_by_name(main):
        return None
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is vars(main):
            return None if _is_guarded(Path(file), frame.f_lineno) else Path(file)
        frame = frame.f_back
    return None


def _imported_by_name(main: Any) -> bool:
    """Whether it is a package's ``__main__``, which Python doesn't import again."""
    named = getattr(getattr(main, "__spec__", None), "name", "")
    return named == "__main__" or named.endswith(".__main__")


def _is_guarded(script: Path, line: int) -> bool:
    """Whether a line lies in an ``if`` that asks for ``__name__``."""
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True  # nothing that could be imported again
    return any(
        node.lineno <= line <= (node.end_lineno or line)
        and any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test))
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
    )


def refuse_unguarded() -> None:
    """See that workers that import the script won't begin the run again.

    Raises:
        RunError: They would.
    """
    script = unguarded_script()
    if script is not None:
        raise RunError(
            f"Worker processes import {script} again, which would begin the run once more in each "
            f"of them. Put what starts the run below '{GUARD}', or set loader.workers = 0."
        )


def unsendable(value: object) -> str:
    """Why a value can't be sent to a new interpreter; nothing if it can."""
    try:
        sent = pickle.dumps(value)
    except Exception as error:  # whatever a stranger's object raises when it is pickled
        text = " ".join(str(error).split()) or "no message"
        return f"it can't be pickled ({type(error).__name__}: {text})"
    main = sys.modules.get("__main__")
    if b"__main__" in sent and not Path(getattr(main, "__file__", None) or "").is_file():
        return "it is defined in a session that no other process can import"
    return ""


def steps_not_sent(steps: Sequence[tuple[str, object]]) -> list[tuple[str, str]]:
    """The titles of the steps that can't be sent to a new interpreter, each with the reason."""
    found = ((title, unsendable(step)) for title, step in steps)
    return [(title, why) for title, why in found if why]


REMEDY = (
    "Define it at the top level of a module that workers can import, or set loader.workers = 0."
)
