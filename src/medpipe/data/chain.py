"""The transform chain: its three stages, and random state for each sample.

What a random step draws depends on the run's seed, the epoch, the sample's id and the step's
place, and on nothing else: the number of workers changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from medpipe.data.readers.reader import source_of
from medpipe.errors import MedpipeError, StepError
from medpipe.registry.failures import failures_named
from medpipe.steps import (
    PatchSource,
    PatchStep,
    Reading,
    Sample,
    TransformStep,
    fused,
    has_image_label,
)
from medpipe.steps.patches import patches_of, problem_of
from medpipe.system.raised import described
from medpipe.system.random_state import Apply, generator, random_key, seeded


def sample_dictionary(sample: Sample, reading: Reading) -> dict[str, Any]:
    """What a transform gets: the sample's image, label and id, its extra columns, the reading."""
    return {
        **sample.extra,
        "image": sample.image,
        "label": sample.label,
        "id": sample.id,
        "reading": reading,
    }


def path_and_name(title: str) -> tuple[str, str]:
    """The place of a step in the configuration, and its name: of "transform[1], resize," both."""
    path, _, name = title.removesuffix(",").partition(", ")
    return path, name


@attrs.frozen(kw_only=True, eq=False)
class _Link:
    title: str
    step: TransformStep
    random: bool
    apply: Apply


