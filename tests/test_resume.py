"""A run goes on only with what it was begun with, or as far as its user allows."""

from __future__ import annotations

import copy
import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from faults import runs
from medpipe import CheckpointError, PipelineBuilder, Run, RunError
from medpipe.registry.registry import Registry
from medpipe.runs.resume import (
    CHANGEABLE,
    allowed,
    changes_of_checkpoint,
    changes_of_configuration,
    changes_of_data,
    changes_of_machine,
)
from medpipe.system import files
from medpipe.system.disk import Disk
from medpipe.training.checkpoint import load_checkpoint, save_checkpoint
from medpipe.training.run_checkpoints import _State
from support.marked_runs import REGISTRY, ask, at, calls, checked, state, tiny
from support.marks import long
from support.programs import TINY, exit_code
from support.records import change_record

LAST, PREVIOUS, BEST = (f"checkpoints/{name}.safetensors" for name in ("last", "previous", "best"))


pytestmark = pytest.mark.usefixtures("_fresh_marks")


def stopped(builder: PipelineBuilder, path: Path, times: int = 1) -> Run:
    for _ in range(times):
        run = builder.build().run(path, resume=True, max_time=0)
    return run


def stopped_in_epoch(number: int, builder: PipelineBuilder, path: Path) -> Run:
    """Stop in the middle of an epoch of 36 training samples, after which 12 are for validation."""
    calls.clear()
    pipeline = builder.build()
    at[2 * checked(pipeline) + 48 * (number - 1) + 17] = ask
    run = pipeline.run(path)
    assert 5 * (number - 1) < iteration(path) < 5 * number
    assert run.status == "stopped"
    return run


def iteration(path: Path) -> int:
    reached: int = load_checkpoint(path / LAST)[1]["progress"]["iteration"]
    return reached


def content(path: Path) -> dict[str, bytes]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize(
    ("values", "line", "flag"),
    [
        ({"versions__torch": "1.0"}, "versions.torch: '1.0' then, ", "packages"),
        ({"versions__medpipe": "0.0"}, "versions.medpipe: '0.0' then, ", "packages"),
        ({"hardware__threads": 64}, "hardware.threads: 64 then, ", "threads"),
        ({"hardware__cpu": "Z80"}, "hardware.cpu: 'Z80' then, ", "hardware"),
        ({"hardware__instructions": "MMX"}, "hardware.instructions: 'MMX' then, ", "hardware"),
        ({"hardware__gpu": "H200"}, "hardware.gpu: 'H200' then, None now", "hardware"),
        ({"device": "cuda:0"}, "device: 'cuda:0' then, 'cpu' now", "hardware"),
    ],
)
def test_what_changed_is_said_and_nothing_is_touched(
    tmp_path: Path, values: dict[str, Any], line: str, flag: str
) -> None:
    builder = tiny(max_epochs=1)
    stopped(builder, tmp_path / "run")
    change_record(tmp_path / "run", **values)
    before = content(tmp_path / "run")
    for others in ((), [name for name in CHANGEABLE if name != flag]):
        with pytest.raises(RunError) as caught:
            builder.build().run(tmp_path / "run", resume=True, allow_changed=others)
        assert f"\n  {line}" in str(caught.value)
        assert str(caught.value).endswith(
            f' To resume nevertheless, give allow_changed="{flag}": the results will differ from '
            "those of a run that was not stopped, and the changes are recorded."
        )
        assert content(tmp_path / "run") == before
    run = builder.build().run(tmp_path / "run", resume=True, allow_changed=flag)
    assert run.status == "finished"
    assert any(item.startswith(line) for item in run.record["sessions"][-1]["changed"])
    # It is recorded as it is now, so that it goes on from here without a word.
    assert builder.build().run(tmp_path / "run", resume=True).status == "finished"


