"""The settings that are not steps: loader, split, run, weights, evaluation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs.validators import ge, gt, le, lt, optional

from medpipe.errors import ItemError
from medpipe.steps import Auto, or_auto


@attrs.frozen(kw_only=True)
class LoaderSettings:
    """How batches are made.

    Attributes:
        batch_size: Samples in a batch. ``"auto"``: the largest power of 2, from 8 to 64, of which
            an epoch has 16 batches, or less (see `medpipe.plugin.auto_batch_size`); with MedNIST
            512.
        workers: Worker processes asked for; never more than the job has CPU cores, and none
            where it has only one.
        sampling: ``shuffled``: every training sample once in a pass; ``balanced``: as many
            draws in a pass, each class equally likely; ``auto``: ``balanced`` where the largest
            class has three times as many training samples as the smallest, or more, and the loss
            does not weigh classes (see `medpipe.plugin.auto_sampling`); with MedNIST ``shuffled``.
        drop_last: Leave out a last training batch that is not full.
        cache: ``auto``: the results of the deterministic transforms before the first random one
            are cached on disk, also for later runs; ``off``: every image is read and transformed
            each time.
    """

    batch_size: int | Auto = attrs.field(default="auto", validator=or_auto(ge(1)))
    workers: int = attrs.field(default=30, validator=ge(0))
    sampling: Literal["shuffled", "balanced", "auto"] = "auto"
    drop_last: bool = False
    cache: Literal["auto", "off"] = "auto"


FRACTION = 0.1
"""The default fraction of the validation and the test split, as in MONAI's tutorial."""


def _fits(settings: SplitSettings, _: attrs.Attribute[Any], test: float | None) -> None:
    # A configuration's values are validated before the defaults are set.
    if getattr(settings, "folds", None) is not None:
        if test is not None:
            raise ValueError(
                "can't be given with split.folds: each fold is held out in its place. Leave it out."
            )
        return
    validation = getattr(settings, "validation", None)
    validation = FRACTION if validation is None else validation
    test = FRACTION if test is None else test
    if validation + test >= 1:
        raise ValueError(
            f"validation ({validation:g}) and test ({test:g}) must leave something for training: "
            "together they must be below 1."
        )


def _one_of_the_folds(settings: SplitSettings, _: attrs.Attribute[Any], fold: int | None) -> None:
    if fold is None:
        return
    folds: int | None = getattr(settings, "folds", None)
    if folds is None:
        raise ValueError("needs split.folds, the number of folds. Set it too.")
    if not 0 <= fold < folds:
        raise ValueError(f"must be from 0 to {folds - 1}, got {fold}.")


@attrs.frozen(kw_only=True)
class SplitSettings:
    """How the samples are split.

    Attributes:
        validation: The fraction for validation, of the samples that the data set places in no
            other split and no fold holds out. None: 0.1, or 0 where the data set has this split
            or a fold is held out as it.
        test: The fraction for the test, of the same samples. None: 0.1, or 0 where the data set
            has this split. Not with folds.
        seed: The seed of the split, independent of the run's seed.
        folds: The number of folds, each of which is held out once: as the test split, or as the
            validation split where the data set has a test split.
        fold: The fold that this run holds out, from 0. None: the first.
        file: A ``splits.csv`` of an earlier run to use instead. With folds it must hold out this
            fold.
    """

    validation: float | None = attrs.field(
        default=None, validator=attrs.validators.optional([ge(0), lt(1)])
    )
    test: float | None = attrs.field(
        default=None, validator=[attrs.validators.optional([ge(0), lt(1)]), _fits]
    )
    seed: int = attrs.field(default=0, validator=ge(0))
    folds: int | None = attrs.field(default=None, validator=attrs.validators.optional(ge(2)))
    fold: int | None = attrs.field(default=None, validator=_one_of_the_folds)
    file: Path | None = None


def _one_source(settings: WeightsSettings, _: attrs.Attribute[Any], run: Path | None) -> None:
    if run is not None and settings.file is not None:
        raise ValueError("can't be given with weights.file: name one of them.")


def _digest(_: object, __: attrs.Attribute[Any], sha256: str | None) -> None:
    if sha256 is not None and (len(sha256) != 64 or set(sha256) - set("0123456789abcdef")):
        raise ValueError(f"must be 64 hexadecimal digits in lower case, got {sha256!r}.")


def _needs_a_source(settings: WeightsSettings, _: attrs.Attribute[Any], value: object) -> None:
    # A configuration's values are validated before the defaults are set.
    if value and not (getattr(settings, "file", None) or getattr(settings, "run", None)):
        raise ValueError("needs weights.file or weights.run: name one.")


