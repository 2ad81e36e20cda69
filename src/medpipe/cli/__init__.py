"""The command ``medpipe``: thin over the library; a user's error is one message and exit code 2."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cyclopts import App

from medpipe.cli.cache import cache
from medpipe.cli.check import check
from medpipe.cli.collect import collect
from medpipe.cli.doctor import doctor
from medpipe.cli.evaluate import evaluate
from medpipe.cli.import_weights import import_weights
from medpipe.cli.plugins import plugins
from medpipe.cli.predict import predict
from medpipe.cli.run import run, with_values
from medpipe.cli.show import show
from medpipe.cli.streams import mend_streams
from medpipe.errors import MedpipeError, RunError

_SIGPIPE = getattr(signal, "SIGPIPE", 13)  # Windows has none

app = App(
    name="medpipe",
    help="Training pipelines for medical imaging. Not a medical device.",
    version_flags=["--version"],
)
for command in (
    run,
    check,
    evaluate,
    predict,
    collect,
    import_weights,
    plugins,
    show,
    doctor,
):
    app.command(command)
app.command(cache)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with 0, or 2 for an error of the user's."""
    mend_streams()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("medpipe")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    # Ignite logs an error twice on its way, and without a handler Python would print that.
    logging.getLogger("ignite").addHandler(logging.NullHandler())
    try:
        _refuse_no_folder()
        given = with_values(sys.argv[1:] if arguments is None else arguments)
        app(given, exit_on_error=False, print_error=True)
        sys.stdout.flush()
    except BrokenPipeError as error:
        if not _by_printing(error):
            raise
        # Nobody reads on, as with "| head"; what is left is not printed at the end either.
        with suppress(OSError, ValueError, AttributeError):  # an object without a file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + _SIGPIPE)
    except MedpipeError as error:
        _complain(error)
        sys.exit(2)
    except KeyboardInterrupt:
        _complain("Stopped.")
        sys.exit(130)
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "cyclopts":
            raise
        sys.exit(2)  # a wrong argument, which cyclopts has explained
    finally:
        logger.removeHandler(handler)


def _complain(what: object) -> None:
    with suppress(OSError, ValueError):  # nobody listens any more
        print(what, file=sys.stderr)


def _refuse_no_folder() -> None:
    """See that relative paths mean something: torch ends the process without a folder, too.

    Raises:
        RunError: The working folder is gone.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise RunError(
            "The folder that this was started in was removed. Change to one that is there."
        ) from error


def _by_printing(error: BaseException) -> bool:
    """Whether it was raised in a line of a command itself: these do nothing but print."""
    raised = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(raised).parent == Path(__file__).parent
