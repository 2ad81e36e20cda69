"""Resume: find what has changed since, and refuse changes that are not allowed."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from medpipe.config import changed_lines, completed
from medpipe.errors import RunError
from medpipe.runs.record import CONFIGURATION, RESUME_SAFE_VALUES, configuration_digest
from medpipe.steps import resolved
from medpipe.system.distribution import own_distribution
from medpipe.system.options import option

if TYPE_CHECKING:
    from pathlib import Path

    from medpipe.registry.registry import Registry
    from medpipe.runs.run import Run
    from medpipe.steps import TrainerStep
    from medpipe.training.loop import Progress

Changeable = Literal["configuration", "data", "packages", "threads", "hardware", "processes"]
"""Kinds of changes since a run was started that can be allowed."""
CHANGEABLE: tuple[Changeable, ...] = get_args(Changeable)


RESUME_SAFE_FIELDS = tuple(
    f"{section}.{name}:" for section, values in RESUME_SAFE_VALUES.items() for name in values
)
"""Fields of a configuration that may always change: results don't depend on them."""


@attrs.frozen
class Change:
    """A change since the run was started.

    Attributes:
        what: Its kind; None: results don't depend on it.
        line: Its description, such as ``versions.torch: '2.12' then, '2.13' now``.
        longer: Whether it lets the run train longer: what it did until now stays the same.
    """

    what: Changeable | None
    line: str
    longer: bool = False


def allowed(allow_changed: bool | Changeable | Collection[Changeable]) -> frozenset[Changeable]:
    """The kinds of changes that a user allows.

    Raises:
        RunError: There is no such kind.
    """
    if isinstance(allow_changed, bool):
        return frozenset(CHANGEABLE if allow_changed else ())
    names = {allow_changed} if isinstance(allow_changed, str) else set(allow_changed)
    unknown = sorted(names - set(CHANGEABLE))
    if unknown:
        raise RunError(
            f"allow_changed: {unknown[0]!r} is not a kind of change. The kinds are "
            f"{', '.join(CHANGEABLE)}."
        )
    return frozenset(names)


def changes_of_configuration(before: Run, text: str | None, *, registry: Registry) -> list[Change]:
    """What differs from the configuration of a run on disk.

    A parameter that came later counts with its default, as if the run had been told.

    Args:
        before: The run.
        text: The configuration as it is written now; None where it can't be.
        registry: Where the names of steps are looked up.
    """
    path = before.path / CONFIGURATION
    # A run that was killed as it began may not have it yet.
    if not (before.record["repeatable"] and path.exists()):
        return []
    if text is None:
        line = "the configuration: it has ready objects or unregistered steps now"
        return [Change("configuration", line)]
    try:
        old = path.read_text("utf-8")
        lines = changed_lines(completed(old, registry=registry), text)
    except (OSError, ValueError) as error:  # invalid TOML and UTF-8 are ValueErrors
        raise RunError(
            f"{path} can't be read: {error}. Restore it from a backup, or begin a new run in "
            "another output folder."
        ) from error
    longer = _longer(tomllib.loads(old), tomllib.loads(text), before.record["auto"])
    return [_of_configuration(line, longer) for line in lines]


def _of_configuration(line: str, longer: Collection[str]) -> Change:
    path = line.partition(":")[0]
    if line.startswith(RESUME_SAFE_FIELDS) or path in longer:
        return Change(None, line, longer=path in longer)
    return Change("threads" if path == "run.threads" else "configuration", line)


def _longer(
    before: Mapping[str, Any], now: Mapping[str, Any], auto: Mapping[str, Any]
) -> frozenset[str]:
    """The trainer's parameters that let a run train longer than it was to, by their paths."""
    found = set()
    for name in ("max_epochs", "patience"):
        path = f"trainer.{name}"
        old = auto.get(path, before["trainer"].get(name))
        new = now["trainer"].get(name)
        forever = name == "patience" and new is None
        if isinstance(old, int) and (forever or (isinstance(new, int) and new >= old)):
            found.add(path)
    return frozenset(found)


def changes_of_data(before: Mapping[str, Any], now: Mapping[str, str]) -> list[Change]:
    """What differs in the data.

    Args:
        before: The record of the run on disk.
        now: See `provenance_digests`.
    """
    if before["data"]["digest"] != now["data"]:
        return [Change("data", "the data: files were added, removed or changed")]
    if before["split"]["digest"] != now["split"]:
        return [Change("data", "the split: samples are in other splits")]
    return []


def changes_of_checkpoint(
    run: Run, about: Mapping[str, Any], now: Mapping[str, str]
) -> list[Change]:
    """What a checkpoint was made of that neither the run directory nor this run has.

    What differs between these two is told by the other functions.

    Args:
        run: The run on disk.
        about: The metadata of the checkpoint.
        now: See `provenance_digests`.
    """
    before = about["provenance_digests"]
    on_disk = {
        "configuration": _configuration_on_disk(run.path),
        "data": run.record["data"]["digest"],
        "split": run.record["split"]["digest"],
    }
    return [
        Change(kind, f"the checkpoint was made with another {name}")
        for key, kind, name in _MADE_OF
        if before.get(key) not in (now[key], on_disk[key])
    ]


_MADE_OF: tuple[tuple[str, Changeable, str], ...] = (
    ("configuration", "configuration", "configuration"),
    ("data", "data", "data set"),
    ("split", "data", "split"),
)


def _configuration_on_disk(path: Path) -> str:
    """The digest of a run's configuration, empty where there is none to be read."""
    try:
        return configuration_digest((path / CONFIGURATION).read_text("utf-8"))
    except (OSError, ValueError):
        return ""


