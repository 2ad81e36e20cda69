"""Whether networks with imported weights give what torchvision's and timm's give.

``python -m benchmarks.weights``, where torchvision and timm are installed: their networks with
random weights and running statistics are saved, imported as by ``medpipe import-weights`` and
loaded by a run's own way into the built-in networks that the file is recognised as; then both get
the same images. It prints a table. Nothing is downloaded.
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medpipe.plugin import DataInfo, NetworkStep, Task
from medpipe.registry.registry import Registry
from medpipe.settings import WeightsSettings
from medpipe.training.pickled import import_pickled
from medpipe.training.weights import start_from

if TYPE_CHECKING:
    from torch import nn

NETWORKS = {
    "torchvision": ("densenet121", "densenet169", "resnet18", "resnet34", "resnet50", "resnet101"),
    "timm": ("densenet121", "resnet18", "resnet34", "resnet50", "resnet101"),
}


def theirs(library: str, name: str) -> nn.Module:
    """A network with random weights, and running statistics as of a short training."""
    torch.manual_seed(0)
    if library == "timm":
        network: nn.Module = importlib.import_module("timm").create_model(name, pretrained=False)
    else:
        network = getattr(importlib.import_module("torchvision.models"), name)(weights=None)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:  # of batch norm, which begins with ones and zeros
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        network.train()
        for _ in range(3):
            network(torch.randn(4, 3, 128, 128))
    return network.eval()


def ours(file: Path, folder: Path) -> tuple[nn.Module, Any, Any]:
    """The built-in network with a file's weights; the layout, and what was loaded."""
    done = import_pickled(file, folder / "weights.safetensors", overwrite=True)
    layout = done.layout
    assert layout is not None, file
    step = Registry.discover().create(NetworkStep, layout.step, layout.parameters)
    data = DataInfo(
        task=Task(names=tuple(map(str, range(layout.classes or 2)))),
        channels=layout.channels,
        spatial_shape=(224, 224),
        spatial_dims=layout.spatial_dims,
        outputs=layout.classes or 2,
    )
    network = step.build(data)
    report = start_from(network, WeightsSettings(file=done.path, sha256=done.sha256))
    assert report is not None
    return network.eval(), layout, report


_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]


def _import_torchvision() -> None:
    """Import torchvision, also where its compiled operators don't load: networks use none."""
    for _ in range(50):
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            _OPERATORS.define(f"{missing[1]}(Tensor images) -> Tensor")  # type: ignore[no-untyped-call]
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]
        else:
            return


def main() -> None:
    """Print the largest difference of each network."""
    _import_torchvision()
    versions = {name: importlib.import_module(name).__version__ for name in ("torch", *NETWORKS)}
    print(", ".join(f"{name} {version}" for name, version in versions.items()), end="\n\n")
    print("| file of | network | settings | tensors | largest output | largest difference |")
    print("|---|---|---|---|---|---|")
    torch.manual_seed(1)
    images = torch.randn(2, 3, 224, 224)
    with tempfile.TemporaryDirectory() as scratch:
        for library, names in NETWORKS.items():
            for name in names:
                network = theirs(library, name)
                torch.save(network.state_dict(), Path(scratch) / "weights.pth")
                mine, layout, report = ours(Path(scratch) / "weights.pth", Path(scratch))
                with torch.no_grad():
                    expected, found = network(images), mine(images)
                difference = float((expected - found).abs().max())
                settings = "; ".join(f"`{setting}`" for setting in layout.settings[1:]) or "none"
                print(
                    f"| {library} | `{name}` | {settings} | {len(report.matched)} of "
                    f"{len(network.state_dict())} | {float(expected.abs().max()):.3g} | "
                    f"{difference:.2g} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
