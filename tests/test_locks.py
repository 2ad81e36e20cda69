"""Locks that need no kernel's lock: one holder, ended processes, other machines, leftovers."""

from __future__ import annotations

import errno
import logging
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from medpipe import RunError
from medpipe.system import file_errors, lock_holders, locks, output_folders
from medpipe.system.lock_holders import Holder
from medpipe.system.locks import Lock, LockedError, locked, tried

HOLDING = """
import pathlib, sys
from medpipe.system.locks import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(path: Path, *before: str) -> subprocess.Popen[str]:
    """A process that holds a lock until its input ends."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", HOLDING, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def lease(path: Path, holder: Holder | None, name: str = "0123456789abcdef") -> Path:
    """A lease file that somebody left, or holds."""
    path.parent.mkdir(exist_ok=True, parents=True)
    file = path.with_name(f"{path.name}.{name}")
    file.write_text("" if holder is None else f"{holder.text()}\nheld\n")
    return file


ELSEWHERE = Holder(host="node1", process=99999, table="another boot", started="1", since="noon")


class Time:
    """The clock of a wait, which passes while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.on_sleep: list[Any] = []
        monkeypatch.setattr(locks.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(locks.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for do in self.on_sleep:
            do()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def test_it_is_held_by_one_and_free_after(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        (file,) = tmp_path.iterdir()
        assert file.name.startswith("lock.")
        with tried(path) as free:
            assert not free
        assert list(tmp_path.iterdir()) == [file]
    assert list(tmp_path.iterdir()) == []
    with tried(path) as free:
        assert free


def test_a_killed_holder_of_this_machine_is_noticed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    other = holding(path)
    with pytest.raises(LockedError) as caught, locked(path, patience=0.05):
        pass
    assert (caught.value.errno, caught.value.filename) == (errno.EAGAIN, str(path))
    assert caught.value.holder.process == other.pid
    assert caught.value.holder.alive() == "alive"
    other.kill()
    other.wait()
    with locked(path, patience=0.05):
        pass


def test_a_number_that_another_process_has_by_now_is_no_holder(tmp_path: Path) -> None:
    mine = Holder.me("now")
    if not mine.table:
        pytest.skip("needs /proc")
    lease(tmp_path / "lock", attrs.evolve(mine, started="1"))
    with locked(tmp_path / "lock", patience=0):
        pass


def test_a_host_of_another_name_may_be_the_same_machine(tmp_path: Path) -> None:
    ended = attrs.evolve(Holder.me("now"), host="node1", process=2**22 + 5)
    if not ended.table:
        pytest.skip("needs /proc")
    lease(tmp_path / "lock", ended)
    with locked(tmp_path / "lock", patience=0):
        pass


@pytest.mark.parametrize("holder", [ELSEWHERE, None])
def test_the_silent_one_of_another_machine_ends_after_a_minute(
    tmp_path: Path, holder: Holder | None, clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lock"
    file = lease(path, holder)
    caplog.set_level(logging.INFO, "medpipe")
    with locked(path):
        assert not file.exists()
    assert 1060 <= clock.now < 1062
    named = "process 99999 on node1, since noon" if holder else "an unknown process"
    assert caplog.messages == [
        f"Waiting for the lock {path}: it is held by {named}. If that has ended, it counts as "
        "ended after 60 s without a sign of life. The wait ends after 600 s.",
        f"The lock {path} was held by {named}, which has shown no sign of life for "
        f"{clock.now - 1000:.0f} s. It is taken to have ended.",
    ]


@pytest.mark.parametrize(("silent", "watched"), [(3600, 15), (20, 40)])
def test_one_that_was_silent_before_is_watched_for_the_rest_or_three_signs(
    tmp_path: Path, clock: Time, silent: float, watched: float
) -> None:
    file = lease(tmp_path / "lock", ELSEWHERE)
    os.utime(file, (time.time() - silent,) * 2)
    with locked(tmp_path / "lock"):
        pass
    assert watched - 1 < clock.now - 1000 < watched + 2


def test_after_a_sign_of_life_the_whole_minute_counts(tmp_path: Path, clock: Time) -> None:
    file = lease(tmp_path / "lock", ELSEWHERE)
    signs = []

    def sign() -> None:
        if clock.now >= 1010 and not signs:
            os.utime(file, (time.time() - 3600,) * 2)
            signs.append(clock.now)

    clock.on_sleep.append(sign)
    with locked(tmp_path / "lock"):
        pass
    assert 60 <= clock.now - signs[0] < 62


def test_signs_of_life_count_whatever_the_clocks_say(tmp_path: Path, clock: Time) -> None:
    file = lease(tmp_path / "lock", ELSEWHERE)
    signs = iter(range(10**6))

    def sign() -> None:
        os.utime(file, ns=(0, next(signs) * 10**9))  # a clock that is wrong by decades

    clock.on_sleep.append(sign)
    with pytest.raises(LockedError), locked(tmp_path / "lock", patience=500):
        pass
    assert file.exists()
    assert clock.now >= 1500


def test_the_holder_shows_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SIGN", 0.01)
    with locked(tmp_path / "lock"):
        (file,) = tmp_path.iterdir()
        os.utime(file, (0, 0))
        deadline = time.monotonic() + 30
        while file.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert file.stat().st_mtime > 0


@pytest.mark.parametrize(
    "content", ["", "99999\nnode1\n1\n", "{}", "[" * 4000, '{"host": 1}', "\x00\xff", "null"]
)
def test_what_is_no_lock_of_ours_holds_nobody_up(tmp_path: Path, content: str) -> None:
    odd = ("lock.0123456789abcdeg", "lock.0123456789abcde", "lock.0123456789abcdef0", "lock.a")
    for name in ("lock", "lock.old", "lock.lock", ".lock", *odd):
        (tmp_path / name).write_text(content)
    with locked(tmp_path / "lock", patience=0):
        pass
    assert Holder.parse(content) == Holder()


def test_of_many_that_begin_at_once_each_has_its_turn_alone(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys\n"
        "from medpipe.system.locks import locked\n"
        "top = pathlib.Path(sys.argv[1])\n"
        "for _ in range(15):\n"
        "    with locked(top / 'lock'):\n"
        "        os.close(os.open(top / 'inside', os.O_CREAT | os.O_EXCL))\n"
        "        text = (top / 'count').read_text()\n"
        "        (top / 'count').write_text(str(int(text) + 1))\n"
        "        (top / 'inside').unlink()\n"
    )
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", program, str(tmp_path)]
    lease(tmp_path / "lock", attrs.evolve(Holder.me(""), process=2**22 + 5))  # all clear it away
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "60"


def test_of_two_wishes_the_first_name_wins(tmp_path: Path, clock: Time) -> None:
    path = tmp_path / "lock"
    wish = attrs.evolve(Holder.me("now"))
    for name, wins in (("f" * 16, True), ("0" * 16, False)):
        other = lease(path, wish, name)
        other.unlink()
        lock = Lock(path)
        found = lock._others
        calls: list[int] = []

        def others(other: Path = other, calls: list[int] = calls, found: Any = found) -> Any:
            calls.append(1)
            if len(calls) == 2:  # it came just after the first look
                other.write_text(f"{wish.text()}\n")
            if len(calls) == 3:
                other.unlink()  # and gives way
            return found()

        lock._others = others  # type: ignore[method-assign]
        assert (lock.try_once() is None) == wins
        lock.release()
        other.unlink(missing_ok=True)


def test_a_run_of_another_machine_that_lives_is_not_taken_over(tmp_path: Path, clock: Time) -> None:
    file = lease(tmp_path / ".lock", ELSEWHERE)
    signs = iter(range(10**6))
    clock.on_sleep.append(lambda: clock.now > 1004 and os.utime(file, ns=(0, next(signs))))
    with pytest.raises(RunError) as caught, output_folders.only_writer(tmp_path):
        pass
    assert str(caught.value) == (
        f"Another process writes to {tmp_path}: process 99999 on node1, since noon. Wait until it "
        "ends, end it, or choose another folder with the argument output."
    )
    assert clock.now < 1006


def test_a_run_whose_node_was_lost_is_taken_over(
    tmp_path: Path, clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    lease(tmp_path / ".lock", ELSEWHERE)
    caplog.set_level(logging.INFO, "medpipe")
    with output_folders.only_writer(tmp_path) as see_ours:
        see_ours()
    assert caplog.messages[0] == (
        f"{tmp_path} was claimed by process 99999 on node1, since noon. If it shows no sign of "
        "life, it is taken over, within 60 s."
    )


def test_who_was_taken_over_writes_no_more(tmp_path: Path) -> None:
    with output_folders.only_writer(tmp_path) as see_ours:
        see_ours()
        (file,) = tmp_path.glob(".lock.*")
        file.unlink()
        with pytest.raises(RunError, match="was taken over by another process"):
            see_ours()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.ENOSYS])
def test_where_no_lease_can_be_a_run_says_so_and_goes_on(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def append(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks, "append_passing", append)
    done = []
    with output_folders.only_writer(tmp_path) as see_ours:
        see_ours()
        done.append(True)
    assert done
    why = file_errors.reason(OSError(number, os.strerror(number)))
    assert caplog.messages == [
        f"The folder {tmp_path} can't be locked ({why}). Make sure that no other process writes "
        "there."
    ]


def test_a_lock_needs_no_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def no(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    for name in ("flock", "lockf", "fcntl"):
        monkeypatch.setattr(fcntl, name, no)
    with locked(tmp_path / "lock"), tried(tmp_path / "lock") as free:
        assert not free


def test_without_proc_a_process_is_known_by_its_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_holders, "PROC", tmp_path / "proc")
    me = Holder.me("noon")
    assert me == Holder(host=platform.node(), process=os.getpid(), since="noon")
    assert me.alive() == "unknown"
    assert Holder.parse(me.text()) == me


def test_a_namespace_of_its_own_tells_nothing_of_the_numbers(tmp_path: Path) -> None:
    alone = ["unshare", "--user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs namespaces of users and processes")
    other = holding(tmp_path / "lock", *alone)
    with pytest.raises(LockedError) as caught, locked(tmp_path / "lock", patience=0.05):
        pass
    assert caught.value.holder.alive() == "unknown"
    assert other.stdin is not None
    other.stdin.close()
    assert other.wait() == 0
