"""Make the standard streams usable when the command starts."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING

from medpipe.system.place import place

if TYPE_CHECKING:
    from collections.abc import Iterator


def mend_streams() -> None:
    """Make sure that standard input, output and error exist and can print any character.

    Where one is closed (``2>&-``, a service, pythonw), the next file that is opened would get its
    file descriptor, and what a library prints would end up in that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                # The lowest free number is this one: those before it are taken by now.
                os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Names of files and classes may hold characters that a C locale can't encode.
            with suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")


@contextmanager
def one_tells() -> Iterator[None]:
    """Of several processes that run a command together, let the first alone print."""
    if place().leads:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
        yield
