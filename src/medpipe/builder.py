"""`PipelineBuilder`: an immutable value from which a pipeline is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import attrs

from medpipe import config, recipes
from medpipe.config import Configuration
from medpipe.errors import ConfigError, Problem
from medpipe.pipeline import Pipeline
from medpipe.registry.loading import step_class_problems
from medpipe.registry.parameters import StepReference, structure, unstructure
from medpipe.registry.registry import Registry
from medpipe.registry.validation import join
from medpipe.registry.wrapped import Wrapped
from medpipe.steps import (
    DataInfo,
    Dataset,
    DatasetStep,
    HandlerStep,
    InfererStep,
    MetricStep,
    NetworkStep,
    ReaderStep,
    Step,
    TrainerStep,
    TransformStep,
)
from medpipe.system import files

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from monai.transforms import Compose, MapTransform
    from torch import nn

    from medpipe.settings import BadData, OperatingPoint

__all__ = ["PipelineBuilder"]


@attrs.frozen
class _Wrong:
    """What was given where no step could be made of it, and why; `build` reports it."""

    raw: object
    problems: tuple[Problem, ...]


@attrs.frozen(init=False, eq=False)
class PipelineBuilder:
    """Describes a pipeline: each method returns a new builder and leaves this one unchanged.

    With nothing chosen it is the set-up of MONAI's first-model tutorial: MedNIST, the four
    transforms, DenseNet121, ``SupervisedTrainer``. Names are looked up at once; what is wrong is
    kept, and `build` reports all of it together.

    Args:
        seed: Decides the network's first weights, the order and the augmentation.
        device: ``auto``, or a device that must be there; see `medpipe.settings.RunSettings`.
        checkpoint_minutes: How often a checkpoint is saved in the middle of an epoch.
        threads: How many threads torch computes with on the CPU; None: as it chooses.
        bad_data: What to do with faulty samples: ``refuse``, ``quarantine`` or ``keep``; see
            `medpipe.settings.RunSettings`.
        registry: Where names are looked up; by default every installed plugin's steps.

    Example:
        ``medpipe.PipelineBuilder(seed=1).network("resnet18").build()``
    """

    _dataset: DatasetStep | _Wrong
    _transforms: tuple[TransformStep | _Wrong, ...]
    _network: NetworkStep | _Wrong
    _trainer: TrainerStep | _Wrong
    _readers: tuple[ReaderStep | _Wrong, ...]
    _inferer: InfererStep | _Wrong | None
    _metrics: tuple[MetricStep | _Wrong, ...]
    _handlers: tuple[HandlerStep | _Wrong, ...]
    _weights: Any
    _loader: Any
    _split: Any
    _evaluation: Any
    _run: Any
    _is_default_chain: bool = attrs.field(repr=False)
    _registry: Registry = attrs.field(repr=False)

    def __init__(
        self,
        *,
        seed: int = 0,
        device: str = "auto",
        checkpoint_minutes: float = 10.0,
        threads: int | None = None,
        bad_data: BadData = "refuse",
        registry: Registry | None = None,
    ) -> None:
        registry = Registry.discover() if registry is None else registry
        parts: dict[str, Any] = {
            section: _make(kind, config.DEFAULT_TABLES[section], registry)
            for section, kind in config.STEP_SECTIONS.items()
        }
        for section, cls in config.SETTINGS_SECTIONS.items():
            parts[section] = cls()
        parts["transforms"] = tuple(
            _make(TransformStep, {"step": name}, registry) for name in config.DEFAULT_TRANSFORMS
        )
        parts |= {"readers": (), "inferer": None, "metrics": (), "handlers": ()}
        run = {
            "seed": seed,
            "device": device,
            "checkpoint_minutes": checkpoint_minutes,
            "threads": threads,
            "bad_data": bad_data,
        }
        parts["run"] = _settings("run", run, registry)
        self.__attrs_init__(**parts, is_default_chain=True, registry=registry)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PipelineBuilder):
            return NotImplemented
        return self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(tuple(self._parts().values()))

    # Steps

    @overload
    def dataset(self, step: str, /, **parameters: object) -> PipelineBuilder: ...
    @overload
    def dataset(self, step: DatasetStep | Dataset, /) -> PipelineBuilder: ...
    def dataset(
        self, step: str | DatasetStep | Dataset, /, **parameters: object
    ) -> PipelineBuilder:
        """Choose the data set.

        Args:
            step: A registered name with parameters, a step object, or a ready `Dataset`.
            **parameters: The named step's parameters.
        """
        return self._with(dataset=self._step(DatasetStep, step, parameters))

    @overload
    def reader(self, step: str, /, **parameters: object) -> PipelineBuilder: ...
    @overload
    def reader(self, step: ReaderStep, /) -> PipelineBuilder: ...
    def reader(self, step: str | ReaderStep, /, **parameters: object) -> PipelineBuilder:
        """Add a reader to those that are there; it is asked after them and before medpipe's own.

        Args:
            step: A registered name with parameters, or a step object.
            **parameters: The named step's parameters.
        """
        return self._with(readers=(*self._readers, self._step(ReaderStep, step, parameters)))

    def readers(self, *steps: str | ReaderStep | StepReference) -> PipelineBuilder:
        """Replace all readers, which are asked before medpipe's own.

        Args:
            *steps: Names, `medpipe.step` with parameters, or step objects; none for none.
        """
        made = tuple(self._step(ReaderStep, step, {}) for step in steps)
        return self._with(readers=made)

    @overload
    def transform(
        self, step: str, /, *, before: str | None = None, **parameters: object
    ) -> PipelineBuilder: ...
    @overload
    def transform(
        self,
        step: TransformStep
        | MapTransform
        | Compose
        | Callable[[dict[str, Any]], Mapping[Any, Any]],
        /,
        *,
        before: str | None = None,
    ) -> PipelineBuilder: ...
    def transform(
        self, step: Any, /, *, before: str | None = None, **parameters: object
    ) -> PipelineBuilder:
        """Append a transform to the chain.

        It comes before the augmentation of a default chain, and a random one replaces that.

        Args:
            step: A registered name with parameters, a step object, a MONAI dictionary transform
                (a ``Compose`` counts as its parts), or a callable on a sample.
            before: The name of a step in the chain to stand before, instead of at the end.
            **parameters: The named step's parameters.
        """
        added = self._parts_of(step, parameters)
        place = len(self._transforms)
        if before is not None:
            names = [getattr(item, "name", None) for item in self._transforms]
            if before in names:
                place = names.index(before)
            else:
                shown = ", ".join(str(name) for name in names) or "empty"
                message = f"before = {before!r} is not a step of the chain, which is {shown}."
                added = (_Wrong(step, (Problem(path="", message=message),)),)
        chain = (*self._transforms[:place], *added, *self._transforms[place:])
        return self._with(transforms=chain)

    def transforms(
        self,
        *steps: str
        | TransformStep
        | MapTransform
        | Compose
        | StepReference
        | Callable[[dict[str, Any]], Mapping[Any, Any]],
    ) -> PipelineBuilder:
        """Replace the whole chain.

        Args:
            *steps: Names, `medpipe.step` with parameters, step objects or ready transforms; none
                for an empty chain. The name ``default`` stands for the default chain.
        """
        named = [
            name
            for step in steps
            for name in (config.DEFAULT_TRANSFORMS if step == config.DEFAULT_CHAIN else (step,))
        ]
        chain = tuple(part for step in named for part in self._parts_of(step, {}))
        return self._with(transforms=chain, is_default_chain=config.DEFAULT_CHAIN in steps)

    @overload
    def network(self, step: str, /, **parameters: object) -> PipelineBuilder: ...
    @overload
    def network(
        self, step: NetworkStep | nn.Module | Callable[[DataInfo], nn.Module], /
    ) -> PipelineBuilder: ...
    def network(self, step: Any, /, **parameters: object) -> PipelineBuilder:
        """Choose the network.

        Args:
            step: A registered name with parameters, a step object, an ``nn.Module`` (copied for
                each run), or a function that makes one from a `DataInfo`.
            **parameters: The named step's parameters.
        """
        return self._with(network=self._step(NetworkStep, step, parameters))

    @overload
    def trainer(self, step: str, /, **parameters: object) -> PipelineBuilder: ...
    @overload
    def trainer(self, step: TrainerStep, /) -> PipelineBuilder: ...
    def trainer(self, step: str | TrainerStep, /, **parameters: object) -> PipelineBuilder:
        """Choose the trainer.

        Args:
            step: A registered name with parameters, or a step object.
            **parameters: The named step's parameters; ``loss`` takes `medpipe.step`, a step
                object or a callable on predictions and labels.
        """
        return self._with(trainer=self._step(TrainerStep, step, parameters))

    @overload
    def metric(self, step: str, /, **parameters: object) -> PipelineBuilder: ...
    @overload
    def metric(self, step: MetricStep, /) -> PipelineBuilder: ...
    def metric(self, step: str | MetricStep, /, **parameters: object) -> PipelineBuilder:
        """Add a metric to those that are there, besides the task's own.

        Args:
            step: A registered name with parameters, or a step object.
            **parameters: The named step's parameters.
        """
        return self._with(metrics=(*self._metrics, self._step(MetricStep, step, parameters)))

    def metrics(self, *steps: str | MetricStep | StepReference) -> PipelineBuilder:
        """Replace all metrics besides the task's own.

        Args:
            *steps: Names, `medpipe.step` with parameters, or step objects; none for none.
        """
        made = tuple(self._step(MetricStep, step, {}) for step in steps)
        return self._with(metrics=made)

    @overload
    def handler(self, step: str, /, **parameters: object) -> PipelineBuilder: ...
    @overload
    def handler(self, step: HandlerStep, /) -> PipelineBuilder: ...
    def handler(self, step: str | HandlerStep, /, **parameters: object) -> PipelineBuilder:
        """Add a handler to those that are there, which see the training.

        Args:
            step: A registered name with parameters, or a step object.
            **parameters: The named step's parameters.
        """
        return self._with(handlers=(*self._handlers, self._step(HandlerStep, step, parameters)))

    def handlers(self, *steps: str | HandlerStep | StepReference) -> PipelineBuilder:
        """Replace all handlers, which see the training.

        Args:
            *steps: Names, `medpipe.step` with parameters, or step objects; none for none.
        """
        made = tuple(self._step(HandlerStep, step, {}) for step in steps)
        return self._with(handlers=made)

    @overload
    def inferer(self, step: str, /, **parameters: object) -> PipelineBuilder: ...
    @overload
    def inferer(self, step: InfererStep, /) -> PipelineBuilder: ...
    def inferer(self, step: str | InfererStep, /, **parameters: object) -> PipelineBuilder:
        """Choose the inferer, which calls the network for evaluation and prediction.

        Args:
            step: A registered name with parameters, or a step object.
            **parameters: The named step's parameters.
        """
        return self._with(inferer=self._step(InfererStep, step, parameters))

    # Settings

    def settings(
        self,
        *,
        seed: int | None = None,
        device: str | None = None,
        checkpoint_minutes: float | None = None,
        threads: int | None = None,
        bad_data: BadData | None = None,
        strategy: Literal["ddp"] | None = None,
        sync_batch_norm: bool | None = None,
        timeout: float | None = None,
    ) -> PipelineBuilder:
        """Change how the pipeline runs; see `medpipe.settings.RunSettings`."""
        changes = {
            "seed": seed,
            "device": device,
            "checkpoint_minutes": checkpoint_minutes,
            "threads": threads,
            "bad_data": bad_data,
            "strategy": strategy,
            "sync_batch_norm": sync_batch_norm,
            "timeout": timeout,
        }
        return self._with(run=self._changed("run", self._run, changes))

    def loader(
        self,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        sampling: Literal["shuffled", "balanced", "auto"] | None = None,
        drop_last: bool | None = None,
        cache: Literal["auto", "off"] | None = None,
    ) -> PipelineBuilder:
        """Change how batches are made; see `medpipe.settings.LoaderSettings`."""
        changes = {
            "batch_size": batch_size,
            "workers": workers,
            "sampling": sampling,
            "drop_last": drop_last,
            "cache": cache,
        }
        return self._with(loader=self._changed("loader", self._loader, changes))

    def split(
        self,
        *,
        validation: float | None = None,
        test: float | None = None,
        seed: int | None = None,
        folds: int | None = None,
        fold: int | None = None,
        file: str | os.PathLike[str] | None = None,
    ) -> PipelineBuilder:
        """Change how the samples are divided; see `medpipe.settings.SplitSettings`."""
        changes = {
            "validation": validation,
            "test": test,
            "seed": seed,
            "folds": folds,
            "fold": fold,
            "file": None if file is None else Path(file),
        }
        return self._with(split=self._changed("split", self._split, changes))

    def evaluation(
        self,
        *,
        operating_point: OperatingPoint | Mapping[str, object] | None = None,
        unit: Literal["image", "group"] | None = None,
        group_scores: Literal["mean", "highest"] | None = None,
    ) -> PipelineBuilder:
        """Change what is measured; see `medpipe.settings.EvaluationSettings`.

        Example:
            ``.evaluation(operating_point={"class": "ill", "sensitivity": 0.95})``
        """
        changes = {
            "operating_point": operating_point,
            "unit": unit,
            "group_scores": group_scores,
        }
        return self._with(evaluation=self._changed("evaluation", self._evaluation, changes))

    def weights(
        self,
        *,
        file: str | os.PathLike[str] | None = None,
        run: str | os.PathLike[str] | None = None,
        sha256: str | None = None,
        strip: Sequence[str] | None = None,
        rename: Sequence[tuple[str, str]] | None = None,
        skip: Sequence[str] | None = None,
        first_layer: Literal["mean"] | None = None,
    ) -> PipelineBuilder:
        """Start from trained weights; see `medpipe.settings.WeightsSettings`."""
        changes = {
            "file": None if file is None else Path(file),
            "run": None if run is None else Path(run),
            "sha256": sha256,
            "strip": strip,
            "rename": rename,
            "skip": skip,
            "first_layer": first_layer,
        }
        return self._with(weights=self._changed("weights", self._weights, changes))

    # Configurations

    @classmethod
    def from_toml(cls, text: str, *, registry: Registry | None = None) -> PipelineBuilder:
        """Read a configuration.

        Raises:
            ConfigError: It is no TOML, or has problems: all of them, each with its path.
        """
        return cls.from_document(config.parse(text), registry=registry)

    @classmethod
    def from_document(
        cls, document: Mapping[str, object], *, registry: Registry | None = None
    ) -> PipelineBuilder:
        """Read a configuration from plain data, as a TOML or JSON reader gives it.

        Raises:
            ConfigError: It has problems: all of them, each with its path.
        """
        registry = Registry.discover() if registry is None else registry
        return cls._of(config.load(document, registry=registry), registry)

    @classmethod
    def from_recipe(cls, name: str, *, registry: Registry | None = None) -> PipelineBuilder:
        """Start from a recipe: a configuration that ships with medpipe.

        They are ``mednist``, ``mednist_fast`` and ``classification_fast``.

        Raises:
            ConfigError: There is no recipe of that name.
        """
        return cls.from_toml(recipes.text(name), registry=registry)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, registry: Registry | None = None
    ) -> PipelineBuilder:
        """Read a configuration file.

        Raises:
            ConfigError: The file can't be read, is no TOML, or has problems.
        """
        document = config.parse(config.read_text(Path(path)), source=str(path))
        return cls.from_document(document, registry=registry)

    def to_toml(self) -> str:
        """Write the configuration: every step with every parameter.

        Raises:
            ConfigError: The builder has problems, the same that `build` reports.
            NotRepeatableError: It holds ready objects; the message lists them.
        """
        return config.write(self._configuration(), registry=self._registry)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the configuration to a file, whole or not at all; see `to_toml`."""
        files.write_text(Path(path), self.to_toml())

    def build(self) -> Pipeline:
        """Put the pipeline together; imports neither torch nor monai.

        Raises:
            ConfigError: Every problem at once, each with its path.
        """
        return Pipeline(configuration=self._configuration(), registry=self._registry)

    # Inside

    @classmethod
    def _of(cls, configuration: Configuration, registry: Registry) -> PipelineBuilder:
        builder = cls(registry=registry)
        names = [field.name for field in attrs.fields(Configuration)]
        parts = {name: getattr(configuration, name) for name in names}
        return builder._with(**parts, is_default_chain=False)

    def _with(self, **changes: Any) -> PipelineBuilder:
        # Not attrs.evolve, which would call our own __init__.
        values = {field.alias: getattr(self, field.name) for field in attrs.fields(type(self))}
        new = object.__new__(type(self))
        new.__attrs_init__(**{**values, **changes})
        return new

    def _parts(self) -> dict[str, Any]:
        """The steps and settings; a default chain with the data set's augmentation."""
        names = [field.name for field in attrs.fields(Configuration)]
        parts = {name: getattr(self, f"_{name}") for name in names}
        if self._is_default_chain:
            added, problems = config.augmentation(
                self._transforms, self._dataset, registry=self._registry
            )
            parts["transforms"] += (_Wrong(added, tuple(problems)),) if problems else added
        return parts

    def _configuration(self) -> Configuration:
        values: dict[str, Any] = self._parts()
        problems: list[Problem] = []
        for name, part in values.items():
            section = name.removesuffix("s")
            if section in config.LIST_SECTIONS:
                for index, item in enumerate(part):
                    problems += _problems(item, f"{section}[{index}]")
            problems += _problems(part, name)
        problems += [] if problems else config.twice(values["metrics"])
        if problems:
            raise ConfigError("The pipeline has problems", problems)
        return Configuration(**values)

    def _step(self, kind: type[Step], step: object, parameters: Mapping[str, object]) -> Any:
        return _make(kind, _given(step, parameters), self._registry)

    def _parts_of(self, step: object, parameters: Mapping[str, object]) -> tuple[Any, ...]:
        # A Compose as one object would be either random or not, which its parts need not agree on.
        named = f"{type(step).__module__}.{type(step).__qualname__}"
        if named == "monai.transforms.compose.Compose":
            inner = cast("Compose", step).transforms
            return tuple(part for item in inner for part in self._parts_of(item, {}))
        return (self._step(TransformStep, step, parameters),)

    def _changed(self, section: str, current: Any, changes: Mapping[str, object]) -> Any:
        given = {key: value for key, value in changes.items() if value is not None}
        raw = cast(
            "dict[str, object]", current.raw if isinstance(current, _Wrong) else _plain(current)
        )
        return _settings(section, {**raw, **given}, self._registry)


