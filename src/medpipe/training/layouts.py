"""Whose network a file's tensors are of, by their names and shapes.

Heavy: it builds the network that it finds, on the meta device; import it inside functions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch

from medpipe.errors import ConfigError
from medpipe.registry.registry import Registry
from medpipe.steps import DataInfo, NetworkStep
from medpipe.system.text import counted
from medpipe.tasks import Task

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@attrs.frozen(kw_only=True)
class Recognised:
    """The built-in network that a file's tensors are of.

    Attributes:
        whose: Whose layout it is: ``torchvision's and timm's``, ``MONAI's``, ``MedicalNet's``.
        step: The network step.
        parameters: Its parameters, where they differ from the defaults.
        names: The names of the network's tensors, by those of the file.
        head: The last layer.
        classes: The outputs of the file's last layer; None where it has no such layer.
        channels: The channels that the first layer takes.
        spatial_dims: 2 or 3.
    """

    whose: str
    step: str
    parameters: Mapping[str, Any]
    names: Mapping[str, str]
    head: str
    classes: int | None
    channels: int
    spatial_dims: int

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings of the network that the file is of, as in a configuration."""
        chosen = {"step": self.step, **self.parameters}
        return tuple(f"{name} = {_toml(value)}" for name, value in chosen.items())

    @property
    def skip(self) -> str:
        """The pattern of ``weights.skip`` for the last layer."""
        return f"^{self.head}"

    def __str__(self) -> str:
        channels = counted(self.channels, "channel")
        outputs = "" if self.classes is None else f" with {self.classes} outputs"
        return f"{self.whose} {self.step} for {self.spatial_dims}-D images of {channels}{outputs}"

    def advice(self, source: object) -> str:
        """What the file is of, and the `[network]` section for it."""
        return f"{source} is {self}: set [network] to {', '.join(self.settings)}."

    def covers(self, name: str) -> bool:
        """Whether a tensor of a network belongs to what the file's network has but its head."""
        parts = {
            new.partition(".")[0]
            for new in self.names.values()
            if not new.startswith(f"{self.head}.")
        }
        return name.partition(".")[0] in parts


def recognise(shapes: Shapes) -> Recognised | None:
    """Find the built-in DenseNet or ResNet that tensors are of.

    Names may be MONAI's, torchvision's or timm's, and may begin with what a wrapper put there,
    such as ``module.`` or ``model.encoder.``. All of the network's tensors but the last layer's
    must be there, in its shapes; only ``num_batches_tracked`` may be missing.

    Args:
        shapes: The shapes of the tensors, by name.

    Returns:
        The network; None where it is none of these, or where there are several.
    """
    found = []
    for family in (_DENSENETS, _RESNETS):
        ends = [name for name in shapes if f".{name}".endswith(f".{family.once}")]
        found += [_of(family, shapes, name.removesuffix(family.once)) for name in ends]
    some = [network for network in found if network is not None]
    return some[0] if len(some) == 1 else None


@attrs.frozen(kw_only=True)
class _Family:
    """Networks whose tensors are named alike.

    Attributes:
        once: A name that each has once; what stands before it in a file is a wrapper's.
        rename: Patterns in torchvision's and timm's names, with MONAI's names for them.
        stem: The first convolution's weight.
        head: The last layer.
        layer: The names that count the layers of each stage.
        steps: The network steps, by the numbers of their layers.
        measure: Gives, from MONAI's names and their shapes, whose layout it is (None: as the
            names tell), and the step's parameters.
    """

    once: str
    rename: tuple[tuple[str, str], ...] = ()
    stem: str
    head: str
    layer: str
    steps: Mapping[tuple[int, ...], str]
    measure: Callable[[Shapes], tuple[str | None, dict[str, Any]]]


def _densenet(shapes: Shapes) -> tuple[str | None, dict[str, Any]]:
    growth = shapes.get("features.denseblock1.denselayer1.layers.conv2.weight", (0,))[0]
    return None, {"init_features": shapes[_DENSENETS.stem][0], "growth_rate": growth}


def _resnet(shapes: Shapes) -> tuple[str | None, dict[str, Any]]:
    stem = shapes[_RESNETS.stem]
    chosen: dict[str, Any] = {"widen_factor": stem[0] / 64, "conv1_t_size": stem[2]}
    plain = "layer2.0.downsample.0.weight" not in shapes
    if plain:
        chosen["shortcut_type"] = "A"
    elif "layer2.0.downsample.0.bias" in shapes:
        return None, chosen
    else:
        chosen["bias_downsample"] = False
    if stem[0] != 64 or stem[2] != 7 or (plain and len(stem) == 4):
        return None, chosen
    chosen["conv1_t_stride"] = 2  # no tensor shows it: these networks have it
    return ("torchvision's and timm's" if len(stem) == 4 else "MedicalNet's"), chosen


