"""The errors that medpipe raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FaultKind = Literal[
    "missing",
    "unreadable",
    "empty",
    "not_an_image",
    "truncated",
    "damaged",
    "bomb",
    "unsupported",
    "nan",
    "infinite",
    "constant",
    "channels",
    "size",
    "transform",
    "label",
    "contradiction",
    "id",
    "group",
    "row",
    "leak",
    "link",
    "duplicate",
    "near_duplicate",
    "listing",
    "split",
]
"""What can be wrong with data; docs/how-to/bad-data.md says what each is."""


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


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that is wrong with the data, usually with one sample.

    Attributes:
        kind: What it is.
        message: What is wrong, as a sentence that names the file or the sample.
        sample: The sample's id. Empty: it is no single sample.
        path: The sample's file, or the first of several. Empty: there is none.
        remedy: What to do about it besides repairing, removing or leaving out the sample.
    """

    kind: FaultKind
    message: str
    sample: str = ""
    path: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class MedpipeError(Exception):
    """Base class of all errors of medpipe."""


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
    """The pipeline does not fit its data or this machine: what `Pipeline.check` found."""


class ItemError(ValueError):
    """What a validator of a list raises, so that the problem's path names the item.

    Attributes:
        index: Which item is wrong, from 0.
    """

    def __init__(self, index: int, message: str) -> None:
        self.index = index
        super().__init__(message)


class UnknownStepError(MedpipeError, LookupError):
    """No step of that kind has that name, or several plugins use it."""

    def __str__(self) -> str:
        return str(self.args[0])


class PluginError(MedpipeError):
    """A plugin can't be used: it names the plugin, its distribution and the cause."""


class StepError(MedpipeError):
    """A step failed: it names the step and the plugin that supplies it."""


class DataError(MedpipeError):
    """The data can't be used as they are: it names the file, row or sample and the remedy."""


class BadDataError(DataError):
    """Samples can't be trained on: it names the first ten, and how many there are.

    Attributes:
        faults: All that is wrong.
    """

    NAMED = 10

    def __init__(self, heading: str, faults: Sequence[Fault], remedies: Iterable[str]) -> None:
        self.faults = tuple(faults)
        messages = list(dict.fromkeys(fault.message for fault in faults))  # samples may share one
        lines = [heading, *(f"  {message}" for message in messages[: self.NAMED])]
        if len(messages) > self.NAMED:
            lines.append(f"  and {len(messages) - self.NAMED} more.")
        own = dict.fromkeys(fault.remedy for fault in faults if fault.remedy)
        super().__init__("\n".join([*lines, *own, *remedies]))


class ChangedError(DataError):
    """The data have changed since a split file or a run was made: it says how."""


class DownloadError(DataError):
    """A download failed or its content is not what was published."""


class DeviceError(MedpipeError):
    """The device that was asked for is not there."""


class TrainingError(MedpipeError):
    """Training can't continue, for example because the loss is not finite."""


class OtherProcessError(TrainingError):
    """Another process of the run failed, which says why; this one ends with it."""


class LimitError(TrainingError):
    """A limit of the machine was reached: it names the limit and the setting that changes it."""


class RunError(MedpipeError):
    """A run directory can't be read or written, or holds something else."""


class ExportError(MedpipeError):
    """A network can't be exported, or an export does not give what its run gives: it says why."""


class CheckpointError(RunError):
    """A checkpoint is damaged: it names the file and the damaged part."""


class NotRepeatableError(MedpipeError):
    """Ready objects can't be written as a configuration: it lists them."""
