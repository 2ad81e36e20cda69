"""Limits of the machine: each says which it was and which setting changes it, and a run goes on."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from medpipe import LimitError, MedpipeError, PipelineBuilder, RunError, StepError
from medpipe.data.splits import split_cache
from medpipe.system.cache_folder import cache_directory
from medpipe.system.disk import Disk
from medpipe.system.files import through
from medpipe.system.resource_errors import FILES, KILLED, PROCESSES, limit_of
from medpipe.training.checkpoint import load_checkpoint
from support.counted_runs import REGISTRY, at, in_worker, passes, tiny
from support.folders import image_folder
from support.marked_runs import state
from support.marks import long
from support.programs import install, medpipe
from support.waiting import within

GPU = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of "
    "which 1.20 GiB is free. Process 7 has 77.90 GiB memory in use."
)
SHARED = (
    "The shared memory is too small for the batches that worker processes hand over: it is "
    "/dev/shm, which has {size}. Set loader.workers = 0, set loader.batch_size lower, or make it "
    "larger (of a container: --shm-size=8g)."
)
CHECKPOINTS = ("last", "previous", "best")


@pytest.fixture(autouse=True)
def _forget() -> None:
    at.clear()
    in_worker.clear()
    for made in passes.values():
        made.clear()


def goes_on(builder: PipelineBuilder, output: Path, whole: Path) -> None:
    """See that what checkpoints there are are whole, and that the run ends as an undisturbed."""
    for name in CHECKPOINTS:
        path = output / f"checkpoints/{name}.safetensors"
        if path.exists():
            load_checkpoint(path)
    assert not list(output.rglob("*.part"))
    at.clear()
    in_worker.clear()
    run = builder.build().run(output, resume=True)
    assert run.status == "finished"
    assert state(run) == state(tiny().build().run(whole))


# Losing memory ---------------------------------------------------------------------------------


def out_of_memory(text: str = GPU) -> Callable[[], None]:
    def raise_() -> None:
        import torch

        raise torch.OutOfMemoryError(text)

    return raise_


# The check makes no passes of its own but on the meta device.
@pytest.mark.parametrize(
    "moment", [("training", 2), ("training", 7), ("evaluation", 1), ("evaluation", 4)]
)
def test_a_device_without_memory_in_any_phase(tmp_path: Path, moment: tuple[str, int]) -> None:
    phase, count = moment
    at[moment] = out_of_memory()
    with pytest.raises(LimitError) as caught:
        tiny().build().run(tmp_path / "run")
    assert len(passes[phase]) == count
    assert str(caught.value) == (
        "The device's memory is not enough for a batch: 2.50 GiB more were asked for and 1.20 GiB "
        "of 79.10 GiB were free. Set loader.batch_size lower, or trainer.recompute = true, or "
        'trainer.precision = "bfloat16", or end what else takes memory there.'
    )
    goes_on(tiny(), tmp_path / "run", tmp_path / "whole")


def test_a_device_without_memory_in_the_test(tmp_path: Path) -> None:
    at["evaluation", 5] = out_of_memory()  # after two validations of two batches
    with pytest.raises(LimitError, match=r"loader\.batch_size"):
        tiny().build().run(tmp_path / "run")
    goes_on(tiny(), tmp_path / "run", tmp_path / "whole")


def test_a_device_without_memory_names_what_is_left_to_set(tmp_path: Path) -> None:
    at["training", 2] = out_of_memory("CUDA out of memory.")  # the first tries the layout
    with pytest.raises(LimitError) as caught:
        tiny(precision="bfloat16").build().run(tmp_path / "run")
    assert str(caught.value) == (
        "The device's memory is not enough for a batch. Set loader.batch_size lower, or "
        "trainer.recompute = true, or end what else takes memory there."
    )


def test_a_device_without_memory_in_a_prediction(tmp_path: Path) -> None:
    images = image_folder(tmp_path / "images", samples=12)
    run = tiny().dataset("image_folder", root=images, channels=1).build().run(tmp_path / "run")
    at["evaluation", len(passes["evaluation"]) + 1] = out_of_memory("CUDA out of memory.")
    with pytest.raises(LimitError) as caught:
        run.predict([next(images.rglob("*.png"))], registry=REGISTRY)
    assert str(caught.value) == (
        "The device's memory is not enough for a batch. Set batch_size lower, or end what else "
        "takes memory there."
    )


# Losing workers --------------------------------------------------------------------------------


def kill_yourself(number: int) -> Callable[[dict[str, Any]], None]:
    return lambda _: os.kill(os.getpid(), number)


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    builder = tiny(workers=2)
    _kill_worker_at(9)
    with pytest.raises(LimitError) as caught:
        builder.build().run(tmp_path / "run")
    assert str(caught.value) == KILLED
    assert "loader.workers or loader.batch_size" in KILLED
    goes_on(builder, tmp_path / "run", tmp_path / "whole")


def _kill_worker_at(iteration: int) -> None:
    """Kill this process's loader workers from outside, as the system does."""

    def kill() -> None:
        import multiprocessing

        # In no order: one alone could be of a loader that is done with its work.
        for worker in [child for child in multiprocessing.active_children() if child.daemon]:
            os.kill(worker.pid or 0, signal.SIGKILL)
            worker.join()

    at["training", iteration] = kill


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("do", "message"),
    [
        (kill_yourself(signal.SIGKILL), KILLED),
        (
            lambda _: os._exit(3),
            "A worker process of the loader ended with the exit code 3, without an error message. "
            "Set loader.workers = 0: then transforms run, and fail, in the main process.",
        ),
        (
            kill_yourself(signal.SIGSEGV),
            "A worker process of the loader ended by the signal SIGSEGV, without an error message. "
            "Set loader.workers = 0: then transforms run, and fail, in the main process.",
        ),
        (
            lambda sample: {**sample, "more": lambda: None},
            "A worker process can't hand over its batch: {how}. Let transforms add only values "
            "that can be pickled to a sample, or set loader.workers = 0.",
        ),
    ],
)
def test_a_worker_that_ends_or_can_not_say(
    tmp_path: Path, do: Callable[[dict[str, Any]], Any], message: str
) -> None:
    in_worker.append(do)
    with within(60), pytest.raises((LimitError, StepError)) as caught:
        tiny(workers=1).build().run(tmp_path / "run")
    start, _, end = message.partition("{how}")  # which differs between versions of Python
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)
    goes_on(tiny(workers=1), tmp_path / "run", tmp_path / "whole")


