"""Builders: immutable values, resolved at once, written and read back without loss."""

from __future__ import annotations

import contextlib
import math
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medpipe
from medpipe import ConfigError, NotRepeatableError, PipelineBuilder, Registry
from medpipe.config import decided
from medpipe.registry.parameters import parameter_name, parameter_types, structure
from medpipe.settings import (
    EvaluationSettings,
    LoaderSettings,
    RunSettings,
    SplitSettings,
    WeightsSettings,
)
from medpipe.steps import (
    STEP_KINDS,
    DataInfo,
    Dataset,
    DatasetStep,
    ExportStep,
    HandlerStep,
    LossStep,
    MetricStep,
    OptimizerStep,
    ReaderStep,
    ScheduleStep,
    Step,
    Task,
    TaskStep,
    TransformStep,
)
from support.examples import examples

REGISTRY = Registry.discover()
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


def values(expected: Any) -> st.SearchStrategy[Any]:
    """Plain data of a parameter's type, whatever its validator says of it."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(values(arguments[0]), min_size=1, max_size=3)
        return st.tuples(*map(values, arguments)).map(list)
    if origin in (typing.Union, type(int | str)):
        return st.one_of([values(item) for item in arguments if item is not type(None)])
    if origin is Mapping:
        return st.dictionaries(TEXT, values(arguments[1]), max_size=3)
    if isinstance(expected, type) and issubclass(expected, Step):
        return step_tables(expected)
    if attrs.has(expected):
        return tables(expected)
    numbers = st.floats(0, 1, allow_subnormal=False) | st.floats(1, 1e6, allow_nan=False)
    return {
        bool: st.booleans(),
        int: st.integers(0, 3) | st.integers(-5, 2**40),
        float: numbers,
        str: TEXT,
        Path: TEXT,
    }[expected]


def tables(cls: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of a class's parameters that its validators accept."""
    types = parameter_types(cls)
    fields = attrs.fields(cls)
    required = {parameter_name(f.name) for f in fields if f.default is attrs.NOTHING}
    chosen = st.fixed_dictionaries(
        {name: values(types[name]) for name in types if name in required},
        optional={name: values(types[name]) for name in types if name not in required},
    )

    def accepted(table: dict[str, Any]) -> dict[str, Any]:
        # Leave out what a validator refuses, so that few examples are thrown away.
        _, problems = structure(cls, table, path="", resolve=REGISTRY.get)
        bad = {problem.path.partition(".")[0].partition("[")[0] for problem in problems}
        return {name: value for name, value in table.items() if name not in bad - required}

    return chosen.map(accepted)


def step_tables(kind: type[Step]) -> st.SearchStrategy[dict[str, Any]]:
    names = sorted(REGISTRY.names(kind))
    return st.sampled_from(names).flatmap(
        lambda name: tables(REGISTRY.get(kind, name)).map(lambda table: {"step": name, **table})
    )


DOCUMENTS = st.fixed_dictionaries(
    {"format": st.just(1)},
    optional={
        "dataset": step_tables(STEP_KINDS[0]),
        "transform": st.lists(step_tables(TransformStep), max_size=3),
        "network": step_tables(STEP_KINDS[2]),
        "trainer": step_tables(STEP_KINDS[3]),
        "loader": tables(LoaderSettings),
        "weights": tables(WeightsSettings),
        "split": tables(SplitSettings),
        "evaluation": tables(EvaluationSettings),
        "run": tables(RunSettings),
    },
)


