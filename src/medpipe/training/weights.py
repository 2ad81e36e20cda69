"""Initialise a network from trained weights: the `[weights]` section.

Everything is compared first, and every problem found; only then is the network changed.
Heavy: it imports torch; the package imports it inside functions.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from medpipe.errors import Problem, ProblemsError, RunError
from medpipe.system import file_errors, files
from medpipe.tasks.head import BUFFERS
from medpipe.training.checkpoint import header_of, is_checkpoint, verify
from medpipe.training.layouts import Recognised, recognise
from medpipe.training.run_checkpoints import BEST
from medpipe.training.weights_problems import Misfits, listed, nothing_matched

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from medpipe.settings import WeightsSettings

_STATE = "network."
"""What a checkpoint's names begin with where they are the network's."""


@attrs.frozen(kw_only=True, eq=False)
class Weights:
    """The tensors of a file.

    Attributes:
        source: The file.
        sha256: Of its bytes.
        tensors: By name; of a checkpoint the network's alone, named as in the network.
    """

    source: Path
    sha256: str
    tensors: Mapping[str, torch.Tensor] = attrs.field(repr=lambda some: f"<{len(some)} tensors>")


@attrs.frozen(kw_only=True)
class WeightsReport:
    """What of a file went into a network, by the names of the network's tensors.

    Attributes:
        source: The file.
        sha256: Of its bytes.
        matched: Taken as they are.
        fitted: Taken after the filters were fitted to another number of channels.
        skipped: Left fresh by ``weights.skip``.
        missing: Left fresh because the file has none: counts of batches seen alone.
        unused: Tensors of the file that the network has no place for; what was stripped from
            their names is left out.
        note: What no tensor shows and may differ.
    """

    source: Path
    sha256: str
    matched: tuple[str, ...] = ()
    fitted: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        parts = [f"{len(self.matched) + len(self.fitted)} tensors from {self.source}"]
        words = {
            "fitted to other channels": self.fitted,
            "skipped": self.skipped,
            "missing in the file": self.missing,
            "not used": self.unused,
        }
        parts += [f"{len(names)} {what}: {listed(names)}" for what, names in words.items() if names]
        parts += [self.note] * bool(self.note)
        return "; ".join(parts)

    def record(self) -> dict[str, Any]:
        """The report as plain data, for ``run.json``."""
        return {
            "source": str(self.source),
            "sha256": self.sha256,
            "matched": len(self.matched),
            **{
                name: list(getattr(self, name))
                for name in ("fitted", "skipped", "missing", "unused")
            },
        }


def start_from(network: nn.Module, settings: WeightsSettings) -> WeightsReport | None:
    """Load the tensors that the settings name into a network.

    Args:
        network: The network; it is changed only if all is well. It may be on any device.
        settings: The `[weights]` section.

    Returns:
        What was taken; None where the settings name neither a file nor a run.

    Raises:
        ProblemsError: The file can't be used, or doesn't fit the network; every problem names
            the setting that admits it.
    """
    if settings.file is None and settings.run is None:
        return None
    return fit_weights(network, read_weights(settings), settings)


def examine_weights(network: nn.Module, settings: WeightsSettings) -> WeightsReport | None:
    """Say what `start_from` would do, and raise what it would; the network may be on meta."""
    if settings.file is None and settings.run is None:
        return None
    return _compare(network, read_weights(settings), settings)[1]


def fit_weights(network: nn.Module, weights: Weights, settings: WeightsSettings) -> WeightsReport:
    """Load tensors into a network; see `start_from`."""
    taken, report = _compare(network, weights, settings)
    # Through the network's own way in, so that its hooks see names and tensors as ever.
    network.load_state_dict({**network.state_dict(), **taken})
    return report


def read_weights(settings: WeightsSettings) -> Weights:
    """Read the file that the settings name; its hash is checked before anything is parsed.

    Raises:
        ProblemsError: It is not there, has another hash, or is no safetensors file.
    """
    if settings.file is not None:
        field, source = "weights.file", settings.file
        absent = "Write the path from the folder that medpipe runs in, or from the root."
    else:
        assert settings.run is not None
        field, source = "weights.run", settings.run / BEST
        absent = "Name the directory of a run that has finished an epoch."
    try:
        content = source.read_bytes()
    except FileNotFoundError as error:
        raise _problem(field, f"there is no file {source}.", absent) from error
    except OSError as error:
        why = file_errors.reason(error)
        raise _problem(field, f"{source} can't be read: {why}.") from error
    digest = files.sha256_of(content)
    if settings.sha256 not in (None, digest):
        raise _problem(
            "weights.sha256",
            f"{source} has the hash {digest}, not {settings.sha256}: it is not the file that was "
            "meant, or it was damaged on the way.",
        )
    try:
        tensors = dict(sorted(load(content).items()))  # safetensors has them in any order
        header = header_of(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise _problem(field, f"{source} is no safetensors file: {error}.", _how(source)) from error
    if is_checkpoint(header):
        try:
            verify(source, header, tensors)
        except RunError as error:
            raise _problem(field, str(error)) from error
        # A checkpoint has the optimizer beside the network, each under its name.
        tensors = {
            name.removeprefix(_STATE): tensor
            for name, tensor in tensors.items()
            if name.startswith(_STATE)
        }
    return Weights(source=source, sha256=digest, tensors=tensors)


def _how(source: Path) -> str:
    return f"If torch wrote it: medpipe import-weights {source} --out weights.safetensors"


def _problem(path: str, message: str, remedy: str = "") -> ProblemsError:
    return ProblemsError(
        "The weights can't be used", [Problem(path=path, message=message, remedy=remedy)]
    )


def _compare(
    network: nn.Module, weights: Weights, settings: WeightsSettings
) -> tuple[dict[str, torch.Tensor], WeightsReport]:
    """What goes into the network, by name and as it has it, and the report."""
    field = "weights.file" if settings.file is not None else "weights.run"
    own = {
        name: tensor
        for name, tensor in network.state_dict(keep_vars=True).items()
        if isinstance(tensor, torch.Tensor) and name not in BUFFERS
    }
    problems: list[Problem] = []
    given = _named(weights, settings, problems)
    skipped = _skipped(own, settings.skip, problems)
    wanted = {name: tensor for name, tensor in own.items() if name not in skipped}
    if not wanted:
        message = f"none of the network's {len(own)} tensors is left to be loaded."
        problems.append(Problem(path="weights.skip" if own else field, message=message))
        raise ProblemsError("The weights can't be used", problems)
    given, layout = _in_layout_of(wanted, given)
    if not set(wanted) & set(given):
        found = nothing_matched(
            field, weights.source, settings, own=wanted, names=given, layout=layout
        )
        problems.append(found)
    if problems:
        raise ProblemsError("The weights can't be used", problems)
    taken: dict[str, torch.Tensor] = {}
    fitted, missing = [], []
    misfits = Misfits(
        field=field, source=weights.source, network=list(own), settings=settings, layout=layout
    )
    first = _first_convolution(network)
    there = {id(own[name]) for name in wanted if name in given}
    for name, tensor in wanted.items():
        if name not in given:
            if id(tensor) in there:
                continue  # it is the same tensor under another name
            if name.rpartition(".")[2] == "num_batches_tracked":
                missing.append(name)
            else:
                misfits.absent.append(name)
            continue
        value = given[name]
        if value.shape != tensor.shape:
            if name != first or not _differs_in_channels(value, tensor):
                misfits.shapes[name] = (tuple(tensor.shape), tuple(value.shape))
                continue
            if settings.first_layer is None:
                misfits.first = (name, tensor.shape[1], value.shape[1])
                continue
            value = mean_over_channels(value, tensor.shape[1])
            fitted.append(name)
        if value.is_floating_point() != tensor.is_floating_point():
            misfits.kinds[name] = (str(tensor.dtype), str(value.dtype))
            continue
        taken[name] = value.to(tensor.dtype)
        if tensor.is_floating_point() and not bool(torch.isfinite(taken[name]).all()):
            misfits.not_finite.append(name)
    problems = misfits.problems(given)
    if problems:
        raise ProblemsError("The weights don't fit the network", problems)
    return taken, WeightsReport(
        source=weights.source,
        sha256=weights.sha256,
        matched=tuple(name for name in taken if name not in fitted),
        fitted=tuple(fitted),
        skipped=tuple(skipped),
        missing=tuple(missing),
        unused=tuple(name for name in given if name not in own and name not in BUFFERS),
        note="" if settings.file is None else _other_stride(network, first, given, layout),
    )


def _other_stride(
    network: nn.Module,
    first: str | None,
    given: Mapping[str, torch.Tensor],
    layout: Recognised | None,
) -> str:
    """That a ResNet's first convolution has another stride than ResNets of the file's layout."""
    if first != "conv1.weight":
        return ""
    layout = layout or _layout_of(given)
    stride = layout and layout.parameters.get("conv1_t_stride")
    mine: Any = network.get_submodule("conv1")
    if layout is None or stride in (None, mine.stride[0]):
        return ""
    return (
        f"{layout.whose} {layout.step} has network.conv1_t_stride = {stride}, which no tensor "
        f"shows, and here it is {mine.stride[0]}"
    )


def mean_over_channels(filters: torch.Tensor, channels: int) -> torch.Tensor:
    """Fit a convolution's filters to another number of input channels.

    For filters W of c channels and n wanted ones, ``W'[:, j] = mean(W[:, i] for i) * c / n``: the
    mean over channels as in Wang et al. (arXiv:1608.00859, "cross modality pre-training"), scaled
    so that the sum over channels stays. What all channels have alike, such as a grey image given
    as RGB, has the response that it had.

    Args:
        filters: Of shape (out, c, kernel...).
        channels: n.

    Returns:
        Filters of shape (out, n, kernel...), float64.
    """
    mean = filters.double().sum(dim=1, keepdim=True) / channels
    return mean.repeat_interleave(channels, dim=1)


def _layout_of(given: Mapping[str, torch.Tensor]) -> Recognised | None:
    return recognise({name: tuple(tensor.shape) for name, tensor in given.items()})


def _in_layout_of(
    wanted: Mapping[str, torch.Tensor], given: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], Recognised | None]:
    """The tensors by the network's names where their layout is known, and that layout.

    A file that fits as it is isn't looked at.
    """
    if all(name in given and given[name].shape == tensor.shape for name, tensor in wanted.items()):
        return given, None
    layout = _layout_of(given)
    if layout is None:
        return given, None
    renamed = {layout.names.get(name, name): tensor for name, tensor in given.items()}
    better = len(wanted.keys() & renamed.keys()) > len(wanted.keys() & given.keys())
    return renamed if better else given, layout


def _named(
    weights: Weights, settings: WeightsSettings, problems: list[Problem]
) -> dict[str, torch.Tensor]:
    """The tensors by their names after ``weights.strip`` and ``weights.rename``, in their order."""
    names = {name: name for name in weights.tensors}

    def change(path: str, change: Callable[[str], str], unfitting: str, remedy: str) -> None:
        """Change the names, and say so where that changes none or gives two the same."""
        nonlocal names
        if unfitting:
            such = f"They are such as {listed(names.values(), 3)}."
            problems.append(Problem(path=path, message=unfitting, remedy=such))
        changed = {name: change(short) for name, short in names.items()}
        original: dict[str, str] = {}
        for name, new in changed.items():
            other = original.setdefault(new, name)
            if names[other] != names[name]:
                message = f"leaves one name, {new}, of both {other} and {name}."
                problems.append(Problem(path=path, message=message, remedy=remedy))
        names = changed

    for index, prefix in enumerate(settings.strip):
        fits = any(short.startswith(prefix) for short in names.values())
        said = "" if fits else f"no name in {weights.source} begins with {prefix!r}."
        cut = partial(_without, prefix)
        change(f"weights.strip[{index}]", cut, said, "Cut less.")
    for index, (pattern, replacement) in enumerate(settings.rename):
        fits = any(re.search(pattern, name) for name in names.values())
        said = "" if fits else f"{pattern!r} fits no name in {weights.source}."
        replaced = partial(re.sub, pattern, replacement)
        change(f"weights.rename[{index}]", replaced, said, "Let the replacements differ.")
    return {new: weights.tensors[name] for name, new in names.items()}


def _without(prefix: str, name: str) -> str:
    return name.removeprefix(prefix)


def _skipped(
    own: Mapping[str, torch.Tensor], patterns: tuple[str, ...], problems: list[Problem]
) -> list[str]:
    """The network's tensors whose names a pattern is found in."""
    found = [[name for name in own if re.search(pattern, name)] for pattern in patterns]
    for index, (pattern, names) in enumerate(zip(patterns, found, strict=True)):
        if not names:
            message = f"{pattern!r} fits none of the network's {len(own)} tensors."
            remedy = f"They are such as {listed(own, 3)}."
            path = f"weights.skip[{index}]"
            problems.append(Problem(path=path, message=message, remedy=remedy))
    some = {name for names in found for name in names}
    return [name for name in own if name in some]


def _first_convolution(network: nn.Module) -> str | None:
    """The name of the first convolution's weight, in the order in which modules were added."""
    for path, module in network.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            if module.groups != 1:
                return None
            return f"{path}.weight" if path else "weight"
    return None


def _differs_in_channels(found: torch.Tensor, own: torch.Tensor) -> bool:
    return (
        found.ndim == own.ndim
        and found.shape[0] == own.shape[0]
        and found.shape[2:] == own.shape[2:]
        and found.shape[1] > 0
        and found.is_floating_point()
    )
