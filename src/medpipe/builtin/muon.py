"""The optimizer step `muon`: orthogonalised momentum for kernels, AdamW for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs.validators import ge, gt, lt

from medpipe.plugin import OptimizerStep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch


def _betas(_: object, field: attrs.Attribute[Any], value: tuple[float, float]) -> None:
    if not all(0 <= item < 1 for item in value):
        raise ValueError(f"'{field.name}' must be two numbers from 0 to below 1, got {value}")


@attrs.frozen(kw_only=True)
class Muon(OptimizerStep):
    """Muon (Jordan et al., 2024): momentum whose singular values are all made about 1.

    Unlike ``torch.optim.Muon`` it takes kernels of convolutions too: as matrices whose rows are
    their inputs or outputs, whichever are fewer. What has fewer than 8 inputs or outputs, such as
    the last layer of a segmentation and the first of a grey image, and vectors are trained by
    AdamW. Updates are as large as AdamW's (Liu et al., 2025, arXiv:2502.16982), so that both have
    one learning rate. On a CPU core a step of a U-Net of half a million weights takes 3 ms longer
    than AdamW's, and fewer steps are enough.

    Attributes:
        momentum: How much of the average gradient stays at each step.
        nesterov: Whether the momentum is Nesterov's.
        betas: How slowly AdamW's averages of the gradient and of its square change.
        eps: What AdamW adds to denominators.
        weight_decay: The strength of the decay of weights.
        ns_steps: Steps of the iteration of Newton and Schulz that makes singular values equal.
    """

    name: ClassVar[str] = "muon"
    usual_rate: ClassVar[float] = 1e-2

    momentum: float = attrs.field(default=0.9, validator=[ge(0), lt(1)])
    nesterov: bool = True
    betas: tuple[float, float] = attrs.field(default=(0.9, 0.98), validator=_betas)
    eps: float = attrs.field(default=1e-8, validator=gt(0))
    weight_decay: float = attrs.field(default=1e-2, validator=ge(0))
    ns_steps: int = attrs.field(default=5, validator=ge(1))

    def build(
        self, groups: Sequence[Mapping[str, Any]], learning_rate: float
    ) -> torch.optim.Optimizer:
        """Make the optimizer."""
        from medpipe.builtin.muon_optimizer import MuonOptimizer

        this: Any = self  # an attrs class, as every step
        return MuonOptimizer([dict(group) for group in groups], learning_rate, attrs.asdict(this))
