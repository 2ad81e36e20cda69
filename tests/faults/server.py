"""A process that has imported everything, and forks itself for each case.

A case then costs a fraction of a second. What it says comes back as JSON through a pipe.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

LIMIT = 240.0
"""Seconds after which a case counts as one that hangs."""


def prepare() -> None:
    """Import what a run needs. One thread, so that there is none that a fork would lose."""
    import torch

    torch.set_num_threads(1)
    from medpipe.runs.runner import LIBRARIES

    for name in (*LIBRARIES, "medpipe.training.restoring"):
        importlib.import_module(name)
    logging.getLogger("medpipe").setLevel(logging.CRITICAL)


@attrs.define
class Child:
    """A process that does something and says what came of it.

    Attributes:
        pid: Its number.
        ended: Readable when it has ended.
    """

    pid: int
    ended: int
    _pipe: int
    _until: float

    @classmethod
    def start(cls, work: Callable[[], Any]) -> Child:
        """Begin it."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(ours)
            _work(work, theirs)
        os.close(theirs)
        return cls(pid, os.pidfd_open(pid), ours, time.monotonic() + LIMIT)

    def is_late(self) -> bool:
        """Whether it takes too long."""
        return time.monotonic() > self._until

    def finish(self) -> tuple[int, Any]:
        """Take its exit status, negative for a signal, and what it said; None: nothing.

        One that is late is ended, with all that it began.
        """
        hangs = not select.select([self.ended], [], [], max(0.0, self._until - time.monotonic()))[0]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # its workers too
        _, status = os.waitpid(self.pid, 0)
        os.set_blocking(self._pipe, False)
        try:
            said = os.read(self._pipe, 1 << 16)
        except BlockingIOError:
            said = b""
        os.close(self._pipe)
        os.close(self.ended)
        answer = {"hangs": True} if hangs else json.loads(said) if said else None
        return os.waitstatus_to_exitcode(status), answer


def forked(work: Callable[[], Any]) -> tuple[int, Any]:
    """Do something in a process of its own; see `Child.finish`."""
    return Child.start(work).finish()


def _work(work: Callable[[], Any], pipe: int) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        answer = work()
        os.write(pipe, json.dumps(answer).encode())
        code = 0
    except BaseException:
        os.write(pipe, json.dumps({"bare": traceback.format_exc()}).encode())
    finally:
        os._exit(code)


def at_once(cases: Sequence[Callable[[], Any]], processes: int) -> Iterator[tuple[int, Any]]:
    """Do cases in so many processes at a time; give their number and what they gave."""
    running: list[tuple[int, Child]] = []
    waiting = list(enumerate(cases))[::-1]
    while waiting or running:
        while waiting and len(running) < processes:
            number, case = waiting.pop()
            running.append((number, Child.start(case)))
        ready, _, _ = select.select([child.ended for _, child in running], [], [], 1.0)
        for number, child in [each for each in running if each[1].ended in ready]:
            running.remove((number, child))
            yield number, child.finish()[1]
        for number, child in [each for each in running if each[1].is_late()]:
            running.remove((number, child))
            yield number, child.finish()[1]
