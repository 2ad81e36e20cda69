"""The benchmark runs, its table is right, and one row's failure leaves the others alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest
from benchmarks import __main__ as benchmark
from benchmarks import picture
from benchmarks.settings import QUICK, Settings, Study
from benchmarks.table import Line, mean_and_spread
from benchmarks.watching import MemoryWatch
from hypothesis import given
from hypothesis import strategies as st

TINY = attrs.evolve(
    QUICK,
    per_class=10,
    batch_size=8,
    seconds=0.1,
    iterations=1,
    recipe_iterations=1,
    growth=(120,),
    # No number: the sides refuse it at once.
    volumes=Study(images=4, sides=((8, 8), (8, 8), (8, 8)), batch_size="many"),  # type: ignore[arg-type]
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("MEDPIPE_DATA", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Settings(sizes=TINY, quick=True, pairs=1, seeds=1, scratch=scratch, rows=())


@pytest.mark.long
@pytest.mark.rare
def test_rows_run_and_their_figures_are_kept(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "figures.json"
    settings = attrs.evolve(settings, rows=("first", "accuracy"))
    assert benchmark.measure(settings, kept) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("drawn images (phantom), quick; 1 pairs, 0 workers; ")
    shown = [line for line in printed if line.startswith("|")][2:]
    names = [line.split(" | ")[0] for line in shown]
    assert names[:4] == [
        "| files to first batch, nothing cached, s",
        "| the same from the command, imports included, nothing cached, s",
        "| files to first batch, cached, s",
        "| the same from the command, imports included, cached, s",
    ]
    assert names[4].startswith("| files to a tested network (script: extrapolated; medpipe: ")
    assert len(names) == 5

    record = json.loads(kept.read_text("utf-8"))
    assert [row["error"] for row in record["rows"]] == [None, None]
    assert record["machine"]["cores"] >= 1
    assert {"python", "torch", "monai"} <= record["versions"].keys()
    sides = [(one["side"], one["task"]) for one in record["measured"]]
    assert sides == [
        ("script", "loading"),
        ("library", "loading"),
        ("library", "loading"),
        ("script", "training"),
        ("library", "recipe"),
    ]
    for one in record["measured"]:
        figures = one["figures"]
        assert 0 < figures["own_memory"] <= figures["memory"]
        assert figures["imports"] < figures["wall"]
        assert figures.get("from_command", 0) < figures["wall"]
    # The first line's ratio is that of the raw figures.
    script, cold = (one["figures"]["seconds"] for one in record["measured"][:2])
    assert record["rows"][0]["lines"][0]["ratios"] == [pytest.approx(script / cold)]

    drawn = tmp_path / "time.svg"
    assert picture.main([str(kept), str(drawn)]) == 0
    assert drawn.read_text("utf-8").startswith("<svg ")


@pytest.mark.long
@pytest.mark.rare
def test_a_row_that_fails_is_told_and_the_next_is_measured(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "figures.json"
    settings = attrs.evolve(settings, rows=("volumes", "growth"))
    assert benchmark.measure(settings, kept) == 1
    volumes, growth = json.loads(kept.read_text("utf-8"))["rows"]
    assert volumes["error"].startswith("SideError: ")
    assert volumes["error"].endswith("argument --batch-size: invalid int value: 'many'\n")
    assert volumes["lines"] == []
    assert growth["error"] is None
    assert [line["figure"] for line in growth["lines"]] == [
        "120 images: cache build, images/s",
        "120 images: loading, images/s",
        "120 images: most memory, GB",
        "120 images: most memory without pages of files, GB",
    ]
    said = capsys.readouterr()
    assert "| volumes: failed, see above | — | — | — | — | — |" in said.out
    assert "invalid int value: 'many'" in said.err


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(["--rows", "first,fist"])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "python -m benchmarks: error: argument --rows: there is no row fist; there are first, "
        "batches, training, memory, accuracy, tutorial, radiographs, volumes, overhead, growth"
    )


def test_a_line_gives_medians_and_the_spread_of_the_ratios() -> None:
    line = Line(figure="seconds", script=(80, 60, 100), library=(8, 10, 10), aim="8")
    assert line.ratios == (10, 6, 10)
    assert line.text() == "| seconds | 80 | 10 | 10.00 | 6 to 10 | 8 |"
    more = Line(figure="images/s", script=(62.04,), library=(180.3,), better="more")
    assert more.text() == "| images/s | 62 | 180 | 2.91 | — | — |"


def test_each_seed_is_compared_with_the_scripts_median() -> None:
    line = Line(figure="seconds", script=(2000, 2400, 4000), library=(40, 60))
    assert line.ratios == (60, 40)
    assert line.text() == "| seconds | 2400 | 50 | 50.00 | 40 to 60 | — |"


def test_a_figure_of_medpipe_alone_has_its_own_spread() -> None:
    line = Line(figure="overhead, %", library=(0.51, -0.2, 1.3), better="neither", aim="under 2")
    assert line.ratios == ()
    assert line.text() == "| overhead, % | — | 0.51 | — | -0.2 to 1.3 | under 2 |"


POSITIVE = st.floats(1e-3, 1e6)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=5))
def test_less_of_seconds_is_as_much_better_as_more_of_rates(
    pairs: list[tuple[float, float]],
) -> None:
    script, library = zip(*pairs, strict=True)
    seconds = Line(figure="s", script=script, library=library)
    rates = Line(
        figure="1/s",
        script=[1 / value for value in script],
        library=[1 / value for value in library],
        better="more",
    )
    assert rates.ratios == pytest.approx(seconds.ratios)
    for (a, b), ratio in zip(pairs, seconds.ratios, strict=True):
        assert (ratio > 1) == (b < a)


def test_accuracies_are_shown_with_their_standard_deviation() -> None:
    assert mean_and_spread((0.996, 0.998)) == "99.70 % ± 0.14"
    assert mean_and_spread((0.996,)) == "99.60 %"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_the_memory_of_a_process_and_its_children_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "holds.py"
    file.write_text(
        "import subprocess, sys\n"
        "held = b'x' * 50_000_000\n"
        "if len(sys.argv) == 1:\n"
        "    subprocess.run([sys.executable, __file__, 'child'])\n"
        "else:\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, str(file)], stdin=subprocess.PIPE, text=True)
    watch = MemoryWatch(process)
    until = time.monotonic() + 120
    while watch.most_own < 100e6 and time.monotonic() < until:
        time.sleep(0.05)
    process.communicate()
    watch.close()
    assert 100e6 < watch.most_own <= watch.most < 250e6
