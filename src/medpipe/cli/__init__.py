"""The command ``medpipe``; a user's error gives one message and exit code 2."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cyclopts import App

from medpipe.cli.arguments import with_values
from medpipe.cli.streams import mend_streams, one_tells
from medpipe.distributed.processes import connected
from medpipe.errors import MedpipeError, OtherProcessError, RunError
from medpipe.system.options import command_line
from medpipe.system.place import place
from medpipe.system.progress import progress_mode

_SIGPIPE = getattr(signal, "SIGPIPE", 13)  # Windows has none

_FIRST_WORD = 3.0
"""Seconds in which the first of several processes has told an error that all of them have."""

app = App(
    name="medpipe",
    help="Training pipelines for medical imaging. Not a medical device.",
    version_flags=["--version"],
)
COMMANDS = {
    "plan": "Look at images and write the configuration that an expert would begin with.",
    "run": "Check, train and evaluate a pipeline, and write a run directory.",
    "check": "Check a pipeline against its data and this machine, before training.",
    "evaluate": "Measure the network of a run, or the mean over several, on an external data set.",
    "predict": "Predict new files with the network of a run, or the mean over several, as a table.",
    "export": "Write the network of a run for other programs: ONNX, torch.export, MONAI bundle.",
    "verify": "Verify that an export gives what its run gives, without the run and its data.",
    "report": "Write the report of a run, or of a folder of runs, and the model card of a run.",
    "recipes": "List the configurations that ship with medpipe, or print one.",
    "init": "Write an empty project: a configuration, a README and a .gitignore.",
    "new_plugin": "Write a new plugin: a typed package with steps, tests, a README and a CI file.",
    "collect": "Show the runs below a folder: metrics, mean and spread, and those of all together.",
    "compare": "Compare runs that were tested on the same samples, with paired differences.",
    "track": "Send a run, or what is missing of it, to TensorBoard, MLflow or another tracker.",
    "import_weights": "Write the tensors of a torch.save file as safetensors; no code in it runs.",
    "plugins": "List the plugins and their steps.",
    "check_plugin": "Try all steps of a plugin; exit code 1 if one fails a check.",
    "show": "Show one step and its parameters, or the result of a run.",
    "doctor": "Show versions, device, memory, data and plugins; exit code 1 if a plugin is broken.",
    "cache": "List, verify and clear the packed caches, which runs create from their images.",
}
"""Each command with the first line of its help: its module is imported when it is called."""
for command, summary in COMMANDS.items():
    name = command.replace("_", "-")
    app.command(f"medpipe.cli.{command}:{command}", name=name, help=summary)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with 0, or 2 for an error of the user's."""
    mend_streams()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("medpipe")
    logger.addHandler(handler)
    try:
        logger.setLevel(logging.WARNING if progress_mode() == "off" else logging.INFO)
        _refuse_no_folder()
        given = with_values(sys.argv[1:] if arguments is None else arguments)
        with command_line(), one_tells():
            app(given, exit_on_error=False, print_error=True)
        sys.stdout.flush()
    except BrokenPipeError as error:
        if not _by_printing(error):
            raise
        # The reader has closed the pipe, as with "| head": drop the rest of the output too.
        with suppress(OSError, ValueError, AttributeError):  # a stream without a file descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + _SIGPIPE)
    except OtherProcessError:
        sys.exit(2)  # the other one has said why
    except MedpipeError as error:
        if not (place().leads or connected()):
            time.sleep(_FIRST_WORD)  # the first process has most errors too, and tells them
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
    with suppress(OSError, ValueError):  # stderr is closed
        print(what, file=sys.stderr)


def _refuse_no_folder() -> None:
    """Check that the working folder exists; without one torch would end the process.

    Raises:
        RunError: The working folder is gone.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise RunError("The working folder was removed. Change to a folder that exists.") from error


def _by_printing(error: BaseException) -> bool:
    """Whether a command's own ``print`` raised it: commands write nothing else."""
    raised = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(raised).parent == Path(__file__).parent
