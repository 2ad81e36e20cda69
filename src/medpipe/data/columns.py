"""All but the images of one part's samples, by column, so that a batch is a look-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch

    from medpipe.steps import Sample

_ABSENT = object()


@attrs.frozen(kw_only=True, eq=False)
class Columns:
    """The labels, the ids and the extra columns of samples.

    Attributes:
        labels: Of all samples, as losses want them; samples first.
        lists: The id and the extra columns by name, in the order of the names.
        partial: The names of those that some samples lack.
    """

    labels: torch.Tensor
    lists: Mapping[str, Sequence[Any]]
    partial: frozenset[str]

    @classmethod
    def of(cls, samples: Sequence[Sample], labels: torch.Tensor) -> Columns:
        """Take samples apart.

        Args:
            samples: The samples of one part.
            labels: Theirs, as a tensor.
        """
        names = {name for sample in samples for name in sample.extra}
        lists: dict[str, Sequence[Any]] = {
            name: [sample.extra.get(name, _ABSENT) for sample in samples]
            for name in names - {"image", "label", "id", "reading"}
        }
        lists["id"] = [sample.id for sample in samples]
        return cls(
            labels=labels,
            lists={name: lists[name] for name in sorted(lists)},
            partial=frozenset(
                name for name, values in lists.items() if any(value is _ABSENT for value in values)
            ),
        )

    def batch(self, places: np.ndarray[Any, Any]) -> dict[str, Any]:
        """The ``label`` and the lists of some samples; a list only where all of them have it.

        Args:
            places: Their places, int64 of shape (batch,).
        """
        import torch

        numbers = places.tolist()
        found: dict[str, Any] = {}
        for name, values in self.lists.items():
            chosen = list(map(values.__getitem__, numbers))
            if name not in self.partial or all(value is not _ABSENT for value in chosen):
                found[name] = chosen
        found["label"] = self.labels.index_select(0, torch.from_numpy(places))
        return found
