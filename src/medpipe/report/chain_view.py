"""Images as they leave the transform chain, turned back as their files have them.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.chain import sample_dictionary
from medpipe.data.readers.reader import read_sample_image
from medpipe.errors import MedpipeError
from medpipe.report.pictures import upright
from medpipe.steps import DecodedImage, LabelImage, Reading, Sample

if TYPE_CHECKING:
    import numpy as np
    import torch

    from medpipe.data.chain import Chain

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True, eq=False)
class ChainView:
    """How a chain turns the axes of images of one kind.

    Attributes:
        axes: For each axis of the file's image (rows, columns, slices) the axis that it becomes.
        turned: For each whether it runs the other way.
    """

    axes: tuple[int, ...]
    turned: tuple[bool, ...]

    @classmethod
    def of(cls, chain: Chain, image: DecodedImage, reading: Reading) -> ChainView:
        """Send a ramp along each axis through the chain, and look where it went.

        So it holds for every step that turns or mirrors images, also for those of plugins. Where
        the chain leaves nothing of a ramp, images are taken for transposed, as MONAI has them.
        """
        import numpy as np

        dims = image.values.ndim - image.channels
        usual = cls(axes=(1, 0, 2)[:dims], turned=(False,) * dims)
        shape = image.values.shape[:dims]
        low, high = (float(f(image.values)) for f in (np.min, np.max))
        axes, turned = [], []
        for axis in range(dims):
            ramp = np.linspace(low, high if high > low else low + 1, shape[axis])
            ramp = ramp.reshape([-1 if place == axis else 1 for place in range(dims)])
            values = np.broadcast_to(ramp, shape)
            if image.channels:
                values = np.repeat(values[..., None], image.values.shape[-1], axis=-1)
            probe = attrs.evolve(image, values=values.astype(image.values.dtype))
            try:
                left = through(chain, Sample(id="ramp", image=probe, label=0), reading)
            except MedpipeError:
                return usual
            if left.ndim != dims + 1:
                return usual
            mean = left.mean(axis=0)
            profiles = [mean.mean(axis=tuple(set(range(dims)) - {a})) for a in range(dims)]
            found = int(np.argmax([np.ptp(profile) for profile in profiles]))
            if not np.ptp(profiles[found]) > 0:
                return usual
            axes.append(found)
            turned.append(bool(profiles[found][-1] < profiles[found][0]))
        if len(set(axes)) < dims:
            return usual
        return cls(axes=tuple(axes), turned=tuple(turned))

    def back(self, values: Array) -> Array:
        """Values of the chain's spatial shape with the file's axes: rows, columns, slices."""
        import numpy as np

        found = np.transpose(values, self.axes)
        return found[tuple(slice(None, None, -1 if t else 1) for t in self.turned)]

    def plane(self, values: Array, image: DecodedImage, depth: int) -> Array:
        """Values of the chain's spatial shape as a viewer shows them; a slice of a volume."""
        found = self.back(values)
        return upright(found[:, :, depth], image.affine) if found.ndim == 3 else found


def through(
    chain: Chain, sample: Sample, reading: Reading, *, training: bool = False, epoch: int = 0
) -> Array:
    """An image as it leaves the chain: float32 of shape (channels, spatial...)."""
    return through_tensor(chain, sample, reading, training=training, epoch=epoch).numpy()


def with_label(
    chain: Chain, sample: Sample, reading: Reading, *, training: bool = False, epoch: int = 0
) -> tuple[Array, Array | None]:
    """The same with its label: uint8 of shape (1 or names, spatial...); None if it is no image."""
    from medpipe.data.loading.collate import as_tensor

    left = chain(sample_dictionary(sample, reading), training=training, epoch=epoch)
    image = as_tensor(left["image"]).detach().cpu().float().numpy()
    if not isinstance(sample.label, LabelImage):
        return image, None
    return image, as_tensor(left["label"]).cpu().numpy()


def through_tensor(
    chain: Chain, sample: Sample, reading: Reading, *, training: bool = False, epoch: int = 0
) -> torch.Tensor:
    """The same as a plain tensor."""
    from medpipe.data.loading.collate import as_tensor

    left = chain(sample_dictionary(sample, reading), training=training, epoch=epoch)
    return as_tensor(left["image"]).detach().cpu().float()


def decoded(sample: Sample, reading: Reading) -> DecodedImage:
    """A sample's image as its file has it."""
    return read_sample_image(sample.image, reading)