def test_what_results_do_not_depend_on_may_change(tmp_path: Path) -> None:
    builder = tiny(max_epochs=1)
    whole = builder.build().run(tmp_path / "whole")
    stopped(builder, tmp_path / "run")
    change_record(tmp_path / "run", hardware__system="Linux-1.0", hardware__cpu_cores=999)
    run = builder.loader(batch_size=8, workers=2, cache="off").build()
    done = run.run(tmp_path / "run", resume=True)
    assert state(done) == state(whole)
    assert "loader.workers: 0, now 2" in done.record["sessions"][-1]["changed"]
    assert "workers = 2" in (tmp_path / "run" / "pipeline.toml").read_text()


def test_an_allowed_configuration_takes_the_place_of_the_first(tmp_path: Path) -> None:
    builder = tiny(max_epochs=3, schedule="constant")
    stopped(builder, tmp_path / "run", times=2)
    other = tiny(max_epochs=1, schedule="constant")
    with pytest.raises(RunError, match=r'give allow_changed="configuration": the'):
        other.build().run(tmp_path / "run", resume=True, allow_changed=["hardware", "data"])
    run = other.build().run(tmp_path / "run", resume=True, allow_changed=True)
    assert [row["epoch"] for row in run.history] == [1]
    assert run.record["sessions"][-1]["changed"] == ["trainer.max_epochs: 3, now 1"]
    again = Run.load(tmp_path / "run")
    assert again.network("best", registry=REGISTRY) is not None
    assert "max_epochs = 1\n" in (tmp_path / "run" / "pipeline.toml").read_text()


def test_where_an_epoch_has_another_length_the_one_that_had_begun_begins_again(
    tmp_path: Path,
) -> None:
    builder = tiny(max_epochs=2, schedule="constant")
    stopped_in_epoch(2, builder, tmp_path / "run")
    other = builder.loader(batch_size=4, workers=0).build()
    run = other.run(tmp_path / "run", resume=True, allow_changed=["configuration"])
    assert 5 < run.record["sessions"][-1]["from_iteration"] < 10
    assert [row["iterations"] for row in run.history] == [5, 18]


def test_another_network_or_optimizer_does_not_fit(tmp_path: Path) -> None:
    builder = tiny(max_epochs=2, schedule="constant")
    stopped(builder, tmp_path / "run")
    before = content(tmp_path / "run")
    others = {
        "The checkpoint's 'optimizer' is a torch.optim.adam.Adam, the run's a "
        "torch.optim.sgd.SGD.": (
            tiny(max_epochs=2, schedule="constant", optimizer={"step": "sgd"})
        ),
        "The checkpoint's 'network' is a torch.nn.modules.container.Sequential, "
        "the run's a monai.networks.nets.resnet.ResNet.": (
            builder.network("resnet10", widen_factor=0.125, conv1_t_size=3)
        ),
    }
    for problem, other in others.items():
        with pytest.raises(RunError) as caught:
            other.build().run(tmp_path / "run", resume=True, allow_changed=True)
        assert str(caught.value).startswith("The checkpoint to resume from doesn't fit: ")
        assert problem in str(caught.value)
        assert content(tmp_path / "run") == before


@pytest.mark.parametrize("longer", [False, True])
@pytest.mark.parametrize("other", [{}, {"hardware__cpu": "Z80"}])
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, longer: bool, other: dict[str, Any]
) -> None:
    """Whatever else has changed, and is allowed."""
    stopped(tiny(max_epochs=1), tmp_path / "run")
    stopped(tiny(max_epochs=3), tmp_path / "other")
    shutil.copy(tmp_path / "other" / LAST, tmp_path / "run" / LAST)
    change_record(tmp_path / "run", **other)
    with pytest.raises(RunError) as caught:
        tiny(max_epochs=1 + longer).build().run(
            tmp_path / "run", resume=True, allow_changed="hardware"
        )
    assert "\n  the checkpoint was made with another configuration\n" in str(caught.value)


