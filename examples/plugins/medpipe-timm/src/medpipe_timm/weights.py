"""Weights of a file for one of timm's networks.

It imports torch, and is imported when a network is built.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medpipe import ConfigError, Problem
from medpipe_timm.library import timm

if TYPE_CHECKING:
    from collections.abc import Mapping


def source_of(file: str, about: Any) -> dict[str, Any]:
    """What timm has to know of a file, in place of what it says of its own weights.

    Args:
        file: The path.
        about: What timm says of the network.

    Raises:
        ConfigError: It can't be read as weights.
    """
    state = _read(Path(file))
    head = about.classifier if isinstance(about.classifier, str) else (about.classifier or [""])[0]
    first = about.first_conv if isinstance(about.first_conv, str) else ""
    rows, filters = state.get(f"{head}.weight"), state.get(f"{first}.weight")
    channels = about.input_size[0] if filters is None else filters.shape[1]
    return {
        "file": file,
        "num_classes": 0 if rows is None else rows.shape[0],
        "input_size": (channels, *about.input_size[1:]),
        "label_offset": 0,
    }


def require_fit(model: str, source: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Load a file into a network of its own channels and outputs, where all of it must fit.

    Args:
        model: timm's name of the network.
        source: The file; see `source_of`.
        arguments: What the network is built with.

    Raises:
        ConfigError: It doesn't fit: names and shapes follow.
    """
    own = {"num_classes": source["num_classes"], "in_chans": source["input_size"][0]}
    drawn = torch.get_rng_state()
    try:
        with torch.device("cpu"):
            timm().create_model(
                model, pretrained=True, pretrained_cfg_overlay=dict(source), **{**arguments, **own}
            )
    except Exception as error:
        message = f"{source['file']} doesn't fit timm's {model}: {_misfits(error)}."
        remedy = "Set network.model to the network that the file is of."
        raise refused(message, remedy) from error
    finally:
        torch.set_rng_state(drawn)


def _read(file: Path) -> dict[str, torch.Tensor]:
    if not file.is_file():
        raise refused(
            f"there is no file {file}.",
            "Write 'none', 'pretrained', or the path from the folder that medpipe runs in.",
        )
    try:
        with torch.device("cpu"):
            state: dict[str, Any] = timm().models.load_state_dict(str(file))
        wrong = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    except Exception as error:
        text = " ".join(str(error).split())[:300].rstrip(".")
        raise refused(
            f"{file} can't be read as weights: {type(error).__name__}: {text}.",
            "It must be a safetensors file, or a state dictionary that torch.save wrote. 'medpipe "
            f"import-weights {file} --out weights.safetensors' converts others.",
        ) from error
    if wrong or not state:
        raise refused(
            f"{file} is no state dictionary: {f'{wrong[0]!r} is no tensor' if wrong else 'empty'}.",
            f"'medpipe import-weights {file} --out weights.safetensors' finds one in it.",
        )
    return dict(state)


def _misfits(error: Exception) -> str:
    """What torch says of tensors that don't fit: how many, and the first three."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said: list[str] = []
    for begin, kind in (("Missing key", "missing"), ("Unexpected key", "unknown")):
        for line in lines:
            if line.startswith(begin):
                names = re.findall(r'"([^"]+)"', line)
                said.append(f"{len(names)} {kind}, such as {', '.join(names[:3])}")
    shapes = [
        f"{found[1]} is {_shape(found[2])} in the file and {_shape(found[3])} in the network"
        for line in lines
        if (
            found := re.match(
                r"size mismatch for (\S+): .*torch\.Size\((.*?)\) .*torch\.Size\((.*?)\)", line
            )
        )
    ]
    if shapes:
        said.append(f"{len(shapes)} of other shapes: {'; '.join(shapes[:3])}")
    return "; ".join(said) or f"{type(error).__name__}: {' '.join(lines)[:300].rstrip('.')}"


def _shape(text: str) -> str:
    return text.strip("[]").replace(", ", " x ") or "one number"


def refused(message: str, remedy: str, *, field: str = "network.weights") -> ConfigError:
    """What is raised for a value in a configuration that can't be used."""
    problem = Problem(path=field, message=message, remedy=remedy)
    return ConfigError("network 'timm' can't be built", [problem])
