"""Transform steps over MONAI's dictionary transforms, made from `transform_table`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.builtin.transforms.affine_transforms import GUARDED
from medpipe.builtin.transforms.augment import Augment
from medpipe.builtin.transforms.batched.zoom import nearest_for
from medpipe.builtin.transforms.batched_transforms import BATCHED
from medpipe.builtin.transforms.ensure_channel_first import QUICK
from medpipe.builtin.transforms.graph_forms import GRAPH_FORMS
from medpipe.builtin.transforms.load_image import LoadImage
from medpipe.builtin.transforms.orientation import Orientation
from medpipe.builtin.transforms.padding import PADDING
from medpipe.builtin.transforms.parameter_meanings import meaning
from medpipe.builtin.transforms.transform_examples import all_parameters
from medpipe.builtin.transforms.transform_table import (
    ALIGN_CORNERS_OR_NOT,
    PAD_MODE,
    TABLE,
    Interpolation,
    Transform,
)
from medpipe.plugin import TransformStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    import torch

    from medpipe.plugin import ImageFiles

KEYS = ("image",)
BOTH = ("image", "label")
OF_LABELS = {"align_corners": None, "anti_aliasing": False}
"""What parameters of resampling are for labels, beside the mode."""
IN_BUNDLES = {"to_tensor": "EnsureTyped"}
"""Other transforms that do the same: `Invertd` makes arrays without metadata of `ToTensord`."""


class MonaiTransform(TransformStep):
    """A step whose parameters are MONAI's own.

    Attributes:
        entry: Its row of the table.
    """

    entry: ClassVar[Transform]

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Steps that change images of side 32; some for images alone, and some for volumes."""
        return [cls(**values) for values in all_parameters(cls.entry.name)]

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Make MONAI's transform for the sample's ``image``."""
        return self._made(KEYS, {})

    def graph_form(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What MONAI's transform does, where a graph can hold it."""
        make = GRAPH_FORMS.get(self.entry.name)
        return None if make is None else make(self)

    def bundle_form(self, files: ImageFiles) -> Sequence[Mapping[str, Any]] | None:
        """MONAI's transform with all its parameters."""
        chosen = {name: getattr(self, name) for name in self.entry.parameters}
        target = IN_BUNDLES.get(self.entry.name, self.entry.monai)
        return [{"_target_": target, "keys": "image", **self.entry.fixed, **chosen}]

    def build_with_label(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Make MONAI's transform for ``image`` and ``label``; labels by nearest neighbour."""
        if not self.spatial:
            return self.build()
        given = self.entry.parameters
        # The mode of a step that pads is how it fills; `interpolate` takes corners that are
        # aligned for some modes only, and has None for the others.
        fits = {
            "mode": given.get("mode") not in PAD_MODE.values(),
            "align_corners": given.get("align_corners") in ALIGN_CORNERS_OR_NOT.values(),
            "anti_aliasing": True,
        }
        shared = {
            name: (getattr(self, name), of_labels)
            for name, of_labels in {"mode": self._label_mode(), **OF_LABELS}.items()
            if name in given and fits[name]
        }
        return self._made(BOTH, shared)

    def _label_mode(self) -> str:
        """How labels are resampled: by MONAI's `grid_sample`, or by torch's `interpolate`."""
        mode = self.entry.parameters.get("mode")
        if mode is None or mode.type is not Interpolation:
            return "nearest"
        return nearest_for(getattr(self, "mode", ""), getattr(self, "align_corners", None))

    def _made(
        self, keys: tuple[str, ...], more: Mapping[str, Any]
    ) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        import monai.transforms

        chosen = {name: getattr(self, name) for name in self.entry.parameters}
        arguments = {**self.entry.fixed, **chosen, **more}
        theirs = getattr(monai.transforms, self.entry.monai)
        return _made(_copying(theirs) if self.entry.in_place else theirs, arguments, keys)


@attrs.frozen(kw_only=True)
class CastToType(TransformStep):
    """Changes the data type of the image.

    MONAI's `CastToTyped` on ``image``.

    Attributes:
        dtype: The type, by its NumPy name.
    """

    name: ClassVar[str] = "cast_to_type"

    dtype: Literal[
        "float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"
    ] = "float32"

    def build(self) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
        """Make MONAI's transform for the sample's ``image``."""
        import numpy as np
        from monai.transforms import CastToTyped

        return _made(CastToTyped, {"dtype": np.dtype(self.dtype)})

    def graph_form(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Nothing for float32, which images in a graph are."""
        return (lambda images: images) if self.dtype == "float32" else None

    def bundle_form(self, files: ImageFiles) -> Sequence[Mapping[str, Any]] | None:
        """MONAI's transform."""
        dtype = f"$np.dtype('{self.dtype}')"
        return [{"_target_": "CastToTyped", "keys": "image", "dtype": dtype}]

    def apply_batch(
        self, batch: dict[str, Any], draws: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Change the data type of a batch's images."""
        import torch

        return {**batch, "image": batch["image"].to(getattr(torch, self.dtype))}


def _copying(monai_class: Any) -> Any:
    """A class of MONAI's whose transforms change a copy of the image, which others may have too."""

    class Copying(monai_class):  # type: ignore[misc]  # still seeded as MONAI's are
        def __call__(self, sample: dict[str, Any]) -> Mapping[Any, Any]:
            image = sample["image"]
            image = image.clone() if hasattr(image, "clone") else image.copy()
            given: Mapping[Any, Any] = super().__call__({**sample, "image": image})
            return given

    return Copying


def _made(
    monai_class: Any, arguments: Mapping[str, Any], keys: tuple[str, ...] = KEYS
) -> Callable[[dict[str, Any]], Mapping[Any, Any]]:
    """Make a MONAI transform, typed for samples: MONAI's own types are too narrow."""
    transform: Callable[[dict[str, Any]], Mapping[Any, Any]] = monai_class(keys=keys, **arguments)
    return transform


def _docstring(entry: Transform) -> str:
    lines = [entry.summary, "", f"MONAI's `{entry.monai}` on ``image``."]
    named = [*entry.parameters, *entry.own]
    if named:
        lines += ["", "Attributes:"]
    lines += [f"    {name}: {meaning(entry.name, name)}" for name in named]
    return "\n".join(lines)


def step_class(entry: Transform) -> type[TransformStep]:
    """Make the step class of a row of the table: frozen, keyword-only, compared by value."""
    fields = {
        name: attrs.field(
            default=parameter.default, type=parameter.type, validator=parameter.validator
        )
        for name, parameter in {**entry.parameters, **entry.own}.items()
    }
    body = {
        "name": entry.name,
        "random": entry.random,
        "spatial": entry.spatial,
        "entry": entry,
        "__module__": __name__,
        "__doc__": _docstring(entry),
    }
    batched = {**QUICK, **PADDING, **BATCHED, **GUARDED}.get(entry.name)
    return attrs.make_class(
        entry.monai.removesuffix("d"),
        fields,
        bases=(MonaiTransform,) if batched is None else (batched, MonaiTransform),
        class_body=body,
        frozen=True,
        kw_only=True,
        order=False,
    )


MONAI_TRANSFORMS = tuple(step_class(entry) for entry in TABLE)
# Pickling finds a class by its name in its module.
globals().update({step.__name__: step for step in MONAI_TRANSFORMS})

TRANSFORMS: tuple[type[TransformStep], ...] = (
    LoadImage,
    *MONAI_TRANSFORMS,
    CastToType,
    Orientation,
    Augment,
)
"""All built-in transform steps."""
