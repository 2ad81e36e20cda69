"""Galleries: mistakes and hits, Grad-CAM, examples of the data, augmentation.

Where labels are images, `mask_cases` is in the place of the first two, and the others show masks.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import DataError, MedpipeError
from medpipe.report.blocks import Block, Card, Cards, Points, Table, Text
from medpipe.report.chain_view import ChainView, decoded, through_tensor, with_label
from medpipe.report.chosen_cases import Case, hits, mistakes
from medpipe.report.contours import outlined_picture
from medpipe.report.grad_cam import Layer, grad_cam, last_layer
from medpipe.report.masks import MaskedImage, legend, outlined, true_mask
from medpipe.report.pictures import SIDE, data_uri, grey, overlaid, picture
from medpipe.steps import Reading, Sample, Task, TransformStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from medpipe.data.chain import Chain
    from medpipe.evaluation.predictions import Predictions
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.report.blocks import Shown
    from medpipe.report.facts import ReportFacts

    Array = np.ndarray[Any, np.dtype[Any]]

IN_GALLERY = 12
EXPLAINED = 6
"""Mistakes with a Grad-CAM; of volumes `EXPLAINED_VOLUMES`, which take longer."""
EXPLAINED_VOLUMES = 3
EXAMPLES = 7
AUGMENTED = 3
DRAWS = 3
VIEWS = 32
"""Shapes of images whose view is remembered."""


@attrs.frozen(kw_only=True, eq=False)
class Images:
    """The images of a data set, by the ids of its samples.

    Attributes:
        samples: By id.
        reading: How their files are decoded.
        chain: The run's.
        task: What their labels mean.
    """

    samples: dict[str, Sample]
    reading: Reading
    chain: Chain
    task: Task
    _views: dict[object, ChainView] = attrs.field(factory=dict, init=False)

    @classmethod
    def of(cls, facts: ReportFacts) -> Images:
        """The images of a run.

        Raises:
            MedpipeError: They can't be listed.
        """
        if facts.assembly is None:
            raise DataError("The run used ready-made objects, so its data can't be listed again.")
        dataset = facts.dataset()
        samples = {sample.id: sample for sample in dataset.samples}
        return cls(
            samples=samples,
            reading=dataset.reading,
            chain=facts.assembly.chain(),
            task=dataset.task,
        )

    def sample(self, id_: str) -> Sample:
        """The sample of an id.

        Raises:
            DataError: There is none.
        """
        sample = self.samples.get(id_)
        if sample is None:
            raise DataError(f"The data set has no sample {id_!r} now.")
        return sample

    def masked_card(self, id_: str, shown: Shown) -> tuple[Card, Array]:
        """A sample's image with its mask over it, and the mask; of a volume the slice with most."""
        sample, names = self.sample(id_), self.task.names
        image = decoded(sample, self.reading)
        truth = true_mask(sample, image, self.reading)
        one = MaskedImage(image=image, truth=truth, names=len(names))
        plane = one.middle() if one.volume else None
        line = plane.title(image) if plane else "with its mask"
        uri = one.picture(plane, SIDE, filled=True)
        card = Card(images=(uri,), lines=(*_id_line(id_, shown), line), description="a mask")
        return card, truth

    def card(self, id_: str, lines: Sequence[str], shown: Shown) -> Card:
        """A sample's image with lines below it, and its id where that may be shown."""
        sample = self.sample(id_)
        uri = picture(decoded(sample, self.reading))
        return Card(images=(uri,), lines=(*_id_line(id_, shown), *lines), description=lines[0])

    def view(self, sample: Sample) -> tuple[Any, ChainView]:
        """A sample's image as its file has it, and how the chain turns it."""
        image = decoded(sample, self.reading)
        affine = None if image.affine is None else tuple(image.affine[:3, :3].ravel().tolist())
        key = (image.values.shape, image.channels, affine)
        if key not in self._views and len(self._views) < VIEWS:
            self._views[key] = ChainView.of(self.chain, image, self.reading)
        found = self._views.get(key) or ChainView.of(self.chain, image, self.reading)
        return image, found


def error_galleries(
    images: Images, predictions: Predictions, facts: ReportFacts, shown: Shown
) -> list[Block]:
    """Mistakes, hits and Grad-CAM."""
    found = _cases(predictions)
    blocks: list[Block] = [
        Cards(title=title, cards=[images.card(case.id, case.lines, shown) for case in cases])
        for title, cases in found
        if cases
    ]
    wrong, right = (cases for _, cases in found)
    if not wrong and predictions.task.step.answer_form in ("class", "findings"):
        blocks.insert(0, Text(text="No prediction is wrong."))
    try:
        blocks += explained(images, wrong or right, facts.trained(), shown)
    except (MedpipeError, RuntimeError) as error:
        blocks.append(Text(text=f"There is no Grad-CAM: {_reason(error, shown)}"))
    return blocks


def error_tables(predictions: Predictions) -> list[Block]:
    """The same mistakes and hits without their images."""
    blocks: list[Block] = []
    for title, cases in _cases(predictions):
        rows = [(case.id, "; ".join(case.lines)) for case in cases]
        if rows:
            blocks.append(Table(columns=("sample", ""), rows=rows, caption=title))
    return blocks


def _cases(predictions: Predictions) -> list[tuple[str, list[Case]]]:
    numbers = predictions.task.step.answer_form == "numbers"
    return [
        (
            "The largest errors" if numbers else "The most confident mistakes",
            mistakes(predictions, IN_GALLERY),
        ),
        ("The least confident hits", hits(predictions, IN_GALLERY)),
    ]


