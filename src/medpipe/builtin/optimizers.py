"""Optimizer steps over those of ``torch.optim``; a test compares their parameters with torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import ge, gt, lt

from medpipe.plugin import OptimizerStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import torch

Pair = tuple[float, float]

LEFT_OUT: Mapping[str, str] = {
    "LBFGS": "it evaluates the loss several times in a step, through a closure",
    "SparseAdam": "it takes sparse gradients alone, which no network here has",
    "Muon": "it takes matrices alone; the step muon takes vectors and kernels as well",
}
"""The optimizers of torch that are no steps, and why."""
FUSED_ON = frozenset({"cuda"})
"""Where fused optimizers are faster. On a CPU they save 1 % of a DenseNet121's step of 64 images,
and round in another way than the plain script's."""


def _betas(_: object, field: attrs.Attribute[Any], value: Pair) -> None:
    if not all(0 <= item < 1 for item in value):
        raise ValueError(f"'{field.name}' must be two numbers from 0 to below 1, got {value}")


def _decay(default: float = 0.0) -> Any:
    return attrs.field(default=default, validator=ge(0))


def _eps(default: float = 1e-8) -> Any:
    return attrs.field(default=default, validator=gt(0))


class _OfTorch(OptimizerStep):
    """An optimizer of ``torch.optim``, with its parameters under torch's names.

    Attributes:
        torch_name: Its name in ``torch.optim``.
        can_fuse: Whether there is a fused form.
        alpha: How slowly the averages change.
        amsgrad: Whether the largest second moment so far is used.
        beta2_decay: How the decay of the second moment grows with the steps.
        betas: How slowly the averages of the gradient and of its square change.
        centered: Whether the gradient's variance is used, not its square.
        d: The limit of an update's root mean square.
        dampening: How much less a gradient adds to the momentum.
        decoupled_weight_decay: Whether the decay stays out of the averages, as in AdamW.
        eps: What is added to denominators.
        etas: The factors by which a step shrinks and grows.
        initial_accumulator_value: Where the sum of squares begins.
        lambd: How the learning rate falls.
        lr_decay: How the learning rate falls with the steps.
        momentum: How much of the last update is kept.
        momentum_decay: How the momentum changes with the steps.
        nesterov: Whether the momentum is Nesterov's.
        rho: How slowly the average of squares changes.
        step_sizes: The smallest and the largest step.
        t0: The step from which weights are averaged.
        weight_decay: The strength of the decay of weights, an L2 penalty unless decoupled.
    """

    torch_name: ClassVar[str]
    can_fuse: ClassVar[bool] = False

    def build(
        self, groups: Sequence[Mapping[str, Any]], learning_rate: float
    ) -> torch.optim.Optimizer:
        """Make torch's optimizer, fused where that is faster."""
        import torch

        this: Any = self  # an attrs class, as every step
        options = attrs.asdict(this)
        if self.can_fuse:
            # None: torch chooses, as by default.
            options["fused"] = can_fuse(p for group in groups for p in group["params"]) or None
        made: torch.optim.Optimizer = getattr(torch.optim, self.torch_name)(
            [dict(group) for group in groups], lr=learning_rate, **options
        )
        return made


@attrs.frozen(kw_only=True)
class Adam(_OfTorch):
    """``torch.optim.Adam`` (Kingma and Ba, 2014, arXiv:1412.6980)."""

    name: ClassVar[str] = "adam"
    torch_name: ClassVar[str] = "Adam"
    rate_grows: ClassVar[bool] = True
    can_fuse: ClassVar[bool] = True
    betas: Pair = attrs.field(default=(0.9, 0.999), validator=_betas)
    eps: float = _eps()
    weight_decay: float = _decay()
    amsgrad: bool = False


@attrs.frozen(kw_only=True)
class AdamW(_OfTorch):
    """``torch.optim.AdamW`` (Loshchilov and Hutter, 2017, arXiv:1711.05101)."""

    name: ClassVar[str] = "adamw"
    torch_name: ClassVar[str] = "AdamW"
    rate_grows: ClassVar[bool] = True
    can_fuse: ClassVar[bool] = True
    betas: Pair = attrs.field(default=(0.9, 0.999), validator=_betas)
    eps: float = _eps()
    weight_decay: float = _decay(0.01)
    amsgrad: bool = False


@attrs.frozen(kw_only=True)
class SGD(_OfTorch):
    """``torch.optim.SGD``, with Nesterov's momentum where asked."""

    name: ClassVar[str] = "sgd"
    torch_name: ClassVar[str] = "SGD"
    usual_rate: ClassVar[float] = 1e-2
    can_fuse: ClassVar[bool] = True
    momentum: float = attrs.field(default=0.0, validator=[ge(0), lt(1)])
    dampening: float = attrs.field(default=0.0, validator=[ge(0), lt(1)])
    weight_decay: float = _decay()
    nesterov: bool = attrs.field(default=False)

    @nesterov.validator
    def _needs_momentum(self, _: attrs.Attribute[Any], nesterov: bool) -> None:
        if nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("needs a momentum above 0, and no dampening.")


@attrs.frozen(kw_only=True)
class NAdam(_OfTorch):
    """``torch.optim.NAdam``: Adam with Nesterov's momentum (Dozat, 2016)."""

    name: ClassVar[str] = "nadam"
    torch_name: ClassVar[str] = "NAdam"
    rate_grows: ClassVar[bool] = True
    betas: Pair = attrs.field(default=(0.9, 0.999), validator=_betas)
    eps: float = _eps()
    weight_decay: float = _decay()
    momentum_decay: float = attrs.field(default=4e-3, validator=ge(0))
    decoupled_weight_decay: bool = False