KILLER = '''
from typing import ClassVar
import attrs
from medpipe.plugin import TransformStep, hookimpl

@attrs.frozen(kw_only=True)
class Killer(TransformStep):
    """Ends like a process that the system kills."""

    name: ClassVar[str] = "killer"

    def build(self):
        import os, signal
        from torch.utils.data import get_worker_info
        def kill(sample):
            if get_worker_info() is not None:
                os.kill(os.getpid(), signal.SIGKILL)
            return sample
        return kill

@hookimpl
def medpipe_transforms(): return [Killer]
'''

SMALL = (
    "format = 1\n[dataset]\nstep = 'phantom'\nsamples = 60\nsize = 32\n"
    "[[transform]]\nstep = 'load_image'\n[[transform]]\nstep = 'ensure_channel_first'\n"
    "[[transform]]\nstep = 'rand_flip'\n{more}"
    "[network]\nstep = 'densenet121'\ninit_features = 4\ngrowth_rate = 2\n"
    "[trainer]\nstep = 'supervised'\nmax_epochs = 1\n"
    "[loader]\nbatch_size = 32\nworkers = 2\n[run]\ndevice = 'cpu'\n"
)


@pytest.mark.long
def said_after_the_start(text: str) -> list[str]:
    """The lines after that which names the run directory."""
    lines = text.splitlines()
    return lines[lines.index(next(s for s in lines if s.startswith("The run is"))) + 1 :]


