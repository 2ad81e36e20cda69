"""Where the time goes: records, their parts, and what a run keeps and shows of them."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING

import pytest

from medpipe import Run
from medpipe.cli import main
from medpipe.cli.run import _timings
from medpipe.system.timing import START_UP, WHOLE_START_UP, Timings, recording, table, timed
from support.programs import TINY, call
from support.tiny_runs import registered, tiny

if TYPE_CHECKING:
    from pathlib import Path

SEEN = {"checking", "packing", "building", "first_batch", "first_step", "imports"}


def test_a_block_in_another_counts_for_itself_alone() -> None:
    with recording() as record:
        with timed("outer"):
            time.sleep(0.02)
            with timed("inner"):
                time.sleep(0.05)
                with timed("outer"):
                    time.sleep(0.02)
        with pytest.raises(KeyError), timed("failed"):
            raise KeyError
    seconds = record.seconds
    assert seconds["outer"] == pytest.approx(0.04, abs=0.015)
    assert seconds["inner"] == pytest.approx(0.05, abs=0.015)
    assert sum(seconds.values()) <= record.elapsed
    assert list(seconds) == ["outer", "inner", "failed"]


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


def test_every_member_of_a_set_has_its_own(tmp_path: Path) -> None:
    with recording():  # as the command does
        runs = registered(tiny()).build().run_seeds(2, tmp_path / "runs").runs
    first, second = (run.timings for run in runs)
    for timings in (first, second):
        assert sum(timings.get(name, 0) for name in START_UP) <= timings["start_up"] + 0.01
    assert second["start_up"] < first["start_up"] + first["total"]


def test_the_command_shows_them_from_its_very_beginning(tmp_path: Path) -> None:
    configuration = tmp_path / "tiny.toml"
    configuration.write_text(TINY)
    begun = time.perf_counter()
    done = call("run", str(configuration), "-o", str(tmp_path / "run"), "--timings")
    whole = time.perf_counter() - begun
    assert done.returncode == 0, done.stderr
    timings = json.loads((tmp_path / "run/run.json").read_text())["timings"]
    shown = table(timings)
    assert f"{shown}\nThe run is in {tmp_path / 'run'}\n" in done.stdout
    assert timings["imports"] < timings["start_up"] < whole
    # Nothing is lost between the process's start and the record.
    assert timings["start_up"] + timings["training"] + timings["test"] > 0.5 * whole


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
    record = _timings()
    assert record.seconds == (
        {"imports": pytest.approx(record.elapsed, abs=0.1)} if counted else {}
    )
    assert (record.elapsed > 1) == counted  # torch alone has taken longer to import
