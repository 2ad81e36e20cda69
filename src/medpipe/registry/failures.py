"""Name a step in the errors that it raises."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from medpipe.errors import MedpipeError, StepError
from medpipe.system.raised import described

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def failures_named(title: str, failed: str = "failed") -> Iterator[None]:
    """Turn what a step raises into an error that names it; medpipe's own errors pass.

    Args:
        title: The step and where it comes from; see `Registry.title`.
        failed: What it failed to do: ``failed to build``.

    Raises:
        StepError: The step raised something.
    """
    try:
        yield
    except MedpipeError:
        raise
    except Exception as error:
        raise StepError(f"{title} {failed}: {described(error)}") from error
