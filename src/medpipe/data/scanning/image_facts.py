"""What training images look like as they are read: channels, size, values, spacing, modality."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.readers.dicom.files import dicom_identities
from medpipe.data.readers.reader import read_sample_image, source_of
from medpipe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from medpipe.data.scanning.fingerprints import Fingerprints
    from medpipe.steps import DecodedImage, Reading, Sample

MEASURED = 64
"""How many images are read for this, at most."""
VALUES = 1 << 28
"""How many values they have together, about: of large volumes fewer are read."""


@attrs.frozen(kw_only=True)
class ImageFacts:
    """What one image looks like.

    Attributes:
        channels: How many the file has, before the reading makes others of them.
        sides: Rows, columns and, of a volume, slices.
        lowest: The lowest value, of those that are finite.
        highest: The highest.
        spacing: Millimetres between rows, columns and slices; None where the file doesn't say.
    """

    channels: int
    sides: tuple[int, ...]
    lowest: float
    highest: float
    spacing: tuple[float, ...] | None = None


def facts_of(decoded: DecodedImage) -> ImageFacts:
    """The facts of an image that has pixels."""
    import numpy as np

    values, shape = decoded.values, decoded.values.shape
    lowest, highest = float(values.min()), float(values.max())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        finite = values[np.isfinite(values)]
        lowest, highest = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return ImageFacts(
        channels=decoded.stored_channels or (shape[-1] if decoded.channels else 1),
        sides=tuple(shape[:-1] if decoded.channels else shape),
        lowest=lowest,
        highest=highest,
        spacing=None if decoded.spacing is None else tuple(map(float, decoded.spacing)),
    )


def measured_facts(
    samples: Sequence[Sample], prints: Fingerprints, reading: Reading
) -> list[tuple[Sample, ImageFacts]]:
    """The facts of some samples, from all over the list; see `MEASURED` and `VALUES`.

    What can't be read now is left out.

    Args:
        samples: The samples.
        prints: Their fingerprints.
        reading: How files are decoded.
    """
    found = []
    for sample in _chosen(samples, prints):
        try:
            found.append((sample, facts_of(read_sample_image(sample.image, reading))))
        except DataError:
            continue
    return found


def training_facts(
    samples: Sequence[Sample], prints: Fingerprints, reading: Reading
) -> dict[str, Any] | None:
    """What training images look like, as plain data; None where none can be read.

    Sizes, and whether some are constant, are those of all images; the rest is measured on a few,
    see `measured_facts`.

    Args:
        samples: The training images.
        prints: Their fingerprints.
        reading: How files are decoded.
    """
    found = measured_facts(samples, prints, reading)
    if not found:
        return None
    ids = [sample.id for sample in samples]
    modalities = sorted(set(modalities_of([sample for sample, _ in found]).values()))
    return summary(
        [facts for _, facts in found],
        shapes=[prints.kinds[number][0] for number in sorted(set(prints.numbers(ids)))],
        constant=not {
            id_ for id_, defect in prints.with_defect() if defect == "constant"
        }.isdisjoint(ids),
        modalities=modalities,
    )


def summary(
    found: Sequence[ImageFacts],
    *,
    shapes: Iterable[tuple[int, ...]] = (),
    constant: bool = False,
    modalities: Sequence[str] = (),
) -> dict[str, Any]:
    """What images have in common, as plain data.

    Args:
        found: What some of them look like: at least one.
        shapes: The sides of others.
        constant: Whether there are others of which all values are one.
        modalities: DICOM's Modality of those that have one.

    Returns:
        ``measured``, how many images; their numbers of ``channels``; the ``sides`` and the
        ``spacing`` (None where an image has none) as the least and the most of each axis, by the
        number of axes; ``values``, the lowest and the highest of all; ``widths``, from the lowest
        to the highest value of one image, the least above 0 and the median; whether some are
        ``constant``; and ``modalities``.
    """
    widths = [facts.highest - facts.lowest for facts in found]
    spacings = [facts.spacing for facts in found if facts.spacing is not None]
    return {
        "measured": len(found),
        "channels": sorted({facts.channels for facts in found}),
        "sides": _ranges([*shapes, *(facts.sides for facts in found)]),
        "values": [min(f.lowest for f in found), max(f.highest for f in found)],
        "widths": [min(filter(None, widths), default=0.0), median(widths)],
        "constant": constant or 0.0 in widths,
        "spacing": _ranges(spacings) if len(spacings) == len(found) else None,
        "modalities": list(modalities),
    }


def modalities_of(samples: Sequence[Sample]) -> dict[str, str]:
    """DICOM's Modality of samples, by id, from the header of the first file; others have none."""
    paths = {sample.id: path for sample in samples if (path := source_of(sample.image))}
    headers = dicom_identities(paths, [])
    return {id_: one.modality for id_, one in headers.items() if one.modality}


def _chosen(samples: Sequence[Sample], prints: Mapping[str, Any]) -> Iterator[Sample]:
    """Samples from all over a list, of not too many values together."""
    left = VALUES
    for sample in samples[:: max(1, -(-len(samples) // MEASURED))]:
        found = prints[sample.id]
        left -= math.prod(found.shape) * (found.channels or 1)
        yield sample
        if left <= 0:
            return


def _ranges(tuples: Iterable[Sequence[float]]) -> dict[str, list[list[float]]]:
    """The least and the most of each axis, by the number of axes."""
    by_axes: dict[int, list[Sequence[float]]] = {}
    for one in tuples:
        by_axes.setdefault(len(one), []).append(one)
    return {
        str(axes): [[min(sides), max(sides)] for sides in zip(*some, strict=True)]
        for axes, some in sorted(by_axes.items())
    }
