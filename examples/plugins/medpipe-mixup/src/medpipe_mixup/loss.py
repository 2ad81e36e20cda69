"""The loss."""

from __future__ import annotations

from typing import ClassVar

import attrs
from attrs.validators import ge, lt

from medpipe.plugin import DataInfo, Loss, LossStep


@attrs.frozen(kw_only=True)
class MeanLabels(LossStep):
    """Cross-entropy with labels that are moved towards the mean label of the training samples.

    That is what mixup does to labels on average (Carratino et al., 2020, arXiv:2006.06049), without
    mixing images. With classes of one size it is label smoothing.

    Attributes:
        share: The share of the mean label.
    """

    name: ClassVar[str] = "mean_labels"
    labels: ClassVar[frozenset[str]] = frozenset({"class"})
    share: float = attrs.field(default=0.1, validator=[ge(0), lt(1)])

    def build(self, data: DataInfo) -> Loss:
        """Make the loss, of outputs (batch, classes) and labels (batch,)."""
        from medpipe_mixup.mean_labels import MeanLabelLoss

        return MeanLabelLoss(data.class_counts or (1,) * data.outputs, share=self.share)