class Chain:
    """The transforms of a pipeline, built.

    A chain has three stages: the *cached* stage, of deterministic steps from the front; the
    *per-sample* stage; and the *batched* stage, the longest ending of which every step has a form
    for batches. Together they give what the whole chain gives.

    Steps that move pixels and follow each other, each a `ResampledStep`, become one resampling.

    Args:
        steps: The steps and their titles for errors, in order.
        seed: The run's seed.

    Attributes:
        steps: The steps and their titles, with those that became one as one.

    Raises:
        StepError: A step could not be built; the message names it and its plugin.
    """

    def __init__(self, steps: Sequence[tuple[str, TransformStep]], *, seed: int) -> None:
        self._seed = seed
        self.steps = tuple(fused(steps))
        self._links = [_link(title, step) for title, step in self.steps]
        self._batched_from = len(self._links)
        while self._batched_from and _in_batches(self._links[self._batched_from - 1]):
            self._batched_from -= 1
        random = (place for place, link in enumerate(self._links) if link.random)
        self._random_from = min(next(random, self._batched_from), self._batched_from)
        self._cutting = [(title, step) for title, step in self.steps if isinstance(step, PatchStep)]
        if len(self._cutting) > 1:
            one, other = (title.removesuffix(",") for title, _ in self._cutting[:2])
            raise StepError(f"{one} and {other} both cut patches. Leave one of them out.")
        for title, step in self._cutting:
            if said := problem_of(step):
                raise StepError(f"{title.removesuffix(',')} {said}.")

    def __getstate__(self) -> tuple[Sequence[tuple[str, TransformStep]], int]:
        # What the steps built need not pickle, and is built again; the batched stage stays here.
        return self.steps_for_workers, self._seed

    def __setstate__(self, state: tuple[Sequence[tuple[str, TransformStep]], int]) -> None:
        steps, seed = state
        self.__init__(steps, seed=seed)  # type: ignore[misc]

    @property
    def steps_for_workers(self) -> Sequence[tuple[str, TransformStep]]:
        """The titles and the steps of the cached and the per-sample stage."""
        return self.steps[: self._batched_from]

    @property
    def cached_steps(self) -> list[TransformStep]:
        """The steps of the cached stage."""
        return [link.step for link in self._links[: self._random_from]]

    @property
    def random(self) -> list[bool]:
        """Whether each of the steps is random, and so for training alone."""
        return [link.random for link in self._links]

    @property
    def patches(self) -> int:
        """How many patches of each training sample an epoch has; 1 where none are cut."""
        return patches_of(step for _, step in self.steps)

    def check_structures(self, count: int) -> None:
        """Raise a StepError where patches can't be cut for so many structures."""
        for title, step in self._cutting:
            with failures_named(title, "doesn't fit the data"):
                step.check_structures(count)

    @property
    def cuts_cached(self) -> bool:
        """Whether patches are cut right behind the cached stage, so that they can be read alone."""
        return bool(self._cutting) and self.steps[self._random_from][1] is self._cutting[0][1]

    def patch_region(
        self, source: PatchSource, sample_id: str, *, epoch: int, file: str | None
    ) -> tuple[slice[int, int, None], ...]:
        """Where a patch of a cached sample is, as a slice for each axis; raises as the chain."""
        link, (_, step) = self._links[self._random_from], self._cutting[0]
        draw = self._draw(link, epoch, sample_id, self._random_from, lambda _: file)
        try:
            return step.region(source, draw)
        except MedpipeError:
            raise
        except (Exception, SystemExit) as error:
            raise _failed(link, sample_id, error, file) from error

    def has_per_sample_stage(self, *, training: bool) -> bool:
        """Whether there is anything to do one sample at a time after the cached stage.

        Patches that are cut right behind it don't count.
        """
        links = self._links[self._random_from + self.cuts_cached : self._batched_from]
        return any(training or not link.random for link in links)

    def __call__(
        self, sample: Mapping[str, Any], *, training: bool, epoch: int = 0
    ) -> dict[str, Any]:
        """Apply the whole chain to one sample; random steps only where it is for training.

        Raises:
            DataError: The sample's file can't be read.
            StepError: A step failed; the message names it, its plugin, the sample and its file.
        """
        return self._apply(sample, 0, len(self._links), training=training, epoch=epoch)

    def stages(self, sample: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The results of the deterministic steps, one after the other; raises as the chain."""
        current, file = dict(sample), source_of(sample["image"])
        for index in range(len(self._links)):
            current = self._apply(current, index, index + 1, training=False, epoch=0, file=file)
            yield current

    def cached_stage(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Apply the cached stage to a sample; raises as the whole chain."""
        return self._apply(sample, 0, self._random_from, training=False, epoch=0)

    def per_sample_stage(
        self,
        sample: Mapping[str, Any],
        *,
        training: bool,
        epoch: int,
        file: str | None = None,
        cut: bool = False,
    ) -> dict[str, Any]:
        """Apply the per-sample stage to a sample that has left the cached stage.

        Args:
            sample: As it left the cached stage.
            training: Whether random steps apply.
            epoch: The pass over the data, from 0.
            file: The sample's file, for errors: the image no longer names it.
            cut: Whether it is a patch already, cut by `patch_region`.
        """
        start = self._random_from + cut
        return self._apply(
            sample, start, self._batched_from, training=training, epoch=epoch, file=file
        )

    def batched_stage(
        self,
        batch: dict[str, Any],
        *,
        training: bool,
        epoch: int | Sequence[int],
        narrow: bool = False,
        file_of: Callable[[str], str | None] = lambda _: None,
    ) -> dict[str, Any]:
        """Apply the batched stage to a batch, on the batch's device.

        Args:
            batch: What left the per-sample stage, collated.
            training: Whether random steps apply.
            epoch: The pass over the data, from 0; or that of each sample.
            narrow: Whether the images are float32 values stored in a narrower type. The result is
                float32, and so is the input of steps without `accepts_integer_images`.
            file_of: The file of a sample, by its id, for errors.

        Raises:
            StepError: A step failed; the message names it, its plugin, and the sample on which it
                fails alone, or else the first of the batch, and its file.
        """
        epochs = [epoch] * len(batch["id"]) if isinstance(epoch, int) else epoch
        for index, link in enumerate(self._links[self._batched_from :], self._batched_from):
            if link.random and not training:
                continue
            if narrow and not link.step.accepts_integer_images:
                batch, narrow = {**batch, "image": batch["image"].float()}, False
            draws: list[Mapping[str, Any]] = [{}] * len(batch["id"])
            if link.random:
                pairs = zip(epochs, batch["id"], strict=True)
                draws = [self._draw(link, one, id_, index, file_of) for one, id_ in pairs]
            try:
                given = link.step.apply_batch(batch, draws)
            except MedpipeError:
                raise
            except (Exception, SystemExit) as error:
                place = _culprit(link, batch, draws)
                sample_id = batch["id"][place or 0]
                which = "the batch of " if place is None else ""
                raise _failed(link, sample_id, error, file_of(sample_id), which) from error
            batch = _plain_sample(given, link, batch["id"][0], which="the batch of ")
        return {**batch, "image": batch["image"].float()} if narrow else batch

    def _draw(
        self,
        link: _Link,
        epoch: int,
        sample_id: str,
        index: int,
        file_of: Callable[[str], str | None],
    ) -> Mapping[str, Any]:
        key = random_key(self._seed, epoch, sample_id, index)
        try:
            return link.step.draw(generator(key))
        except MedpipeError:
            raise
        except (Exception, SystemExit) as error:
            raise _failed(link, sample_id, error, file_of(sample_id)) from error

    def _apply(
        self,
        sample: Mapping[str, Any],
        start: int,
        stop: int,
        *,
        training: bool,
        epoch: int,
        file: str | None = None,
    ) -> dict[str, Any]:
        current = dict(sample)
        for index in range(start, stop):
            link = self._links[index]
            if link.random and not training:
                continue
            key = random_key(self._seed, epoch, sample["id"], index) if link.random else 0
            named = file if start else source_of(sample["image"])
            try:
                given = link.apply(current, key)
            except MedpipeError:
                raise
            except (Exception, SystemExit) as error:
                unloaded = source_of(current.get("image")) is not None
                raise _failed(link, sample["id"], error, named, unloaded=unloaded) from error
            current = _plain_sample(given, link, sample["id"])
        return current


def _in_batches(link: _Link) -> bool:
    """Whether a step can be applied to batches.

    Not one that moves the pixels of all samples: an image's affine says where its pixels lie, and
    batches have none.
    """
    return link.step.batched and (link.random or not link.step.spatial)


def _plain_sample(given: Any, link: _Link, sample_id: str, which: str = "") -> dict[str, Any]:
    """What a step gave, as a dictionary of its own."""
    if isinstance(given, list) and len(given) == 1:  # as MONAI's crops give one patch
        (given,) = given
    if isinstance(given, Mapping):
        return {**given}
    if isinstance(given, list) and given and isinstance(given[0], Mapping):
        raise StepError(
            f"{link.title} returned {len(given)} patches for {which}the sample {sample_id!r}. Let "
            "it return one (num_samples = 1), or make it a PatchStep: an epoch then has "
            "num_samples patches of each sample."
        )
    got = "None" if given is None else f"a {type(given).__name__}"
    raise StepError(
        f"{link.title} returned {got} for {which}the sample {sample_id!r}. Return the sample, a "
        "dictionary."
    )


def _failed(
    link: _Link,
    sample_id: str,
    error: BaseException,
    file: str | None,
    which: str = "",
    *,
    unloaded: bool = False,
) -> StepError:
    where = f" ({file})" if file else ""
    remedy = ""
    if unloaded:
        remedy = ". The image is not loaded yet: unless this step is to load it, begin the chain "
        remedy += "with load_image."
    return StepError(
        f"{link.title} failed on {which}the sample {sample_id!r}{where}: {described(error)}{remedy}"
    )


def _culprit(
    link: _Link, batch: Mapping[str, Any], draws: Sequence[Mapping[str, Any]]
) -> int | None:
    """The first sample on which a step fails by itself, where it doesn't on all; else None."""
    failing = []
    for place in range(len(draws)):
        one = {key: values[place : place + 1] for key, values in batch.items()}
        try:
            link.step.apply_batch(one, draws[place : place + 1])
        except (Exception, SystemExit):
            failing.append(place)
    return failing[0] if 0 < len(failing) < len(draws) else None


def _link(title: str, step: TransformStep) -> _Link:
    draws = type(step).draw is not TransformStep.draw
    if draws and type(step).build is TransformStep.build:
        return _Link(title=title, step=step, random=True, apply=_drawn(step))
    with failures_named(title, "can't be built"):
        transform = step.build()
    if not callable(transform):
        raise StepError(f"{title} built {transform!r}, which can't be called on a sample.")
    if draws and step.batched:
        # A step with both forms was built only to see that it can be.
        return _Link(title=title, step=step, random=True, apply=_drawn(step))
    apply = seeded(transform) if step.random else _plainly(transform)
    if step.spatial and type(step).build_with_label is not TransformStep.build_with_label:
        apply = _for_labels(step, apply)
    return _Link(title=title, step=step, random=step.random, apply=apply)


def _plainly(transform: Callable[[dict[str, Any]], Mapping[Any, Any]]) -> Apply:
    return lambda sample, _: transform(sample)


def _for_labels(step: TransformStep, alone: Apply) -> Apply:
    """Apply a step to images alone, or with labels that are images."""
    with_label: Apply | None = None

    def apply(sample: dict[str, Any], key: int) -> Mapping[Any, Any]:
        nonlocal with_label
        if not has_image_label(sample):
            return alone(sample, key)
        if with_label is None:
            transform = step.build_with_label()
            with_label = seeded(transform) if step.random else _plainly(transform)
        kind, given = sample["label"].dtype, with_label(sample, key)
        return {**given, "label": given["label"].to(kind)}

    return apply


def _drawn(step: TransformStep) -> Apply:
    def apply(sample: dict[str, Any], key: int) -> Mapping[Any, Any]:
        return step.apply(sample, step.draw(generator(key)))

    return apply
