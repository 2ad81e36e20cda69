"""Masks: which structure each pixel or voxel belongs to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.errors import DataError
from medpipe.tasks.label_image import BLACK, LabelImage
from medpipe.tasks.step import TaskStep, number_cell
from medpipe.tasks.strata import ALL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Self

    import torch

    from medpipe.tasks.report import ReportContext, ReportSection
    from medpipe.tasks.step import Array

MEASURES = ("dice", "nsd", "hd95", "volume")
"""What predictions keep of each structure of a case, in the order of their scores."""
MOST_NAMES = 254
"""Indices from 0 to 254, and 255 counts nowhere: labels have a byte for each voxel."""
TOLERANCE = 1.0


def _above_zero(_: Any, attribute: Any, values: tuple[float, ...]) -> None:
    wrong = [value for value in values if not 0 < value < math.inf]
    if wrong:
        raise ValueError(f"must be above 0 each, got {wrong[0]}")


@attrs.frozen(kw_only=True)
class Segmentation(TaskStep):
    """Structures in an image: each pixel or voxel has one of them, or the background.

    Labels are `LabelImage`. A prediction keeps no mask but what is measured of it on the grid of
    its file: for each structure the Dice, the normalised surface Dice (NSD), the 95th percentile of
    the surface distances (HD95) and the volume; its label is the volume of each structure in the
    truth, NaN where the structure is not annotated. Lengths are in mm, and volumes in mm3 (in 2-D
    mm2); in pixels or voxels where the file has no spacing.

    Attributes:
        overlapping: Whether a pixel may belong to several structures: the network then gives a
            probability for each structure on its own, not one of all and the background.
        tolerances: How far, in mm, a predicted surface may be from the true one for the NSD: a
            number for each structure, or one for all. Empty: 1. Files without a spacing count
            pixels or voxels.
        values: The value of each structure in masks that are written, or its colour as
            ``#rrggbb``. Empty: 1, 2, and so on.
        background: The same of what is no structure. None: 0, or black where `values` are colours.
    """

    name: ClassVar[str] = "segmentation"
    word: ClassVar[str] = "structure"
    answer_form: ClassVar[str] = "cases"
    cells: ClassVar[Literal["classes", "findings", "numbers", "masks"]] = "masks"
    dense: ClassVar[bool] = True
    missing_scores: ClassVar[bool] = True
    one_stratum: ClassVar[bool] = True
    several_readers: ClassVar[bool] = True
    balancing_remedy: ClassVar[str] = "Leave loader.sampling at its default."
    matching_remedy: ClassVar[str] = "Name the structure as the run does, or leave it out."
    loss: ClassVar[str] = "dice_ce"
    monitor: ClassVar[str] = "dice"
    metrics: ClassVar[tuple[str, ...]] = ("dice", "nsd", "hd95", "volume_error")

    overlapping: bool = False
    tolerances: tuple[float, ...] = attrs.field(default=(), validator=_above_zero)
    values: tuple[int | str, ...] = ()
    background: int | str | None = None

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Structures that exclude each other, and some that overlap; no files."""
        return [cls(), cls(overlapping=True, tolerances=(2.0,))]

    @property
    def label_form(self) -> str:  # type: ignore[override]
        """``masks``, a channel of 0 and 1 for each structure, where they overlap; else ``mask``."""
        return "masks" if self.overlapping else "mask"

    # Names and outputs

    def names_problem(self, names: Sequence[str]) -> str | None:
        """There are one to 254 structures, and a tolerance for each, or one for all."""
        if not names:
            return "There is no structure. Name at least one beside the background."
        if len(names) > MOST_NAMES:
            return f"There are {len(names)} structures: at most {MOST_NAMES} can be told apart."
        if len(self.tolerances) not in (0, 1, len(names)):
            return (
                f"There are {len(self.tolerances)} tolerances for {len(names)} structures "
                f"({', '.join(names)}). Give one for each, or one for all."
            )
        return None

    def outputs(self, names: Sequence[str]) -> int:
        """One for each structure, and one for the background where they do not overlap."""
        return len(names) + (not self.overlapping)

    def score_count(self, names: Sequence[str]) -> int:
        """What is measured of each structure: see `MEASURES`."""
        return len(names) * len(MEASURES)

    # Labels

    def label_problem(self, label: object, names: Sequence[str]) -> str | None:
        """A label is a `LabelImage` with as many channels as the task wants."""
        if not isinstance(label, LabelImage):
            return ", which is no image: give a LabelImage, such as LabelImage(image=path)"
        channels = len(names) if self.overlapping else None
        if label.channels != channels:
            return f": its channels are {label.channels}, but must be {channels}"
        if isinstance(label.image, tuple) and len(label.image) != len(names):
            return (
                f": it has {len(label.image)} files, but there are {len(names)} structures: "
                f"{', '.join(names)}"
            )
        return None

    def label_text(self, label: Any, names: Sequence[str]) -> str:
        """``a mask``: file names may tell who it is."""
        return f"{len(label.image)} masks" if isinstance(label.image, tuple) else "a mask"

    def missing_label(self, names: Sequence[str]) -> Any:
        """None: a file without a mask."""
        return None

    def encode(self, labels: Sequence[Any], names: Sequence[str]) -> torch.Tensor:
        """uint8 of shape (batch, 1 or names, spatial...), from tensors without the first axis.

        Raises:
            DataError: They have different shapes, or another number of channels.
        """
        import torch

        shapes = {tuple(label.shape) for label in labels}
        channels = len(names) if self.overlapping else 1
        if len(shapes) > 1 or next(iter(shapes))[0] != channels:
            raise DataError(
                f"The masks of a batch have the shapes {', '.join(map(str, sorted(shapes)))}, but "
                f"one shape with {channels} channels is needed. End the chain with a step that "
                "gives all images one size, or set loader.batch_size to 1."
            )
        return torch.stack([torch.as_tensor(label).to(torch.uint8) for label in labels])

    def label_array(self, labels: Any, names: Sequence[str]) -> Array:
        """Float64 of shape (samples, names): volumes."""
        import numpy as np

        return np.asarray(labels, dtype=np.float64)

    def label_shape(self, count: int, names: Sequence[str]) -> tuple[int, ...]:
        """(count, names)."""
        return (count, len(names))

    def wrong_labels(self, labels: Array, names: Sequence[str]) -> tuple[Array, str]:
        """Volumes are 0 or more, or NaN."""
        import numpy as np

        wrong = (labels < 0) | np.isinf(labels)
        allowed = "a volume of 0 or more, or NaN where it is not annotated"
        return np.asarray(wrong.any(axis=1)), allowed

    def relabelled(self, label: Any, own: Sequence[str], names: Sequence[str]) -> Any:
        """The places of the values by the other names; a file of a mask that is lacking is None."""
        if tuple(own) == tuple(names):
            return label
        places = [names.index(name) for name in own]
        absent = tuple(places[place] for place in label.absent)
        label = attrs.evolve(label, absent=absent, channels=label.channels and len(names))
        if isinstance(label.image, tuple):
            images = dict(zip(places, label.image, strict=True))
            image = tuple(images.get(place) for place in range(len(names)))
            return attrs.evolve(label, image=image)
        given = label.values
        if given is None:
            given = ((0.0, ()), *((float(place + 1), (place,)) for place in range(len(own))))
        values = tuple((value, tuple(places[place] for place in meant)) for value, meant in given)
        return attrs.evolve(label, values=values)

    def strata(
        self, labels: Sequence[Any], names: Sequence[str], units: int
    ) -> list[tuple[int, ...]]:
        """One for all: what is in a mask is not known before it is read."""
        return [(ALL,)] * len(labels)

    # Outputs

    def to_scores(self, outputs: torch.Tensor) -> torch.Tensor:
        """Probabilities: softmax over the background and the structures, or a sigmoid of each."""
        return outputs.sigmoid() if self.overlapping else outputs.softmax(dim=1)

    def bundle_form(self, statistics: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
        """Softmax, or a sigmoid of each."""
        activation = "sigmoid" if self.overlapping else "softmax"
        return [{"_target_": "Activationsd", "keys": "pred", activation: True}]

    def outputs_of(self, scores: torch.Tensor) -> torch.Tensor:
        """Logarithms of probabilities; of structures that overlap those of their odds."""
        import torch

        limits = torch.finfo(scores.dtype)
        if self.overlapping:
            return scores.clamp(limits.tiny, 1 - limits.eps).logit()
        return scores.clamp_min(limits.tiny).log()

    def score_problem(self, scores: Array) -> tuple[Array, str] | None:
        """Dice and NSD are from 0 to 1, distances and volumes 0 or more."""
        import numpy as np

        cases = _by_name(scores)
        wrong = (cases < 0) | np.isinf(cases)
        wrong[:, :, :2] |= cases[:, :, :2] > 1
        wrong[:, :, 3] |= np.isnan(cases[:, :, 3])
        said = (
            "can't be: Dice and NSD must be from 0 to 1, HD95 and volumes 0 or more, and each "
            "volume known"
        )
        return np.asarray(wrong.any(axis=(1, 2))), said

    def decided(self, outputs: torch.Tensor) -> torch.Tensor:
        """The likeliest of the background and the structures, or each that is above one half.

        Raises:
            DataError: The outputs are not finite.
        """
        import torch

        if not bool(outputs.sum(dtype=torch.float32).isfinite()):
            raise DataError(
                "The network's output is not finite. Look for missing values in the images, and "
                "lower trainer.learning_rate if there are none."
            )
        if self.overlapping:
            return (outputs > 0).to(torch.uint8)
        # The same as argmax, the first of equals too; torch's takes 9 times as long on a CPU.
        return outputs.max(dim=1, keepdim=True).indices.to(torch.uint8)

    def case_scores(
        self,
        predicted: Array,
        label: Array,
        names: Sequence[str],
        *,
        spacing: Sequence[float] | None,
        surfaces: bool,
    ) -> tuple[Array, Array]:
        """Dice, NSD, HD95 and volume of each structure, and the true volumes.

        Dice, NSD and HD95 are NaN where the truth has not the structure; where it is missed, Dice
        and NSD are 0 and HD95 is NaN. Voxels of 255 are taken for background in both.
        """
        import numpy as np

        from medpipe.tasks.surfaces import exclusive_structures, overlapping_structures

        steps = tuple(spacing or (1.0,) * (predicted.ndim - 1))
        voxel = math.prod(steps)
        found = (
            overlapping_structures(predicted, label)
            if self.overlapping
            else exclusive_structures(predicted[0], label[0], len(names))
        )
        scores: Array = np.full((len(names), len(MEASURES)), np.nan)
        volumes: Array = np.full(len(names), np.nan)
        for place, (structure, most) in enumerate(zip(found, self.limits(names), strict=True)):
            scores[place, 0] = structure.dice
            if surfaces:
                scores[place, 1:3] = structure.surface_measures(steps, most)
            scores[place, 3] = structure.predicted * voxel
            if structure.known:
                volumes[place] = structure.reference * voxel
        return scores.ravel(), volumes

    def answer_scores(
        self, predicted: Array, names: Sequence[str], *, spacing: Sequence[float] | None
    ) -> Array:
        """The volume of each structure."""
        import numpy as np

        if self.overlapping:
            counts = np.array([np.count_nonzero(channel) for channel in predicted])
        else:
            counts = np.array([(predicted[0] == place + 1).sum() for place in range(len(names))])
        return counts * math.prod(spacing or (1.0,))

    def unannotated(
        self, labels: Array, scores: Array, names: Sequence[str], lacking: Sequence[str]
    ) -> tuple[Array, Array]:
        """Of structures that are not annotated, the predicted volume alone is known."""
        import numpy as np

        labels, cases = labels.copy(), _by_name(scores).copy()
        for name in lacking:
            labels[:, names.index(name)] = np.nan
            cases[:, names.index(name), :3] = np.nan
        return labels, cases.reshape(scores.shape)

    def written_values(self, names: Sequence[str]) -> tuple[int | str, ...]:
        """`background` and `values`, or 0, 1, 2, and so on."""
        if not self.values:
            return super().written_values(names)
        colours = isinstance(self.values[0], str)
        nothing = (BLACK if colours else 0) if self.background is None else self.background
        return (nothing, *self.values)

    def limits(self, names: Sequence[str]) -> tuple[float, ...]:
        """The tolerance of the NSD for each structure."""
        given = self.tolerances or (TOLERANCE,)
        return given * len(names) if len(given) == 1 else given

    # Files and reports

    def columns(self, names: Sequence[str], *, labels: bool) -> list[str]:
        """``dice_<name>``, ..., ``volume_<name>`` and ``reference_volume_<name>`` for each."""
        if not labels:
            return [f"volume_{name}" for name in names]
        each = (*MEASURES, "reference_volume")
        return [f"{measure}_{name}" for name in names for measure in each]

    def row(
        self, label: Any, answer: Any, scores: Sequence[float], names: Sequence[str]
    ) -> list[str]:
        """What is undefined is a blank cell; without a label there are volumes alone."""
        if label is None:
            return [repr(score) for score in scores]
        count = len(MEASURES)
        cells = []
        for place, volume in enumerate(label):
            numbers = [*scores[place * count : (place + 1) * count], volume]
            cells += ["" if math.isnan(number) else repr(number) for number in numbers]
        return cells

    def read_row(self, cells: Mapping[str, str], names: Sequence[str]) -> tuple[Any, list[float]]:
        """The true volumes, and what is measured of each structure."""
        label = tuple(number_cell(f"reference_volume_{name}", cells, blank=True) for name in names)
        scores = [
            number_cell(f"{measure}_{name}", cells, blank=True)
            for name in names
            for measure in MEASURES
        ]
        return label, scores

    def tables(
        self, labels: Array, scores: Array, names: Sequence[str], unit: str | None
    ) -> Mapping[str, Any]:
        """``structures``, a table for each: in how many cases it is, is missed or invented, ...

        ``unit`` is what lengths are counted in, if it is known.
        """
        from medpipe.tasks.structures import structure_table

        table = {"structures": structure_table(labels, scores, names)}
        return {**table, "unit": unit} if unit else table

    def remarks(self, metrics: Mapping[str, Any], names: Sequence[str]) -> Sequence[str]:
        """Structures that are not annotated, never found, missed or invented, few cases, ..."""
        from medpipe.tasks.structures import structure_remarks

        return structure_remarks(metrics)

    def report_sections(self, context: ReportContext) -> Sequence[ReportSection]:
        """Metrics by structure, their distribution over cases, and the worst cases."""
        from medpipe.tasks.structure_report import structure_sections

        return structure_sections(context)


def _by_name(scores: Array) -> Array:
    """Scores of shape (cases, names x measures) as (cases, names, measures), also of no case."""
    count, width = scores.shape
    return scores.reshape(count, width // len(MEASURES), len(MEASURES))