@attrs.frozen(kw_only=True)
class RAdam(_OfTorch):
    """``torch.optim.RAdam`` (Liu et al., 2019, arXiv:1908.03265)."""

    name: ClassVar[str] = "radam"
    torch_name: ClassVar[str] = "RAdam"
    rate_grows: ClassVar[bool] = True
    betas: Pair = attrs.field(default=(0.9, 0.999), validator=_betas)
    eps: float = _eps()
    weight_decay: float = _decay()
    decoupled_weight_decay: bool = False


@attrs.frozen(kw_only=True)
class Adamax(_OfTorch):
    """``torch.optim.Adamax`` (Kingma and Ba, 2014, arXiv:1412.6980)."""

    name: ClassVar[str] = "adamax"
    torch_name: ClassVar[str] = "Adamax"
    rate_grows: ClassVar[bool] = True
    betas: Pair = attrs.field(default=(0.9, 0.999), validator=_betas)
    eps: float = _eps()
    weight_decay: float = _decay()


@attrs.frozen(kw_only=True)
class Adagrad(_OfTorch):
    """``torch.optim.Adagrad`` (Duchi et al., 2011)."""

    name: ClassVar[str] = "adagrad"
    torch_name: ClassVar[str] = "Adagrad"
    usual_rate: ClassVar[float] = 1e-2
    lr_decay: float = attrs.field(default=0.0, validator=ge(0))
    weight_decay: float = _decay()
    initial_accumulator_value: float = attrs.field(default=0.0, validator=ge(0))
    eps: float = _eps(1e-10)


@attrs.frozen(kw_only=True)
class Adadelta(_OfTorch):
    """``torch.optim.Adadelta`` (Zeiler, 2012, arXiv:1212.5701)."""

    name: ClassVar[str] = "adadelta"
    torch_name: ClassVar[str] = "Adadelta"
    usual_rate: ClassVar[float] = 1.0
    rho: float = attrs.field(default=0.9, validator=[ge(0), lt(1)])
    eps: float = _eps(1e-6)
    weight_decay: float = _decay()


@attrs.frozen(kw_only=True)
class Adafactor(_OfTorch):
    """``torch.optim.Adafactor`` (Shazeer and Stern, 2018, arXiv:1804.04235)."""

    name: ClassVar[str] = "adafactor"
    torch_name: ClassVar[str] = "Adafactor"
    usual_rate: ClassVar[float] = 1e-2
    beta2_decay: float = attrs.field(default=-0.8, validator=lt(0))
    d: float = attrs.field(default=1.0, validator=ge(1))
    weight_decay: float = _decay()


@attrs.frozen(kw_only=True)
class RMSprop(_OfTorch):
    """``torch.optim.RMSprop`` (Hinton, 2012)."""

    name: ClassVar[str] = "rmsprop"
    torch_name: ClassVar[str] = "RMSprop"
    alpha: float = attrs.field(default=0.99, validator=[ge(0), lt(1)])
    eps: float = _eps()
    weight_decay: float = _decay()
    momentum: float = attrs.field(default=0.0, validator=[ge(0), lt(1)])
    centered: bool = False


@attrs.frozen(kw_only=True)
class Rprop(_OfTorch):
    """``torch.optim.Rprop`` (Riedmiller and Braun, 1993); for whole data sets in a batch."""

    name: ClassVar[str] = "rprop"
    torch_name: ClassVar[str] = "Rprop"
    usual_rate: ClassVar[float] = 1e-2
    etas: Pair = attrs.field(default=(0.5, 1.2))
    step_sizes: Pair = attrs.field(default=(1e-6, 50.0))

    @etas.validator
    def _around_one(self, _: attrs.Attribute[Any], etas: Pair) -> None:
        if not 0 < etas[0] < 1 < etas[1]:
            raise ValueError(f"'etas' must be one number below 1 and one above 1, got {etas}")


@attrs.frozen(kw_only=True)
class ASGD(_OfTorch):
    """``torch.optim.ASGD``: averaged gradient descent (Polyak and Juditsky, 1992).

    Attributes:
        alpha: The power by which the rate falls.
    """

    name: ClassVar[str] = "asgd"
    torch_name: ClassVar[str] = "ASGD"
    usual_rate: ClassVar[float] = 1e-2
    lambd: float = attrs.field(default=1e-4, validator=ge(0))
    alpha: float = attrs.field(default=0.75, validator=ge(0))
    t0: float = attrs.field(default=1e6, validator=ge(0))
    weight_decay: float = _decay()


OPTIMIZERS: tuple[type[OptimizerStep], ...] = (
    Adam,
    AdamW,
    SGD,
    NAdam,
    RAdam,
    Adamax,
    Adagrad,
    Adadelta,
    Adafactor,
    RMSprop,
    Rprop,
    ASGD,
)
"""All built-in optimizers."""


def can_fuse(parameters: Iterable[torch.nn.Parameter]) -> bool:
    """Whether torch's fused optimizers take these parameters and are faster."""
    import torch

    return all(
        parameter.device.type in FUSED_ON
        and parameter.is_floating_point()
        # Fused optimizers walk through memory: it must have no gaps.
        and torch.empty_like(parameter).stride() == parameter.stride()
        for parameter in parameters
    )
