"""Worker processes however they are started: fork, forkserver, spawn, or not at all."""

from __future__ import annotations

import logging
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch

from medpipe import (
    CheckFailed,
    Dataset,
    PipelineBuilder,
    Registry,
    RunError,
    Sample,
    StepError,
    Task,
)
from medpipe.data.chain import Chain
from medpipe.data.loading import loader as loader_module
from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.data.loading.loader import make_loader
from medpipe.data.loading.sample_batches import SampleBatches
from medpipe.plugin import TransformStep, hookimpl
from medpipe.registry.wrapped import WrappedTransform
from medpipe.steps import Reading
from medpipe.system import start_methods
from medpipe.system.files import sha256_of
from medpipe.system.processes import in_order
from support.marks import long
from support.places import without_place

METHODS = multiprocessing.get_all_start_methods()
IMAGES = np.random.default_rng(0).normal(size=(10, 1, 16, 16)).astype(np.float32)
SAMPLES = [Sample(id=f"{n}", image=image, label=n % 2) for n, image in enumerate(IMAGES)]
TASK = Task(kind="multiclass", names=("a", "b"))


def doubled(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "image": sample["image"] * 2}


@attrs.frozen(kw_only=True)
class Drawing(TransformStep):
    """Adds a number that it draws, by a closure that can't be pickled."""

    name: ClassVar[str] = "drawing"
    scale: float = 1.0
    random = True

    def build(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def add(sample: dict[str, Any]) -> dict[str, Any]:
            return {**sample, "image": sample["image"] + self.scale * np.random.normal()}

        return add


class Plugin:
    @hookimpl
    def medpipe_transforms(self) -> list[type[TransformStep]]:
        return [Drawing]


class Vanishing:
    """Can be sent, and not be taken."""

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        return sample

    def __deepcopy__(self, _: Any) -> Vanishing:
        return self

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    if multiprocessing.parent_process() is not None:
        raise RuntimeError("planted")


def builder(*transforms: Any, workers: int = 2) -> PipelineBuilder:
    registry = Registry.discover().with_plugin(Plugin())
    made = PipelineBuilder(device="cpu", registry=registry).dataset(
        Dataset(samples=tuple(SAMPLES * 1), task=TASK)
    )
    for transform in transforms:
        made = made.transform(transform)
    return (
        made.network("resnet10", widen_factor=0.0625, conv1_t_size=3)
        .trainer("supervised", max_epochs=1)
        .loader(batch_size=4, workers=workers, cache="off")
        .split(validation=0.2, test=0.2)
    )


def batches_of(*steps: TransformStep) -> SampleBatches:
    named = [(f"transform[{n}], {step.name},", step) for n, step in enumerate(steps)]
    chain = Chain(named, seed=3)
    return SampleBatches(SAMPLES, chain=chain, task=TASK, reading=Reading(), training=True)


def digest(workers: int, *steps: TransformStep) -> str:
    """Of all that two passes give."""
    order = EpochBatchSampler(count=len(SAMPLES), batch_size=4, seed=5)
    loader = make_loader(batches_of(*steps), order, workers=workers, device=torch.device("cpu"))
    given = [batch for _ in range(2) for batch in loader]
    loader.close()
    return sha256_of(
        *[batch["image"].numpy().tobytes() + repr(batch["id"]).encode() for batch in given]
    )


def steps() -> tuple[TransformStep, ...]:
    sharpen = Registry.discover().create(TransformStep, "rand_gaussian_sharpen", {"prob": 0.5})
    return sharpen, Drawing(scale=2.0), WrappedTransform(doubled)


@pytest.mark.long
@pytest.mark.parametrize("method", [long(m) if m == "spawn" else m for m in METHODS])
def test_workers_change_no_bit_however_they_are_started(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(start_methods.VARIABLE, method)
    alone = digest(0, *steps())
    assert digest(2, *steps()) == alone
    if method != "spawn":  # each of which imports torch anew
        assert digest(1, *steps()) == alone


@pytest.mark.long
def test_what_a_worker_can_not_take_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(start_methods.VARIABLE, "forkserver")
    with pytest.raises(StepError) as caught:
        digest(1, WrappedTransform(Vanishing()))
    assert without_place(caught.value) == (
        "A worker process can't unpickle what it was sent: RuntimeError: planted. What a transform "
        "or a sample holds must be defined at the top level of a module that workers can import, "
        "or set loader.workers = 0."
    )


@pytest.mark.long
def test_what_can_not_be_sent_is_a_problem_of_the_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(start_methods.VARIABLE, "spawn")
    monkeypatch.setattr("medpipe.assembly.available_cpus", lambda: 2)

    def local(sample: dict[str, Any]) -> dict[str, Any]:
        return sample

    remedy = (
        "Define it at the top level of a module that workers can import, or set loader.workers = 0."
    )
    with pytest.raises(CheckFailed) as caught:
        builder("drawing", local, doubled, lambda sample: sample).build().run(tmp_path / "run")
    first, second = caught.value.problems
    assert (first.path, second.path) == ("transform[5]", "transform[7]")
    assert first.message.startswith(
        "the ready transform test_what_can_not_be_sent_is_a_problem_of_the_check.<locals>.local "
        "can't be sent to the worker processes, which spawn starts: it can't be pickled ("
    )
    assert first.remedy == second.remedy == remedy
    assert builder(local, workers=0).build().check().ok
    monkeypatch.setenv(start_methods.VARIABLE, "fork")
    assert builder(local).build().check().ok


def test_a_sample_that_can_not_be_sent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(start_methods.VARIABLE, "spawn")
    made = batches_of(WrappedTransform(doubled))
    made.samples = [*SAMPLES, attrs.evolve(SAMPLES[0], id="lock", extra={"is": threading.Lock()})]
    order = EpochBatchSampler(count=1, batch_size=1)
    with pytest.raises(StepError, match=r"^The sample 'lock' can't be sent to worker processes: "):
        make_loader(made, order, workers=1, device=torch.device("cpu"))


@pytest.mark.long
def test_a_daemonic_process_does_it_alone_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone = digest(0, *steps())
    monkeypatch.setattr(loader_module, "_said", set())
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    caplog.set_level(logging.INFO, "medpipe")
    assert digest(2, *steps()) == alone
    assert digest(2, *steps()) == alone
    assert caplog.messages == [start_methods.DAEMON]
    with in_order(lambda chunk: chunk + 1, range(5), workers=2) as made:
        assert list(made) == [1, 2, 3, 4, 5]


def in_thread(do: Callable[[], Any]) -> Any:
    """What it gives, or raises, in a thread beside the main one."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(do())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    return found[0]


@pytest.mark.long
def test_outside_the_main_thread_nothing_is_forked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(start_methods.VARIABLE, "fork")
    assert start_methods.way_to_start() == start_methods.Way("fork")
    assert in_thread(start_methods.way_to_start) == start_methods.Way("forkserver", chosen=True)
    assert not in_thread(start_methods.forks)
    assert in_thread(lambda: digest(2, *steps())) == digest(0, *steps())
    caplog.set_level(logging.INFO, "medpipe")
    monkeypatch.setattr(loader_module, "_said", set())
    local = WrappedTransform(lambda sample: sample)
    assert in_thread(lambda: digest(2, local)) == digest(0, local)
    assert caplog.messages == [
        "Batches are made without worker processes: outside the main thread none can be forked "
        "safely, and what they need can't be sent to new ones."
    ]


def test_a_start_method_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(start_methods.VARIABLE, "threads")
    with pytest.raises(RunError, match=r"^MEDPIPE_START_METHOD is 'threads', which is not a way"):
        start_methods.way_to_start()


def test_what_the_program_chose_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(start_methods.VARIABLE, raising=False)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: None)
    assert start_methods.way_to_start().method == METHODS[0]
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: "spawn")
    assert start_methods.way_to_start() == start_methods.Way("spawn")
    assert not start_methods.forks()


ASKS = "from medpipe.system.start_methods import unguarded_script, way_to_start\n"
SAYS = "print(way_to_start().method, unguarded_script() is not None)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{ASKS}{SAYS}", "spawn True"),
        (f"{ASKS}def main():\n    {SAYS}\nmain()", "spawn True"),
        (f"{ASKS}if True:\n    {SAYS}", "spawn True"),
        (f"{ASKS}if __name__ == '__main__':\n    {SAYS}", "spawn False"),
        (f"{ASKS}def main():\n    {SAYS}\nif '__main__' == __name__:\n    main()", "spawn False"),
        (f"{ASKS}if __name__ == '__main__':\n    a = 1\n    {SAYS}\n    b = 2", "spawn False"),
        (f"{ASKS}if __name__ == '__main__':\n    a = 1\n{SAYS}", "spawn True"),
        (
            f"{ASKS}try:\n    if __name__ == '__main__':\n        {SAYS}\nfinally:\n    pass",
            "spawn False",
        ),
    ],
)
def test_a_script_is_guarded_or_not(
    tmp_path: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(start_methods.VARIABLE, "spawn")
    (tmp_path / "script.py").write_text(text)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said


def test_sessions_without_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(start_methods.VARIABLE, "spawn")
    done = subprocess.run(
        [sys.executable, "-c", ASKS + SAYS], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "spawn False"
    done = subprocess.run(
        [sys.executable, "-"], input=ASKS + SAYS, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None False"  # its file is called <stdin>, and can't be imported


UNGUARDED = """
import medpipe, sys
b = medpipe.PipelineBuilder(device="cpu").dataset("phantom", samples=40, size=32)
b = b.transform("rand_gaussian_sharpen").network("resnet10", widen_factor=0.0625, conv1_t_size=3)
b = b.trainer("supervised", max_epochs=1).loader(batch_size=8, workers=2)
try:
    b.build().run("run")
except medpipe.MedpipeError as error:
    sys.exit(str(error))
"""


@pytest.mark.long
def test_a_script_without_a_guard_is_refused_and_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(start_methods.VARIABLE, "spawn")
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    message = (
        f"  loader.workers: Each worker process imports {script} again, and so would begin the run "
        "once more. Put what starts the run below 'if __name__ == \"__main__\":', or set "
        "loader.workers = 0."
    )
    assert done.returncode == 1
    assert message in done.stderr.splitlines()


def test_a_script_without_a_guard_can_not_start_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from medpipe.errors import RunError\n"
        "from medpipe.system.start_methods import refuse_unguarded\n"
        "def ask():\n    refuse_unguarded()\n"
        "if __name__ == '__main__':\n    ask()\n"
        "try:\n    ask()\nexcept RunError as error:\n    print(error)\n"
    )
    said = subprocess.check_output([sys.executable, script], text=True)
    assert said == (
        f"Each worker process imports {script} again, and so would begin the run once more. Put "
        "what starts the run below 'if __name__ == \"__main__\":', or set loader.workers = 0.\n"
    )


def test_a_worker_that_comes_upon_its_own_run_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    for do in (builder().build().check, lambda: builder().build().run("nowhere")):
        with pytest.raises(RunError) as caught:
            do()
        assert str(caught.value) == start_methods.NO_SECOND_START
    assert not Path("nowhere").exists()