_DENSENETS = _Family(
    once="features.conv0.weight",
    rename=(
        # Files of torchvision from before 2019 have `norm.1` for `norm1`.
        (r"^(features\.denseblock\d+\.denselayer\d+)\.(norm|conv)\.?([12])\.", r"\1.layers.\2\3."),
        (r"^classifier\.(weight|bias)$", r"class_layers.out.\1"),
    ),
    stem="features.conv0.weight",
    head="class_layers.out",
    layer=r"^features\.denseblock(\d+)\.denselayer\d+\.layers\.conv2\.weight$",
    steps={
        (6, 12, 24, 16): "densenet121",
        (6, 12, 32, 32): "densenet169",
        (6, 12, 48, 32): "densenet201",
        (6, 12, 64, 48): "densenet264",
    },
    measure=_densenet,
)

_RESNETS = _Family(
    once="layer1.0.conv1.weight",
    stem="conv1.weight",
    head="fc",
    # Convolutions, not blocks, tell resnet34 from resnet50.
    layer=r"^layer(\d+)\.\d+\.conv\d\.weight$",
    steps={
        (2, 2, 2, 2): "resnet10",
        (4, 4, 4, 4): "resnet18",
        (6, 8, 12, 6): "resnet34",
        (9, 12, 18, 9): "resnet50",
        (9, 12, 69, 9): "resnet101",
        (9, 24, 108, 9): "resnet152",
        (9, 72, 108, 9): "resnet200",
    },
    measure=_resnet,
)


def _of(family: _Family, shapes: Shapes, prefix: str) -> Recognised | None:
    """The family's network whose tensors' names begin with a prefix in the file."""
    short = {name: name.removeprefix(prefix) for name in shapes if name.startswith(prefix)}
    names = {name: _renamed(name, family.rename) for name in short.values()}
    inner = {names[new]: shapes[name] for name, new in short.items()}
    layers = Counter(found[1] for name in inner if (found := re.match(family.layer, name)))
    step = family.steps.get(tuple(layers[stage] for stage in sorted(layers)))
    stem = inner.get(family.stem, ())
    if step is None or len(stem) not in (4, 5) or len(set(stem[2:])) != 1:
        return None
    whose, parameters = family.measure(inner)
    try:
        own, parameters = _built(step, parameters, channels=stem[1], dims=len(stem) - 2)
    except (ConfigError, RuntimeError, ValueError):  # sides of 0, or too long
        return None
    mine = {name for name in own if not name.startswith(f"{family.head}.")}
    parts = {name.partition(".")[0] for name in mine}
    for name in mine | {name for name in inner if name.partition(".")[0] in parts}:
        missing = name not in inner and name.endswith(".num_batches_tracked")
        if inner.get(name) != own.get(name) and not missing:
            return None
    taken = {name: names[new] for name, new in short.items() if names[new] in own}
    kept = [name for name in shapes if name not in taken]
    if len({*taken.values(), *kept}) < len(shapes):
        return None  # two tensors would have one name
    renamed = any(new != short[name] for name, new in taken.items())
    return Recognised(
        whose=whose or ("torchvision's and timm's" if renamed else "MONAI's"),
        step=step,
        parameters=parameters,
        names=taken,
        head=family.head,
        classes=inner.get(f"{family.head}.weight", (None,))[0],
        channels=stem[1],
        spatial_dims=len(stem) - 2,
    )


def _renamed(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in pairs:
        name = re.sub(pattern, replacement, name)
    return name


def _built(
    step: str, parameters: Mapping[str, Any], *, channels: int, dims: int
) -> tuple[dict[str, Shape], dict[str, Any]]:
    """The shapes of a network's tensors, and which parameters are not the step's defaults."""
    registry = Registry.discover()
    made = registry.create(NetworkStep, step, parameters)
    default = registry.create(NetworkStep, step)
    data = DataInfo(
        task=Task(names=("a", "b")),
        channels=channels,
        spatial_shape=(None,) * dims,
        spatial_dims=dims,
        outputs=2,
    )
    with torch.device("meta"):
        network = made.build(data)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    chosen = {n: value for n, value in parameters.items() if getattr(default, n) != value}
    return shapes, chosen


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