def test_a_configuration_that_can_not_be_written_is_another(tmp_path: Path) -> None:
    stopped(tiny(max_epochs=1), tmp_path / "run")
    ready = tiny(max_epochs=1).transform(lambda sample: sample).build()
    with pytest.raises(RunError) as caught:
        ready.run(tmp_path / "run", resume=True)
    assert "\n  the configuration: it has ready objects or unregistered steps now\n" in str(
        caught.value
    )


@pytest.mark.long
def test_a_damaged_checkpoint_gives_way_to_the_one_before_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builder = tiny(max_epochs=2)
    whole = builder.build().run(tmp_path / "whole")
    stopped(builder, tmp_path / "run", times=3)
    damaged = tmp_path / "run" / LAST
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    caplog.clear()
    done = builder.build().run(tmp_path / "run", resume=True)
    said = [m for m in caplog.messages if m.startswith(f"{damaged} is damaged: ")]
    assert len(said) == 1
    assert said[0].endswith("The run is resumed from the previous checkpoint, of iteration 2.")
    assert done.record["sessions"][-1]["from_iteration"] == 2
    assert done.record["sessions"][-1]["instead_of"] in said[0]
    assert (tmp_path / "run" / "checkpoints/damaged.safetensors").exists()
    assert state(done) == state(whole)


@pytest.mark.long
def test_a_last_checkpoint_that_is_gone_gives_way_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builder = tiny(max_epochs=2)
    whole = builder.build().run(tmp_path / "whole")
    stopped(builder, tmp_path / "run", times=3)
    gone = tmp_path / "run" / LAST
    gone.unlink()
    done = builder.build().run(tmp_path / "run", resume=True)
    assert (
        f"{gone} is missing. The run is resumed from the previous checkpoint, of iteration 2."
        in caplog.messages
    )
    assert done.record["sessions"][-1]["instead_of"] == f"{gone} is missing."
    assert state(done) == state(whole)


