"""MONAI's inferer in the precision of a training.

torch and monai are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from monai.inferers.inferer import SimpleInferer


def inferer_in(precision: str, device: torch.device) -> SimpleInferer:
    """MONAI's `SimpleInferer`, whose network computes in a precision; see `TrainingParts.inferer`.

    Args:
        precision: ``float32``, or ``bfloat16`` for autocast.
        device: Where the network is.
    """
    import torch
    from monai.inferers.inferer import SimpleInferer

    if precision == "float32":
        return SimpleInferer()

    class HalfInferer(SimpleInferer):
        # amp=True of MONAI's engines is for CUDA alone and scales float16.
        def __call__(self, inputs: Any, network: Any, *args: Any, **kwargs: Any) -> Any:
            with torch.autocast(device.type, torch.bfloat16):
                outputs = super().__call__(inputs, network, *args, **kwargs)
            return _in_float32(outputs)

    return HalfInferer()


def _in_float32(outputs: Any) -> Any:
    """What a network gave, with float32 in place of bfloat16, in whatever holds its tensors."""
    import torch

    if isinstance(outputs, torch.Tensor):
        return outputs.float() if outputs.dtype is torch.bfloat16 else outputs
    if isinstance(outputs, dict):
        return {name: _in_float32(one) for name, one in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        held = [_in_float32(one) for one in outputs]
        # A named tuple takes its values one by one.
        return type(outputs)(*held) if hasattr(outputs, "_fields") else type(outputs)(held)
    return outputs
