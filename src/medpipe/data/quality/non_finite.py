"""Whether a chain fills non-finite values, such as the NaN background of SPM's maps.

Only the deterministic steps count. Only images that hold such values are sent through the chain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.chain import sample_dictionary
from medpipe.data.scanning.pixel_defects import LARGEST, NOT_FINITE
from medpipe.errors import MedpipeError
from medpipe.system.progress import track

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from medpipe.data.chain import Chain
    from medpipe.errors import Fault
    from medpipe.steps import Reading, Sample

Fills = Callable[["Sample", "Reading"], str | None]
"""Returns None where what leaves the chain is finite, else why not, as the end of a sentence."""
NAMED = 3
"""How many images a note names."""
REMEDY = (
    "To train on images with NaN values, add the transform 'signal_fill_empty' after "
    "'ensure_channel_first', so that they are filled before other steps compute with them; for "
    "infinite values add 'threshold_intensity' with above = false."
)


def filled_by(chain: Chain) -> Fills:
    """The function that tells whether a chain fills the non-finite values of a sample's image."""

    def fills(sample: Sample, reading: Reading) -> str | None:
        left = None
        try:
            for stage in chain.stages(sample_dictionary(sample, reading)):
                left = _values(stage)
                if left is not None and left.numel() and left.abs().max() == LARGEST:
                    return "and a step replaces them by the largest float32, which hides the rest"
        except MedpipeError as error:
            return f"and the chain fails on it: {str(error).removesuffix('.')}"
        if left is None or not left.numel():
            return "and the chain gives no image tensor"
        if not bool(left.isfinite().all()):
            return ""
        if bool((left == left.flatten()[0]).all()):
            return (
                "and leaves the chain constant: a step spread these values before another one "
                "filled them"
            )
        return None

    return fills


def _values(stage: Mapping[str, Any]) -> torch.Tensor | None:
    """The image that leaves a step, in float32; None where it is none yet, but a file's name."""
    import torch

    from medpipe.data.loading.collate import as_tensor

    try:
        return as_tensor(stage["image"]).to(torch.float32)
    except (TypeError, ValueError, KeyError, RuntimeError):
        return None


def without_filled(
    faults: Sequence[Fault], samples: Sequence[Sample], reading: Reading, fills: Fills | None
) -> tuple[list[Fault], list[str]]:
    """Leave out the faults of images whose values the chain fills.

    Args:
        faults: Of images that hold NaN or infinite values, and others.
        samples: The samples.
        reading: How they are read.
        fills: See `filled_by`; None where there is no chain.

    Returns:
        The faults that are left, and a note about the others.
    """
    some = [fault for fault in faults if fault.kind in NOT_FINITE]
    if not some or fills is None:
        return list(faults), []
    by_id = {sample.id: sample for sample in samples}
    filled: set[str] = set()
    why: dict[str, str] = {}
    for fault in track(some, "Filling images", len(some), unit="images"):
        said = fills(by_id[fault.sample], reading)
        if said is None:
            filled.add(fault.sample)
        else:
            why[fault.sample] = said
    left = [
        attrs.evolve(fault, message=f"{fault.message.removesuffix('.')}, {why[fault.sample]}.")
        if why.get(fault.sample)
        else fault
        for fault in faults
        if not (fault.sample in filled and fault.kind in NOT_FINITE)
    ]
    if not filled:
        return left, []
    names = [fault.sample for fault in some if fault.sample in filled]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    verb = "image holds" if len(names) == 1 else "images hold"
    named = ", ".join(map(repr, names[:NAMED]))
    return left, [
        f"{len(names)} {verb} NaN or infinite values that the transforms fill: {named}{more}."
    ]
