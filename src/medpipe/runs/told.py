"""What the process that leads a run tells the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from medpipe.errors import Fault
    from medpipe.training.run_checkpoints import Found


@attrs.frozen(kw_only=True)
class Begun:
    """What the process that leads tells the others as it begins.

    Attributes:
        path: The run directory.
        decided: See `Assembly`.
        left_out: See `Assembly`.
        ended: The record of a run that is finished already, or that was stopped before torchrun
            started it anew; None: it is to run.
    """

    path: Path
    decided: Mapping[str, Any] = attrs.field(factory=dict)
    left_out: Sequence[Fault] = ()
    ended: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Ready:
    """What it tells them before they train.

    Attributes:
        record: The content of ``run.json``.
        found: The checkpoint to resume from; None: from the beginning.
        longer: Whether the run may train longer now than it was to.
    """

    record: dict[str, Any]
    found: Found | None
    longer: bool
