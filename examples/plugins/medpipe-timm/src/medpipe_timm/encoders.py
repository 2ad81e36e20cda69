"""timm's networks, built for the images at hand.

It imports torch, and is imported when a network is built.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import torch

from medpipe.plugin import DataError, DataInfo
from medpipe_timm.library import timm
from medpipe_timm.weights import refused, require_fit, source_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from medpipe import ConfigError
    from medpipe_timm.network import TimmNetwork


def encoder(step: TimmNetwork, data: DataInfo) -> nn.Module:
    """Make a network; see `TimmNetwork.build`."""
    about = facts(step.model)
    arguments = _arguments(step, data, about)
    overlay: Mapping[str, Any] = {}
    if step.weights == "pretrained":
        _require_published(step.model, about)
    elif step.weights != "none":
        overlay = source_of(step.weights, about)
        require_fit(step.model, overlay, arguments)
    on_meta = torch.get_default_device().type == "meta"
    network = _created(step, data, about, arguments, overlay={} if on_meta else overlay)
    _require_whole_patches(network, step.model, data)
    return network


def facts(model: str) -> Any:
    """What timm says of a network and its weights: a `timm.models.PretrainedCfg`.

    Raises:
        ConfigError: timm has no such network, or no such weights of it; similar names follow.
    """
    architecture, _, tag = model.partition(".")
    if not timm().models.is_model(architecture):
        raise _unknown(model, f"timm {timm().__version__} has no network {architecture!r}.", "")
    about = None
    if not tag or model in timm().list_models(f"{architecture}.*", pretrained=True):
        about = timm().models.get_pretrained_cfg(model)
    if about is None:
        said = f"timm {timm().__version__} has no weights {tag!r} of {architecture}."
        raise _unknown(model, said, architecture)
    return about


def _unknown(model: str, said: str, architecture: str) -> ConfigError:
    names: Sequence[str] = timm().list_models()
    if architecture:
        names = [architecture, *timm().list_models(f"{architecture}.*", pretrained=True)]
    close = difflib.get_close_matches(model, names, n=3) or list(names[:3])
    remedy = f"Similar names are {', '.join(close)}; timm.list_models() has all."
    return refused(said, remedy, field="network.model")


def _arguments(step: TimmNetwork, data: DataInfo, about: Any) -> dict[str, Any]:
    """What timm's function for the network gets.

    Raises:
        DataError: The sides of the images vary, and the network is for one size.
    """
    arguments: dict[str, Any] = {"num_classes": data.outputs, "in_chans": data.channels}
    if step.dropout:
        arguments["drop_rate"] = step.dropout
    if about.fixed_input_size:
        if None in data.spatial_shape:
            raise DataError(
                f"timm's {step.model} is built for images of one size, and these have several. "
                f"Make them equal by the step 'resize', such as to {_native(about)} pixels."
            )
        arguments["img_size"] = data.spatial_shape
    return arguments


def _native(about: Any) -> str:
    """The sides that a network was made for."""
    return " x ".join(map(str, about.input_size[1:]))


def _created(
    step: TimmNetwork,
    data: DataInfo,
    about: Any,
    arguments: Mapping[str, Any],
    *,
    overlay: Mapping[str, Any],
) -> nn.Module:
    """The network, with its weights where they are not on the meta device."""
    downloads = step.weights == "pretrained" and torch.get_default_device().type != "meta"
    try:
        network: nn.Module = timm().create_model(
            step.model,
            pretrained=downloads or bool(overlay),
            pretrained_cfg_overlay=dict(overlay),
            **arguments,
        )
    except Exception as error:
        text = " ".join(str(error).split()).rstrip(".")
        said = f"{type(error).__name__}: {text}"
        if downloads:
            raise _not_had(step.model, about, said) from error
        sides = " x ".join(str(side or "any") for side in data.spatial_shape)
        raise DataError(
            f"timm does not build {step.model} for images of {sides} pixels with "
            f"{', '.join(f'{name} = {value}' for name, value in arguments.items())}: {said}. "
            f"It was made for {_native(about)} pixels: the step 'resize' gives images that size."
        ) from error
    return network


def _require_published(model: str, about: Any) -> None:
    """Refuse a network of which timm publishes no weights."""
    if about.has_weights:
        return
    architecture = model.partition(".")[0]
    names = timm().list_models(f"{architecture}.*", pretrained=True)
    others = f"There are {', '.join(names[:5])}. " if names else ""
    message = f"timm publishes no weights of {model}."
    remedy = f"{others}Set network.weights = 'none', or name another network."
    raise refused(message, remedy)


def _not_had(model: str, about: Any, said: str) -> ConfigError:
    message = f"the weights of {model} can't be had: {said[:300]}."
    folder = model.replace(".", "_")
    fetch = (
        f"hf download {about.hf_hub_id} model.safetensors --local-dir {folder}"
        if about.hf_hub_id
        else f"curl --output-dir {folder} --create-dirs -LO {about.url}"
    )
    file = "model.safetensors" if about.hf_hub_id else str(about.url).rpartition("/")[2]
    remedy = (
        f"On a machine with a connection: {fetch}. Copy the folder here, and set network.weights "
        f"= '{folder}/{file}'."
    )
    return refused(message, remedy)


def _require_whole_patches(network: nn.Module, model: str, data: DataInfo) -> None:
    """Refuse images of which a transformer would leave out the last rows or columns."""
    embedding = getattr(network, "patch_embed", None)
    cut: tuple[int, ...] | int = getattr(embedding, "patch_size", ())
    patch = () if isinstance(cut, int) else cut
    sides = [side for side in data.spatial_shape if side is not None]
    if len(patch) != len(sides):
        return
    pairs = list(zip(sides, patch, strict=True))
    if any(side % part for side, part in pairs):
        near = [max(part, round(side / part) * part) for side, part in pairs]
        raise DataError(
            f"timm's {model} cuts images into patches of {' x '.join(map(str, patch))} pixels, and "
            f"sides of {' x '.join(map(str, sides))} are no multiples of these. Make them "
            f"{' x '.join(map(str, near))} by the step 'resize'."
        )