def test_where_all_checkpoints_are_gone_the_run_does_not_begin_anew(tmp_path: Path) -> None:
    builder = tiny(max_epochs=2)
    stopped(builder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    before = content(tmp_path / "run")
    with pytest.raises(CheckpointError) as caught:
        builder.build().run(tmp_path / "run", resume=True)
    assert str(caught.value) == (
        f"The checkpoints of {tmp_path / 'run'} are missing, so it can't be resumed. Restore "
        "the folder 'checkpoints' from a backup, or begin a new run in another output folder."
    )
    assert content(tmp_path / "run") == before


def test_a_run_whose_first_checkpoint_could_not_be_written_begins_anew(tmp_path: Path) -> None:
    builder = tiny(max_epochs=2)
    whole = builder.build().run(tmp_path / "whole")
    with files.through(NoCheckpoint()), pytest.raises(RunError, match="can't be written"):
        builder.build().run(tmp_path / "run")
    assert Run.load(tmp_path / "run").record["best_epoch"] == 1
    assert state(builder.build().run(tmp_path / "run", resume=True)) == state(whole)


class NoCheckpoint(Disk):
    def create(self, path: Path) -> int:
        if "last.safetensors" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().create(path)


def test_what_a_run_is_made_of_is_written_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builder, run = tiny(max_epochs=2), tmp_path / "run"
    stopped(builder, run)
    configuration, splits = run / "pipeline.toml", run / "splits.csv"
    wanted = configuration.read_bytes(), splits.read_bytes()
    configuration.unlink()
    splits.write_text(splits.read_text().replace("training", "test", 1))
    stopped(builder, run)
    assert (configuration.read_bytes(), splits.read_bytes()) == wanted
    said = f"Files of {run} were missing or changed, and are restored: pipeline.toml, splits.csv."
    assert said in caplog.messages
    caplog.clear()
    stopped(builder, run)
    assert said not in caplog.messages


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    builder = tiny(max_epochs=1)
    stopped(builder, tmp_path / "run")
    left = tmp_path / "run" / "checkpoints" / ".last.safetensors.0123456789ab.part"
    left.write_bytes(b"a half")
    stopped(builder, tmp_path / "run")
    assert not left.exists()


@pytest.mark.long
def test_a_damaged_best_network_is_put_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builder = tiny(max_epochs=3)
    whole = builder.build().run(tmp_path / "whole")
    stopped_in_epoch(3, builder, tmp_path / "run")  # the best is of an epoch before
    best = tmp_path / "run" / BEST
    states, about = load_checkpoint(best)
    another = {"network": _State(states["network"])}
    save_checkpoint(best, another, about={**about, "epoch": about["epoch"] + 1})
    for content in (best.read_bytes(), b"", None):
        best.unlink() if content is None else best.write_bytes(content)
        caplog.clear()
        stopped(builder, tmp_path / "run")
        assert [m for m in caplog.messages if "restored from the checkpoint" in m]
    assert state(builder.build().run(tmp_path / "run", resume=True)) == state(whole)


@pytest.mark.parametrize(("minutes", "length"), [(10, 1), (0, None)])
def test_weights_that_are_not_finite_are_never_saved(
    tmp_path: Path, minutes: float, length: int | None
) -> None:
    from medpipe.errors import TrainingError

    # One step at this rate leaves the range of the numbers. It would be saved at the end of its
    # epoch, where no validation looks at it, or without a pause.
    builder = (
        PipelineBuilder(device="cpu", checkpoint_minutes=minutes, registry=REGISTRY)
        .dataset("phantom", samples=60, size=32)
        .network("dropping")
        .trainer(
            "supervised",
            max_epochs=2,
            epoch_length=length,
            learning_rate=1e38,
            optimizer={"step": "sgd", "weight_decay": 1e10},
        )
        .loader(batch_size=8, workers=0)
        .split(validation=0, test=0.2)
    )
    with pytest.raises(TrainingError):
        builder.build().run(tmp_path / "run")
    for file in (tmp_path / "run").rglob("*.safetensors"):
        states, _ = load_checkpoint(file)
        assert all(value.isfinite().all() for value in states["network"].values())


def test_a_checkpoint_is_saved_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    def iteration_of(name: str, minutes: float) -> list[int]:
        path = tmp_path / name
        tiny(max_epochs=1).build().run(path / "seldom")
        registry = PipelineBuilder(device="cpu", checkpoint_minutes=minutes, registry=REGISTRY)
        run = (
            registry.dataset("phantom", samples=60, size=32)
            .network("dropping")
            .trainer("supervised", max_epochs=1)
            .loader(batch_size=8, workers=0)
            .split(validation=0.2, test=0.2)
            .build()
            .run(path / "run")
        )
        names = [n for n in (LAST, PREVIOUS) if (run.path / n).exists()]
        return [load_checkpoint(run.path / n)[1]["progress"]["iteration"] for n in names]

    assert iteration_of("often", 0) == [5, 4]
    assert iteration_of("seldom", 1e9) == [5]


@pytest.mark.parametrize("name", ["augmented", long("accumulated"), long("autocast")])
def test_worker_counts_give_one_hash(tmp_path: Path, name: str) -> None:
    from support.folders import image_folder

    images = image_folder(tmp_path / "images", samples=60, size=32)
    builder = runs.pipelines(images)[name]
    digests = {
        runs.digest(
            builder.loader(batch_size=8, workers=workers).build().run(tmp_path / str(workers))
        )
        for workers in (0, 1, 2, 4)
    }
    assert len(digests) == 1


def test_what_may_have_changed_is_named_rightly() -> None:
    assert allowed(True) == frozenset(CHANGEABLE)
    assert allowed(False) == allowed(()) == frozenset()
    assert allowed("hardware") == {"hardware"}
    with pytest.raises(RunError) as caught:
        allowed(["hardwear"])  # type: ignore[list-item]
    assert str(caught.value) == (
        "allow_changed: 'hardwear' is not a kind of change. The kinds are configuration, data, "
        "packages, threads, "
        "hardware, processes."
    )


MACHINE: dict[str, Any] = {
    "device": "cuda",
    "precision": "float32",
    "versions": {"torch": "2.12"},
    "hardware": dict.fromkeys(
        [
            *("threads", "machine", "cpu", "instructions", "gpu", "cuda", "system"),
            *("cpu_cores", "memory_available"),
        ],
        "before",
    ),
    "environment": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_NUM_THREADS": "1"},
}


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("versions.torch", "packages"),
        ("plugins.medpipe-tiny", "packages"),
        ("hardware.threads", "threads"),
        ("hardware.machine", "hardware"),
        ("hardware.cpu", "hardware"),
        ("hardware.instructions", "hardware"),
        ("hardware.gpu", "hardware"),
        ("hardware.cuda", "hardware"),
        ("device", "hardware"),
        ("precision", "hardware"),
        ("environment.CUBLAS_WORKSPACE_CONFIG", "hardware"),
        ("hardware.system", None),
        ("hardware.cpu_cores", None),
        ("environment.OMP_NUM_THREADS", None),
        ("hardware.memory_available", "nothing"),
    ],
)
def test_each_change_of_a_machine_is_of_its_kind(place: str, kind: str | None) -> None:
    plugins = [{"distribution": "medpipe-tiny", "version": "1"}]
    before, now = {**MACHINE, "plugins": plugins}, copy.deepcopy(MACHINE)
    section, _, key = place.rpartition(".")
    if section == "plugins":
        plugins = [{"distribution": key, "version": "2"}]
    else:
        (now[section] if section else now)[key] = "other"
    found = changes_of_machine(before, now, plugins)
    assert [change.what for change in found] == ([] if kind == "nothing" else [kind])
    assert all(change.line.startswith(f"{place}: ") for change in found)


