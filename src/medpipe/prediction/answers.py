"""What a network answers about files, batch by batch.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.quality.faults import DEFECTS as DEFECT_WORDS
from medpipe.data.quality.non_finite import filled_by
from medpipe.data.readers.reader import source_of
from medpipe.data.scanning.pixel_defects import NOT_FINITE
from medpipe.errors import StepError
from medpipe.optimization.deep_supervision import first_output
from medpipe.prediction.ensemble import inferer_of
from medpipe.prediction.listing import sentence_of
from medpipe.prediction.network import failing, known_size, unfit
from medpipe.system.resource_errors import limit_of, limits_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import torch

    from medpipe.data.loading.collate import Batch
    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.data.scanning.pixel_defects import PixelDefect
    from medpipe.evaluation.predictions import Array
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import Sample

    TakeMask = Callable[[str, Array, FileGrid], Sequence[str]]

AHEAD = 3
"""How many batches a device is given before the outputs of the first are fetched."""


@attrs.frozen(kw_only=True, eq=False)
class BatchAnswers:
    """The answers about one batch of files.

    Attributes:
        number: Which batch.
        member: Which of several networks answered.
        ids: The files that were predicted.
        scores: As of `FilePredictions`, a list for each of them.
        errors: By id a sentence about each file that can't be predicted.
        sizes: By id the shape of an image, of each shape that training did not have.
        masks: By id the files of its mask, below their folder.
        unlike: By id in what an image is unlike those in training; see `unlike`.
    """

    number: int
    member: int = 0
    ids: list[str] = attrs.field(factory=list)
    scores: list[list[float]] = attrs.field(factory=list)
    errors: dict[str, str] = attrs.field(factory=dict)
    sizes: dict[str, list[int]] = attrs.field(factory=dict)
    masks: dict[str, list[str]] = attrs.field(factory=dict)
    unlike: dict[str, dict[str, str]] = attrs.field(factory=dict)


def answers(
    trained: TrainedNetwork,
    samples: Sequence[Sample],
    numbers: Sequence[int],
    *,
    batch_size: int,
    device: torch.device,
    take_mask: TakeMask | None = None,
) -> Iterator[BatchAnswers]:
    """Predict some batches of files, and give the answers as they come.

    Files are read ahead by the worker processes of the loader, and nothing is kept of a batch that
    has been given. In a batch files of one shape go through the network together.

    Args:
        trained: The network.
        samples: The files.
        numbers: Which batches; see `medpipe.prediction.batches.FileOrder`.
        batch_size: Files in a batch.
        device: Where to compute.
        take_mask: Writes a mask where labels are images, and gives its files.
    """
    from medpipe.prediction.batches import file_loader
    from medpipe.training.forward import Caller
    from medpipe.training.predict import evaluating

    if not numbers:
        return
    network, assembly = trained.network.to(device), trained.assembly
    loader = file_loader(trained, samples, numbers, batch_size=batch_size, device=device)
    inferer = inferer_of(trained, device)
    caller = Caller(device=device, precision=trained.precision, inferer=inferer)
    work = _Work(trained, samples, batch_size, caller, take_mask)
    begun: deque[_Begun] = deque()
    shown = evaluating(network, loader, "Predicting", assembly.processes.look)
    try:
        with limits_named(batch_size="batch_size"), shown as (batches, run):
            for number, batch in zip(numbers, batches, strict=True):
                begun.append(work.begin(number, batch, run))
                if len(begun) > AHEAD:
                    yield begun.popleft().finished()
        while begun:
            yield begun.popleft().finished()
    finally:
        loader.close()


def mean_answers(found: Iterable[BatchAnswers], networks: int) -> list[BatchAnswers]:
    """The mean of what several networks answer, by the number of the batch.

    A file that one of them can't predict has no mean: what is said of it is what the first of
    these says.

    Args:
        found: The answers of all networks about all batches, in any order.
        networks: How many there are.
    """
    ordered = sorted(found, key=lambda batch: (batch.number, batch.member))
    if networks == 1:
        return ordered
    return [_mean(list(some)) for _, some in groupby(ordered, key=lambda batch: batch.number)]


def _mean(some: Sequence[BatchAnswers]) -> BatchAnswers:
    """The mean of what networks answer about one batch; none of them has masks."""
    mean = BatchAnswers(number=some[0].number)
    rows: dict[str, list[list[float]]] = {}
    for one in some:
        for id_, said in one.errors.items():
            mean.errors.setdefault(id_, said)
        mean.sizes.update(one.sizes)
        mean.unlike.update(one.unlike)
        for id_, scores in zip(one.ids, one.scores, strict=True):
            rows.setdefault(id_, []).append(scores)
    for id_, each in rows.items():
        if id_ not in mean.errors:
            mean.ids.append(id_)
            mean.scores.append([sum(column) / len(some) for column in zip(*each, strict=True)])
    return mean


class _Work:
    """Sends batches through a network, and tells which of their files don't fit it."""

    def __init__(
        self,
        trained: TrainedNetwork,
        samples: Sequence[Sample],
        batch_size: int,
        caller: Any,
        take_mask: TakeMask | None,
    ) -> None:
        self._trained, self._caller, self._take_mask = trained, caller, take_mask
        self._task, self._data = trained.data.task, trained.data
        self._known = (trained.data.channels, *trained.data.spatial_shape)
        self._samples, self._size = samples, batch_size
        self._fills = filled_by(trained.assembly.chain())

    def begin(self, number: int, batch: Batch, run: Any) -> _Begun:
        from medpipe.prediction.batches import DEFECTS, FAILED, GROUPS, UNLIKE

        found = BatchAnswers(number=number, errors=batch[FAILED], unlike=batch[UNLIKE])
        for id_, defect in batch[DEFECTS].items():
            said = self._unfilled(number, id_, defect)
            if said is not None:
                found.errors[id_] = said
        begun = _Begun(self._trained, found)
        for group in batch[GROUPS]:
            if all(id_ in found.errors for id_ in group["id"]):
                continue
            shape = tuple(group["image"].shape[1:])
            said = unfit(shape, self._data)
            if said is None:
                said = self._try(begun, group, run, shape)
            if said is not None:
                for id_ in group["id"]:
                    found.errors.setdefault(id_, f"The image {id_!r} {said}")
            elif not known_size(self._data, shape):
                found.sizes[group["id"][0]] = list(shape)
        return begun

    def _unfilled(self, number: int, id_: str, defect: PixelDefect) -> str | None:
        """What is wrong with an image with a defect; None where the chain mends it."""
        if defect not in NOT_FINITE:
            return None
        some = self._samples[number * self._size : (number + 1) * self._size]
        sample = next(sample for sample in some if sample.id == id_)
        said = self._fills(sample, self._trained.reading)
        if said is None:
            return None
        return f"{source_of(sample.image)} {DEFECT_WORDS[defect]}{', ' * bool(said)}{said}."

    def _try(self, begun: _Begun, group: Batch, run: Any, shape: tuple[int, ...]) -> str | None:
        """Send a group through the network; of an untried size it may fail, and says why."""
        try:
            if self._task.step.dense:
                self._segment(begun.found, group, run)
            else:
                begun.add(group["id"], self._outputs(group, run))
        except StepError as error:
            if limit_of(error) is not None or not self._task.step.dense:
                raise
            return f"can't be segmented: {sentence_of(error)}"
        except RuntimeError as error:
            if limit_of(error) is not None or shape == self._known:
                raise
            return failing(self._trained, shape, error)
        return None

    def _outputs(self, group: Batch, run: Any) -> torch.Tensor:
        from medpipe.training.predict import predict_batch

        return predict_batch(group, run, self._caller, self._task)

    def _segment(self, found: BatchAnswers, group: Batch, run: Any) -> None:
        from medpipe.training.predict import batch_masks

        names = self._task.names
        answers = batch_masks(group, first_output(run), self._caller, self._task)
        for id_, answer, grid in answers:
            scores = self._task.step.answer_scores(answer, names, spacing=grid.spacing)
            if self._take_mask is not None:
                found.masks[id_] = list(self._take_mask(id_, answer, grid))
            found.ids.append(id_)
            found.scores.append(scores.tolist())


