"""Which of a run's processes this is, as torchrun says in the environment."""

from __future__ import annotations

import os

import attrs

from medpipe.errors import RunError

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The environment variables without all of which a process is the only one."""


@attrs.frozen(kw_only=True)
class Place:
    """Which of a run's processes this is.

    Attributes:
        rank: From 0; process 0 leads: it alone writes the run directory.
        world_size: How many there are.
        local_rank: Its number on this machine, from 0.
        local_world_size: How many there are on this machine.
        machines: On how many machines they are.
        restart: How often torchrun has started them anew.
        max_restarts: How often it may.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    machines: int = 1
    restart: int = 0
    max_restarts: int = 0

    @property
    def leads(self) -> bool:
        """Whether it writes what all of them have come to."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether it is the only one."""
        return self.world_size == 1

    def share(self, count: int) -> slice:
        """Its part of so many things; the parts of all differ by one at most."""
        first, after = (count * place // self.world_size for place in (self.rank, self.rank + 1))
        return slice(first, after)


def place() -> Place:
    """Which process this is; without torchrun the only one.

    Raises:
        RunError: The environment says what can't be.
    """
    if not all(os.environ.get(name) for name in LAUNCHED):
        return Place()
    rank, world_size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    local_rank, local_world_size = _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", 1)
    for name, value, count in (
        ("RANK", rank, world_size),
        ("LOCAL_RANK", local_rank, local_world_size),
    ):
        if not 0 <= value < count:
            raise RunError(
                f"The environment variable {name} is {value}, of {count} processes. Start the "
                "processes by torchrun, or unset RANK and WORLD_SIZE to run in one process."
            )
    return Place(
        rank=rank,
        world_size=world_size,
        local_rank=local_rank,
        local_world_size=local_world_size,
        machines=_number("GROUP_WORLD_SIZE", -(-world_size // local_world_size)),
        restart=_number("TORCHELASTIC_RESTART_COUNT", 0),
        max_restarts=_number("TORCHELASTIC_MAX_RESTARTS", 0),
    )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError as error:
        raise RunError(
            f"The environment variable {name} must be a whole number, got {text!r}. torchrun sets "
            "it; unset RANK and WORLD_SIZE to run in one process."
        ) from error
