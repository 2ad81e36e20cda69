"""The errors that medpipe raises: each says what failed, whose it is and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable


@attrs.frozen(kw_only=True)
class Problem:
    """One thing that is wrong, and where.

    Attributes:
        path: Where, as it is written in a configuration and after ``--set``:
            ``trainer.learning_rate``, ``transform[1].prob``. Empty: the whole.
        message: What is wrong.
        remedy: What to do about it. Empty where the message says it.
    """

    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        then = f" {self.remedy}" if self.remedy else ""
        return f"{where}{self.message}{then}"


class MedpipeError(Exception):
    """What every error of medpipe is; catch this one to catch them all."""


class ProblemsError(MedpipeError):
    """An error that lists every problem found, not only the first.

    Attributes:
        problems: The problems, in the order of the configuration.
    """

    def __init__(self, heading: str, problems: Iterable[Problem]) -> None:
        self.heading = heading
        self.problems = tuple(problems)
        lines = [f"{heading}:", *(f"  {problem}" for problem in self.problems)]
        super().__init__("\n".join(lines))


class ConfigError(ProblemsError):
    """The configuration is wrong: every problem with its path."""


class CheckFailed(ProblemsError):  # noqa: N818
    """The pipeline fits neither its data nor this machine: what `Pipeline.check` found."""


class UnknownStepError(MedpipeError, LookupError):
    """No step of that kind has that name, or several plugins claim it."""

    def __str__(self) -> str:
        return str(self.args[0])


class PluginError(MedpipeError):
    """A plugin can't be used: it names the plugin, its distribution and the cause."""


class StepError(MedpipeError):
    """A step failed while it built or worked: it names the step and the plugin it comes from."""


class DataError(MedpipeError):
    """The data can't be used as they are: it names the file, row or sample and the remedy."""


class ChangedError(DataError):
    """The data are not those that a split file or a run was made with: it says what changed."""


class DownloadError(DataError):
    """A download failed or its content is not what was published."""


class DeviceError(MedpipeError):
    """The device that was asked for is not there."""


class TrainingError(MedpipeError):
    """Training can't go on, for example because the loss is not finite."""


class LimitError(TrainingError):
    """A limit of the machine was met: it names the limit and the setting that changes it."""


class RunError(MedpipeError):
    """A run directory can't be read or written, or holds something else."""


class CheckpointError(RunError):
    """A checkpoint is damaged: it names the file and the part that is not what was written."""


class NotRepeatableError(MedpipeError):
    """Ready objects can't be written as a configuration: it lists them."""
