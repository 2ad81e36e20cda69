"""How long a server is waited for, and what ends a try."""

from __future__ import annotations

import time

import attrs
from attrs import validators


@attrs.frozen(kw_only=True)
class Patience:
    """How long a download waits for a server. All times are in seconds.

    Attributes:
        connect: Until a connection stands.
        silence: Without a byte.
        slowest: Bytes a second that must come on average, over `silence` of waiting.
        longest: For all tries together.
        retries: How often a failure that may pass is tried again: 3 times at most.
        pause: Before the second try; each later one waits twice as long.
        longest_pause: What a server may ask for (``Retry-After``) before it is given up.
    """

    connect: float = attrs.field(default=10.0, validator=validators.gt(0))
    silence: float = attrs.field(default=30.0, validator=validators.gt(0))
    slowest: float = attrs.field(default=1000.0, validator=validators.ge(0))
    longest: float = attrs.field(default=3600.0, validator=validators.gt(0))
    retries: int = attrs.field(default=3, validator=[validators.ge(0), validators.le(3)])
    pause: float = attrs.field(default=1.0, validator=validators.ge(0))
    longest_pause: float = attrs.field(default=60.0, validator=validators.ge(0))


class FailedError(Exception):
    """A try failed.

    Attributes:
        remedy: What to do about it, as a sentence. Empty: try again later.
        passes: Whether another try may do better.
        wait: How long the server asks to wait before it, in seconds.
        code: The server's answer, if that is what is wrong.
    """

    def __init__(
        self,
        reason: str,
        remedy: str = "",
        *,
        passes: bool = False,
        wait: float = 0.0,
        code: int = 0,
    ) -> None:
        super().__init__(reason)
        self.remedy, self.passes, self.wait, self.code = remedy, passes, wait, code


class Clock:
    """Watches the time of one download."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._end = time.monotonic() + patience.longest

    @property
    def left(self) -> float:
        """Seconds until the whole download is given up."""
        return self._end - time.monotonic()

    def refuse_too_late(self) -> float:
        """See that there is time left; gives how much, which is above 0.

        Raises:
            FailedError: There is none.
        """
        left = self.left
        if left <= 0:
            raise FailedError(f"it took longer than {self.patience.longest:,g} seconds")
        return left


class Pace:
    """Watches how fast one answer comes, by the time that is spent waiting for its bytes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waited = 0.0
        self._came = -1  # until the first bytes a server may think as long as it is silent

    @property
    def longest_wait(self) -> float:
        """How long the next bytes may take."""
        # Asked once: a moment later none may be left, and no socket waits for less than nothing.
        return min(self._clock.patience.silence, self._clock.refuse_too_late())

    def came(self, count: int, waited: float) -> None:
        """Take down that bytes came.

        Raises:
            FailedError: They come too slowly.
        """
        if self._came < 0:
            self._came = 0
            return
        self._came += count
        self._waited += waited
        patience = self._clock.patience
        if self._waited < patience.silence:
            return
        if self._came < patience.slowest * self._waited:
            raise FailedError(
                f"the server sent less than {patience.slowest:,g} bytes a second", passes=True
            )
        self._came, self._waited = 0, 0.0

    def did_not_come(self) -> FailedError:
        """What to say when no bytes came in the longest time that they may take."""
        try:
            self._clock.refuse_too_late()
        except FailedError as error:
            return error
        silence = self._clock.patience.silence
        return FailedError(f"the server sent nothing for {silence:g} seconds", passes=True)