@pytest.mark.parametrize("other", ["configuration", "data", "split"])
def test_each_change_of_what_a_run_is_made_of_is_of_its_kind(other: str) -> None:
    now = {"configuration": "1", "data": "2", "split": "3"}
    before = {**now, other: "9"}
    kind = "configuration" if other == "configuration" else "data"
    run = Run(path=Path("no-run"), record={name: {"digest": now[name]} for name in now})
    (found,) = changes_of_checkpoint(run, {"provenance_digests": before}, now)
    assert found.what == kind
    record = {name: {"digest": before[name]} for name in ("data", "split")}
    assert [change.what for change in changes_of_data(record, now)] == (
        [] if other == "configuration" else ["data"]
    )


@pytest.mark.parametrize("content", [b"x = ", b"\xff", None])
def test_a_configuration_of_a_run_that_can_not_be_read_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "pipeline.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        changes_of_configuration(
            Run(path=tmp_path, record={"repeatable": True}),
            "format = 1",
            registry=Registry.discover(),
        )
    assert str(caught.value).startswith(f"{path} can't be read: ")


def test_the_command_allows_one_thing_or_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[object, str]:
        capsys.readouterr()
        code = exit_code("run", "tiny.toml", "--output=run", *arguments)
        return code, capsys.readouterr().err

    assert call("--resume", "--max-time=00:00:00")[0] == 75
    change_record(tmp_path / "run", hardware__cpu="Z80")
    code, said = call("--resume")
    assert code == 2
    assert "--allow-changed=hardware" in said
    assert "Traceback" not in said
    code, said = call("--allow-changed")
    assert said == "--allow-changed needs --resume. Give both.\n"
    assert call("--resume", "--allow-changed=hardwear")[0] == 2
    assert call("--resume", "--allow-changed=threads")[0] == 2
    assert call("--resume", "--allow-changed=hardware", "--max-time=00:00:00")[0] == 75
    change_record(tmp_path / "run", hardware__cpu="Z80", versions__torch="1.0")
    code, said = call("--resume", "--allow-changed")
    assert code == 0, said
