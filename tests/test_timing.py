"""Where the time goes: records, their parts, and what a run keeps and shows of them."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from medpipe import Run
from medpipe.cli import main
from medpipe.cli.run import _timings
from medpipe.system import timing
from medpipe.system.timing import START_UP, WHOLE_START_UP, Timings, recording, table, timed
from medpipe.training.loop import TrainingLoop
from support.programs import TINY, call, python
from support.tiny_runs import registered, tiny

if TYPE_CHECKING:
    from pathlib import Path

SEEN = {"checking", "packing", "building", "first_batch", "first_step", "imports"}


class Clock:
    """A clock of the module that goes on as the test wants, beside the real time or without it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, stands: bool = False) -> None:
        self.now = 0.0
        own = time.perf_counter
        clock = SimpleNamespace(perf_counter=lambda: self.now + (0 if stands else own()))
        monkeypatch.setattr(timing, "time", clock)

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_a_block_in_another_counts_for_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, stands=True)
    with recording() as record:
        clock.wait(1)
        with timed("outer"):
            clock.wait(2)
            with timed("inner"):
                clock.wait(5)
                with timed("outer"):
                    clock.wait(3)
        with pytest.raises(KeyError), timed("failed"):
            raise KeyError
    assert record.seconds == {"outer": 5, "inner": 5, "failed": 0}
    assert list(record.seconds) == ["outer", "inner", "failed"]
    assert record.elapsed == 11


def test_records_go_on_and_end() -> None:
    with timed("nobody listens"):
        pass
    with recording(Timings(before=100.0)) as first:
        with recording() as same, timed("a"):
            pass
        with recording(Timings()) as other, timed("b"):
            pass
    assert same is first
    assert list(first.seconds) == ["a"]
    assert list(other.seconds) == ["b"]
    assert first.elapsed > 100
    with recording() as later:
        assert later is not first


def test_the_table_shows_the_parts_in_their_order_and_the_rest() -> None:
    shown = table({"training": 61.5, "first_step": 0.5, "imports": 3.25, "start_up": 5.0})
    assert shown == (
        "start-up, to the end of the first step       5.00 s\n"
        "  imports                                    3.25 s\n"
        "  first training step                        0.50 s\n"
        "  the rest                                   1.25 s\n"
        "training and validation                     61.50 s"
    )
    assert table({}) == ""


def test_a_run_keeps_the_parts_of_its_start_up(tmp_path: Path) -> None:
    run = registered(tiny()).build().run(tmp_path / "run")
    timings = Run.load(run.path).timings
    assert timings == run.record["timings"]
    parts = [timings[name] for name in START_UP if name in timings]
    assert set(timings) - {"listing", "scanning", "splitting"} == SEEN | {
        *("start_up", "check", "training", "test", "total")
    }
    assert 0 < sum(parts) <= timings[WHOLE_START_UP] + 0.01


def test_a_session_that_goes_on_has_a_start_up_of_its_own(tmp_path: Path) -> None:
    pipeline = registered(tiny()).build()
    stopped = pipeline.run(tmp_path / "run", max_time=0)
    assert stopped.status == "stopped"
    file = tmp_path / "run/run.json"
    record = json.loads(file.read_text())
    record["timings"].update(listing=999, packing=999, training=50)
    file.write_text(json.dumps(record))
    timings = pipeline.run(tmp_path / "run", resume=True).timings
    assert sum(timings.get(name, 0) for name in START_UP) <= timings["start_up"] + 0.01 < 900
    assert 50 < timings["training"] < 100
    assert timings["check"] == record["timings"]["check"]


@pytest.mark.long
def test_every_member_of_a_set_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, own = Clock(monkeypatch), TrainingLoop.run

    def long(loop: TrainingLoop) -> None:
        own(loop)
        clock.wait(10_000)

    monkeypatch.setattr(TrainingLoop, "run", long)
    with recording():  # as the command does
        runs = registered(tiny()).build().run_seeds(2, tmp_path / "runs").runs
    for run in runs:
        parts = sum(run.timings.get(name, 0) for name in START_UP)
        assert parts <= run.timings["start_up"] + 0.01 < 10_000


@pytest.mark.long
def test_the_command_shows_them_from_its_very_beginning(tmp_path: Path) -> None:
    configuration = tmp_path / "tiny.toml"
    configuration.write_text(TINY)
    done = call("run", str(configuration), "-o", str(tmp_path / "run"), "--timings")
    assert done.returncode == 0, done.stderr
    timings = json.loads((tmp_path / "run/run.json").read_text())["timings"]
    shown = table(timings)
    assert f"{shown}\nThe run is in {tmp_path / 'run'}\n" in done.stdout
    assert 0 < timings["imports"] < timings["start_up"]


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="asks as Linux does")
def test_the_beginning_is_when_the_process_was_started() -> None:
    asks = (
        "import time; first = time.clock_gettime(time.CLOCK_BOOTTIME); "
        "from medpipe.cli.run import _since_process_start as since; "
        "print(first, time.clock_gettime(time.CLOCK_BOOTTIME) - since())"
    )
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    first, begun = map(float, python(asks).split())
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert before - 1 < begun <= first + tick  # the system's clocks differ by a few hundredths


@pytest.mark.long
def test_it_shows_them_also_where_a_run_stops_goes_on_or_is_one_of_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = tmp_path / "tiny.toml"
    configuration.write_text(TINY)
    arguments = ["run", str(configuration), "--timings", "--resume"]
    one = [*arguments, "-o", str(tmp_path / "run")]
    shape = re.compile(r"^start-up, .* s\n(  .* s\n)+training", re.MULTILINE)
    for options, code in ((["--max-time", "00:00:00"], 75), ([], None), ([], None)):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*one, *options])
        assert ended.value.code == code or not (ended.value.code or code)
        assert shape.search(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main([*arguments, "-o", str(tmp_path / "runs"), "--seeds", "1"])
    assert "seed-0:\nstart-up" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("program", "counted"),
    [
        ("/usr/bin/medpipe", True),
        ("medpipe.exe", True),
        ("/lib/medpipe/__main__.py", True),
        ("/home/me/medpipe/train.py", False),
        ("/lib/pytest/__main__.py", False),
        ("", False),
    ],
)
def test_what_was_before_counts_for_the_command_alone(
    monkeypatch: pytest.MonkeyPatch, program: str, counted: bool
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setitem(_timings.__globals__, "_since_process_start", lambda: 10_000.0)
    record = _timings()
    assert record.seconds == ({"imports": 10_000} if counted else {})
    assert (record.elapsed >= 10_000) == counted
