"""The groups of `[[trainer.parameters]]`: learning rates and freezing by parameter name."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

import attrs
from attrs.validators import ge, gt, optional

from medpipe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ignite.engine import Engine
    from torch import nn
    from torch.utils.hooks import RemovableHandle


def _pattern(_: object, field: attrs.Attribute[Any], value: str) -> None:
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}.") from error


def _alone(group: ParameterGroup, _: attrs.Attribute[Any], freeze: bool) -> None:
    # A configuration's values are tried before the defaults are in place.
    others = {"learning_rate": None, "weight_decay": None, "freeze_epochs": 0}
    given = [name for name, none in others.items() if getattr(group, name, none) != none]
    if freeze and given:
        raise ValueError(
            f"can't be given with {' and '.join(given)}: what is frozen is never trained. "
            "To train it later, give freeze_epochs instead."
        )


@attrs.frozen(kw_only=True)
class ParameterGroup:
    r"""Parameters of the network that are trained in a way of their own.

    Attributes:
        match: A regular expression that is searched in the names of the network's parameters,
            as ``network.named_parameters()`` has them: ``^features\.``. Of several groups that
            fit a name the first has it.
        learning_rate: Theirs; None: the trainer's.
        weight_decay: Theirs; None: the optimizer's.
        freeze_epochs: They keep their values for so many epochs, and are trained from then on.
        freeze: They keep their values. Normalisation layers that are frozen whole keep their
            running statistics too; dropout stays as it is.
    """

    match: str = attrs.field(validator=_pattern)
    learning_rate: float | None = attrs.field(default=None, validator=optional(gt(0)))
    weight_decay: float | None = attrs.field(default=None, validator=optional(ge(0)))
    freeze_epochs: int = attrs.field(default=0, validator=ge(0))
    freeze: bool = attrs.field(default=False, validator=_alone)  # last: it looks at the others


def divide(network: nn.Module, groups: Sequence[ParameterGroup]) -> dict[str, int | None]:
    """Say which group has each of a network's parameters.

    Args:
        network: The network; it may be on the meta device.
        groups: In order: the first that fits a name has it.

    Returns:
        For each parameter's name the index of its group; None for the trainer's own.

    Raises:
        DataError: A group fits no parameter, or none that an earlier one has not taken; or
            nothing is left to train in the first epoch.
    """
    names = [name for name, _ in network.named_parameters()]
    fits = [[name for name in names if re.search(group.match, name)] for group in groups]
    owner: dict[str, int | None] = dict.fromkeys(names)
    wrong = []
    for index, (group, fitting) in enumerate(zip(groups, fits, strict=True)):
        where = f"trainer.parameters[{index}].match"
        free = [name for name in fitting if owner[name] is None]
        if not fitting:
            some = ", ".join(_near(group.match, names))
            wrong.append(
                f"{where} {group.match!r} fits none of the network's {len(names)} parameters. "
                f"They have names such as {some}."
            )
        elif not free:
            wrong.append(
                f"{where} {group.match!r} fits only parameters that earlier groups have, such as "
                f"{fitting[0]}. Put the group before these, or leave it out."
            )
        owner.update(dict.fromkeys(free, index))
    if wrong:
        raise DataError("\n".join(wrong))
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    if trained and all(_is_frozen(groups, owner[name], epoch=1) for name in trained):
        raise DataError(
            f"trainer.parameters freezes all {len(trained)} parameters of the network in the "
            f"first epoch. Leave some to be trained, such as {trained[-1]}."
        )
    return owner


def _near(pattern: str, names: Sequence[str]) -> list[str]:
    """The names nearest to a pattern that fits none, by themselves or by the modules' names."""
    parts = {name: [name, *(name[:i] for i, c in enumerate(name) if c == ".")] for name in names}
    plain = re.sub(r"[\\^$*+?()\[\]{}|]", "", pattern)

    def likeness(name: str) -> float:
        return max(difflib.SequenceMatcher(None, plain, part).ratio() for part in parts[name])

    return sorted(names, key=likeness, reverse=True)[:3]


class Freezing:
    """Freezes and unfreezes parameters of a network: what is frozen depends on the epoch alone.

    Args:
        network: The network.
        groups: The groups of its parameters.

    Raises:
        DataError: As `divide`.
    """

    def __init__(self, network: nn.Module, groups: Sequence[ParameterGroup]) -> None:
        owner = divide(network, groups)
        self._groups = groups
        # What is frozen by the network itself stays frozen.
        self._owned = [
            (parameter, owner[name])
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        ]
        self._norms = _normalisations(network, groups, owner)
        self._handles: dict[nn.Module, RemovableHandle] = {}
        self.apply(1)

    def attach(self, engine: Engine) -> None:
        """Freeze and unfreeze at the beginning of each epoch of an engine."""
        from ignite.engine import Events

        engine.add_event_handler(
            Events.EPOCH_STARTED, lambda: self.apply(max(engine.state.epoch, 1))
        )

    def apply(self, epoch: int) -> None:
        """Freeze and unfreeze for an epoch, counted from 1, whatever the state before."""
        for parameter, index in self._owned:
            parameter.requires_grad_(not _is_frozen(self._groups, index, epoch))
            if not parameter.requires_grad:
                parameter.grad = None  # optimizers pass over what has no gradient
        for module, owners in self._norms:
            frozen = all(_is_frozen(self._groups, index, epoch) for index in owners)
            if frozen and module not in self._handles:
                self._handles[module] = module.register_forward_pre_hook(_evaluate)
            elif not frozen and module in self._handles:
                self._handles.pop(module).remove()


def _is_frozen(groups: Sequence[ParameterGroup], index: int | None, epoch: int) -> bool:
    if index is None:
        return False
    return groups[index].freeze or epoch <= groups[index].freeze_epochs


def _normalisations(
    network: nn.Module, groups: Sequence[ParameterGroup], owner: dict[str, int | None]
) -> list[tuple[nn.Module, set[int | None]]]:
    """The modules with running statistics, and the groups that have their parameters.

    One without parameters belongs to the group that fits the name of its running mean.
    """
    import torch

    found: list[tuple[nn.Module, set[int | None]]] = []
    for path, module in network.named_modules():
        if not isinstance(getattr(module, "running_mean", None), torch.Tensor):
            continue
        start = f"{path}." if path else ""
        own = [f"{start}{name}" for name, _ in module.named_parameters(recurse=False)]
        if own:
            # A parameter that several modules share is listed under its first name alone.
            found.append((module, {owner.get(name) for name in own}))
        else:
            name = f"{start}running_mean"
            fits = (i for i, group in enumerate(groups) if re.search(group.match, name))
            found.append((module, {next(fits, None)}))
    return found


def _evaluate(module: nn.Module, _: Any) -> None:
    """Use the running statistics and leave them: MONAI's trainers call ``network.train()``."""
    module.eval()