def explained(
    images: Images, cases: Sequence[Case], trained: TrainedNetwork, shown: Shown
) -> list[Block]:
    """Grad-CAM of what was predicted, over images as the network sees them."""
    import torch

    network, dims = trained.network.eval(), trained.data.spatial_dims
    cards, layer = [], None
    layers: dict[object, Layer | None] = {}  # to find one takes as long as its map
    for case in cases[: EXPLAINED if dims == 2 else EXPLAINED_VOLUMES]:
        sample = images.samples[case.id]
        image, view = images.view(sample)
        inputs = through_tensor(images.chain, sample, images.reading)
        if inputs.shape not in layers:
            layers[inputs.shape] = last_layer(network, inputs[None])
        layer = layers[inputs.shape]
        if layer is None:
            said = "the network has no layer near its end whose output still has places."
            return [Text(text=f"There is no Grad-CAM: {said}")]
        with torch.random.fork_rng(devices=[]):
            heat = grad_cam(network, inputs[None], layer, case.output)
        depth = _depth(view.back(heat))
        flat = [view.plane(channel, image, depth) for channel in inputs.numpy()]
        whole = inputs.numpy()
        base = _base(flat, float(whole.min()), float(whole.max()))
        uris = data_uri(base), data_uri(overlaid(base, view.plane(heat, image, depth)))
        lines = [*_id_line(case.id, shown), *case.lines]
        if dims == 3:
            lines.append(f"slice {depth + 1} of {view.back(heat).shape[2]}")
        cards.append(Card(images=uris, lines=tuple(lines), description="Grad-CAM"))
    if layer is None:
        return []
    sides = " x ".join(map(str, layer.sides))
    text = (
        f"Where the predicted answer comes from, by the layer {layer.name!r}, whose output has "
        f"{sides} places: the map is no finer than that. Bright places speak for the answer; it "
        "is no proof that the network looks at the right thing."
    )
    return [Cards(title="Grad-CAM", cards=cards, text=text)]


def examples(images: Images, rows: Sequence[dict[str, str]], shown: Shown) -> list[Block]:
    """Some training images, chosen at random."""
    ids = sorted(row["id"] for row in rows if row["split"] == "training")
    drawn = random.Random(0).sample(ids, min(EXAMPLES, len(ids)))
    chosen = [id_ for id_ in drawn if id_ in images.samples]
    title, task = "Examples of the training split", images.task
    if not chosen:
        return []
    if task.step.dense:
        masked = [images.masked_card(id_, shown) for id_ in chosen]
        key = legend(task, [mask for _, mask in masked], predicted=False)
        return [Cards(title=title, cards=[card for card, _ in masked], legend=key)]
    cards = []
    for id_ in chosen:
        label = task.step.label_text(images.samples[id_].label, task.names)
        cards.append(images.card(id_, (label,), shown))
    return [Cards(title=title, cards=cards)]


def augmentation(
    images: Images, rows: Sequence[dict[str, str]], steps: Sequence[TransformStep]
) -> list[Block]:
    """Training images before and after the random steps of the chain."""
    if not any(step.random for step in steps):
        return []
    ids = sorted(row["id"] for row in rows if row["split"] == "training")
    cards, masks = [], []
    for id_ in random.Random(1).sample(ids, min(AUGMENTED, len(ids))):
        sample = images.samples.get(id_)
        if sample is None:
            continue
        image, view = images.view(sample)
        before = with_label(images.chain, sample, images.reading)
        drawn = [
            with_label(images.chain, sample, images.reading, training=True, epoch=epoch)
            for epoch in range(DRAWS)
        ]
        low, high = float(before[0].min()), float(before[0].max())
        uris = []
        for values, label in (before, *drawn):
            if values.ndim != before[0].ndim:
                return [Text(text="The random steps give images of another number of axes.")]
            depth = view.back(values[0]).shape[2] // 2 if values.ndim == 4 else 0
            if label is not None:
                depth = _depth(view.back((label > 0).max(axis=0)))
                masks.append(label)
            base = _base([view.plane(channel, image, depth) for channel in values], low, high)
            if label is None:
                uris.append(data_uri(base))
                continue
            flat = _stacked([view.plane(channel, image, depth) for channel in label])
            uris.append(outlined_picture(base, outlined(flat, len(images.task.names), filled=True)))
        cards.append(Card(images=tuple(uris), lines=(f"before, then {DRAWS} epochs",)))
    names = ", ".join(step.name for step in steps if step.random)
    key = legend(images.task, masks, predicted=False) if masks else None
    return [Cards(title="Augmentation", cards=cards, text=f"Random steps: {names}.", legend=key)]


def _stacked(channels: Sequence[Array]) -> Array:
    import numpy as np

    return np.stack(channels)


def _base(channels: Sequence[Array], low: float, high: float) -> Array:
    import numpy as np

    used = np.stack(channels, axis=-1) if len(channels) == 3 else channels[0]
    return grey(used, low, high if high > low else low + 1)


def _depth(heat: Array) -> int:
    """The slice with most of a map; the middle one where the map is empty."""
    if heat.ndim < 3:
        return 0
    sums = heat.sum(axis=(0, 1))
    return int(sums.argmax()) if sums.max() > 0 else heat.shape[2] // 2


def _id_line(id_: str, shown: Shown) -> tuple[str, ...]:
    return (id_,) if shown.paths else ()


def _reason(error: Exception, shown: Shown) -> str:
    return " ".join(str(error).split()) if shown.paths else f"{type(error).__name__}."


def unavailable(error: Exception, shown: Shown) -> Points:
    """Say that the images can't be shown."""
    return Points(items=(f"The images can't be shown: {_reason(error, shown)}",))
