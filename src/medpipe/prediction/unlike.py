"""Images that look unlike those in training: in what, and how it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.data.scanning.image_facts import measured_facts, modalities_of
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.data.scanning.fingerprints import Fingerprints
    from medpipe.data.scanning.image_facts import ImageFacts
    from medpipe.steps import Reading, Sample

TIMES = 2.0
"""How many times longer or shorter a side or a spacing may be than all in training."""
ABOVE = 1.0
"""How far values may lie above those in training, as a share of the range of all of them."""
BELOW = 0.25
"""How far they may lie below, as a share of the usual range of one image: many images begin at 0,
and a negative value is of another kind of image."""
NARROW = 0.1
"""How small the range of an image may be, as a share of the least in training."""
NAMED = 3
"""How many images a sentence names."""
WORDS = {
    "channels": ("has a number of channels", "have a number of channels"),
    "size": ("has a size", "have a size"),
    "values": ("has a range of values", "have a range of values"),
    "spacing": ("has a spacing", "have a spacing"),
    "modality": ("has a modality", "have a modality"),
}
"""In what an image may be unlike those in training: of one, of several."""


def unlike(facts: ImageFacts, known: Mapping[str, Any]) -> dict[str, str]:
    """In what an image looks unlike those in training: by kind, what it has, in words.

    Args:
        facts: What it looks like.
        known: What they look like; see `medpipe.data.scanning.image_facts.summary`.
    """
    found = {}
    if facts.channels not in known["channels"]:
        found["channels"] = str(facts.channels)
    if _outside(facts.sides, known["sides"]):
        found["size"] = " x ".join(map(str, facts.sides))
    if _other_values(facts, known):
        constant = facts.lowest == facts.highest
        found["values"] = f"{facts.lowest:g}" + (
            " everywhere" if constant else f" to {facts.highest:g}"
        )
    if known["spacing"] is not None:
        if facts.spacing is None:
            found["spacing"] = "unknown"
        elif str(len(facts.spacing)) in known["spacing"] and _outside(
            facts.spacing, known["spacing"]
        ):
            found["spacing"] = f"{' x '.join(f'{side:.3g}' for side in facts.spacing)} mm"
    return found


def other_modality(modality: str | None, known: Mapping[str, Any]) -> dict[str, str]:
    """As `unlike`, of DICOM's Modality; of an image without one nothing is said."""
    others = known["modalities"]
    return {"modality": modality} if modality and others and modality not in others else {}


def unlike_notes(
    found: Mapping[str, Mapping[str, str]],
    total: int,
    known: Mapping[str, Any] | None,
    *,
    among: str = "",
) -> list[str]:
    """A sentence on each kind in which images are unlike those in training.

    Args:
        found: By image, what `unlike` found.
        total: How many images were compared.
        known: As of `unlike`.
        among: Which images these are, in words.
    """
    images, notes = " ".join(filter(None, (counted(total, "image"), among))), []
    for kind, (of_one, of_several) in WORDS.items():
        some = [f"{id_} {said[kind]}" for id_, said in found.items() if kind in said]
        if known is None or not some:
            continue
        more = f" and {len(some) - NAMED:,} more" if len(some) > NAMED else ""
        notes.append(
            f"{len(some):,} of {images} {of_one if len(some) == 1 else of_several}"
            f" unlike training's ({', '.join(some[:NAMED])}{more}): training had "
            f"{_trained_on(kind, known)}."
        )
    return notes


def dataset_notes(
    samples: Sequence[Sample],
    prints: Fingerprints,
    reading: Reading,
    known: Mapping[str, Any] | None,
) -> list[str]:
    """As `unlike_notes`, of a data set: a few of its images are read for it.

    Args:
        samples: Its samples.
        prints: Their fingerprints.
        reading: How files are decoded.
        known: As of `unlike`; None: nothing is compared.
    """
    if known is None:
        return []
    measured = measured_facts(samples, prints, reading)
    modalities = modalities_of([sample for sample, _ in measured])
    found = {
        sample.id: unlike(facts, known) | other_modality(modalities.get(sample.id), known)
        for sample, facts in measured
    }
    among = "that were looked at" if len(measured) < len(samples) else ""
    return unlike_notes(found, len(measured), known, among=among)


def _other_values(facts: ImageFacts, known: Mapping[str, Any]) -> bool:
    (low, high), (narrowest, usual) = known["values"], known["widths"]
    width = facts.highest - facts.lowest
    return bool(
        facts.highest > high + ABOVE * (high - low)
        or facts.lowest < low - BELOW * usual
        or (not known["constant"] if width == 0 else width < NARROW * narrowest)
    )


def _outside(sides: Sequence[float], known: Mapping[str, Sequence[Sequence[float]]]) -> bool:
    """Whether a side is much longer or shorter than in training, or there are other axes."""
    ranges = known.get(str(len(sides)))
    return ranges is None or any(
        not low / TIMES <= side <= high * TIMES
        for side, (low, high) in zip(sides, ranges, strict=True)
    )


def _trained_on(kind: str, known: Mapping[str, Any]) -> str:
    """What training images have, in words."""
    if kind == "channels":
        return " or ".join(map(str, known["channels"]))
    if kind == "modality":
        return " or ".join(known["modalities"])
    if kind == "values":
        low, high = known["values"]
        return f"{low:g} to {high:g}, each image a range of at least {known['widths'][0]:g}"
    ranges, unit = (known["sides"], "") if kind == "size" else (known["spacing"], " mm")
    return " or ".join(" x ".join(map(_range, some)) + unit for some in ranges.values())


def _range(pair: Sequence[float]) -> str:
    low, high = (f"{side:.3g}" if side % 1 else f"{side:.0f}" for side in pair)
    return low if low == high else f"{low} to {high}"