def _compiled(index: int, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ItemError(index, f"{pattern!r} is not a regular expression: {error}.") from error


def _patterns(_: object, __: attrs.Attribute[Any], patterns: tuple[str, ...]) -> None:
    for index, pattern in enumerate(patterns):
        _compiled(index, pattern)


def _renaming(_: object, __: attrs.Attribute[Any], pairs: tuple[tuple[str, str], ...]) -> None:
    for index, (pattern, replacement) in enumerate(pairs):
        compiled = _compiled(index, pattern)
        try:
            compiled.sub(replacement, "")  # reads the replacement, also where nothing matches
        except (re.error, IndexError) as error:
            said = f"{replacement!r} can't replace what {pattern!r} finds: {error}."
            raise ItemError(index, said) from error


@attrs.frozen(kw_only=True)
class WeightsSettings:
    """Which pretrained weights the network starts from; by default none.

    Attributes:
        file: A safetensors file: from ``medpipe import-weights``, or a run's checkpoint.
        run: A run directory, whose best network is taken.
        sha256: The file's expected SHA-256, as 64 hexadecimal digits; any other is an error.
        strip: Prefixes to remove from the file's tensor names, each once and in this order:
            ``module.``, ``backbone.``.
        rename: Pairs of a regular expression and its replacement, as in `re.sub`, applied in this
            order to the names that `strip` leaves: ``["^classifier", "class_layers.out"]``.
        skip: Regular expressions that are searched in the names of the network's tensors: these
            keep their random values, such as a head for other classes.
        first_layer: ``mean``: a first convolution for another number of channels is adapted by
            averaging its filters over channels. None: such a layer is an error.
    """

    file: Path | None = None
    run: Path | None = attrs.field(default=None, validator=_one_source)
    sha256: str | None = attrs.field(default=None, validator=[_digest, _needs_a_source])
    strip: tuple[str, ...] = attrs.field(default=(), validator=_needs_a_source)
    rename: tuple[tuple[str, str], ...] = attrs.field(
        default=(), validator=[_renaming, _needs_a_source]
    )
    skip: tuple[str, ...] = attrs.field(default=(), validator=[_patterns, _needs_a_source])
    first_layer: Literal["mean"] | None = attrs.field(default=None, validator=_needs_a_source)


@attrs.frozen(kw_only=True)
class OperatingPoint:
    """From which probability on a class or a finding counts as found.

    The threshold is chosen on the validation split: the highest that reaches the sensitivity, or
    the lowest that reaches the specificity.

    Attributes:
        class_: The class or finding; in a configuration ``class``.
        sensitivity: Of its samples the share to be found, above 0.
        specificity: Of the other samples the share that is not to be found, above 0.
        prevalence: How frequent it is where the network is to be used, between 0 and 1: predictive
            values are then given for it too. None: only those of the test split.

    Raises:
        ValueError: Neither or both of sensitivity and specificity are given.
    """

    class_: str
    sensitivity: float | None = attrs.field(default=None, validator=optional([gt(0), le(1)]))
    specificity: float | None = attrs.field(default=None, validator=optional([gt(0), le(1)]))
    prevalence: float | None = attrs.field(default=None, validator=optional([gt(0), lt(1)]))

    def __attrs_post_init__(self) -> None:
        if (self.sensitivity is None) == (self.specificity is None):
            raise ValueError("needs either sensitivity or specificity: give one of them")


@attrs.frozen(kw_only=True)
class EvaluationSettings:
    """What is measured beside the metrics, and for whom.

    Attributes:
        operating_point: Found on the validation split, and used for the test, for ``medpipe
            evaluate`` and ``medpipe predict``; None: none.
        unit: ``image``; or ``group``: also a result for groups (patients), each of which counts
            once.
        group_scores: What a group's scores are made of: ``mean``: the mean of its images'; or
            ``highest``: those of the image with the highest probability of the class of
            `operating_point`, and of findings the highest of each.
    """

    operating_point: OperatingPoint | None = None
    unit: Literal["image", "group"] = "image"
    group_scores: Literal["mean", "highest"] = "mean"


BadData = Literal["refuse", "quarantine", "keep"]


@attrs.frozen(kw_only=True)
class RunSettings:
    """How the pipeline runs.

    Attributes:
        seed: The seed of the network's initialisation, the sampling and the augmentation.
        device: ``auto``: the first CUDA device, else the best available; or a name such as
            ``cpu``, ``cuda``, ``cuda:1``, ``mps``, which must be available.
        checkpoint_minutes: Minutes between checkpoints within an epoch; at an epoch's end one is
            always saved. A large number: only there.
        threads: How many threads torch computes with on the CPU. None: as many as torch chooses,
            one for each core. Where other programs compute too, fewer are many times faster.
        bad_data: What to do with faulty samples, such as files that can't be read, NaN, invalid
            labels, one image under two labels: ``refuse``: nothing is run; ``quarantine``: they
            are left out before the samples are split, and listed in ``quarantine.csv``; ``keep``:
            those that can be trained on (one image under two labels) are trained on, the others
            refused.
        strategy: How several processes, started by torchrun, train one network: ``ddp``: each
            computes a part of every batch, and gradients are averaged
            (`torch.nn.parallel.DistributedDataParallel`).
        sync_batch_norm: Whether batch norms take their means over all processes. It matters where
            a process has few samples of a batch, below 8 or so; on GPUs alone.
        timeout: Seconds that processes wait for each other within a step.
    """

    seed: int = attrs.field(default=0, validator=[ge(0), lt(2**32)])
    device: str = attrs.field(default="auto")
    checkpoint_minutes: float = attrs.field(default=10.0, validator=ge(0))
    threads: int | None = attrs.field(default=None, validator=attrs.validators.optional(ge(1)))
    bad_data: BadData = "refuse"
    strategy: Literal["ddp"] = "ddp"
    sync_batch_norm: bool = False
    timeout: float = attrs.field(default=600.0, validator=gt(0))

    @device.validator
    def _is_a_device(self, _: attrs.Attribute[Any], device: str) -> None:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
            raise ValueError(f"must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got {device!r}.")
