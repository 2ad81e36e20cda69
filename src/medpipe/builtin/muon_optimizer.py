"""The optimizer of the step `muon`.

Heavy: it imports torch; the step imports it inside a function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

FEWEST = 8
"""Inputs and outputs from which on a kernel is taken for a matrix."""
RMS = 0.2
"""The size of an update's numbers, about that of AdamW's."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial that brings singular values near 1, as Jordan et al. chose them."""
SMALL = 1e-7


class MuonOptimizer(torch.optim.Optimizer):
    """See the step `muon`, whose parameters `options` are."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], learning_rate: float, options: Mapping[str, Any]
    ) -> None:
        super().__init__(groups, {"lr": learning_rate, **options})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change each parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                if parameter.ndim >= 2 and min(parameter.shape[:2]) >= FEWEST:
                    _by_momentum(parameter, self.state[parameter], group)
                else:
                    _by_adam(parameter, self.state[parameter], group)
        return loss


def _by_momentum(parameter: Any, state: dict[str, Any], group: Mapping[str, Any]) -> None:
    if not state:
        state["momentum_buffer"] = torch.zeros_like(parameter)
    gradient, average = parameter.grad, state["momentum_buffer"]
    average.lerp_(gradient, 1 - group["momentum"])
    update = gradient.lerp(average, group["momentum"]) if group["nesterov"] else average
    swapped = parameter.shape[0] > parameter.shape[1]
    rows = (update.transpose(0, 1) if swapped else update).flatten(1)
    found = orthogonalised(rows, group["ns_steps"]).mul_(RMS * max(rows.shape) ** 0.5)
    found = found.reshape(len(rows), -1, *parameter.shape[2:])
    parameter.add_(found.transpose(0, 1) if swapped else found, alpha=-group["lr"])


def _by_adam(parameter: Any, state: dict[str, Any], group: Mapping[str, Any]) -> None:
    if not state:
        state["step"] = torch.zeros(())
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    state["step"] += 1
    first, second = group["betas"]
    state["exp_avg"].lerp_(parameter.grad, 1 - first)
    state["exp_avg_sq"].mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
    # It is on the CPU: to look at it waits for nothing.
    done = float(state["step"])
    divisor = (state["exp_avg_sq"] / (1 - second**done)).sqrt_().add_(group["eps"])
    parameter.addcdiv_(state["exp_avg"], divisor, value=-group["lr"] / (1 - first**done))


def orthogonalised(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    """A matrix with the same singular vectors, and singular values of about 1.

    The iteration of Newton and Schulz multiplies the matrix by a polynomial of its product with
    its own transpose. All polynomials are multiplied first, which are as small as its shorter
    side; so the long side is gone through twice in all, not three times in each step. It computes
    in float32: products lose what is small.

    Args:
        matrix: Of any shape.
        steps: How often; 5 bring values from a hundredth of the norm to between 0.7 and 1.2.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.mT if tall else matrix
    with torch.autocast(matrix.device.type, enabled=False):
        wide = wide.float()
        gram = wide @ wide.mT
        scale = 1 / (gram.trace().sqrt() + SMALL)  # by the norm
        gram.mul_(scale * scale)
        a, b, c = COEFFICIENTS
        whole: torch.Tensor | None = None
        for _ in range(steps):
            factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
            factor.diagonal().add_(a)
            whole = factor if whole is None else factor @ whole
            gram = factor @ (factor @ gram)
            gram = (gram + gram.mT) / 2  # or what rounding makes uneven grows
        assert whole is not None
        result: torch.Tensor = (whole.mul_(scale) @ wide).to(matrix.dtype)
    return result.mT if tall else result