class _Begun:
    """A batch whose outputs may still be computed, on the device."""

    def __init__(self, trained: TrainedNetwork, found: BatchAnswers) -> None:
        self.found = found
        self._task = trained.data.task
        self._outputs: list[tuple[list[str], torch.Tensor, Any]] = []

    def add(self, ids: list[str], outputs: torch.Tensor) -> None:
        """Begin to fetch the outputs of some files."""
        import torch

        copied = None
        if outputs.device.type == "cuda":
            # A plain copy would wait for all that the device was given, later batches too.
            there = torch.empty(outputs.shape, dtype=outputs.dtype, pin_memory=True)
            there.copy_(outputs, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
            outputs = there
        self._outputs.append((ids, outputs, copied))

    def finished(self) -> BatchAnswers:
        """The answers, with the scores that the outputs mean."""
        from medpipe.evaluation.predictions import to_scores

        for ids, outputs, copied in self._outputs:
            if copied is not None:
                copied.synchronize()
            scores = to_scores(outputs, self._task)
            problems = self._problems(scores)
            for row, (id_, own) in enumerate(zip(ids, scores.tolist(), strict=True)):
                if row in problems:
                    self.found.errors.setdefault(id_, f"The image {id_!r} {problems[row]}")
                elif id_ not in self.found.errors:
                    self.found.ids.append(id_)
                    self.found.scores.append(own)
        return self.found

    def _problems(self, scores: Array) -> dict[int, str]:
        """By row what is wrong with scores."""
        import numpy as np

        lost = np.flatnonzero(~np.isfinite(scores).all(axis=1)).tolist()
        wrong = self._task.step.score_problem(scores)
        found: dict[int, str] = {}
        if wrong is not None:
            rows = np.flatnonzero(wrong[0]).tolist()
            found = dict.fromkeys(rows, f"gets scores that {wrong[1]}.")
        return found | dict.fromkeys(lost, "gets an output that is not finite.")
