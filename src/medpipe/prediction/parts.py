"""A prediction into a file that goes on after a kill: its answers are kept as they come."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.config import unrepeatable, write
from medpipe.data.readers.reader import image_files
from medpipe.errors import RunError
from medpipe.prediction.answers import BatchAnswers
from medpipe.prediction.ensemble import network_at
from medpipe.steps import Series
from medpipe.system import files
from medpipe.system.file_errors import failure, mode_of
from medpipe.system.options import option
from medpipe.system.output_folders import only_writer, refuse_existing
from medpipe.system.text import counted
from medpipe.system.versions import versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from medpipe.distributed.processes import Processes
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import ImageFile

FORMAT = 1
JOB = "prediction.json"
ANSWERS = "answers-{}.jsonl"
SYNC_SECONDS = 5.0
"""Seconds after which answers are flushed to the disk: a kill loses none, a power cut these."""
NAMED = 3
"""How many files a difference names."""
_DIGITS = 16


def parts_of(output: Path) -> Path:
    """The folder beside a file in which its parts are until they are all there."""
    return output.with_name(f"{output.name}.parts")


def job_of(
    trained: TrainedNetwork,
    images: Mapping[str, ImageFile | tuple[ImageFile, ...]],
    unreadable: Iterable[str],
    *,
    device: str,
    asked: int | None,
    batch_size: int,
    masks: Path | None,
) -> dict[str, Any]:
    """What the numbers in a table depend on, as plain data.

    Args:
        trained: The network, or several.
        images: The files, by id.
        unreadable: The ids of files that can't be looked at.
        device: The kind of device.
        asked: The batch size that was asked for.
        batch_size: How many files are in a batch.
        masks: The folder for masks.
    """
    each = [_about(network_at(trained, place)) for place in range(len(trained.paths))]
    return {
        "format": FORMAT,
        "network": trained.which,
        "runs": [str(path) for path in trained.paths],
        "weights": [weights for weights, _, _ in each],
        "configurations": [configuration for _, configuration, _ in each],
        "versions": versions(),
        "device": device,
        "precision": " and ".join(dict.fromkeys(precision for *_, precision in each)),
        "asked": asked,
        "batch_size": batch_size,
        "masks": None if masks is None else str(masks),
        "files": [
            *([id_, *_facts(image)] for id_, image in images.items()),
            *([id_, -1, 0] for id_ in unreadable),
        ],
    }


def _about(trained: TrainedNetwork) -> tuple[str, str, str]:
    """What decides a network's answers: digests of weights and configuration, and precision."""
    assembly = trained.assembly
    configuration, registry = assembly.configuration, assembly.registry
    fixed = attrs.evolve(configuration, loader=attrs.evolve(configuration.loader, workers=0))
    text = "" if unrepeatable(fixed, registry=registry) else write(fixed, registry=registry)
    return _weights(trained), files.sha256_of(text.encode()), trained.precision


def _weights(trained: TrainedNetwork) -> str:
    """A digest of the network's tensors."""
    parts: list[bytes | memoryview] = []
    for name, tensor in trained.network.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        parts += [f"{name} {values.dtype} {tuple(values.shape)}".encode()]
        parts.append(memoryview(values.flatten().view(_bytes()).numpy()))
    return files.sha256_of(*parts)


def _bytes() -> Any:
    import torch

    return torch.uint8


def _facts(image: Any) -> tuple[int, int]:
    """The bytes of an image's files, and when the last of them was changed; (-1, 0): unknown."""
    size, changed = 0, 0
    for file in image_files(image) or ():
        for path in file.files if isinstance(file, Series) else (file,):
            try:
                status = os.stat(path)  # noqa: PTH116  (many files)
            except OSError:
                return -1, 0
            size, changed = size + status.st_size, max(changed, status.st_mtime_ns)
    return size, changed


_WORDS = {
    "format": "the format of the parts",
    "network": "the network",
    "versions": "the versions",
    "device": "the device",
    "precision": "the precision",
    "asked": "the batch size",
    "masks": "the folder for masks",
}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two jobs, a line each."""
    lines = [
        f"{words}: {_shown(before.get(key), now[key])} then, {_shown(now[key], before.get(key))} "
        "now"
        for key, words in _WORDS.items()
        if before.get(key) != now[key]
    ]
    if before.get("weights") != now["weights"]:
        begun = ", ".join(before.get("runs") or [])
        lines.append(f"the weights: it was begun with others, those of {begun}")
    if before.get("configurations") != now["configurations"]:
        lines.append("the configuration of a run")
    if before.get("files") != now["files"]:
        lines.append(_other_files(before.get("files") or [], now["files"]))
    return lines


def _shown(value: Any, other: Any) -> str:
    """A value; of a table what differs from another."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = ", ".join(f"{k} {v}" for k, v in value.items() if other.get(k) != v)
    return "none" if value in (None, "") else str(value)