def _given(step: object, parameters: Mapping[str, object]) -> object:
    return StepReference(step, parameters) if isinstance(step, str) else step


def _make(kind: type[Step], given: object, registry: Registry) -> Any:
    """The step, or what is wrong with what was given."""
    problems: list[Problem] = []
    if isinstance(given, type):
        remedy = f"Give an object: {given.__name__}(...)."
        problems = [Problem(path="", message=f"got the class {given.__name__}.", remedy=remedy)]
    elif isinstance(given, Step) and not isinstance(given, Wrapped):
        problems = [
            Problem(path="", message=f"{p}.") for p in step_class_problems(type(given), kind)
        ]
    if not problems:
        step, problems = config.build_step(kind, given, path="", registry=registry)
        if not problems:
            return step
    return _Wrong(given, tuple(problems))


def _settings(section: str, raw: Mapping[str, object], registry: Registry) -> Any:
    cls = config.SETTINGS_SECTIONS[section]
    made, problems = structure(cls, raw, path="", resolve=registry.get)
    return _Wrong(dict(raw), tuple(problems)) if problems else made


def _plain(settings: Any) -> dict[str, object]:
    return cast("dict[str, object]", unstructure(settings, name_of=lambda cls: cls.name))


def _problems(part: object, path: str) -> list[Problem]:
    if not isinstance(part, _Wrong):
        return []
    return [
        attrs.evolve(problem, path=join(path, problem.path) if problem.path else path)
        for problem in part.problems
    ]