@settings(
    max_examples=examples(300),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(DOCUMENTS)
def test_what_is_written_reads_back_equal(document: dict[str, Any]) -> None:
    try:
        builder = PipelineBuilder.from_document(document)
    except ConfigError:
        return  # a required parameter that a validator refused
    text = builder.to_toml()
    assert PipelineBuilder.from_toml(text) == builder
    assert PipelineBuilder.from_toml(text).to_toml() == text


def document_of(kind: type[Step], section: dict[str, Any]) -> dict[str, Any]:
    """A document that holds one step."""
    if kind is LossStep:
        return {"format": 1, "trainer": {"step": "supervised", "loss": section}}
    if kind in (OptimizerStep, ScheduleStep):
        return {"format": 1, "trainer": {"step": "supervised", kind.kind: section}}
    if kind is TaskStep:
        table: dict[str, Any] = {"step": "table", "file": "t.csv", "task": section}
        if REGISTRY.get(TaskStep, section["step"]).cells == "masks":
            table |= {"mask": "mask", "labels": {"organ": 1}}
        return {"format": 1, "dataset": table}
    in_list = kind in (TransformStep, MetricStep, HandlerStep, ReaderStep)
    return {"format": 1, kind.kind: [section] if in_list else section}


IN_CONFIGURATIONS = [kind for kind in STEP_KINDS if kind is not ExportStep]


@pytest.mark.parametrize("kind", IN_CONFIGURATIONS, ids=lambda kind: kind.kind)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_registered_step_makes_the_round_trip(kind: type[Step], data: Any) -> None:
    for name in REGISTRY.names(kind):
        table = data.draw(tables(REGISTRY.get(kind, name)))
        try:
            step = REGISTRY.create(kind, name, table)
        except ConfigError:
            continue  # a required parameter that a validator refused
        builder = PipelineBuilder.from_document(document_of(kind, {"step": name, **table}))
        assert PipelineBuilder.from_toml(builder.to_toml()) == builder
        assert step in [item for _, item in builder.build().configuration.steps()]


CANARY = "medpipe_canary_module"


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    document=DOCUMENTS,
    path=st.sampled_from(["dataset", "transform", "network", "trainer", "loss"]),
    key=st.sampled_from(
        ["step", "reader", "writer", "_target_", "name", "dtype", "mode", "loss", "root", "act"]
    ),
    text=st.sampled_from(
        [
            CANARY,
            f"{CANARY}.Class",
            f"{CANARY}:Class",
            f"$import {CANARY}",
            f"@{CANARY}",
            f"__import__('{CANARY}')",
            f"${{{CANARY}}}",
            f"!!python/object:{CANARY}.Class",
            "PILReader",
            "os.system",
            "monai.data.PILReader",
        ]
    ),
)
def test_no_string_makes_anything_be_imported_or_run(
    canary: Path, document: dict[str, Any], path: str, key: str, text: str
) -> None:
    document = {**document}
    if path == "transform":
        document["transform"] = [{"step": "load_image"}, {"step": "rand_flip", key: text}]
    elif path == "loss":
        document["trainer"] = {"step": "supervised", "loss": {"step": "focal", key: text}}
    else:
        document[path] = {**document.get(path, {"step": "phantom"}), key: text}
    with contextlib.suppress(ConfigError):
        PipelineBuilder.from_document(document).build().describe()
    assert CANARY not in sys.modules
    assert not canary.exists()


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Path]:
    """A module on the path that leaves a file behind when it is imported."""
    folder = tmp_path_factory.mktemp("canary")
    sung = folder / "sung"
    (folder / f"{CANARY}.py").write_text(f"open({str(sung)!r}, 'w').close()\nClass = print\n")
    sys.path.insert(0, str(folder))
    yield sung
    sys.path.remove(str(folder))


def test_the_canary_sings_when_it_is_imported(tmp_path: Path) -> None:
    sung = tmp_path / "sung"
    (tmp_path / "medpipe_canary_proof.py").write_text(f"open({str(sung)!r}, 'w').close()")
    sys.path.insert(0, str(tmp_path))
    try:
        __import__("medpipe_canary_proof")
    finally:
        sys.path.remove(str(tmp_path))
    assert sung.exists()