def changes_of_machine(
    before: Mapping[str, Any], now: Mapping[str, Any], plugins: Sequence[Mapping[str, Any]]
) -> list[Change]:
    """What differs in the machine and the installed versions.

    Args:
        before: The record of the run on disk.
        now: See `medpipe.runs.recorder.machine_record`.
        plugins: The distributions that supply the steps, as they are recorded.
    """
    old = {**{key: before.get(key) for key in now}, "plugins": _versions(before["plugins"])}
    lines = _changes(old, {**now, "plugins": _versions(plugins)})
    return [Change(_kind(path), line) for path, line in lines]


def _versions(plugins: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Versions by distribution, without medpipe, which is among the packages."""
    found = {plugin["distribution"]: plugin["version"] for plugin in plugins}
    return {name: version for name, version in found.items() if name != own_distribution()}


def refuse(before: Run, changes: Collection[Change], allow: Collection[Changeable]) -> None:
    """Raise an error if there are changes that are not allowed.

    Raises:
        RunError: There are; it lists them, and says how to resume nevertheless.
    """
    refused = [change for change in changes if change.what and change.what not in allow]
    if refused:
        raise RunError(
            f"The run {before.path} can't be resumed: this has changed since it was started:\n"
            + "".join(f"  {change.line}\n" for change in refused)
            + "Undo these changes, or begin a new run in another output folder."
            + _way_on(refused)
        )


def refuse_for_finished(before: Run, changes: Collection[Change]) -> None:
    """Raise an error if there are changes to a finished run: they would have no effect.

    Raises:
        RunError: There are.
    """
    changed = [change.line for change in changes if change.what]
    if changed:
        raise RunError(
            f"The run {before.path} is finished, so these changes would have no effect:\n"
            + "".join(f"  {line}\n" for line in changed)
            + "Undo them, or begin a new run in another output folder; with weights.run it can "
            "start from this run's best network."
        )


def refuse_other_plan(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise an error if a schedule was made for another length than it would be now.

    Args:
        path: The run directory.
        before: What the checkpoint says; see `medpipe.training.planned`.
        now: The same for the trainer as it is built now.

    Raises:
        RunError: It says what differs, and what to do.
    """
    names = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    if names:
        lines = "".join(
            f"  {name}: {before.get(name)!r} then, {now.get(name)!r} now\n" for name in names
        )
        raise RunError(
            f"The run {path} can't be resumed, since its schedule was made for another length, "
            f"and the learning rate would jump or not reach its end:\n{lines}"
            "The length follows from trainer.max_epochs, trainer.epoch_length, "
            "trainer.accumulation, loader.batch_size and the number of training samples. Restore "
            "them, or begin a new run in another output folder; with weights.run it can start "
            "from this run's best network."
        )


def refuse_no_longer(path: Path, progress: Progress, trainer: TrainerStep) -> None:
    """Raise an error if a finished run has nothing left to train.

    Args:
        path: The run directory.
        progress: How far it has come.
        trainer: As it is set now.

    Raises:
        RunError: It stopped early, and would stop at the same place.
    """
    if progress.over(max_epochs=resolved(trainer.max_epochs), patience=trainer.patience):
        raise RunError(
            f"The run {path} stopped early, after epoch {progress.epochs}: {trainer.monitor} was "
            f"best in epoch {progress.best_epoch}, and trainer.patience = {trainer.patience}. More "
            "epochs would change nothing. Set a larger trainer.patience too."
        )


def refuse_too_few_epochs(path: Path, progress: Mapping[str, Any], max_epochs: int) -> None:
    """Raise an error if a run is past `max_epochs` already.

    Args:
        path: The run directory.
        progress: See `medpipe.training.loop.Progress`.
        max_epochs: The number of epochs that is set now.

    Raises:
        RunError: It is.
    """
    if progress["finished"] or not progress["epoch_length"]:
        return
    whole, begun = divmod(progress["iteration"], progress["epoch_length"])
    now = whole if progress["validating"] and not begun else whole + 1
    if now > max_epochs:
        raise RunError(
            f"The run {path} can't be resumed with trainer.max_epochs = {max_epochs}: it is "
            f"already in epoch {now}. Set trainer.max_epochs to {now} or more, or begin a new run "
            "in another output folder."
        )


def _way_on(refused: Collection[Change]) -> str:
    kinds = [kind for kind in CHANGEABLE if any(change.what == kind for change in refused)]
    given = option("allow_changed", kinds[0] if len(kinds) == 1 else kinds)
    return (
        f" To resume nevertheless, give {given}: the results will differ from those of a run that "
        "was not stopped, and the changes are recorded."
    )


_RESULTS: dict[str, Changeable] = {
    "versions.": "packages",
    "plugins.": "packages",
    "hardware.threads": "threads",
    "hardware.machine": "hardware",
    "hardware.cpu:": "hardware",
    "hardware.instructions": "hardware",
    "hardware.gpu:": "hardware",
    "hardware.cuda": "hardware",
    "device": "hardware",
    "precision": "hardware",
    "environment.CUBLAS_WORKSPACE_CONFIG": "hardware",
    "processes:": "processes",
}
"""Changes that results depend on: how their lines begin, and their kinds."""


def _kind(line: str) -> Changeable | None:
    return next((kind for start, kind in _RESULTS.items() if line.startswith(start)), None)


def _changes(
    before: Mapping[str, Any], now: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, str]]:
    """Pairs of path and line for what differs, except for free memory, which always does."""
    for key in dict.fromkeys([*before, *now]):
        old, new, where = before.get(key), now.get(key), f"{path}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new, f"{where}.")
        elif old != new and key != "memory_available":
            yield f"{where}:", f"{where}: {old!r} then, {new!r} now"
