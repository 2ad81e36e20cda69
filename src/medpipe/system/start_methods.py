"""How worker processes are started, and what can't be sent to them.

Under ``fork`` a worker inherits everything. Under ``forkserver`` and ``spawn`` (macOS, Windows,
Linux from Python 3.14) it is a new interpreter, which imports the script again and gets the rest
pickled.
"""

from __future__ import annotations

import ast
import logging
import multiprocessing
import os
import pickle
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import attrs

from medpipe.errors import LimitError, Problem, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("medpipe")

GUARD = 'if __name__ == "__main__":'
DAEMON = (
    "This process is a daemon of multiprocessing, which may start no processes of its own: it "
    "does the work of loader workers itself."
)
NO_SCRIPT = (
    "The program {name} is not a file that worker processes can import: this process does their "
    "work itself. Save it as a file to have loader workers."
)
NO_SECOND_START = (
    "A worker process imported this script and reached the run again. Put what starts the run "
    f"below '{GUARD}', or set loader.workers = 0."
)

REMEDY = (
    "Define it at the top level of a module that workers can import, or set loader.workers = 0."
)

LOADED = ("torch", "monai.transforms", "medpipe.data.loading.loader")
VARIABLE = "MEDPIPE_START_METHOD"
"""The environment variable that says how worker processes are started."""

StartMethod = Literal["fork", "forkserver", "spawn"]


@attrs.frozen
class Way:
    """How worker processes are to be started.

    Attributes:
        method: The start method; None: no process may be started.
        chosen: Whether medpipe chose another method than the process's own; where that one fails,
            there are no workers.
        why_none: Why no process may be started, as a sentence.
    """

    method: StartMethod | None
    chosen: bool = False
    why_none: str = ""


def way_to_start() -> Way:
    """How this process can start others: as its program set, or else by Python's default.

    ``MEDPIPE_START_METHOD`` takes precedence over both.

    A daemonic process may have no children. While another thread works, such as another run, fork
    copies locks that nobody will release: outside the main thread ``forkserver`` is used instead,
    whose server forks while it has no threads.
    """
    if multiprocessing.current_process().daemon:
        return Way(None, why_none=DAEMON)
    method = _asked_for() or _usual()
    if method == "fork" and threading.current_thread() is not threading.main_thread():
        return Way("forkserver", chosen=True)
    script = _script()
    if method != "fork" and script is not None and not script.is_file():
        return Way(None, why_none=NO_SCRIPT.format(name=script.name))
    return Way(method)


def _asked_for() -> StartMethod | None:
    """The start method that the environment variable names.

    Raises:
        RunError: It names no start method of this system.
    """
    asked = os.environ.get(VARIABLE) or None
    known = multiprocessing.get_all_start_methods()
    if asked is not None and asked not in known:
        raise RunError(
            f"{VARIABLE} is {asked!r}, which is not a way to start processes here. Set it to "
            f"{', '.join(known[:-1])} or {known[-1]}, or leave it empty."
        )
    return cast("StartMethod | None", asked)


def _usual() -> StartMethod:
    """What the program chose, or else Python's default: the first of those it has."""
    # With allow_none, asking does not fix the default for the program that uses medpipe.
    method = multiprocessing.get_start_method(allow_none=True)
    return cast("StartMethod", method or multiprocessing.get_all_start_methods()[0])


def forks() -> bool:
    """Whether a worker may be forked off this process, here and now."""
    return sys.platform.startswith("linux") and way_to_start().method == "fork"


def prepare_server() -> None:
    """Let the server of ``forkserver`` import what every worker needs, if it isn't running yet.

    Each worker would need seconds to import torch and MONAI itself. What a program has chosen
    stays.
    """
    from multiprocessing import forkserver  # not on Windows

    server = getattr(forkserver, "_forkserver", None)
    if getattr(server, "_preload_modules", None) == ["__main__"]:  # Python's default
        multiprocessing.set_forkserver_preload(["__main__", *LOADED])


@contextmanager
def starting_named() -> Iterator[None]:
    """Name the cause when a process, or the server that starts them, ends at its start.

    Raises:
        LimitError: It did.
    """
    try:
        yield
    except (ConnectionError, EOFError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise LimitError(
            f"Worker processes can't be started: they end as they begin ({text}). What they print "
            "says why. Raise the limit of open files with 'ulimit -n 4096', or set "
            "loader.workers = 0."
        ) from error


def refuse_second_start() -> None:
    """Refuse to start a run in a worker process that imports the script of its own run.

    Raises:
        RunError: It is one: the script has no guard.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RunError(NO_SECOND_START)


def unguarded_script() -> Path | None:
    """The script whose top level is running without a guard, so that workers would run it again.

    None where there is a guard, or no script that a new interpreter imports.
    """
    script = _script()
    if script is None:
        return None
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is vars(sys.modules["__main__"]):
            return None if _is_guarded(script, frame.f_lineno) else script
        frame = frame.f_back
    return None


def _script() -> Path | None:
    """The file that a new interpreter imports again; None in a session without one.

    A package's ``__main__`` is not imported again.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    named = getattr(getattr(main, "__spec__", None), "name", "")
    if file is None or named == "__main__" or named.endswith(".__main__"):
        return None
    began_in = getattr(multiprocessing.process, "ORIGINAL_DIR", None)  # absolute, or not known
    return Path(began_in or "", file)


def _is_guarded(script: Path, line: int) -> bool:
    """Whether a line lies in an ``if`` that asks for ``__name__``."""
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True  # nothing that could be imported again
    return any(
        node.lineno <= line <= (node.end_lineno or line)
        and any(
            isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
    )


def refuse_unguarded() -> None:
    """Refuse a script whose run would begin again when workers import it.

    Raises:
        RunError: They would.
    """
    script = unguarded_script()
    if script is not None:
        raise RunError(" ".join(_unguarded(script)))


def _unguarded(script: Path) -> tuple[str, str]:
    """What is wrong with a script without a guard, and what to do."""
    return (
        f"Each worker process imports {script} again, and so would begin the run once more.",
        f"Put what starts the run below '{GUARD}', or set loader.workers = 0.",
    )


def unsendable(value: object) -> str:
    """Why a value can't be sent to a new interpreter; empty if it can."""
    try:
        sent = pickle.dumps(value)
    except Exception as error:  # whatever a user's object raises when it is pickled
        text = " ".join(str(error).split()) or "no message"
        return f"it can't be pickled ({type(error).__name__}: {text})"
    if b"__main__" in sent and _script() is None:
        return "it is defined in a session that no other process can import"
    return ""


def problems_of_workers(steps: Sequence[tuple[str, object]]) -> list[Problem]:
    """The problems that keep worker processes from starting, where they are wanted.

    Args:
        steps: The titles and the transform steps that workers need, from the front of the chain.
    """
    way = way_to_start()
    if way.method in (None, "fork") or way.chosen:  # or there are none, if need be
        return []
    script = unguarded_script()
    problems = []
    if script is not None:
        message, remedy = _unguarded(script)
        problems.append(Problem(path="loader.workers", message=message, remedy=remedy))
    for place, (title, step) in enumerate(steps):
        why = unsendable(step)
        if why:
            message = f"{title} can't be sent to the worker processes, which {way.method} starts:"
            message = f"{message} {why}."
            problems.append(Problem(path=f"transform[{place}]", message=message, remedy=REMEDY))
    return problems
