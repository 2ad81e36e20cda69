"""Labels, ids and other values of a split by column, so that a batch is an index operation."""

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
        labels: Of all samples, as losses want them; samples first. None where they are images.
        values: The ids and the extra columns by name, in the order of the names: arrays of objects,
            from which numpy takes a batch in half of the time that a list takes.
        partial: The names of those that some samples lack.
    """

    labels: torch.Tensor | None
    values: Mapping[str, np.ndarray[Any, Any]]
    partial: frozenset[str]

    @classmethod
    def of(cls, samples: Sequence[Sample], labels: torch.Tensor | None = None) -> Columns:
        """Collect the columns of samples.

        Args:
            samples: The samples of one split.
            labels: Theirs, as a tensor; None where they are images.
        """
        import numpy as np

        names = {name for sample in samples for name in sample.extra}
        columns = {
            name: [sample.extra.get(name, _ABSENT) for sample in samples]
            for name in names - {"image", "label", "id", "reading"}
        }
        columns["id"] = [sample.id for sample in samples]
        values = {
            name: np.fromiter(columns[name], np.object_, len(samples)) for name in sorted(columns)
        }
        return cls(
            labels=labels,
            values=values,
            partial=frozenset(
                name for name, column in values.items() if any(one is _ABSENT for one in column)
            ),
        )

    def batch(self, places: np.ndarray[Any, Any]) -> dict[str, Any]:
        """The ``label`` and the lists of some samples; a list only where all of them have it.

        Args:
            places: Their places, int64 of shape (batch,).
        """
        import torch

        found: dict[str, Any] = {}
        for name, column in self.values.items():
            chosen = column[places].tolist()
            if name not in self.partial or all(one is not _ABSENT for one in chosen):
                found[name] = chosen
        if self.labels is not None:
            found["label"] = self.labels.index_select(0, torch.from_numpy(places))
        return found
