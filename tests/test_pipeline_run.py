"""Whole runs on drawn images: what is written, what is read back, what repeats."""

from __future__ import annotations

import csv
import errno
import json
import logging
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import medpipe
from faults.disks import Failing
from medpipe import CheckFailed, PipelineBuilder, Run, RunError
from medpipe.runs.recorder import Recorder
from medpipe.system.files import through
from support.folders import image_folder
from support.marks import long
from support.tiny_runs import registered, small_network, tiny

if TYPE_CHECKING:
    from pathlib import Path

    from medpipe.plugin import DataInfo


def weights(run: Run, which: Any = "last") -> dict[str, Any]:
    return {name: value.numpy() for name, value in run.network(which).state_dict().items()}


def test_a_run_directory_holds_everything(tmp_path: Path) -> None:
    run = registered(tiny()).build().run(tmp_path / "run")
    files = sorted(str(f.relative_to(run.path)) for f in run.path.rglob("*") if f.is_file())
    assert files == [
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "checkpoints/previous.safetensors",
        "history.csv",
        "pipeline.toml",
        "predictions_test.csv",
        "predictions_validation.csv",
        "run.json",
        "splits.csv",
    ]
    again = Run.load(tmp_path / "run")
    assert again.record == json.loads(json.dumps(run.record))
    assert again.status == "finished"
    assert again.metrics["test"]["images"] == 24
    assert len(again.history) == 2
    record = again.record
    assert record["repeatable"] is True
    assert record["data"]["splits"] == {"training": 72, "validation": 24, "test": 24}
    assert set(record["versions"]) >= {"python", "medpipe", "torch", "monai", "numpy"}
    assert record["seeds"] == {"run": 0, "split": 0}
    assert set(record["timings"]) >= {"check", "start_up", "training", "test", "total"}
    with (run.path / "splits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    assert all(len(row["sha256"]) == 64 for row in rows)


def test_without_validation_and_test_there_is_nothing_to_sum_up(tmp_path: Path) -> None:
    run = (
        tiny()
        .split(validation=0, test=0)
        .trainer("supervised", max_epochs=1)
        .build()
        .run(tmp_path / "run")
    )
    assert run.status == "finished"
    assert run.summary() == ""


def test_the_best_network_gives_the_predictions_that_were_written(tmp_path: Path) -> None:
    import torch

    pipeline = registered(tiny()).build()
    run = pipeline.run(tmp_path / "run")
    predictions = Run.load(run.path).predictions()
    network = Run.load(run.path).network("best")
    assert not network.training
    loader = pipeline.build_loaders().test
    assert loader is not None
    ids: list[str] = []
    scores = []
    with torch.no_grad():
        for batch in loader:
            ids += batch["id"]
            scores.append(torch.softmax(network(batch["image"]).double(), 1))
    assert tuple(ids) == predictions.ids
    np.testing.assert_allclose(torch.cat(scores).numpy(), predictions.scores, atol=1e-6)
    right = (predictions.predicted == predictions.labels).mean()
    assert run.metrics["test"]["accuracy"] == pytest.approx(right)
    low, high = run.metrics["test"]["intervals"]["accuracy"]
    assert low <= right <= high


def test_a_saved_configuration_and_split_repeat_a_run_exactly(tmp_path: Path) -> None:
    first = registered(tiny()).build().run(tmp_path / "one")
    builder = PipelineBuilder.load(first.path / "pipeline.toml")
    second = builder.split(file=first.path / "splits.csv").build().run(tmp_path / "two")
    for (name, mine), other in zip(weights(first).items(), weights(second).values(), strict=True):
        np.testing.assert_array_equal(mine, other, err_msg=name)
    seconds = "seconds"
    assert [{k: v for k, v in row.items() if k != seconds} for row in first.history] == [
        {k: v for k, v in row.items() if k != seconds} for row in second.history
    ]


@pytest.mark.parametrize("workers", [long(1), 2])
def test_the_number_of_workers_changes_nothing(tmp_path: Path, workers: int) -> None:
    augmented = registered(tiny()).transform("rand_flip", prob=0.5).transform("rand_rotate", prob=1)
    runs = [
        augmented.loader(workers=count).build().run(tmp_path / str(count)) for count in (0, workers)
    ]
    for (name, mine), other in zip(
        weights(runs[0]).items(), weights(runs[1]).values(), strict=True
    ):
        np.testing.assert_array_equal(mine, other, err_msg=name)


def test_a_run_leaves_the_scripts_generators_as_they_were(tmp_path: Path) -> None:
    import random

    import torch

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    tiny().build().run(tmp_path / "run")
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_the_seed_alone_decides_whatever_a_script_has_drawn(tmp_path: Path) -> None:
    import torch

    builder = registered(tiny())
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(weights(builder.build().run(tmp_path / str(seed))))
    one, other = found
    assert all((one[name] == other[name]).all() for name in one)


@pytest.mark.parametrize("fails", [False, True])
def test_the_settings_of_cudnn_are_a_scripts_own_again(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.backends import cudnn

    from medpipe.training.determinism import seeded

    monkeypatch.setattr(cudnn, "benchmark", True)
    monkeypatch.setattr(cudnn, "deterministic", False)
    with suppress(ValueError), seeded(1):
        assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
        if fails:
            raise ValueError
    assert (cudnn.benchmark, cudnn.deterministic) == (True, False)


def test_where_no_seed_can_be_drawn_the_generators_are_put_back_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where no file handle is left; the error that the block ended by stays the one."""
    import torch
    from monai.utils import set_determinism

    from medpipe.training.determinism import seeded

    def without_handles(seed: int | None) -> None:
        if seed is None:
            raise RuntimeError("Unable to open /dev/urandom")
        set_determinism(seed=seed)

    monkeypatch.setattr("monai.utils.set_determinism", without_handles)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="the error itself"), seeded(1):
        raise ValueError("the error itself")
    assert torch.equal(torch.get_rng_state(), before)


def test_random_transforms_touch_training_alone_and_change_with_the_pass() -> None:
    loaders = tiny().transform("rand_gaussian_noise", prob=1.0).build().build_loaders()
    plain = tiny().build().build_loaders()

    def images(loader: Any) -> dict[str, Any]:
        return {i: x for b in loader for i, x in zip(b["id"], b["image"].numpy(), strict=True)}

    one, two, clean = images(loaders.training), images(loaders.training), images(plain.training)
    assert all((one[i] != two[i]).any() and (one[i] != clean[i]).any() for i in one)
    kept, same = images(loaders.test), images(plain.test)
    assert all((kept[i] == same[i]).all() for i in kept)


def test_each_pass_has_every_sample_once_in_another_order() -> None:
    loader = tiny().build().build_loaders().training
    passes = [[i for batch in loader for i in batch["id"]] for _ in range(2)]
    assert sorted(passes[0]) == sorted(passes[1])
    assert len(set(passes[0])) == 72
    assert passes[0] != passes[1]


def test_balanced_sampling_draws_each_class_alike(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data", samples=120)
    for file in sorted((root / "Hand").iterdir())[4:]:
        file.unlink()
    builder = tiny().dataset("image_folder", root=root).split(validation=0, test=0)
    loader = builder.loader(sampling="balanced").build().build_loaders().training
    labels = [int(label) for _ in range(20) for batch in loader for label in batch["label"]]
    shares = np.bincount(labels) / len(labels)
    assert shares == pytest.approx(1 / 6, abs=0.03)


def test_ready_objects_run_and_say_that_they_do_not_repeat(tmp_path: Path) -> None:
    def loss(predictions: Any, labels: Any) -> Any:
        from torch.nn import functional

        return functional.cross_entropy(predictions, labels)

    builder = tiny().trainer("supervised", max_epochs=1, loss=loss)
    run = (
        builder.transform(lambda sample: {**sample, "image": sample["image"] * 1.0})
        .build()
        .run(tmp_path / "run")
    )
    assert run.record["repeatable"] is False
    assert len(run.record["not_repeatable_because"]) == 3
    assert run.network("best") is not None
    with pytest.raises(RunError) as caught:
        Run.load(run.path).network("best")
    assert "can't be built again, since it used ready-made objects" in str(caught.value)


def test_a_ready_module_is_copied_for_each_run(tmp_path: Path) -> None:
    import torch

    data = tiny().build().check().data
    assert data is not None
    module = small_network(data)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tiny().network(module).build().run(tmp_path / "run")
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_a_run_leaves_no_process_and_no_network_behind(tmp_path: Path) -> None:
    import multiprocessing
    import weakref

    built: list[weakref.ref[Any]] = []

    def network(data: DataInfo) -> Any:
        made = small_network(data)
        built.append(weakref.ref(made))
        return made

    pipeline = tiny(workers=2).network(network).build()
    before = set(multiprocessing.active_children())
    run = pipeline.run(tmp_path / "run")
    assert run.status == "finished"
    assert set(multiprocessing.active_children()) <= before
    assert built
    assert all(made() is None for made in built)


def test_closed_loaders_have_no_processes() -> None:
    import multiprocessing

    before = set(multiprocessing.active_children())
    loaders = tiny(workers=2).build().build_loaders()
    batches = iter(loaders.training)
    next(batches)
    loaders.close()
    assert set(multiprocessing.active_children()) <= before


def test_a_validation_loss_that_is_not_finite_is_kept_as_undefined(tmp_path: Path) -> None:
    def loss(predictions: Any, labels: Any) -> Any:
        from torch.nn import functional

        value = functional.cross_entropy(predictions, labels)
        return value if value.requires_grad else value * float("nan")

    run = tiny().trainer("supervised", max_epochs=1, loss=loss).build().run(tmp_path / "run")
    assert run.status == "finished"
    assert [run.metrics[split]["loss"] for split in ("validation", "test")] == [None, None]
    assert run.history[0]["validation_loss"] is None


def test_patience_stops_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    builder = registered(tiny()).trainer(
        "supervised", max_epochs=9, learning_rate=1e-12, patience=1, monitor="accuracy"
    )
    run = builder.build().run(tmp_path / "run")
    assert len(run.history) < 9
    assert run.status == "finished"
    best = run.record["best_epoch"]
    rows = run.history
    assert rows[best - 1]["validation_accuracy"] == max(r["validation_accuracy"] or 0 for r in rows)


def test_schedule_clipping_accumulation_and_bfloat16_train(tmp_path: Path) -> None:
    builder = registered(tiny()).trainer(
        "supervised",
        max_epochs=2,
        epoch_length=4,
        learning_rate=1e-2,
        optimizer={"step": "sgd", "momentum": 0.9, "nesterov": True},
        schedule={"step": "one_cycle"},
        gradient_clip=1.0,
        accumulation=2,
        precision="bfloat16",
    )
    run = builder.build().run(tmp_path / "run")
    assert run.record["precision"] == "bfloat16"
    assert [row["iterations"] for row in run.history] == [4, 8]


def test_accumulation_of_two_halves_is_one_step_of_the_whole(tmp_path: Path) -> None:
    def flat(data: DataInfo) -> Any:
        from torch import nn

        return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, data.outputs))

    options = {"max_epochs": 1, "learning_rate": 0.1, "optimizer": {"step": "sgd"}}
    whole = tiny().network(flat).loader(batch_size=24).trainer("supervised", **options)
    halves = whole.loader(batch_size=12).trainer("supervised", accumulation=2, **options)
    runs = [b.build().run(tmp_path / str(i)) for i, b in enumerate((whole, halves))]
    for mine, other in zip(weights(runs[0]).values(), weights(runs[1]).values(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_one_cycle_schedule_ends_where_it_should(tmp_path: Path, accumulation: int) -> None:
    from medpipe.builtin.schedules import OneCycle
    from medpipe.training.checkpoint import load_checkpoint

    builder = registered(tiny()).trainer(
        "supervised",
        max_epochs=2,
        learning_rate=1e-2,
        schedule={"step": "one_cycle", "start_divisor": 10, "end_divisor": 100},
        accumulation=accumulation,
    )
    run = builder.build().run(tmp_path / "run")
    state, _ = load_checkpoint(run.path / "checkpoints/last.safetensors")
    # Five batches an epoch: with two to a step, three steps an epoch, the last of one batch.
    steps = 10 if accumulation == 1 else 6
    schedule = OneCycle(start_divisor=10, end_divisor=100)
    last = schedule.factor(steps - 1, steps, steps // 2, [])
    assert last < 0.11  # it started at 0.1
    assert state["optimizer"]["param_groups"][0]["lr"] == pytest.approx(1e-2 * last)


def test_a_transform_that_gives_nan_is_told_from_a_loss(tmp_path: Path) -> None:
    def spoil(sample: dict[str, Any]) -> dict[str, Any]:
        image = sample["image"]
        return {**sample, "image": image * np.nan if sample["id"].endswith("7") else image}

    with pytest.raises(medpipe.TrainingError) as caught:
        tiny().transform(spoil).build().run(tmp_path / "run")
    message = str(caught.value)
    assert message.startswith("The loss is nan in epoch 1, iteration 1; the batch held 'phantom/")
    values = message.partition("more. ")[2]
    assert values.startswith("Values of 'phantom/000")
    assert values.endswith(
        " are not finite after the transforms. Check the transform steps and these images."
    )
    named = values.removeprefix("Values of ").partition(" are not")[0].split(", ")
    assert named
    assert all(name.endswith("7'") for name in named)


def test_a_loss_that_is_not_finite_stops_and_names_the_samples(tmp_path: Path) -> None:
    def broken(predictions: Any, labels: Any) -> Any:
        return predictions.sum() * float("nan")

    builder = tiny().trainer("supervised", loss=broken)
    with pytest.raises(medpipe.TrainingError) as caught:
        builder.build().run(tmp_path / "run")
    assert "The loss is nan in epoch 1, iteration 1; the batch held 'phantom/" in str(caught.value)
    assert Run.load(tmp_path / "run").status == "failed"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (
            lambda path: (path / "note.txt").write_text("mine"),
            "The output {path} is not empty and holds no run. "
            "Choose an empty or a new folder with the argument output.",
        ),
        (
            lambda path: (path / "run.json").write_text("{}"),
            "{path}/run.json has an unknown format. Use the medpipe that wrote it.",
        ),
    ],
)
def test_an_output_in_use_is_refused_before_any_work(
    tmp_path: Path, prepare: Any, message: str
) -> None:
    prepare(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RunError) as caught:
        tiny().build().run(tmp_path)
    assert str(caught.value) == message.format(path=tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        tiny().build().run(tmp_path / "file")
    assert str(caught.value) == (
        f"The output {tmp_path / 'file'} is a file. Choose a folder with the argument output."
    )


def test_an_output_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(RunError) as caught:
        tiny().build().run("/proc/medpipe")
    assert str(caught.value).startswith("The output /proc/medpipe can't be written: ")


def test_what_fails_before_a_run_begins_writes_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"timings": {}, "sessions": [{}]}, provenance_digests={})
    recorder.fail(ValueError("too early"))
    assert not list(tmp_path.iterdir())


def test_where_an_end_can_not_be_recorded_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(tmp_path, {"timings": {}, "sessions": [{}]}, provenance_digests={})
    recorder._begun = True
    with through(Failing(0, errno.EROFS, lasting=True)):
        recorder.fail(ValueError("the error itself"))
    (said,) = caplog.messages
    assert said.startswith("How the run ended is not recorded: ")


def test_load_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        Run.load(tmp_path)
    assert str(caught.value) == f"{tmp_path} is not a run directory: it has no run.json."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "can't be read: "),
        (b"\xff", "can't be read: "),
        (None, "can't be read: "),
        (b"[]", "has an unknown format. Use the medpipe that wrote it."),
        (b"{}", "has an unknown format. Use the medpipe that wrote it."),
        (b'{"format": 2}', "has an unknown format. Use the medpipe that wrote it."),
    ],
)
def test_load_refuses_a_record_that_is_none(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "run.json"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        Run.load(tmp_path)
    assert str(caught.value).startswith(f"{path} {message}")


def test_what_a_run_does_not_have_is_refused(tmp_path: Path) -> None:
    run = registered(tiny()).build().run(tmp_path / "run")
    (run.path / "predictions_test.csv").unlink()
    with pytest.raises(RunError) as caught:
        run.predictions()
    assert str(caught.value) == f"The run {run.path} has no predictions on the split 'test'."
    path = run.path / "pipeline.toml"
    path.write_text(path.read_text().replace("widen_factor = 0.125", "widen_factor = 0.25"))
    with pytest.raises(RunError) as caught:
        Run.load(run.path).network()
    start = f"The checkpoint of {run.path} does not fit its network step 'resnet10': Error(s) in "
    assert str(caught.value).startswith(start)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run = registered(tiny()).build().run(tmp_path / "run")
    file = run.path / "checkpoints/best.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(RunError) as caught:
        run.network("best")
    assert str(caught.value).startswith(f"{file} is damaged: ")


def test_the_last_checkpoint_holds_the_optimizer(tmp_path: Path) -> None:
    from medpipe.training.checkpoint import load_checkpoint

    run = tiny().build().run(tmp_path / "run")
    state, about = load_checkpoint(run.path / "checkpoints/last.safetensors")
    assert set(state) == {"network", "optimizer", "$generators"}
    assert state["optimizer"]["state"][0]["exp_avg"].shape == (8, 1, 3, 3)
    assert about["progress"]["iteration"] == 2 * 5


def test_the_library_prints_nothing(tmp_path: Path, capfd: Any, caplog: Any) -> None:
    with caplog.at_level(logging.INFO, logger="medpipe"):
        tiny().build().run(tmp_path / "run")
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "Epoch 2: training loss" in caplog.text


@pytest.mark.long
def test_the_user_project_runs(tmp_path: Path, repository: Path) -> None:
    code = (
        "import user_project as u, sys\n"
        "assert 'torch' not in sys.modules\n"
        "r = u.registry()\n"
        "for b in u.builders():\n    print(b.build().check())\n"
        f"run = u.builders()[1].build().run({str(tmp_path / 'x')!r})\n"
        "assert run.metrics['test']['images'] == 24\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository / "typing-tests",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The pipeline can run.") == 2


@pytest.mark.gpu
def test_the_default_device_is_the_first_cuda_device(tmp_path: Path) -> None:
    builder = registered(tiny())
    run = (
        PipelineBuilder.from_toml(builder.to_toml().replace('"cpu"', '"auto"'))
        .build()
        .run(tmp_path / "run")
    )
    assert run.record["device"] == "cuda:0"
    assert run.record["hardware"]["gpu"]
    assert run.metrics["test"]["images"] == 24


@pytest.mark.gpu
def test_bfloat16_trains_on_cuda(tmp_path: Path) -> None:
    text = registered(tiny()).trainer("supervised", max_epochs=1, precision="auto").to_toml()
    builder = PipelineBuilder.from_toml(text.replace('"cpu"', '"cuda"'))
    assert builder.build().run(tmp_path / "run").record["precision"] == "bfloat16"


def test_check_failed_lists_what_run_refuses(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed) as caught:
        tiny().trainer("supervised", monitor="acuracy").build().run(tmp_path / "run")
    assert [str(problem) for problem in caught.value.problems] == [
        "trainer.monitor: 'acuracy' is not a metric of a multiclass task. Did you mean 'accuracy'?"
    ]
    assert list((tmp_path / "run").iterdir()) == []