def test_methods_leave_the_builder_as_it_is() -> None:
    first = PipelineBuilder()
    second = first.network("resnet18").loader(batch_size=4).transform("rand_flip", prob=0.5)
    assert first == PipelineBuilder()
    assert first != second
    assert hash(first) == hash(PipelineBuilder())
    assert second == first.transform("rand_flip", prob=0.5).network("resnet18").loader(batch_size=4)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        first._network = None  # type: ignore[misc, assignment]


def test_with_mednist_the_defaults_are_the_recipe() -> None:
    data = DataInfo(
        task=Task(names=("a", "b")), channels=1, spatial_shape=(64, 64), spatial_dims=2, outputs=2
    )
    found = [
        decided(builder.build().configuration, data, 47_163, earlier={}, registry=REGISTRY)[0]
        for builder in (PipelineBuilder(), PipelineBuilder.from_recipe("mednist"))
    ]
    assert found[0] == found[1]


def test_settings_keep_what_is_not_named() -> None:
    built = PipelineBuilder().loader(batch_size=4).loader(workers=1).build().configuration.loader
    assert (built.batch_size, built.workers) == (4, 1)


def test_a_wrong_setting_can_be_mended() -> None:
    wrong = PipelineBuilder().loader(batch_size=0)
    with pytest.raises(ConfigError):
        wrong.build()
    assert wrong.loader(batch_size=8) == PipelineBuilder().loader(batch_size=8)


def test_every_problem_comes_at_once_with_its_path() -> None:
    builder = (
        PipelineBuilder(seed=-1)
        .dataset("phantum")
        .transform("rand_flip", prob=2)
        .transform("rand_flip", before="nothing")
        .network("densenet121", width=3)
        .trainer("supervised", loss=medpipe.step("focal", gama=2.0), learning_rate=math.nan)
        .loader(batch_size=0)
    )
    with pytest.raises(ConfigError) as caught:
        builder.build()
    assert [problem.path for problem in caught.value.problems] == [
        "dataset.step",
        "transform[4].prob",
        "transform[5]",
        "network.width",
        "trainer.loss.gama",
        "trainer.learning_rate",
        "loader.batch_size",
        "run.seed",
    ]


OWN = ("load_image", "ensure_channel_first", "scale_intensity", "to_tensor")


@pytest.mark.parametrize(
    ("changed", "chain"),
    [
        (lambda builder: builder, (*OWN, "augment")),
        (lambda builder: builder.transform("resize", spatial_size=8), (*OWN, "resize", "augment")),
        (lambda builder: builder.transform("rand_flip"), (*OWN, "rand_flip")),
        (lambda builder: builder.transforms(*OWN), OWN),
        (lambda builder: builder.transforms("default"), (*OWN, "augment")),
        (lambda builder: builder.transforms("default", "rand_flip"), (*OWN, "rand_flip")),
        (lambda builder: builder.dataset("mednist"), OWN),
        (lambda builder: builder.dataset("phantom"), OWN),
    ],
    ids=[
        "alone",
        "before it",
        "in its place",
        "another chain",
        "by its name",
        "by its name, in its place",
        "mednist",
        "phantom",
    ],
)
def test_the_data_sets_augmentation_ends_a_default_chain(
    changed: Callable[[PipelineBuilder], PipelineBuilder], chain: tuple[str, ...]
) -> None:
    builder = changed(PipelineBuilder().dataset("image_folder", root="data"))
    assert tuple(step.name for step in builder.build().configuration.transforms) == chain
    # In any order, and in a file too.
    other = changed(PipelineBuilder())
    if builder.build().configuration.dataset.name == "image_folder":
        assert other.dataset("image_folder", root="data") == builder
    assert PipelineBuilder.from_toml(builder.to_toml()) == builder


def test_a_default_chain_in_a_file_ends_with_the_augmentation() -> None:
    head = 'format = 1\n[dataset]\nstep = "image_folder"\nroot = "data"\n'
    resize = '[[transform]]\nstep = "resize"\nspatial_size = 8\n'
    for text, chain in (
        (head, (*OWN, "augment")),
        (head + '[[transform]]\nstep = "default"\n' + resize, (*OWN, "resize", "augment")),
        (head + '[[transform]]\nstep = "load_image"\n' + resize, ("load_image", "resize")),
    ):
        made = PipelineBuilder.from_toml(text).build().configuration.transforms
        assert tuple(step.name for step in made) == chain


