"""Samples and scans to be divided, and what a split must never do."""

from __future__ import annotations

from typing import Any

from medpipe.data.preparation import PreparedData
from medpipe.data.scanning.scan import Fingerprint, Scan
from medpipe.steps import Sample, Task
from medpipe.system.files import sha256_of

TASK = Task(names=("ill", "well"))


def sample_of(id_: str, label: Any = 0, group: str | None = None, split: Any = None) -> Sample:
    return Sample(id=id_, image="", label=label, group=group, split=split)


def scan_of(samples: list[Sample], pixels: dict[str, str] | None = None) -> Scan:
    """Fingerprints by id; `pixels` names images that look the same."""
    looks = pixels or {}
    return Scan(
        fingerprints={
            s.id: Fingerprint(
                sha256=sha256_of(s.id.encode()), pixels=looks.get(s.id, s.id), shape=()
            )
            for s in samples
        }
    )


def nothing_crosses(data: PreparedData) -> None:
    """No group and no image (by its pixels) is in two splits, and every sample in one."""
    where: dict[tuple[str, str], set[str]] = {}
    for sample in data.dataset.samples:
        split = data.split[sample.id]
        where.setdefault(("pixels", data.scan.fingerprints[sample.id].pixels), set()).add(split)
        if sample.group is not None:
            where.setdefault(("group", sample.group), set()).add(split)
    assert all(len(splits) == 1 for splits in where.values())
    assert sum(len(samples) for samples in data.by_split.values()) == len(data.dataset.samples)
