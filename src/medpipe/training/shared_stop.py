"""`SharedStop`: all processes of a run stop at the same iteration, whoever was asked to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from medpipe.training.stopping import Stopped, StopRequest

if TYPE_CHECKING:
    from medpipe.distributed.processes import Processes

_PAUSE = 1.0
"""Seconds between two looks at whether another process was asked to stop."""


class SharedStop(StopRequest):
    """Whether the processes of a run are to stop, once all of them know.

    Args:
        own: What this process was asked.
        processes: Those of the run.
    """

    def __init__(self, own: StopRequest, processes: Processes) -> None:
        super().__init__()
        self._own, self._processes = own, processes
        self._agreed: str | None = None
        self._looked = time.monotonic()
        self._name = processes.new("stop")

    @property
    def reason(self) -> str | None:
        """What they agreed on; None: to go on."""
        return self._agreed

    @property
    def interrupted(self) -> bool:
        """Whether it was Ctrl-C that asked."""
        return self._agreed == "SIGINT"

    @property
    def signalled(self) -> bool:
        """Whether a signal asked this process."""
        return self._own.signalled

    def check(self, *, first: bool = False) -> None:
        """Leave what can be done again; `agree` follows in every process.

        Raises:
            Stopped: This process or another was asked to stop.
        """
        self._own.check(first=first)
        if time.monotonic() - self._looked >= _PAUSE:
            self._looked = time.monotonic()
            if self._processes.told(self._name) is not None:
                raise Stopped

    def agree(self, *, save: bool = False) -> bool:
        """Agree on whether to stop, and whether to save; process 0 says when to save."""
        reason = self._own.reason
        if reason is not None:
            self._processes.tell(self._name, reason)
        stops, saves = self._processes.total(reason is not None, save and self._processes.leads)
        if stops:
            self._agreed = self._processes.told(self._name)
        return bool(saves)
