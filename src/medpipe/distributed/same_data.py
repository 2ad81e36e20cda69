"""All processes of a run must have the same data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.errors import TrainingError

if TYPE_CHECKING:
    from medpipe.distributed.processes import Processes


def refuse_other_data(own: object, leads: object, processes: Processes, *, more: str = "") -> None:
    """See that this process has what process 0 has.

    Args:
        own: A digest of this process's data.
        leads: That of process 0's.
        processes: Those of the run.
        more: What else may differ, in words.

    Raises:
        TrainingError: It has other data.
    """
    if own != leads:
        raise TrainingError(
            f"Process {processes.here.rank} sees other data than process 0{more}. Give every "
            "machine the same files and the same versions of medpipe and its plugins."
        )