def _other_files(before: Sequence[Any], now: Sequence[Any]) -> str:
    then, later = ({id_: tuple(facts) for id_, *facts in some} for some in (before, now))
    kinds = {
        "new": [id_ for id_ in later if id_ not in then],
        "gone": [id_ for id_ in then if id_ not in later],
        "changed": [id_ for id_ in later if id_ in then and then[id_] != later[id_]],
    }
    said = [f"{len(ids)} {kind} ({_some(ids)})" for kind, ids in kinds.items() if ids]
    return f"the files: {', '.join(said) or 'they are in another order'}"


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
    return ", ".join(map(repr, ids[:NAMED])) + more


class KeptAnswers:
    """The answers about batches, in files of a folder: each process appends to one of its own.

    A line is the beginning of a digest and the answers about one batch; what a kill left of a line
    is passed over.

    Attributes:
        folder: Where they are.
        batch_size: How many files are in a batch.
        resumed: Whether an earlier process began.
        done: Which batches were answered before, by which network: (member, number).
    """

    def __init__(
        self, folder: Path, file: files.NewFile, *, batch_size: int, resumed: bool
    ) -> None:
        self.folder, self.batch_size, self.resumed = folder, batch_size, resumed
        self._file, self._synced = file, time.monotonic()
        self.done = frozenset((batch.member, batch.number) for batch in self.whole())

    def add(self, batch: BatchAnswers) -> None:
        """Keep the answers about a batch.

        Raises:
            RunError: They can't be written.
        """
        content = json.dumps(attrs.asdict(batch, recurse=False), ensure_ascii=False).encode()
        digest = files.sha256_of(content)[:_DIGITS].encode()
        try:
            self._file.write(digest + b" " + content + b"\n")
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self._file.sync()
                self._synced = time.monotonic()
        except OSError as error:
            raise RunError(failure(self.folder, "written", error)) from error

    def whole(self) -> list[BatchAnswers]:
        """The answers of all processes, by the number of their batch, then by network."""
        found: dict[tuple[int, int], BatchAnswers] = {}
        for path in sorted(self.folder.glob(ANSWERS.format("*"))):
            with path.open("rb") as lines:
                for line in lines:
                    digest, _, content = line.rstrip(b"\n").partition(b" ")
                    if files.sha256_of(content)[:_DIGITS].encode() == digest:
                        batch = BatchAnswers(**json.loads(content))
                        found.setdefault((batch.number, batch.member), batch)
        return [found[key] for key in sorted(found)]


@contextmanager
def kept_answers(
    output: Path, job: Mapping[str, Any], *, resume: bool, processes: Processes
) -> Iterator[KeptAnswers]:
    """Keep answers in the folder of a file's parts, or go on with those that are there.

    The folder is removed when the block ends, or raises before a file was predicted.

    Raises:
        RunError: The folder is that of another prediction, or is there and is not to be resumed;
            another process writes to it; or the output exists.
    """
    folder = parts_of(output)
    with ExitStack() as stack:
        begun = None
        if processes.leads:
            begun = _begin(stack, folder, output, job, resume=resume)
        batch_size, resumed = processes.share(begun)
        if not folder.is_dir():
            raise RunError(
                f"Process {processes.here.rank} does not see the folder {folder.absolute()}, "
                f"which process 0 made. Choose a file with {option('output')} that all machines "
                "share."
            )
        try:
            name = ANSWERS.format(f"{time.time_ns()}-{processes.here.rank}")
            file = stack.enter_context(files.new_file(folder / name))
        except OSError as error:
            raise RunError(failure(folder, "written", error)) from error
        kept = KeptAnswers(folder, file, batch_size=batch_size, resumed=resumed)
        try:
            yield kept
        except BaseException:
            if processes.leads and not any(batch.ids for batch in kept.whole()):
                stack.close()
                files.remove_directory(folder)
            raise
        processes.meet()  # all have read what the others answered
    if processes.leads:
        done = files.beside(folder)
        files.rename(folder, done)  # at once: a part of it must not be resumed
        files.remove_directory(done)


def _begin(
    stack: ExitStack, folder: Path, output: Path, job: Mapping[str, Any], *, resume: bool
) -> tuple[int, bool]:
    """Take the folder; give the size of batches, and whether an earlier process began."""
    there = bool(mode_of(folder))
    if there and not resume:
        raise RunError(
            f"{folder} holds what an earlier prediction had come to when it ended. Go on with it "
            f"by {option('resume', True)}, or remove the folder."
        )
    if not there:
        refuse_existing(output, kind="file")
    try:
        files.make_directories(folder)
    except OSError as error:
        raise RunError(failure(folder, "made", error)) from error
    stack.enter_context(only_writer(folder))
    record = folder / JOB
    if not record.exists():  # it was killed before it began
        # In one line: indented, it takes longer than to list the files.
        files.write_text(record, json.dumps(job, ensure_ascii=False))
        return int(job["batch_size"]), False
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{record} can't be read. Remove {folder} and start anew.") from error
    lines = differences(before, job)
    if lines:
        raise RunError(
            "\n".join(
                [
                    f"{folder} is of another prediction, which can't be resumed as this one. "
                    f"{counted(len(lines), 'difference')}:",
                    *(f"  {line}" for line in lines),
                    "Ask for the same again, or remove the folder to start anew.",
                ]
            )
        )
    return int(before["batch_size"]), True
