"""What "auto" becomes: by rules, by the data set, and as it was when a run is resumed."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import medpipe
from medpipe import config
from medpipe.errors import CheckFailed, ConfigError
from medpipe.plugin import (
    Auto,
    AutoInfo,
    DataInfo,
    DatasetStep,
    Task,
    TrainerStep,
    Training,
    TrainingParts,
    auto_batch_size,
    auto_epochs,
    hookimpl,
    or_auto,
    resolved,
)
from support.folders import image_folder


def info(*shape: int, channels: int = 1) -> DataInfo:
    return DataInfo(
        task=Task(names=("a", "b")),
        channels=channels,
        spatial_shape=shape,
        spatial_dims=len(shape),
        outputs=2,
    )


@pytest.mark.parametrize(
    ("samples", "shape", "size"),
    [
        (5, (64, 64), 1),
        (12, (64, 64), 4),
        (13, (64, 64), 5),
        (25, (64, 64), 7),
        (57, (64, 64), 6),
        (200, (64, 64), 8),
        (600, (64, 64), 32),
        (10**6, (64, 64), 64),
        (10**6, (512, 512), 16),
        (10**6, (96, 96, 96), 4),
        (10**6, (512, 512, 300), 1),
    ],
)
def test_the_batch_size(samples: int, shape: tuple[int, ...], size: int) -> None:
    assert auto_batch_size(info(*shape), samples) == size


@given(
    samples=st.integers(1, 10**7),
    shape=st.lists(st.integers(1, 2000), min_size=2, max_size=3),
    channels=st.integers(1, 20),
)
@example(samples=7, shape=[1, 1], channels=1)
def test_rules_hold_for_all_data(samples: int, shape: list[int], channels: int) -> None:
    data = info(*shape, channels=channels)
    size = auto_batch_size(data, samples)
    assert 1 <= size <= 64
    assert samples % size != 1 or size == 1
    # Three batches, unless each smaller size leaves one sample for the last: of 7, 2 and 3 do.
    assert size * 3 <= samples + 2 or all(samples % less == 1 for less in range(2, size))
    assert size <= max(auto_batch_size(data, 10**8), 23)
    epochs = auto_epochs(samples, size)
    assert 10 <= epochs <= 100
    steps = epochs * -(-samples // size)
    assert epochs == 100 or steps >= 1000
    assert steps >= 100


@attrs.frozen(kw_only=True)
class Suggesting(DatasetStep):
    """Drawn images that suggest how to train on them."""

    name: ClassVar[str] = "suggesting"
    suggested: ClassVar[dict[str, Any]] = {"trainer.max_epochs": 2, "trainer.schedule": "cosine"}
    root: Path = Path()

    def build(self) -> medpipe.Dataset:
        registry = medpipe.Registry.discover()
        return registry.create(DatasetStep, "image_folder", {"root": str(self.root)}).build()


@attrs.frozen(kw_only=True)
class Ratio(TrainerStep):
    """A trainer with a parameter that it resolves itself."""

    name: ClassVar[str] = "ratio"
    ratio: float | Auto = attrs.field(default="auto", validator=or_auto(attrs.validators.gt(0)))
    then: str = ""

    def resolve(self, info: AutoInfo) -> TrainerStep:
        if self.then == "fail":
            raise KeyError("no rule")
        if self.then == "forget":
            return self
        ratio = info.samples / info.batch_size if self.ratio == "auto" else self.ratio
        return super(Ratio, attrs.evolve(self, ratio=ratio)).resolve(info)

    def build(self, parts: TrainingParts) -> Training:
        from medpipe.builtin.trainers.supervised import Supervised

        assert resolved(self.ratio) > 0
        return Supervised(learning_rate=1e-3, schedule=medpipe_constant()).build(parts)


def medpipe_constant() -> Any:
    from medpipe.builtin.schedules import Constant

    return Constant()


@hookimpl
def medpipe_datasets() -> list[type[DatasetStep]]:
    """Offer the data set."""
    return [Suggesting]


@hookimpl
def medpipe_trainers() -> list[type[TrainerStep]]:
    """Offer the trainer."""
    return [Ratio]


PLUGIN = types.SimpleNamespace(medpipe_datasets=medpipe_datasets, medpipe_trainers=medpipe_trainers)
REGISTRY = medpipe.Registry.discover().with_plugin(PLUGIN, name="medpipe-auto")


def builder(root: Path) -> medpipe.PipelineBuilder:
    return (
        medpipe.PipelineBuilder(device="cpu", registry=REGISTRY)
        .dataset("image_folder", root=root)
        .network("resnet10", widen_factor=0.0625, conv1_t_size=3)
        .loader(workers=0)
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data"), samples=60)


@pytest.mark.long
def test_what_was_chosen_is_said_recorded_and_kept(root: Path, tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data", samples=60)
    short = builder(data).trainer("supervised", epoch_length=1)
    report = short.build().check()
    expected = {
        "loader.batch_size": 8,
        "trainer.max_epochs": 100,
        "trainer.monitor": "balanced_accuracy",
        "trainer.learning_rate": 0.001,
    }
    shown = next(line for line in str(report).splitlines() if line.startswith("auto "))
    assert "loader.batch_size = 8" in shown
    assert "trainer.learning_rate = 0.001" in shown
    run = short.build().run(tmp_path / "run", max_time=0)
    chosen = run.record["auto"]
    assert {path: chosen[path] for path in expected} == expected
    assert chosen["trainer.loss"]["step"] == "cross_entropy"
    assert chosen["trainer.schedule"]["step"] == "one_cycle"
    assert 'batch_size = "auto"' in (run.path / "pipeline.toml").read_text()

    image_folder(data, samples=900)  # the rule would now choose 32
    again = short.build().run(tmp_path / "run", resume=True, allow_changed="data", max_time=2)
    assert again.record["auto"] == chosen
    assert 'batch_size = "auto"' in (run.path / "pipeline.toml").read_text()


def test_rare_classes_are_drawn_as_often_unless_the_loss_weighs_them(tmp_path: Path) -> None:
    import shutil

    even, uneven = (image_folder(tmp_path / name, samples=60) for name in ("even", "uneven"))
    for number in range(4):  # 10 of each class, and then 50 of one
        shutil.copytree(even / "Hand", uneven / "Hand" / str(number))

    def sampling(root: Path, **trainer: Any) -> Any:
        given = builder(root).dataset("image_folder", root=root, on_leak="drop_train")
        report = given.trainer("supervised", **trainer).build().check()
        assert report.assembly is not None
        return report.assembly.decided["loader.sampling"]

    assert sampling(even) == "shuffled"
    assert sampling(uneven) == "balanced"
    weighing = medpipe.step("cross_entropy", class_weights="balanced")
    assert sampling(uneven, loss=weighing) == "shuffled"
    assert REGISTRY.datasets["mednist"].suggested["loader.sampling"] == "shuffled"


def test_what_is_given_stays_and_the_data_set_may_suggest(root: Path) -> None:
    pipeline = (
        builder(root)
        .dataset("suggesting", root=root)
        .loader(batch_size=5)
        .trainer("supervised", learning_rate=0.5)
        .build()
    )
    report = pipeline.check()
    assert report.assembly is not None
    chosen = report.assembly.decided
    assert chosen.keys() == {
        "loader.sampling",
        "trainer.max_epochs",
        "trainer.schedule",
        "trainer.loss",
        "trainer.monitor",
    }
    assert chosen["trainer.max_epochs"] == 2
    assert chosen["trainer.schedule"]["step"] == "cosine"
    settings = report.assembly.configuration
    assert (settings.loader.batch_size, settings.trainer.max_epochs) == (5, 2)
    engine = pipeline.build_trainer()
    assert engine.state.max_epochs == 2
    assert len(pipeline.build_loaders().training) == -(-48 // 5)


def test_a_trainer_of_a_plugin_resolves_its_own(root: Path) -> None:
    report = builder(root).trainer("ratio").build().check()
    assert report.ok, report
    assert report.assembly is not None
    assert report.assembly.decided["trainer.ratio"] == 6.0


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            lambda b: b.trainer("ratio", then="fail"),
            "the trainer step 'ratio' (medpipe-auto) failed to resolve \"auto\": "
            "KeyError: 'no rule'",
        ),
        (
            lambda b: b.trainer("ratio", then="forget"),
            "the trainer step 'ratio' (medpipe-auto) leaves max_epochs = \"auto\" in resolve.",
        ),
    ],
)
def test_a_rule_that_fails_is_named(made: Any, said: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed) as caught:
        made(builder(root)).build().run(tmp_path / "run")
    assert said in str(caught.value)


def test_a_suggestion_that_does_not_fit_names_the_setting(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Suggesting, "suggested", {"trainer.max_epochs": "many"})
    report = builder(root).dataset("suggesting", root=root).build().check()
    assert "trainer.max_epochs: must be a whole number or 'auto', got 'many'." in str(report)


def test_trained_weights_are_trained_more_slowly(root: Path) -> None:
    configuration = builder(root).weights(file=root / "x.safetensors").build().configuration
    _, chosen = config.decided(configuration, info(64, 64), 48, earlier={}, registry=REGISTRY)
    assert chosen["trainer.learning_rate"] == 1e-4


@pytest.mark.parametrize(
    ("batch", "accumulation", "optimizer", "rate"),
    [
        (2, 1, "adam", 1e-3),
        (8, 1, "adam", 1e-3),
        (16, 1, "adamw", 1.4e-3),
        (32, 1, "adam", 2e-3),
        (8, 4, "adam", 2e-3),
        (64, 1, "adam", 2e-3),
        (64, 1, "sgd", 1e-2),
    ],
)
def test_the_rate_of_adam_grows_with_the_samples_of_a_step(
    root: Path, batch: int, accumulation: int, optimizer: str, rate: float
) -> None:
    trainer = {"accumulation": accumulation, "optimizer": optimizer}
    some = builder(root).loader(batch_size=batch).trainer("supervised", **trainer).build()
    given = some.configuration
    _, chosen = config.decided(given, info(64, 64), 480, earlier={}, registry=REGISTRY)
    assert chosen["trainer.learning_rate"] == rate


def test_every_optimizer_has_a_usual_rate() -> None:
    for name, optimizer in REGISTRY.optimizers.items():
        assert 1e-4 <= optimizer.usual_rate <= 1, name


@pytest.mark.parametrize(
    ("text", "path", "value", "expected"),
    [
        ('optimizer = "adamw"', "optimizer.weight_decay", 0.5, "adamw"),
        ('optimizer = "sgd"', "optimizer.step", "adam", "adam"),
        ('schedule = "auto"', "schedule.step", "cosine", "cosine"),
    ],
)
def test_a_value_is_set_inside_of_a_step_that_is_written_as_its_name(
    text: str, path: str, value: object, expected: str
) -> None:
    document = config.parse(f'format = 1\n[trainer]\nstep = "supervised"\n{text}\n')
    config.set_value(document, f"trainer.{path}", value)
    trainer: Any = config.load(document, registry=REGISTRY).trainer
    assert getattr(trainer, path.partition(".")[0]).name == expected


def test_a_misspelt_step_is_named_beside_auto() -> None:
    with pytest.raises(ConfigError) as caught:
        medpipe.PipelineBuilder().trainer("supervised", schedule="cosinus", loss=3).build()
    assert "trainer.schedule.step: There is no schedule step 'cosinus'. Did you mean" in str(
        caught.value
    )
    assert "trainer.loss: must be a loss step or 'auto', got 3." in str(caught.value)
