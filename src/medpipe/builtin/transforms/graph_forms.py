"""Steps of the table in operations that an exported graph can hold.

They give what MONAI gives, on float32 images of shape (batch, channels, spatial...). Sides may be
unknown while PyTorch traces, so that resampling is a product with a matrix made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    Form = Callable[[torch.Tensor], torch.Tensor]


def _as_it_is(_: Any) -> Form:
    return lambda images: images


def _inner(images: torch.Tensor, *, channel_wise: bool) -> list[int]:
    return list(range(2 if channel_wise else 1, images.ndim))


def _scale_intensity(step: Any) -> Form:
    """MONAI's `rescale_array`: a constant image is multiplied by `minv`."""

    def form(images: torch.Tensor) -> torch.Tensor:
        import torch

        axes = _inner(images, channel_wise=step.channel_wise)
        low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
        constant = low == high
        width = torch.where(constant, torch.ones_like(low), high - low)
        scaled = (images - low) / width * (step.maxv - step.minv) + step.minv
        return torch.where(constant, images * step.minv, scaled)

    return form


def _scale_intensity_range(step: Any) -> Form | None:
    if step.a_max == step.a_min:
        return None

    def form(images: torch.Tensor) -> torch.Tensor:
        images = (images - step.a_min) / (step.a_max - step.a_min)
        if step.b_min is not None and step.b_max is not None:
            images = images * (step.b_max - step.b_min) + step.b_min
        if step.clip and (step.b_min is not None or step.b_max is not None):
            images = images.clamp(step.b_min, step.b_max)
        return images

    return form


def _normalize_intensity(step: Any) -> Form | None:
    """By the image's mean and deviation, or by given numbers; a deviation of 0 is taken as 1."""
    kinds = tuple if step.channel_wise else (int, float)
    given = [number for number in (step.subtrahend, step.divisor) if number is not None]
    if step.nonzero or not all(isinstance(number, kinds) for number in given):
        return None

    def form(images: torch.Tensor) -> torch.Tensor:
        import torch

        axes = _inner(images, channel_wise=step.channel_wise)

        def number(value: Any) -> torch.Tensor:
            shape = (-1,) + (1,) * (images.ndim - 2)
            return torch.tensor(value, dtype=images.dtype, device=images.device).reshape(shape)

        mean = images.mean(axes, keepdim=True)
        subtrahend = mean if step.subtrahend is None else number(step.subtrahend)
        if step.divisor is None:
            divisor = (images - mean).square().mean(axes, keepdim=True).sqrt()
        else:
            divisor = number(step.divisor)
        divisor = torch.where(divisor == 0, torch.ones_like(divisor), divisor)
        return (images - subtrahend) / divisor

    return form


def _shift_intensity(step: Any) -> Form | None:
    return None if step.safe else lambda images: images + step.offset


def _threshold_intensity(step: Any) -> Form:
    def form(images: torch.Tensor) -> torch.Tensor:
        import torch

        kept = images > step.threshold if step.above else images < step.threshold
        return torch.where(kept, images, torch.full_like(images, step.cval))

    return form


def _repeat_channel(step: Any) -> Form:
    return lambda images: images.repeat_interleave(step.repeats, dim=1)


def _flip(step: Any) -> Form:
    def form(images: torch.Tensor) -> torch.Tensor:
        axes = step.spatial_axis
        if axes is None:
            axes = range(images.ndim - 2)
        chosen = (axes,) if isinstance(axes, int) else axes
        return images.flip([axis + 2 if axis >= 0 else images.ndim + axis for axis in chosen])

    return form


def _resize(step: Any) -> Form | None:
    """Each axis by itself: the windows of ``area`` and the weights of ``linear`` are products."""
    weights = WEIGHTS.get(step.mode)
    sides = (step.spatial_size,) if isinstance(step.spatial_size, int) else step.spatial_size
    plain = step.size_mode == "all" and not step.anti_aliasing and not step.align_corners
    if weights is None or not plain or min(sides) < 1:
        return None

    def form(images: torch.Tensor) -> torch.Tensor:
        for axis, side in zip(range(2, images.ndim), sides, strict=True):
            matrix = weights(images.shape[axis], side, images)
            images = (images.movedim(axis, -1) @ matrix).movedim(-1, axis)
        return images

    return form


def _area(own: int, side: int, images: torch.Tensor) -> torch.Tensor:
    """Weights of shape (own, side) by which `torch.nn.functional.interpolate` means areas."""
    import torch

    place = torch.arange(side, device=images.device)[None]
    start = torch.div(place * own, side, rounding_mode="floor")
    stop = torch.div((place + 1) * own + side - 1, side, rounding_mode="floor")
    pixel = torch.arange(own, device=images.device)[:, None]
    inside = (pixel >= start) & (pixel < stop)
    return inside.to(images.dtype) / (stop - start).to(images.dtype)


def _linear(own: int, side: int, images: torch.Tensor) -> torch.Tensor:
    """Weights of shape (own, side) of the two nearest pixels, without aligned corners."""
    import torch

    # In float32 and in PyTorch's order, so that places are rounded as PyTorch rounds them.
    kind: Any = {"device": images.device, "dtype": torch.float32}
    scale = torch.full((1, 1), own, **kind) / side
    centre = (scale * (torch.arange(side, **kind)[None] + 0.5) - 0.5).clamp(min=0)
    pixel = torch.arange(own, **kind)[:, None]
    last = (pixel == own - 1) & (centre > own - 1)
    weight = (1 - (pixel - centre).abs()).clamp(min=0)
    return torch.where(last, torch.ones_like(weight), weight).to(images.dtype)


WEIGHTS: Mapping[str, Callable[[int, int, torch.Tensor], torch.Tensor]] = {
    "area": _area,
    "linear": _linear,
    "bilinear": _linear,
    "trilinear": _linear,
}
"""Of the modes of ``resize``."""

GRAPH_FORMS: Mapping[str, Callable[[Any], Form | None]] = {
    "to_tensor": _as_it_is,
    "scale_intensity": _scale_intensity,
    "scale_intensity_range": _scale_intensity_range,
    "normalize_intensity": _normalize_intensity,
    "shift_intensity": _shift_intensity,
    "threshold_intensity": _threshold_intensity,
    "repeat_channel": _repeat_channel,
    "flip": _flip,
    "resize": _resize,
}
"""What makes the form of a step, by the step's name."""
