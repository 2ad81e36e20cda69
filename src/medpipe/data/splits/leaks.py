"""Find leaks: groups and copies of one image that must stay in one split and are in several."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import attrs

from medpipe.data.ids import portable_id
from medpipe.data.splits.units import seen_as, together
from medpipe.steps import SPLITS, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from medpipe.data.scanning.scan import Scan
    from medpipe.steps import Sample


@attrs.frozen
class Leaks:
    """What must stay in one split and is in several.

    Attributes:
        groups: Each group with the ids of its samples, sorted.
        copies: The ids of the samples that are one image, sorted by the first of them.
    """

    groups: list[tuple[str, list[str]]]
    copies: list[list[str]]

    def __bool__(self) -> bool:
        return bool(self.groups or self.copies)


@attrs.frozen
class Leaking:
    """A sample of the training side of a leak.

    Attributes:
        index: Its place among the samples.
        split: The split it is in.
        stays: The later split, which keeps what belongs together.
        others: The places of the samples in that split that it belongs together with.
    """

    index: int
    split: Split
    stays: Split
    others: list[int]


def predefined_splits(samples: Iterable[Sample]) -> dict[str, Split]:
    """The splits that the data bring; what is for the library to divide counts as training."""
    return {sample.id: sample.split or "training" for sample in samples}


def find_leaks(samples: Sequence[Sample], scan: Scan, splits: Mapping[str, Split]) -> Leaks:
    """The groups and the copies of one image that are in several splits."""
    if len(set(splits.values())) < 2:  # as wherever the data bring none
        return Leaks([], [])
    groups = _crossing(((seen_as(s.group), s.id) for s in samples if s.group is not None), splits)
    looks = scan.of(samples).pixels
    pixels = _crossing(zip(looks, [s.id for s in samples], strict=True), splits)
    return Leaks(groups, sorted((ids for _, ids in pixels), key=lambda ids: portable_id(ids[0])))


def training_side(
    samples: Sequence[Sample], scan: Scan, splits: Mapping[str, Split]
) -> Iterator[Leaking]:
    """The samples to leave out so that nothing leaks.

    Groups and copies combine: where an image of one patient is an image of another's too, both
    count as one. Of what belongs together and is in several splits only the test samples stay;
    where none of it is in the test, only the validation samples.
    """
    if len(set(splits.values())) < 2:
        return
    for indices in together(samples, scan):
        placed = [splits[samples[index].id] for index in indices]
        stays = max(placed, key=SPLITS.index)
        others = [index for index, split in zip(indices, placed, strict=True) if split == stays]
        for index, split in zip(indices, placed, strict=True):
            if split != stays:
                yield Leaking(index, split, stays, others)


def _crossing(
    marked: Iterable[tuple[str, str]], splits: Mapping[str, Split]
) -> list[tuple[str, list[str]]]:
    """The marks whose ids are in several splits, sorted, each with its sorted ids."""
    members: dict[str, list[str]] = defaultdict(list)
    for mark, sample_id in marked:
        members[mark].append(sample_id)
    return [
        (mark, sorted(ids, key=portable_id))
        for mark, ids in sorted(members.items())
        if len(ids) > 1 and len({splits[sample_id] for sample_id in ids}) > 1
    ]
