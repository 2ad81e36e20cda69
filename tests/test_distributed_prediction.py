"""Prediction and evaluation by several processes give what one process gives."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpipe import Run, RunSet
from support.blobs import blobs
from support.folders import image_folder
from support.marks import rare
from support.programs import TINY
from support.torchrun import torchrun
from support.trained import run_on, write_png

pytestmark = pytest.mark.long

HEARD = 45.0
"""Seconds in which all processes end when one does."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, its images, and as many others as no number of processes divides."""
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_CACHE", str(work / "cache"))
        run_on(image_folder(work / "xray", samples=60), work / "run")
    generator = np.random.default_rng(0)
    for number in range(21):
        name = "AbdomenCT" if number % 3 else "Hand"
        values = generator.integers(0, 256, (32, 32), np.uint8)
        write_png(work / "others" / name / f"{number:02}.png", values)
    (work / "external.toml").write_text(
        'format = 1\n[dataset]\nstep = "image_folder"\nroot = "others"\nchannels = 1\n'
    )
    return work


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def there(work: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(work)
    return work


def table(path: Path) -> tuple[list[list[str]], Any]:
    """A CSV file: what is text in it, and what are numbers."""
    texts, numbers = [], []
    for row in csv.reader(path.read_text().splitlines()):
        values = [float(cell) if cell.startswith(("0.", "1.")) else None for cell in row]
        texts.append([c for c, v in zip(row, values, strict=True) if v is None])
        numbers.append([v for v in values if v is not None])
    return texts, np.array(numbers[1:])


def assert_same(one: Any, other: Any) -> None:
    """Plain data, of which numbers may differ by rounding."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-6)
    else:
        assert one == other


@pytest.mark.parametrize(("processes", "count"), [(2, 21), rare(3, 2)])
def test_the_table_is_that_of_one_process(
    there: Path, tmp_path: Path, processes: int, count: int
) -> None:
    files = [str(path) for path in sorted(Path("others").rglob("*.png"))[:count]]
    Run.load("run").predict(files).write(tmp_path / "one.csv")
    output = tmp_path / "all.csv"
    arguments = ("medpipe", "predict", "run", *files, "-o", str(output))
    done = torchrun(*arguments, processes=processes)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"The predictions for {count} images are in {output}\n"
    texts, numbers = table(tmp_path / "one.csv")
    assert len(texts) == count + 1
    found_texts, found_numbers = table(output)
    assert found_texts == texts
    np.testing.assert_allclose(found_numbers, numbers, atol=1e-6)


def test_an_evaluation_is_that_of_one_process(there: Path, tmp_path: Path) -> None:
    arguments = ("medpipe", "evaluate", "run", "--data", "external.toml", "--output")
    for processes in (1, 2):
        done = torchrun(*arguments, str(tmp_path / str(processes)), processes=processes)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("on 21 images:") == 1
    one, two = tmp_path / "1", tmp_path / "2"
    assert {file.name for file in two.iterdir()} == {file.name for file in one.iterdir()}
    texts, numbers = table(one / "predictions.csv")
    found_texts, found_numbers = table(two / "predictions.csv")
    assert found_texts == texts
    np.testing.assert_allclose(found_numbers, numbers, atol=1e-6)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (one, two)]
    assert metrics[0]["metrics"]["loss"] is not None
    assert_same(metrics[1], metrics[0])


SCRIPT = """
import json, os, sys
from pathlib import Path
from medpipe import MedpipeError, Registry, Run
from medpipe.data.scanning import scan
from medpipe.prediction import batches
read, image, scanned = [], batches.read_sample_image, scan.read
batches.read_sample_image = lambda path, *more: read.append(Path(path).name) or image(path, *more)
found = Run.load("run").predict("others")
again = []
scan.read = lambda sample, *more: again.append(sample.id) or scanned(sample, *more)
scan.file_bytes = lambda path: again.append(path) or Path(path).read_bytes()
datasets = Registry.discover().datasets
step = datasets["image_folder"](root="others", channels=1)
evaluated = Run.load("run").evaluate(step, output=sys.argv[1] + "/evaluation")
there = os.path.exists(sys.argv[1] + "/evaluation/metrics.json")
rank, files = int(os.environ["RANK"]), list(again)  # what follows is in memory
try:
    refused = Run.load("run").evaluate(datasets["phantom"](samples=36, size=32, seed=7 + rank))
except MedpipeError as error:
    refused = str(error)
told = [read, files, refused, found.ids, found.scores.tolist(), evaluated.predictions.ids, there]
Path(sys.argv[1], str(rank)).write_text(json.dumps(told))
"""


def test_in_a_script_each_file_is_read_once_and_all_get_the_results(
    there: Path, tmp_path: Path
) -> None:
    (there / "script.py").write_text(SCRIPT)
    done = torchrun("script", str(tmp_path))
    assert done.returncode == 0, done.stderr
    told = [json.loads((tmp_path / rank).read_text()) for rank in ("0", "1")]
    assert [len(read) for read, *_ in told] == [11, 10]
    assert told[0][0] + told[1][0] == [Path(id_).name for id_ in told[0][3]]
    assert len(told[0][1]) >= 21
    assert told[1][1] == []  # it finds in the cache what the first has scanned
    assert told[0][3:] == told[1][3:]
    assert told[0][-1]
    other = "Process 1 sees other data than process 0. "
    assert told[1][2].startswith(other)
    assert told[0][2].startswith(f"Process 1 failed: TrainingError: {other}")


def test_a_bad_file_has_its_row_and_is_named_once(there: Path, tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path / "some" / f"a{number}.png", np.zeros((32, 32), np.uint8))
    for name in ("b.png", "z.png"):
        (tmp_path / "some" / name).write_bytes(b"no image")
    output = tmp_path / "all.csv"
    arguments = ("medpipe", "predict", "run", str(tmp_path / "some"), "-o", str(output))
    done = torchrun(*arguments)
    assert done.returncode == 1
    assert done.stderr.count("2 of 5 images can't be predicted:") == 1
    assert done.stderr.count("some/b.png ") == done.stderr.count("some/z.png ") == 1
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["id"] for row in rows] == ["a0.png", "a1.png", "a2.png", "b.png", "z.png"]
    assert [bool(row["error"]) for row in rows] == [False, False, False, True, True]


UNLIKE = """
import json, os, sys
from pathlib import Path
from medpipe import Run
found = Run.load("run").predict(sys.argv[1])
Path(sys.argv[2], os.environ["RANK"]).write_text(json.dumps([found.unlike, found.notes]))
"""


@pytest.mark.rare
def test_images_unlike_trainings_are_told_once(there: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    for number in range(8):
        values = generator.integers(0, 256, (32, 32)).astype(np.uint16)
        write_png(tmp_path / "some" / f"{number}.png", values * (257 if number in (0, 7) else 1))
    (there / "unlike.py").write_text(UNLIKE)
    done = torchrun("unlike", str(tmp_path / "some"), str(tmp_path))
    assert done.returncode == 0, done.stderr
    (unlike, notes), other = [json.loads((tmp_path / rank).read_text()) for rank in "01"]
    assert other == [unlike, notes]
    assert list(unlike) == ["0.png", "7.png"]
    assert len(notes) == done.stderr.count(" unlike training's ") == 1
    assert notes[0].startswith("2 of 8 images have a range of values unlike training's (0.png ")
    output = tmp_path / "all.csv"
    done = torchrun("medpipe", "predict", "run", str(tmp_path / "some"), "-o", str(output))
    assert done.stderr.count(notes[0]) == 1


MASKS = """
import os, signal, sys
from pathlib import Path
from medpipe import Run
from medpipe.prediction.masks import MaskWriter
from support.blobs import REGISTRY
run, root, output, way = sys.argv[1:]
write = MaskWriter.write
def ending(self, stem, *more):
    Path(output + ".ended").touch()
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("there is no place for it")
if way != "well" and os.environ["RANK"] == "1":
    MaskWriter.write = ending
paths = sorted(Path(root).glob("b*.nii.gz"))
found = Run.load(run).predict(paths, masks=output, registry=REGISTRY)
assert len(found.masks) == len(paths)
assert all(path.is_file() for some in found.masks.values() for path in some)
Path(output, os.environ["RANK"]).write_text(found.to_csv())
"""


def test_masks_are_written_by_all_and_are_there_whole_or_not_at_all(
    own_cache: None, tmp_path: Path
) -> None:
    root = tmp_path / "blobs"
    run = blobs(root, epochs=1).build().run(tmp_path / "run")
    paths = sorted(root.glob("b*.nii.gz"))
    one = run.predict(paths, masks=tmp_path / "one")
    (tmp_path / "script.py").write_text(MASKS)
    for way in ("well", "kill", "raise"):
        output = tmp_path / way
        done = torchrun("script", str(run.path), str(root), str(output), way, cwd=tmp_path)
        if way != "well":
            assert time.time() - (tmp_path / f"{way}.ended").stat().st_mtime < HEARD
            assert done.returncode != 0
            assert not output.exists()
            continue
        assert done.returncode == 0, done.stderr
        assert (output / "0").read_text() == (output / "1").read_text() == one.to_csv()
        for file in (tmp_path / "one").iterdir():
            assert (output / file.name).read_bytes() == file.read_bytes()
    assert "Process 1 failed: ValueError: there is no place for it" in done.stderr
    assert not list(tmp_path.glob(".raise*.part"))  # process 0 heard it, and tidied up


@pytest.mark.rare
def test_folds_are_run_by_all_processes(own_cache: None, tmp_path: Path) -> None:
    (tmp_path / "folds.toml").write_text(f"{TINY}[split]\nfolds = 2\n")
    arguments = ("medpipe", "run", "folds.toml", "--folds", "--output", "folds")
    done = torchrun(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The runs are in folds") == 1
    runs = RunSet.load(tmp_path / "folds")
    assert [run.record["processes"] for run in runs.runs] == [2, 2]
    assert (runs.unfinished, runs.missing_folds) == ((), ())
    assert len(runs.pooled()) == 60