def test_a_data_set_names_an_augmentation_that_is_there() -> None:
    @attrs.frozen(kw_only=True)
    class Odd(DatasetStep):
        name = "odd"
        augmentation = ("rand_nothing",)

        def build(self) -> Dataset:
            return Dataset(samples=(), task=Task(names=("a", "b")))

    with pytest.raises(medpipe.ConfigError, match="There is no transform step 'rand_nothing'"):
        PipelineBuilder().dataset(Odd()).build()


def test_before_puts_a_transform_where_it_is_said() -> None:
    chain = PipelineBuilder().transform("rand_flip", before="to_tensor").build().configuration
    assert [step.name for step in chain.transforms] == [
        "load_image",
        "ensure_channel_first",
        "scale_intensity",
        "rand_flip",
        "to_tensor",
    ]


def test_a_class_instead_of_an_object_is_refused() -> None:
    cls = REGISTRY.networks["resnet18"]
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder().network(cls).build()  # type: ignore[arg-type]
    assert [str(problem) for problem in caught.value.problems] == [
        f"network: got the class {cls.__name__}. Give an object: {cls.__name__}(...)."
    ]


def test_step_objects_are_checked_like_tables() -> None:
    step = REGISTRY.networks["resnet18"](no_max_pool="yes")  # type: ignore[call-arg]
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder().network(step).build()
    assert [str(problem) for problem in caught.value.problems] == [
        "network.no_max_pool: must be true or false, got 'yes'."
    ]


def test_ready_objects_compare_by_identity_and_cannot_be_written() -> None:
    from monai.transforms import Compose, RandFlipd, ScaleIntensityd
    from torch import nn

    module, flip, scale = nn.Linear(1, 1), RandFlipd("image"), ScaleIntensityd("image")
    builder = PipelineBuilder().network(module).transform(Compose([flip, scale]))
    assert builder == PipelineBuilder().network(module).transform(flip).transform(scale)
    assert builder != PipelineBuilder().network(nn.Linear(1, 1)).transform(flip).transform(scale)
    chain = builder.build().configuration.transforms
    assert [step.random for step in chain[-2:]] == [True, False]
    with pytest.raises(NotRepeatableError) as caught:
        builder.to_toml()
    assert str(caught.value) == (
        "A configuration can only name registered steps. These can't be written:\n"
        "  transform[4]: the ready object RandFlipd\n"
        "  transform[5]: the ready object ScaleIntensityd\n"
        "  network: the ready object Linear"
    )


def test_describe_names_every_step_and_its_plugin() -> None:
    shown = PipelineBuilder().network("resnet18").build().describe()
    assert f"network: the network step 'resnet18' (medpipe-imaging {medpipe.__version__})" in shown
    assert '  batch_size = "auto"' in shown
    assert "transform[2]: the transform step 'scale_intensity'" in shown
    assert '  device = "auto"' in shown
    adam = f"trainer.optimizer: the optimizer step 'adam' (medpipe-imaging {medpipe.__version__})"
    assert f"{adam}\n  betas = [0.9, 0.999]\n" in shown


def test_save_and_load(tmp_path: Path) -> None:
    builder = PipelineBuilder().network("resnet18")
    builder.save(tmp_path / "a.toml")
    assert PipelineBuilder.load(tmp_path / "a.toml") == builder
    assert [item.name for item in tmp_path.iterdir()] == ["a.toml"]
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.load(tmp_path / "b.toml")
    assert str(caught.value) == (
        f"The configuration can't be read:\n  {tmp_path / 'b.toml'}: no such file or directory."
    )


