"""A data set that can be learned, and a network for it: what checks train.

torch and NumPy are imported inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.data.chain import Chain
from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.steps import DataInfo, DatasetStep, NetworkStep, Reading, Sample, TransformStep
from medpipe.testing.subjects import data_info, labels_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from medpipe.data.loading.loader import Loader

SIDES = {2: (12, 12), 3: (8, 8, 8)}
SAMPLES, BATCH = 16, 4


@attrs.frozen(kw_only=True)
class Listed(DatasetStep):
    """Stands where a configuration needs a data set."""

    name: ClassVar[str] = "listed"


@attrs.frozen(kw_only=True, eq=False)
class Tensors(TransformStep):
    """Gives tensors of a sample's arrays."""

    name: ClassVar[str] = "tensors"
    masks: Mapping[str, Any] = attrs.field(factory=dict)

    def build(self) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
        """Give a callable on a sample."""
        import torch

        def give(sample: dict[str, Any]) -> Mapping[str, Any]:
            label = self.masks.get(sample["id"], sample["label"])
            return {**sample, "image": torch.tensor(sample["image"]), "label": label}

        return give


@attrs.frozen(kw_only=True)
class Small(NetworkStep):
    """Two equal blocks, and dropout: it has buffers, and draws random numbers in training.

    Attributes:
        heads: How many outputs it gives in training, where labels are images.
    """

    name: ClassVar[str] = "small"
    heads: int = 1

    def build(self, data: DataInfo) -> nn.Module:
        """Make the network."""
        import math

        from torch import nn

        dims, dense, heads = data.spatial_dims, data.task.step.dense, self.heads
        convolution: Any = nn.Conv3d if dims == 3 else nn.Conv2d
        normalization: Any = nn.BatchNorm3d if dims == 3 else nn.BatchNorm2d

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.convolution = convolution(4, 4, 3, padding=1)
                self.normalization = normalization(4)

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                found: torch.Tensor = self.normalization(self.convolution(image)).relu() + image
                return found

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.stem = convolution(data.channels, 4, 3, padding=1)
                self.blocks = nn.ModuleList([Block(), Block()])
                self.dropout = nn.Dropout(0.1)
                self.head = (
                    convolution(4, data.outputs, 1)
                    if dense
                    else nn.Linear(4 * math.prod(SIDES[dims]), data.outputs)
                )

            def forward(self, image: torch.Tensor) -> Any:
                found = self.stem(image)
                for block in self.blocks:
                    found = block(found)
                found = self.dropout(found)
                answer = self.head(found if dense else found.flatten(1))
                return [answer] * heads if heads > 1 and self.training else answer

        return Network()


def learnable(kind: str, dims: int) -> DataInfo:
    """Data of a built-in task, on which a training learns something in a hundred iterations."""
    return attrs.evolve(data_info(kind, dims=dims), spatial_shape=SIDES[dims])


def loader_of(data: DataInfo) -> Loader:
    """The library's loader of their training split."""
    import torch

    from medpipe.data.loading.loader import make_loader
    from medpipe.data.loading.sample_batches import SampleBatches

    samples, masks = _samples(data)
    batches = SampleBatches(
        samples,
        chain=Chain([("transform[0], tensors,", Tensors(masks=masks))], seed=0),
        task=data.task,
        reading=Reading(),
        training=True,
    )
    order = EpochBatchSampler(count=len(samples), batch_size=BATCH, seed=0)
    return make_loader(batches, order, workers=0, device=torch.device("cpu"))


def _samples(data: DataInfo) -> tuple[Sequence[Sample], dict[str, Any]]:
    """Samples whose images show their labels, and the masks of those whose label is an image."""
    import numpy as np
    import torch

    rng = np.random.default_rng(0)
    shape, names = SIDES[data.spatial_dims], len(data.task.names)
    noise = rng.normal(0, 0.3, (SAMPLES, data.channels, *shape)).astype(np.float32)
    ids = [f"sample{place:02}" for place in range(SAMPLES)]
    if data.task.step.dense:
        masks = rng.integers(0, data.outputs, (SAMPLES, 1, *[side // 4 for side in shape]))
        for axis in range(data.spatial_dims):
            masks = masks.repeat(4, axis=axis + 2)
        pictures = noise + masks.astype(np.float32)
        of_id = {
            id_: torch.tensor(mask.astype(np.uint8)) for id_, mask in zip(ids, masks, strict=True)
        }
        return _listed(ids, pictures, [0] * SAMPLES), of_id
    labels = labels_of(data.task, count=SAMPLES)
    patterns = rng.normal(0, 1, (names, *shape))
    weights = np.eye(names)[labels] if data.task.step.label_form == "class" else np.array(labels)
    shown = np.tensordot(weights, patterns, axes=1)[:, None]
    return _listed(ids, (noise + shown).astype(np.float32), labels), {}


def _listed(ids: Sequence[str], pictures: Any, labels: Sequence[Any]) -> list[Sample]:
    return [
        Sample(id=id_, image=picture, label=label)
        for id_, picture, label in zip(ids, pictures, labels, strict=True)
    ]
