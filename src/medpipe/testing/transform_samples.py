"""The samples that checks of transforms try: drawn, with masks or without, loaded or not.

torch and MONAI are imported inside functions.
"""

from __future__ import annotations

import atexit
import functools
import io
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import attrs

from medpipe.data.chain import Chain
from medpipe.data.loading.collate import as_tensor
from medpipe.steps import DecodedImage, Reading
from medpipe.system.files import write_bytes
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, skip
from medpipe.testing.remembered import remembered

Form = Literal["image", "mask", "channels", "bare", "decoded", "file"]
FORMS: tuple[Form, ...] = ("image", "mask", "channels", "bare", "decoded", "file")
"""What a sample is like: its label is a class, or a mask; two equal channels; none; not loaded."""
LOADED: tuple[Form, ...] = ("image", "mask", "channels")
"""Those that batches can hold."""
SIDES = {2: (32, 32), 3: (32, 32, 32)}
VALUES = (0, 1, 2, 5)
"""What is in masks."""


@functools.lru_cache(maxsize=8)
def _drawn(dims: int, seed: int) -> tuple[Any, Any]:
    """An image from 0 to 1 with structures, and their mask, of shape (1, spatial...)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*(torch.arange(side) for side in SIDES[dims]), indexing="ij")
    label = torch.zeros(SIDES[dims], dtype=torch.uint8)
    for value, centre, radius in ((1, 11 + seed % 3, 6), (2, 22, 4), (5, 27, 3)):
        far = sum((axis - (centre + place)) ** 2 for place, axis in enumerate(axes))
        label[far <= radius**2] = value
    image = 0.3 * torch.rand(SIDES[dims], generator=generator) + 0.12 * label
    return image[None], label[None]


@functools.cache
def _folder() -> Path:
    """Where files of samples are, as long as the process runs."""
    folder = TemporaryDirectory(prefix="medpipe_testing_")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@functools.cache
def _file(dims: int, seed: int, constant: bool) -> str:
    """A file with an image: PNG in 2-D, NIfTI in 3-D."""
    import numpy as np

    values = _drawn(dims, seed)[0][0].numpy() * 255
    grey = np.full_like(values, 128).astype(np.uint8) if constant else values.astype(np.uint8)
    path = _folder() / f"{seed}{'_constant' * constant}{'.png' if dims == 2 else '.nii'}"
    if dims == 2:
        from PIL import Image

        content = io.BytesIO()
        Image.fromarray(grey.T).save(content, format="png")
        write_bytes(path, content.getvalue())
    else:
        import nibabel

        volume: Any = nibabel.Nifti1Image(grey, np.eye(4))  # type: ignore[no-untyped-call]
        write_bytes(path, volume.to_bytes())
    return str(path)


def drawn_sample(
    dims: int,
    form: Form,
    *,
    id_: str = "sample",
    seed: int = 0,
    constant: bool = False,
) -> dict[str, Any]:
    """A sample as a transform gets it.

    Args:
        dims: 2 for an image, 3 for a volume.
        form: What it is like.
        id_: Its id.
        seed: Another seed gives another image.
        constant: Whether the image has a single value.
    """
    from monai.data import MetaTensor

    image, label = _drawn(dims, seed)
    if constant:
        image = image * 0 + 0.5
    if form == "channels":
        image = image.repeat(2, *(1,) * dims)
    meta = {"filename_or_obj": f"{id_}.nii.gz", "space": "RAS", "spacing_of": "patient"}
    loaded: Any = MetaTensor(image.clone(), meta=meta)
    if form == "bare":  # as load_image marks images without channels
        loaded = MetaTensor(image[0].clone(), meta={**meta, "original_channel_dim": float("nan")})
    if form == "decoded":
        loaded = DecodedImage(values=image[0].numpy().copy())
    if form == "file":
        loaded = _file(dims, seed, constant)
    return {
        "image": loaded,
        "label": MetaTensor(label.clone()) if form == "mask" else 1,
        "id": id_,
        "age": 40.0,
        "reading": Reading(),
    }


def as_loaded(image: Any, values: Any) -> Any:
    """Values of the same type as an image."""
    import torch
    from monai.data import MetaTensor

    return (
        MetaTensor(values.as_subclass(torch.Tensor).clone())
        if isinstance(image, MetaTensor)
        else values
    )


PROBABILITIES = ("prob", "p", "probability")
"""How the parameter is called that says how often a random step changes a sample."""


def chain_of(case: Case, *, prob: float | None = None) -> Chain:
    """The step alone, as a pipeline applies it, with another probability where it has one."""
    step = case.step
    names = [name for name in PROBABILITIES if name in attrs.fields_dict(type(step))]
    if prob is not None and names:
        with suppress(ValueError, TypeError):  # others may be refused
            step = attrs.evolve(step, **{names[0]: prob})
    return Chain([(f"transform[0], {step.name},", step)], seed=0)


@remembered(8)
def fitting(case: Case, dims: int | None = None) -> tuple[int, Form]:
    """The number of axes and the form of samples that the step takes.

    That is the first where the image has as many axes afterwards: some steps for volumes make
    volumes of images. Where there is none, the first that the step takes.
    """
    said: list[str] = []
    taken = [one for some in ((dims,) if dims else (2, 3)) for one in _taken(case, some, said)]
    if not taken:
        raise FailedError(f"it changes no sample that was tried: {said[0]}")
    kept = [(some, form) for some, form, shape in taken if len(shape) == some + 1]
    return kept[0] if kept else taken[0][:2]


@remembered(8)
def all_fitting(case: Case) -> list[tuple[int, Form]]:
    """As `fitting`, and what the step takes of the other number of axes, if it keeps them."""
    first = fitting(case)
    others = [one for one in _taken(case, 5 - first[0], []) if len(one[2]) == one[0] + 1]
    return [first, *(one[:2] for one in others[:1])]


def axes_changed(case: Case) -> str:
    """What a random or batched step does to the axes of an image; empty: it keeps them.

    A step for volumes that makes volumes of images keeps those of volumes.
    """
    if not (chain_of(case).random[0] or case.step.batched):
        return ""
    taken = [one for dims in (2, 3) for one in _taken(case, dims, []) if one[1] in LOADED]
    kept = {dims for dims, _, shape in taken if len(shape) == dims + 1}
    for dims, form, shape in taken:
        if len(shape) <= dims or (len(shape) > dims + 1 and not kept):
            before = tuple(as_tensor(drawn_sample(dims, form)["image"]).shape)
            return f"it gives an image of the shape {shape} for one of {before}"
    return ""


def _taken(case: Case, dims: int, said: list[str]) -> list[tuple[int, Form, tuple[int, ...]]]:
    """The axes and forms that the step takes, with the shape of the image afterwards."""
    found = []
    for form in FORMS:
        try:
            result = chain_of(case, prob=1.0)(drawn_sample(dims, form), training=True)
            found.append((dims, form, tuple(as_tensor(result["image"]).shape)))
        except Exception as error:
            said.append(described(error, most=400))
    return found


def refusal(case: Case, dims: int) -> BaseException | None:
    """The step's own error by which it refuses images with so many axes; None: it takes them."""
    try:
        chain_of(case, prob=1.0)(drawn_sample(dims, "image"), training=True)
    except Exception as error:
        return error.__cause__ or error
    return None


def changed(
    chain: Chain,
    dims: int,
    form: Form,
    *,
    id_: str = "sample",
    epoch: int = 0,
    seed: int = 0,
    key: str = "image",
) -> Any:
    """What a sample's image, or its `key`, is after the chain."""
    sample = drawn_sample(dims, form, id_=id_, seed=seed)
    return as_tensor(chain(sample, training=True, epoch=epoch)[key])


def with_mask(case: Case) -> list[int]:
    """The numbers of axes in which the step takes samples whose label is a mask."""
    found, said = [], ""
    for dims in (2, 3):
        try:
            result = chain_of(case, prob=1.0)(drawn_sample(dims, "mask"), training=True)
        except Exception as error:
            said = described(error)
        else:
            found.append((dims, as_tensor(result["image"]).ndim == dims + 1))
    if not found:
        raise skip(f"it takes no samples with masks: {said}")
    return [dims for dims, kept in found if kept] or [found[0][0]]
