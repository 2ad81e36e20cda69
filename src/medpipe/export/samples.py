"""Real samples with the run's answers, by which an export is verified; they travel with it."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.chain import sample_dictionary
from medpipe.data.readers.reader import read_sample_image
from medpipe.data.splits.split_file import SPLITS_FILE
from medpipe.errors import ExportError
from medpipe.optimization.deep_supervision import first_output
from medpipe.steps import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import torch

    from medpipe.data.chain import Chain
    from medpipe.export.division import Division
    from medpipe.export.graph import Answers
    from medpipe.prediction.trained import TrainedNetwork

    Array = np.ndarray[Any, np.dtype[Any]]

ENOUGH = 16
"""Samples that an export is compared on."""
SPLITS = ("test", "validation", "training")
"""Where they are taken from: the next one where the first have fewer than `ENOUGH`."""
SMALL_TYPES = ("uint8", "int16", "uint16")
"""Types in which images are stored whose values are the same in them."""


@attrs.frozen(kw_only=True, eq=False)
class Known:
    """One sample with the run's answer.

    Attributes:
        input: The image as it enters the graph, float32 of shape (channels, spatial...).
        prepared: As it enters the network.
        outputs: What the run answers, by the name of the graph's output, without decisions.
    """

    input: Array
    prepared: Array
    outputs: Mapping[str, Array]


def known_samples(
    trained: TrainedNetwork, division: Division, answers: Answers, *, sides: Sequence[int | None]
) -> tuple[list[Known], dict[str, int]]:
    """Send samples through the run's own chain, network and task, without the graph.

    Args:
        trained: The network with its chain.
        division: Where the graph begins.
        answers: What the outputs mean.
        sides: Of images that enter the graph; None where any length is taken.

    Returns:
        At least `ENOUGH`, and of how many splits they are. Where sides are free and all have one
        size, the first is there a second time, cut to three quarters.

    Raises:
        ExportError: There are too few samples of these sides.
    """
    chain, found, counts = trained.assembly.chain(), [], dict.fromkeys(SPLITS, 0)
    other = 0
    for split, sample in run_samples(trained):
        known = _known(trained, chain, division, answers, sample)
        if not _fits(known.input.shape[1:], sides):
            other += 1
            continue
        found.append(known)
        counts[split] += 1
        if len(found) == ENOUGH:
            break
    if len(found) < ENOUGH:
        why = f", and {other} of other sizes than {_words(sides)}" if other else ""
        raise ExportError(
            f"An export is compared with its run on {ENOUGH} samples, and the data set has only "
            f"{len(found)}{why}. "
            + (
                "Use the inferer sliding_window, or a step that gives all images one size."
                if other
                else "Restore what was removed from it since, or export a run with more samples."
            )
        )
    if None in sides and len({known.input.shape for known in found}) == 1:
        _, first = next(run_samples(trained))
        cut = attrs.evolve(first, image=cut_sample(first, trained))
        found.append(_known(trained, chain, division, answers, cut))
    return found, {split: count for split, count in counts.items() if count}


def run_samples(trained: TrainedNetwork) -> Iterator[tuple[str, Sample]]:
    """The samples of the run's data set, those of the test split first, without their labels."""
    step = trained.data.task.step
    nothing = step.missing_label(trained.data.task.names)
    by_id = {sample.id: sample for sample in trained.assembly.listed().samples}
    text = (trained.path / SPLITS_FILE).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    for split in SPLITS:
        ids = [row["id"] for row in rows if row["split"] == split and row["id"] in by_id]
        for id_ in ids[:: max(1, len(ids) // ENOUGH)] if len(ids) > ENOUGH else ids:
            yield split, Sample(id=id_, image=by_id[id_].image, label=nothing)


def _known(
    trained: TrainedNetwork, chain: Chain, division: Division, answers: Answers, sample: Sample
) -> Known:
    import torch

    from medpipe.data.loading.collate import as_tensor

    given = sample_dictionary(sample, trained.reading)
    entering = prepared = None
    for place, left in enumerate(chain.stages(given), 1):
        if place == division.cut:
            entering = as_tensor(left["image"]).float().clone()
        if place == len(chain.steps):
            prepared = as_tensor(left["image"]).float().clone()
    assert prepared is not None  # a chain has steps
    if entering is None:
        raise ExportError("A graph can't read files: begin the chain with the step load_image.")
    if division.window is not None:
        entering = prepared = _middle(prepared, division.window)
    network: Any = trained.network
    if trained.data.task.step.dense:
        network = first_output(network)
    with torch.no_grad():
        batch = prepared[None]
        outputs = network(batch) if division.inferer is None else division.inferer(batch, network)
    return Known(
        input=entering.numpy(),
        prepared=prepared.numpy(),
        outputs=_answered(outputs.float().double(), answers),
    )


def _answered(outputs: torch.Tensor, answers: Answers) -> dict[str, Array]:
    """What outputs of one sample mean, computed as the run does, in float64."""
    from medpipe.evaluation.calibration import scaled_scores

    if answers.windows:
        return {"outputs": outputs[0].float().numpy()}
    step = answers.data.task.step
    scores = step.to_scores(outputs)
    found = {"scores": (scores.float() if step.dense else scores)[0].numpy()}
    if "calibrated" in answers.names:
        assert answers.temperature is not None
        scaled = scaled_scores(scores.numpy(), step.answer_form, answers.temperature)
        found["calibrated"] = scaled[0]
    return found


def _middle(image: torch.Tensor, window: Sequence[int]) -> torch.Tensor:
    """The middle of an image, of the size of a window; with 0 around it where it is smaller."""
    from torch.nn import functional

    missing = [max(size - side, 0) for side, size in zip(image.shape[1:], window, strict=True)]
    padding = [n for gap in reversed(missing) for n in (gap // 2, gap - gap // 2)]
    image = functional.pad(image, padding) if any(missing) else image
    for axis, size in enumerate(window, 1):
        image = image.narrow(axis, (image.shape[axis] - size) // 2, size)
    return image.contiguous()


def cut_sample(sample: Sample, trained: TrainedNetwork) -> Any:
    """A sample's image, read, without the last quarter along each axis."""
    decoded = read_sample_image(sample.image, trained.reading)
    axes = decoded.values.ndim - decoded.channels
    region = tuple(slice(0, max(side * 3 // 4, 1)) for side in decoded.values.shape[:axes])
    return attrs.evolve(decoded, values=decoded.values[region].copy())


def _fits(shape: Sequence[int], sides: Sequence[int | None]) -> bool:
    return all(wanted in (None, side) for side, wanted in zip(shape, sides, strict=True))


def _words(sides: Sequence[int | None]) -> str:
    return " x ".join("any" if side is None else str(side) for side in sides)


def stored(samples: Sequence[Known]) -> bytes:
    """The content of a file of samples: tensors as safetensors."""
    from safetensors.numpy import save

    tensors: dict[str, Array] = {}
    for place, known in enumerate(samples):
        tensors[f"{place}.input"] = smallest(known.input)
        if known.prepared.shape != known.input.shape or (known.prepared != known.input).any():
            tensors[f"{place}.prepared"] = smallest(known.prepared)
        tensors |= {f"{place}.outputs.{name}": value for name, value in known.outputs.items()}
    return bytes(save(tensors))


def read(content: bytes) -> list[Known]:
    """What `stored` wrote.

    Raises:
        ValueError: It is something else.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
        count = 1 + max(int(name.partition(".")[0]) for name in tensors)
        return [
            Known(
                input=tensors[f"{place}.input"].astype(np.float32),
                prepared=tensors.get(f"{place}.prepared", tensors[f"{place}.input"]).astype(
                    np.float32
                ),
                outputs={
                    name.split(".", 2)[2]: value
                    for name, value in tensors.items()
                    if name.startswith(f"{place}.outputs.")
                },
            )
            for place in range(count)
        ]
    except (SafetensorError, KeyError) as error:
        raise ValueError(str(error)) from error


def smallest(values: Array) -> Array:
    """Values in the smallest type that has all of them."""
    import numpy as np

    for name in SMALL_TYPES:
        limits = np.iinfo(name)
        if values.min() >= limits.min and values.max() <= limits.max:
            whole = values.astype(name)
            if (whole == values).all():
                return np.ascontiguousarray(whole)
    return np.ascontiguousarray(values)
