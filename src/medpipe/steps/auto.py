"""What ``"auto"`` stands for: the rules by which the library chooses from the data.

Nothing here imports torch, monai or numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import attrs

from medpipe.steps.training import DataInfo

Auto = Literal["auto"]
"""The value of a setting that the library chooses."""
LARGEST_BATCH = 64
SMALLEST_BATCH = 8
VALUES = 1 << 22
"""Values in the images of a batch that is chosen."""
BATCHES = 16
"""Batches in an epoch, where the data are enough for the smallest batch."""
FEWEST_BATCHES = 3
UNEVEN = 3
"""How many times as many samples the largest class has, where each is drawn as often."""
STEPS = 1000
"""Steps of the optimizer for which epochs are chosen."""
RATES_FROM = (8, 32)
"""Samples in a step from which a learning rate grows, and to which."""
EPOCHS = (10, 100)
"""The least and the most epochs that are chosen."""
ENOUGH = 100
"""Training samples from which on a network has its full width."""

Value = TypeVar("Value")


@attrs.frozen(kw_only=True)
class AutoInfo:
    """What is known when ``"auto"`` is resolved.

    Attributes:
        data: What was measured on the data.
        samples: Samples in the training split.
        batch_size: Samples in a batch, resolved already.
        pretrained: Whether the network starts from trained weights.
    """

    data: DataInfo
    samples: int
    batch_size: int
    pretrained: bool = False


def resolved(value: Value | Auto) -> Value:
    """A value that is no longer ``"auto"``.

    Raises:
        ValueError: It still is.
    """
    if isinstance(value, str) and value == "auto":
        raise ValueError('it is still "auto": the pipeline resolves it before training')
    return value


def or_auto(
    validator: Callable[[Any, Any, Value], Any],
) -> Callable[[Any, attrs.Attribute[Value | Auto], Value | Auto], None]:
    """An attrs validator that also takes ``"auto"``."""

    def validate(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value != "auto":
            validator(instance, attribute, value)

    return validate


def auto_batch_size(data: DataInfo, samples: int) -> int:
    """The largest power of 2 of which an epoch has 16 batches, from 8 to 64.

    It is smaller where an epoch would have fewer than 3 batches, where the images of a batch would
    have more than 4 million values, and another near it where the last batch would have one sample,
    of which batch normalisation can't learn.
    """
    wanted = min(max(samples // BATCHES, SMALLEST_BATCH), LARGEST_BATCH)
    values = data.channels * math.prod(side or 1 for side in data.spatial_shape)
    most = max(min(wanted, samples // FEWEST_BATCHES, VALUES // values), 1)
    size = int(2 ** math.floor(math.log2(most)))
    if size == 1:
        return size
    near = (*range(size, 1, -1), *range(size + 1, LARGEST_BATCH))
    return next((some for some in near if samples % some != 1), size)


def auto_sampling(data: DataInfo, *, weighted: bool) -> Literal["shuffled", "balanced"]:
    """Balanced where the largest class has three times as many samples as the smallest, or more.

    Args:
        data: What was measured on the data.
        weighted: Whether the loss weighs classes already.
    """
    counts = [count for count in data.class_counts or () if count]
    uneven = len(counts) > 1 and max(counts) >= UNEVEN * min(counts)
    return "balanced" if uneven and not weighted else "shuffled"


def auto_learning_rate(
    usual: float, batch_size: int, *, grows: bool = False, pretrained: bool = False
) -> float:
    """The usual rate; of Adam and the like as the square root of the batch's size has it.

    Args:
        usual: The optimizer's usual rate: see `OptimizerStep.usual_rate`.
        batch_size: Samples in a step of the optimizer.
        grows: Whether it is the rate for 8 samples, and twice as high for 32 and more: the noise
            of the gradient falls with the square root (Malladi et al., 2022, arXiv:2205.10287).
        pretrained: Whether the network starts from trained weights: a tenth of it then.
    """
    least, most = RATES_FROM
    factor = math.sqrt(min(max(batch_size, least), most) / least) if grows else 1.0
    rate = usual * factor / (10 if pretrained else 1)
    return float(f"{rate:.2g}")


def auto_epochs(samples: int, batch_size: int) -> int:
    """As many epochs as make 1,000 steps of the optimizer: 10 to 100."""
    least, most = EPOCHS
    return min(max(math.ceil(STEPS / math.ceil(samples / batch_size)), least), most)


def auto_width(samples: int, *, pretrained: bool) -> tuple[int, int]:
    """The filters of a DenseNet's first convolution, and those that each layer adds.

    Half of the published width for fewer than 100 samples to train on, of which a wide network
    learns worse; the published 64 and 32 for more, and for trained weights, which are of that
    width (Huang et al., arXiv:1608.06993, table 1).

    Args:
        samples: Samples in the training split.
        pretrained: Whether the network starts from trained weights.
    """
    return (64, 32) if pretrained or samples >= ENOUGH else (32, 16)
