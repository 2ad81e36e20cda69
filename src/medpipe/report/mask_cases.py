"""The best, the median and the worst case of a segmentation: reference and prediction.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.chain import sample_dictionary
from medpipe.errors import MedpipeError
from medpipe.evaluation.name_table import case_values
from medpipe.report.blocks import Block, Card, Cards, Shown, Text
from medpipe.report.chain_view import decoded
from medpipe.report.masks import MaskedImage, legend, of_grid, true_mask
from medpipe.tasks.structure_masks import structure_masks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from medpipe.data.readers.file_grid import FileGrid
    from medpipe.evaluation.predictions import Predictions
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.report.facts import ReportFacts
    from medpipe.report.galleries import Images
    from medpipe.steps import Sample

    Array = np.ndarray[Any, np.dtype[Any]]

logger = logging.getLogger("medpipe")

SIDE = 300
"""The longer side of a picture in pixels."""
CLOSE = 0.02
"""How near a score of a new prediction is to the one that was measured, on another device, say."""


@attrs.frozen(kw_only=True)
class Chosen:
    """A case that is shown.

    Attributes:
        id: The sample.
        title: ``worst of 52``.
        value: The mean over the structures that the reference has.
        names: Of each of these.
    """

    id: str
    title: str
    value: float
    names: Mapping[str, float]


def chosen_cases(predictions: Predictions, facts: ReportFacts) -> tuple[list[Chosen], str]:
    """The best, the median and the worst case, and by which metric: the task's monitor.

    Of an even number of cases, the median is the lower one of the middle two. Fewer than three
    cases are all shown.
    """
    assert facts.assembly is not None
    monitor = facts.data.task.step.monitor
    ranked = case_values(predictions.sorted_by_id(), facts.assembly.metrics(facts.data.task))
    count = len(ranked)
    places = {"best": count - 1, "median": (count - 1) // 2, "worst": 0}
    titles: dict[int, str] = {}
    for title, place in places.items():
        titles.setdefault(place, title)
    if count == 1:
        titles = {0: "only"}
    elif count == 2:
        titles = {1: "best", 0: "worst"}
    chosen = [
        Chosen(
            id=ranked[place]["id"],
            title=f"{title} of {count}" if count > 1 else "the only case",
            value=ranked[place]["value"],
            names=ranked[place]["names"],
        )
        for place, title in titles.items()
        if count
    ]
    return chosen, monitor.replace("_", " ")


def mask_cases(
    images: Images, predictions: Predictions, facts: ReportFacts, shown: Shown
) -> list[Block]:
    """Pictures of the best, the median and the worst case, with outlines over them.

    A run keeps no masks, so these three are predicted again, by the network that was measured.

    Raises:
        MedpipeError: An image or a mask can't be read.
    """
    chosen, metric = chosen_cases(predictions, facts)
    if not chosen:
        return []
    samples = [images.sample(case.id) for case in chosen]
    answers, why = _predicted(images, samples, facts, shown)
    names = facts.data.task.names
    drawn, cards = [], []
    for case, sample in zip(chosen, samples, strict=True):
        image = decoded(sample, images.reading)
        one = MaskedImage(
            image=image,
            truth=true_mask(sample, image, images.reading),
            answer=answers[sample.id][0] if sample.id in answers else None,
            names=len(names),
        )
        lines = [*([case.id] if shown.paths else []), *_scores(case, metric, one, names)]
        if sample.id in answers and _differs(answers[sample.id][1], predictions, sample.id):
            lines.append(OTHER)
        cards.append(_card(one, case.title, lines))
        drawn.append(one)
    masks = [mask for one in drawn for mask in (one.truth, one.answer) if mask is not None]
    blocks: list[Block] = [
        Cards(
            title="",
            cards=cards,
            text=_text(drawn, metric),
            legend=legend(facts.data.task, masks, predicted=bool(answers)),
            room="whole" if drawn[0].volume else "wide",
        )
    ]
    if why:
        blocks.append(Text(text=f"No prediction is drawn: {why}"))
    return blocks


OTHER = (
    "Predicted again for this picture, the scores are not those that were measured: the image, "
    "the mask or the network has changed since."
)


def _text(drawn: Sequence[MaskedImage], metric: str) -> str:
    said = f"By the mean {metric} over the structures that the reference has."
    if not drawn[0].volume:
        return said
    said += (
        " Each plane lies where most of the error is, of every structure as a share of its volume;"
        " where there is no error, or no prediction, where most of the mask is."
    )
    if any(one.image.affine is not None for one in drawn):
        said += " Axial and coronal planes have the patient's right side to the left."
    return said


def _card(one: MaskedImage, title: str, lines: Sequence[str]) -> Card:
    heading = f"{title[0].upper()}{title[1:]}"
    more: dict[str, Any] = {"heading": heading, "description": heading}
    if not one.volume:
        return Card(images=(one.picture(None, SIDE),), lines=tuple(lines), **more)
    planes, where = one.planes()
    return Card(
        images=tuple(one.picture(plane, SIDE) for plane in planes),
        captions=tuple(plane.title(one.image) for plane in planes),
        lines=(*lines, f"Planes {where}."),
        **more,
    )


def _scores(case: Chosen, metric: str, one: MaskedImage, names: Sequence[str]) -> list[str]:
    """The metric of each structure that the reference has, and what else was predicted."""
    each = ", ".join(f"{name} {value:.3f}" for name, value in case.names.items())
    mean = f"{case.value:.3f} on average; " if len(case.names) > 1 else ""
    lines = [f"{metric}: {mean}{each}"]
    if one.answer is not None:
        truths = structure_masks(one.truth, len(names))
        answers = structure_masks(one.answer, len(names))
        invented = [
            f"{name} ({int(said.sum())})"
            for name, true, said in zip(names, truths, answers, strict=True)
            if name not in case.names and said.any() and not true.any()
        ]
        if invented:
            lines.append(f"predicted, not in the reference (voxels): {', '.join(invented)}")
    return lines


def _predicted(
    images: Images, samples: Sequence[Sample], facts: ReportFacts, shown: Shown
) -> tuple[dict[str, tuple[Array, Array]], str]:
    """By id the mask and the scores of a new prediction; or why there are none."""
    try:
        trained = facts.trained()
        return {sample.id: _one(images, sample, trained) for sample in samples}, ""
    except (MedpipeError, RuntimeError) as error:
        logger.debug("A report has no predicted masks", exc_info=True)
        return {}, " ".join(str(error).split()) if shown.paths else f"{type(error).__name__}."


def _one(images: Images, sample: Sample, trained: TrainedNetwork) -> tuple[Array, Array]:
    from medpipe.data.loading.collate import collate
    from medpipe.prediction.ensemble import inferer_of
    from medpipe.system.hardware import choose_device
    from medpipe.training.predict import predict_masks
    from medpipe.training.truths import Truths

    task = images.task
    device, _ = choose_device("auto")
    unlabelled = attrs.evolve(sample, label=task.step.missing_label(task.names))
    left = images.chain(sample_dictionary(unlabelled, images.reading), training=False)
    found: list[tuple[Array, Array]] = []

    def take(_: str, answer: Array, grid: FileGrid) -> None:
        truth = Truths(images.reading).of(sample, grid)
        scores, _label = task.step.case_scores(
            answer, truth, task.names, spacing=grid.spacing, surfaces=False
        )
        found.append((of_grid(answer, grid), scores))

    predict_masks(
        trained.network.to(device),
        [collate([left], task)],
        take,
        device=device,
        precision=trained.precision,
        task=task,
        inferer=inferer_of(trained, device),
        description="Predicting a case for the report",
    )
    return found[0]


def _differs(scores: Array, predictions: Predictions, id_: str) -> bool:
    """Whether a new prediction is another than the one that was measured."""
    import numpy as np

    before = predictions.scores[predictions.ids.index(id_)]
    both = ~np.isnan(scores) & ~np.isnan(before)
    return not np.allclose(scores[both], before[both], rtol=CLOSE, atol=CLOSE)