@pytest.mark.long
def test_the_command_line_says_it_in_one_message(tmp_path: Path) -> None:
    install(tmp_path, "medpipe-killer", KILLER)
    configuration = tmp_path / "killer.toml"
    configuration.write_text(SMALL.format(more="[[transform]]\nstep = 'killer'\n"))
    done = medpipe(tmp_path, "run", str(configuration), "--output", str(tmp_path / "run"))
    assert done.returncode == 2
    assert said_after_the_start(done.stderr) == [KILLED]


# Shared memory ---------------------------------------------------------------------------------


def _may_mount() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    done = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


mounts = pytest.mark.skipif(not _may_mount(), reason="needs mounts of its own")


def mounted(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount, whose mounts nobody else sees."""
    return subprocess.run(
        ["unshare", "-rm", "sh", "-ec", script, "sh", sys.executable, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
@mounts
@pytest.mark.parametrize(
    ("options", "size"),
    [("size=16k", "16 KB"), long("size=160k", "164 KB"), long("nr_inodes=9", "")],
)
def test_shared_memory_that_is_too_small(tmp_path: Path, options: str, size: str) -> None:
    configuration = tmp_path / "small.toml"
    configuration.write_text(SMALL.format(more=""))
    done = mounted(
        f'mount -t tmpfs -o {options} tmpfs /dev/shm\nexec "$1" -m medpipe run "$2" --output "$3"',
        str(configuration),
        str(tmp_path / "run"),
    )
    assert done.returncode == 2, done.stderr
    said = said_after_the_start(done.stderr)
    assert len(said) == 1
    start, _, end = SHARED.partition("{size}")
    assert said[0].startswith(start + size)
    assert said[0].endswith(end)


def test_no_memory_for_the_packed_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medpipe.assembly import Assembly

    def loaders(*_: object) -> None:
        raise MemoryError("no room for the values.")

    monkeypatch.setattr(Assembly, "loaders", loaders)
    with pytest.raises(LimitError) as caught:
        tiny().build().run(tmp_path / "run")
    assert str(caught.value).startswith(
        "The machine's memory is not enough: no room for the values. Set loader.batch_size "
    )


# File handles ----------------------------------------------------------------------------------


def _is_open(number: int, among: set[int]) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return number in among


@contextmanager
def handles_left(count: int) -> Iterator[None]:
    """Let so many files be opened beside those that are open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
    free = (number for number in itertools.count() if not _is_open(number, opened))
    limit = next(itertools.islice(free, count, None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("left", [0, 3, 8, 11])
def test_no_file_handles_for_the_workers(tmp_path: Path, left: int) -> None:
    builder = tiny(workers=2)
    loaders = builder.build().build_loaders()
    with handles_left(left), pytest.raises(LimitError) as caught:
        list(loaders.training)
    loaders.close()
    # A server that can't open what it needs ends, and tells nobody why.
    assert str(caught.value) == FILES or "they end as they begin" in str(caught.value)
    assert "ulimit -n" in FILES


def test_no_file_handles_for_the_images(tmp_path: Path) -> None:
    from medpipe.data.scanning.scan import scan
    from medpipe.steps import Reading

    images = image_folder(tmp_path / "images", samples=12)
    found = tiny().dataset("image_folder", root=images, channels=1).build().check()
    assert found.ok
    dataset = REGISTRY.datasets["image_folder"](root=images, channels=1).build()
    os.environ["MEDPIPE_CACHE"] = str(tmp_path / "another")
    assert isinstance(dataset.reading, Reading)
    with handles_left(0), pytest.raises(LimitError) as caught:
        scan(dataset, workers=2)
    assert str(caught.value) == FILES


def test_no_file_handles_for_the_packed_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import numpy as np

    from medpipe.data.cache.building import build_or_open
    from medpipe.data.cache.folders import lock_of

    build_or_open("before", {}, [], lambda ids: [], workers=1)  # what it imports is there
    with handles_left(0), caplog.at_level(logging.WARNING):
        made = build_or_open("key", {}, ["a"], lambda ids: [(np.zeros(3), {})], workers=1)
    assert made is None
    assert caplog.messages == [
        f"The run has no packed cache: {lock_of('key')} can't be locked: too many open files. "
        "The limit of open files is reached: raise it with 'ulimit -n 4096'."
    ]


def test_no_file_handles_in_a_process_that_makes_samples() -> None:
    from medpipe.system.processes import in_order

    def work(_: int) -> None:
        raise os_error(errno.EMFILE)

    with pytest.raises(LimitError) as caught, in_order(work, range(4), workers=2) as made:
        list(made)
    assert str(caught.value) == FILES


# Folders that can't be written to --------------------------------------------------------------


@attrs.frozen
class ReadOnly(Disk):
    """Takes nothing below a folder."""

    folder: Path
    code: int = errno.EROFS

    def _refuse(self, path: Path) -> None:
        if path.is_relative_to(self.folder):
            raise OSError(self.code, os.strerror(self.code), str(path))

    def create(self, path: Path) -> int:
        self._refuse(path)
        return super().create(path)

    def make_directory(self, path: Path) -> None:
        self._refuse(path)
        super().make_directory(path)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_cache_that_can_not_be_written_to_is_said_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:

    monkeypatch.setattr(split_cache, "WORTH", 1)
    cache = tmp_path / "cache"
    monkeypatch.setenv("MEDPIPE_CACHE", str(cache))
    images = image_folder(tmp_path / "images")
    builder = (
        PipelineBuilder(device="cpu", registry=REGISTRY)
        .dataset("image_folder", root=images, channels=1)
        .network("counting")
        .trainer("supervised", max_epochs=1)
        .loader(batch_size=8, workers=0)
    )
    with through(ReadOnly(cache, code)), caplog.at_level(logging.WARNING, "medpipe"):
        run = builder.build().run(tmp_path / "run")
    assert run.status == "finished"
    assert not cache.exists()
    remedies = {
        errno.EROFS: "That disk is read-only: choose another one with MEDPIPE_CACHE.",
        errno.EACCES: "Choose a folder that you may write to with MEDPIPE_CACHE.",
        errno.ENOSPC: "Make room on that disk, or choose another one with MEDPIPE_CACHE.",
    }
    said = [m for r in caplog.records if "ache" in (m := r.getMessage())]
    assert said == [
        "Nothing is cached, so later runs read all images again. The cache folder "
        f"{cache} can't be written: {os.strerror(code).lower()}. {remedies[code]}"
    ]


@pytest.mark.long
@mounts
def test_a_home_and_an_output_that_are_read_only(tmp_path: Path) -> None:
    images = image_folder(tmp_path / "images")
    configuration = tmp_path / "small.toml"
    configuration.write_text(SMALL.format(more=""))
    home = tmp_path / "home"
    home.mkdir()
    given = (f"dataset={{step='image_folder',root='{images}',channels=1}}", "loader.workers=0")
    script = (
        'mount -t tmpfs -o ro tmpfs "$3"\nunset MEDPIPE_CACHE XDG_CACHE_HOME\nexport HOME="$3"\n'
        'exec "$1" -m medpipe run "$2" --output "$4" --set "$5" --set "$6"'
    )
    done = mounted(script, str(configuration), str(home), str(tmp_path / "run"), *given)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "cache" in line and "medpipe" in line] == [
        "Nothing is cached, so later runs read all images again. The cache folder "
        f"{home}/.cache/medpipe can't be written: read-only file system. That disk is read-only: "
        "choose another one with MEDPIPE_CACHE."
    ]
    done = mounted(script, str(configuration), str(home), str(home / "run"), *given)
    assert done.returncode == 2
    assert done.stderr == (
        f"The output {home}/run can't be written: read-only file system. That disk is read-only: "
        "choose another one with --output.\n"
    )


def test_a_run_directory_that_becomes_read_only_goes_on_later(tmp_path: Path) -> None:
    class Later(ReadOnly):
        def _refuse(self, path: Path) -> None:
            if passes["training"]:
                super()._refuse(path)

    output = tmp_path / "run"
    with through(Later(output)), pytest.raises(RunError) as caught:
        tiny().build().run(output)
    assert "read-only file system" in str(caught.value)
    goes_on(tiny(), output, tmp_path / "whole")


def test_a_cache_folder_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDPIPE_CACHE", "~no-such-user/cache")
    with pytest.raises(RunError) as caught:
        cache_directory()
    assert str(caught.value) == (
        "MEDPIPE_CACHE is '~no-such-user/cache', but there is no user of that name. Name another "
        "folder."
    )


# What torch and the system say -------------------------------------------------------------------


DEVICE = (
    "The device's memory is not enough for a batch. Set loader.batch_size lower, or end what else "
    "takes memory there."
)


def os_error(number: int, name: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (os_error(errno.EMFILE, "x.png"), FILES),
        (os_error(errno.ENFILE), FILES),
        (OSError(errno.EMFILE, "Trop de fichiers ouverts"), FILES),
        (OSError(errno.ENFILE, "Trop de fichiers ouverts dans le système"), FILES),
        (RuntimeError("received 0 items of ancdata"), FILES),
        (RuntimeError("Too many open files. Communication with the workers"), FILES),
        (RuntimeError("Unable to open /dev/urandom"), FILES),
        (os_error(errno.EAGAIN), PROCESSES),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), KILLED),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), KILLED),
        (
            MemoryError("Unable to allocate 5.00 GiB for an array with shape (1,)"),
            "The machine's memory is not enough: 5.00 GiB were asked for at once. Set "
            "loader.batch_size or loader.workers lower, or give the job more memory.",
        ),
        (
            MemoryError("no room for the mask."),
            "The machine's memory is not enough: no room for the mask. Set loader.batch_size or "
            "loader.workers lower, or give the job more memory.",
        ),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you "
                "tried to allocate 4000 bytes. Error code 12 (Cannot allocate memory)"
            ),
            "The machine's memory is not enough: 4000 bytes were asked for at once. Set "
            "loader.batch_size or loader.workers lower, or give the job more memory.",
        ),
        (type("OutOfMemoryError", (RuntimeError,), {})("no room"), DEVICE),
        (RuntimeError("CUDA error: CUDA out of memory"), DEVICE),
    ],
)
def test_what_the_libraries_say_is_told_apart(error: Exception, message: str) -> None:
    found = limit_of(error)
    assert isinstance(found, LimitError)
    assert str(found) == message
    # The same where a step was blamed for it.
    blamed = StepError("the step failed")
    blamed.__cause__ = error
    assert str(limit_of(blamed)) == message


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        os_error(errno.ENOSPC, "run.json"),
        os_error(errno.ENOENT, "x"),
        ValueError("Too many open files"),
        StepError("DataLoader worker (pid 7) is killed by signal: Killed."),
    ],
)
def test_other_errors_are_left_as_they_are(error: Exception) -> None:
    assert limit_of(error) is None


@pytest.mark.parametrize("error", [ConnectionResetError(), ConnectionRefusedError(), EOFError()])
def test_a_connection_that_is_lost_with_a_worker_is_the_worker_s(error: Exception) -> None:
    assert str(limit_of(error, ended=lambda: [-signal.SIGKILL])) == KILLED
    assert limit_of(error) is None


def test_errors_that_are_each_others_cause_are_looked_at_once() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert limit_of(one) is None


def test_a_bus_error_is_one_of_shared_memory() -> None:
    text = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that"
    for found in (
        limit_of(RuntimeError(text)),
        limit_of(
            RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
            ended=lambda: [-signal.SIGKILL, -signal.SIGBUS],
        ),
    ):
        assert "/dev/shm" in str(found)
        assert isinstance(found, MedpipeError)
