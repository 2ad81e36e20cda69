"""Steps for data and networks, which type checkers accept and the registry takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.plugin import (
    Auto,
    AutoInfo,
    DataInfo,
    Dataset,
    DatasetStep,
    DecodedImage,
    DrawnStep,
    Inferer,
    InfererStep,
    NetworkStep,
    PatchSource,
    PatchStep,
    ReaderStep,
    Reading,
    Sample,
    Task,
    TransformStep,
    UnreadableImageError,
    hookimpl,
    or_auto,
    resolved,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn


@attrs.frozen(kw_only=True)
class Ward(DatasetStep):
    """The images of one ward."""

    name: ClassVar[str] = "ward"
    augmentation: ClassVar[Sequence[str]] = ("rand_flip",)
    suggested: ClassVar[Mapping[str, Any]] = {"loader.batch_size": 16}
    root: Path = Path("images")

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Ward]:
        return [cls(root=folder)]

    def build(self) -> Dataset:
        files = sorted(self.root.glob("*.png"))
        samples = [Sample(id=file.name, image=file, label=file.name[0] == "b") for file in files]
        return Dataset(samples=samples, task=Task(names=("healthy", "ill")))


@attrs.frozen(kw_only=True)
class Raw(ReaderStep):
    """Square images of bytes without a header."""

    name: ClassVar[str] = "raw"

    def recognises(self, head: bytes, name: str) -> bool:
        return name.endswith(".raw")

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        import numpy as np

        side = int(len(content) ** 0.5)
        if side * side != len(content):
            raise UnreadableImageError(path, "is no square image")
        return DecodedImage(values=np.frombuffer(content, np.uint8).reshape(side, side))


@attrs.frozen(kw_only=True)
class Invert(TransformStep):
    """Inverts the values; the built form."""

    name: ClassVar[str] = "invert_values"
    around: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    def build(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda sample: {**sample, "image": self.around - sample["image"]}

    def graph_form(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda images: self.around - images


@attrs.frozen(kw_only=True)
class Brighten(TransformStep):
    """Adds a random number; the drawn form, for samples and batches."""

    name: ClassVar[str] = "brighten"
    random: ClassVar[bool] = True
    most: float = 0.1

    def draw(self, rng: np.random.Generator) -> Mapping[str, float]:
        return {"by": rng.uniform(-self.most, self.most)}

    def apply(self, sample: dict[str, Any], draw: Mapping[str, float]) -> dict[str, Any]:
        return {**sample, "image": sample["image"] + draw["by"]}

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, float]]
    ) -> Mapping[str, Any]:
        images = batch["image"].clone()
        for image, draw in zip(images, draws, strict=True):
            image += draw["by"]
        return {**batch, "image": images}


@attrs.frozen(kw_only=True)
class Scale(DrawnStep):
    """Multiplies images by a random number; for batches, with a probability."""

    name: ClassVar[str] = "scale_values"
    prob: float = 0.5

    def values(self, rng: np.random.Generator) -> Mapping[str, Any]:
        return {"by": rng.uniform(0.9, 1.1)}

    def changed(self, images: torch.Tensor, draws: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        factors = images.new_tensor([draw["by"] for draw in draws])
        return images * factors.reshape(-1, *[1] * (images.ndim - 1))


@attrs.frozen(kw_only=True)
class MiddlePatch(PatchStep):
    """Patches around the middle."""

    name: ClassVar[str] = "middle_patch"
    spatial_size: tuple[int, ...] = (8, 8)

    def centre(self, source: PatchSource, rng: np.random.Generator) -> Sequence[float]:
        return [side / 2 for side in source.sides]


@attrs.frozen(kw_only=True)
class TinyCNN(NetworkStep):
    """A convolution and a linear layer; its width may be chosen by the library."""

    name: ClassVar[str] = "tiny"
    width: int | Auto = attrs.field(default="auto", validator=or_auto(attrs.validators.ge(1)))
    norm: Literal["batch", "instance"] = "batch"

    def resolve(self, info: AutoInfo) -> TinyCNN:
        return attrs.evolve(self, width=8) if self.width == "auto" else self

    def build(self, data: DataInfo) -> nn.Module:
        from torch import nn

        width = resolved(self.width)
        layers = [nn.Conv2d(data.channels, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(width, data.outputs))


@attrs.frozen(kw_only=True)
class Mirrored(InfererStep):
    """The mean of an image's and its mirror image's outputs."""

    name: ClassVar[str] = "mirrored"

    def build(self, data: DataInfo) -> Inferer:
        def infer(images: torch.Tensor, network: Callable[..., Any]) -> torch.Tensor:
            outputs: torch.Tensor = network(images) + network(images.flip(-1))
            return outputs / 2

        return infer


@hookimpl
def medpipe_datasets() -> Iterable[type[DatasetStep]]:
    return [Ward]


@hookimpl
def medpipe_readers() -> Iterable[type[ReaderStep]]:
    return [Raw]


@hookimpl
def medpipe_transforms() -> Iterable[type[TransformStep]]:
    return [Invert, Brighten, Scale, MiddlePatch]


@hookimpl
def medpipe_networks() -> Iterable[type[NetworkStep]]:
    return [TinyCNN]


@hookimpl
def medpipe_inferers() -> Iterable[type[InfererStep]]:
    return [Mirrored]