def test_a_parameter_may_be_called_as_a_keyword_of_pythons() -> None:
    from medpipe.plugin import hookimpl

    @attrs.frozen(kw_only=True)
    class Share(MetricStep):
        """How many answers are of a class."""

        name: ClassVar[str] = "share"
        direction: ClassVar[Literal["max", "min"]] = "max"
        class_: int = attrs.field(default=0, validator=attrs.validators.ge(0))
        lambda_: float | None = None

        def rows(self, scores: Any, labels: Any, task: Task) -> Any:
            return (task.step.predicted(scores) == self.class_).astype(float)

    class Plugin:
        @hookimpl
        def medpipe_metrics(self) -> list[type[MetricStep]]:
            return [Share]

    registry = REGISTRY.with_plugin(Plugin(), name="mine")
    assert registry.create(MetricStep, "share", {"class": 2, "lambda": 0.5}) == Share(
        class_=2, lambda_=0.5
    )
    builder = PipelineBuilder(registry=registry).metrics(
        medpipe.step("share", **{"class": 3, "lambda": 1})
    )
    text = builder.to_toml()
    assert '[[metric]]\nstep = "mine:share"\nclass = 3\nlambda = 1.0\n' in text
    assert PipelineBuilder.from_toml(text, registry=registry) == builder
    assert "  class = 3" in builder.build().describe().splitlines()
    with pytest.raises(medpipe.ConfigError) as caught:
        registry.create(MetricStep, "share", {"class": -1, "class_": 1})
    problems = [str(problem) for problem in caught.value.problems]
    assert problems == [
        "class_: unknown parameter. Did you mean 'class'?",
        "class: must be >= 0, got -1.",
    ]


def test_plugins_in_a_script_are_named_by_what_brings_them() -> None:
    from medpipe.plugin import hookimpl

    networks = REGISTRY.networks

    class Script:
        @hookimpl
        def medpipe_networks(self) -> list[Any]:
            return [
                attrs.make_class(
                    "Own",
                    {},
                    bases=(networks["resnet18"],),
                    class_body={"name": "own"},
                    frozen=True,
                    kw_only=True,
                )
            ]

    registry = REGISTRY.with_plugin(Script(), name="my-script")
    assert "own" in registry.networks
    assert "own" not in REGISTRY.networks
    text = PipelineBuilder(registry=registry).network("own").to_toml()
    assert 'step = "my-script:own"' in text
    with pytest.raises(medpipe.PluginError) as caught:
        REGISTRY.with_plugin(object(), name="empty")
    assert str(caught.value).startswith("The plugin 'empty' can't be used: it implements no hook")


@pytest.mark.parametrize(
    ("kind", "step", "parameters"),
    [
        ("handler", "tensorboard", {"every": 5}),
        ("metric", "f1", {}),
        ("reader", "numpy", {"axes": "zyx"}),
    ],
)
def test_a_step_of_a_list_is_added_with_its_parameters(
    kind: str, step: str, parameters: dict[str, Any]
) -> None:
    builder = PipelineBuilder(registry=REGISTRY)
    one, several = getattr(builder, kind), getattr(builder, f"{kind}s")
    added = one(step, **parameters)
    assert added == several(medpipe.step(step, **parameters))
    assert added != builder
    (made,) = getattr(added.build().configuration, f"{kind}s")
    assert added == one(made)
    assert PipelineBuilder.from_toml(added.to_toml(), registry=REGISTRY) == added
    assert f'[[{kind}]]\nstep = "{step}"\n' in added.to_toml()
    with pytest.raises(medpipe.ConfigError) as caught:
        getattr(added, kind)("nonsense", width=1).build()
    assert f"{kind}[1].step: There is no {kind} step 'nonsense'." in str(caught.value)


def test_steps_of_a_list_keep_their_order() -> None:
    builder = PipelineBuilder(registry=REGISTRY).handlers("csv").handler("tensorboard")
    assert builder == PipelineBuilder(registry=REGISTRY).handlers("csv", "tensorboard")
