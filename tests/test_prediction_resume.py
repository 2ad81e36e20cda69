"""A prediction into a file goes on after a kill, and gives what it would have given."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpipe import DataError, Run, RunError
from medpipe.data.readers.reader import read_sample_image
from medpipe.prediction.parts import parts_of
from support.blobs import blobs
from support.folders import image_folder
from support.interrupted import ENDING, begin
from support.torchrun import environment, torchrun
from support.trained import run_on, write_png

linux = pytest.mark.skipif(sys.platform != "linux", reason="forks and kills as Linux does")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and new files of which some are broken."""
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_CACHE", str(work / "cache"))
        run_on(image_folder(work / "xray", samples=60), work / "run")
    generator = np.random.default_rng(0)
    for number in range(160):
        values = generator.integers(0, 256, (32, 32), np.uint8)
        path = write_png(work / "new" / f"{number:03}.png", values)
        if number % 17 == 5:
            path.write_bytes(b"no image")
    for path in sorted((work / "new").iterdir())[:7]:
        (work / "few").mkdir(exist_ok=True)
        shutil.copy(path, work / "few")
    return work


@pytest.fixture
def there(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(work)
    return work


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file, strict=True))


def script(tmp_path: Path, text: str, *arguments: object) -> Any:
    """What a script prints as JSON, in a process of its own."""
    (tmp_path / "script.py").write_text(text)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


PREPARED = """
import json, random, signal, sys
from pathlib import Path
from faults.disks import Killing, Watching
from faults.server import forked, prepare
prepare()
import medpipe.runs.run, medpipe.prediction.batches
from medpipe import Run
from medpipe.errors import RunError
from medpipe.system import files
def predict(disk, folder, output, **more):
    with files.through(disk):
        Run.load("run").predict(folder, output=output, resume=True, device="cpu", **more)
    return getattr(disk, "names", None)
"""

KILLS = """
output, random = sys.argv[1], random.Random(0)
forked(lambda: predict(Watching(), "new", output + ".whole", batch_size=2))
kills = 0
while kills < 20:
    place = random.randrange(1, 12) + (8 if kills == 0 else 0)
    status, said = forked(lambda: predict(Killing(place), "new", output, batch_size=2))
    assert status == -signal.SIGKILL, (kills, status, said)
    assert not Path(output).exists()
    kills += 1
answered = sum(len(p.read_bytes().splitlines()) for p in Path(output + ".parts").glob("*.jsonl"))
status, said = forked(lambda: predict(Watching(), "new", output, batch_size=2))
assert status == 0, said
print(json.dumps([answered, sum(name.startswith("write answers") for name in said)]))
"""


@linux
@pytest.mark.long
def test_killed_twenty_times_it_gives_the_same_table(there: Path, tmp_path: Path) -> None:
    output = tmp_path / "new.csv"
    before, _ = script(tmp_path, PREPARED + KILLS, output)
    assert output.read_bytes() == Path(f"{output}.whole").read_bytes()
    names = [row[0] for row in rows(output)[1:]]
    assert names == sorted(path.name for path in Path("new").iterdir())
    assert 20 < before < 80
    assert not parts_of(output).exists()


POINTS = """
output = Path(sys.argv[1])
status, names = forked(lambda: predict(Watching(), "few", output / "whole.csv", batch_size=3))
assert status == 0, names
whole, became = (output / "whole.csv").read_bytes(), []
for place in range(len(names)):
    path = output / f"{place}.csv"
    status, said = forked(lambda: predict(Killing(place), "few", path, batch_size=3))
    assert status == -signal.SIGKILL, (names[place], said)
    if path.exists():
        assert path.read_bytes() == whole, names[place]
    status, said = forked(lambda: predict(Watching(), "few", path, batch_size=3))
    if status:
        assert "is there already" in said["bare"], (names[place], said)
    assert path.read_bytes() == whole, names[place]
    assert not path.with_name(path.name + ".parts").exists(), names[place]
print(json.dumps(names))
"""


@linux
@pytest.mark.long
def test_a_kill_at_any_point_of_the_disk_is_survived(there: Path, tmp_path: Path) -> None:
    names = script(tmp_path, PREPARED + POINTS, tmp_path)
    assert len(names) > 20
    assert sum("answers" in name for name in names) > 5


def test_what_was_answered_is_not_predicted_again(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medpipe.prediction import batches

    run, output = Run.load("run"), tmp_path / "few.csv"
    begin(monkeypatch, run, "few", output)
    read: list[str] = []
    image = read_sample_image

    def reading(path: Any, *more: Any) -> Any:
        read.append(Path(path).name)
        return image(path, *more)

    monkeypatch.setattr(batches, "read_sample_image", reading)
    found = run.predict("few", output=output, batch_size=2, resume=True)
    assert read == ["004.png", "005.png", "006.png"]
    assert output.read_text() == found.to_csv() == run.predict("few", batch_size=2).to_csv()
    assert list(found.errors) == ["005.png"]
    assert not parts_of(output).exists()


def test_a_line_that_was_cut_off_or_changed_is_answered_again(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, output = Run.load("run"), tmp_path / "few.csv"
    begin(monkeypatch, run, "few", output)
    (answers,) = parts_of(output).glob("*.jsonl")
    first, second = answers.read_bytes().splitlines(keepends=True)
    answers.write_bytes(first.replace(b'"001.png"', b'"000.png"') + second[:-20])
    run.predict("few", output=output, batch_size=2, resume=True)
    assert output.read_text() == run.predict("few", batch_size=2).to_csv()


def test_another_prediction_is_not_resumed_as_this_one(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = shutil.copytree("few", tmp_path / "few")
    run, output = Run.load("run"), tmp_path / "few.csv"
    begin(monkeypatch, run, few, output)
    kept = sorted(path.read_bytes() for path in parts_of(output).glob("*.json*"))
    with pytest.raises(RunError, match=r"few\.csv\.parts holds what .* resume=True, or remove"):
        run.predict(few, output=output, batch_size=2)
    shutil.copytree("run", tmp_path / "other")
    write_other_weights(tmp_path / "other")
    (few / "006.png").unlink()
    shutil.copy(few / "000.png", few / "a.png")
    write_png(few / "001.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(RunError) as caught:
        Run.load(tmp_path / "other").predict(few, output=output, batch_size=3, resume=True)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"{parts_of(output)} is of another prediction, which can't be resumed as this one. "
        "3 differences:"
    )
    assert lines[1:4] == [
        "  the batch size: 2 then, 3 now",
        "  the weights: it was begun with others, those of run",
        "  the files: 1 new ('a.png'), 1 gone ('006.png'), 1 changed ('001.png')",
    ]
    assert sorted(path.read_bytes() for path in parts_of(output).glob("*.json*")) == kept


def write_other_weights(run: Path) -> None:
    from medpipe.training.checkpoint import Tensors, load_checkpoint, save_checkpoint

    path = run / "checkpoints" / "best.safetensors"
    states, about = load_checkpoint(path)
    name = next(name for name, value in states["network"].items() if value.is_floating_point())
    states["network"][name] += 1
    states = {name: Tensors(state) for name, state in states.items()}
    save_checkpoint(path, states, about=about)


def test_where_nothing_was_answered_nothing_is_left(there: Path, tmp_path: Path) -> None:
    run, bad = Run.load("run"), tmp_path / "bad"
    bad.mkdir()
    (bad / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="None of 1 image"):
        run.predict(bad, output=tmp_path / "bad.csv")
    with pytest.raises(DataError, match="Name it with the argument output"):
        run.predict(bad, resume=True)
    (tmp_path / "there.csv").touch()
    with pytest.raises(RunError, match="is there already"):
        run.predict("few", output=tmp_path / "there.csv", resume=True)
    assert {path.name for path in tmp_path.iterdir()} <= {"bad", "cache", "there.csv"}


@pytest.mark.long
def test_what_several_processes_began_one_finishes(there: Path, tmp_path: Path) -> None:
    output, whole = tmp_path / "new.csv", tmp_path / "whole.csv"
    (there / "ending.py").write_text(ENDING)
    arguments = ("predict", "run", "new", "--device", "cpu", "--batch-size", "4", "-o")
    done = torchrun("ending", *arguments, str(output), env={"MEMBER": "0", "ANSWERED": "13"})
    assert done.returncode != 0
    assert not output.exists()
    kept = [path.read_bytes() for path in parts_of(output).glob("*.jsonl")]
    assert len(kept) == 2
    assert all(kept)
    command = [sys.executable, "-m", "medpipe", *arguments, str(output), "--resume"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert ended.returncode == 1, ended.stderr
    Run.load("run").predict("new", output=whole, device="cpu", batch_size=4)
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.long
def test_masks_go_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "blobs"
    run = blobs(root, epochs=1).build().run(tmp_path / "run")
    paths = sorted(root.glob("b*.nii.gz"))[:5]
    run.predict(paths, masks=tmp_path / "whole", output=tmp_path / "whole.csv")
    output, masks = tmp_path / "new.csv", tmp_path / "new"
    begin(monkeypatch, run, paths, output, masks=masks)
    assert not masks.exists()
    assert len(list(parts_of(masks).iterdir())) >= 2
    found = run.predict(paths, masks=masks, output=output, batch_size=2, resume=True)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not parts_of(masks).exists()
    assert all(path.is_file() for some in found.masks.values() for path in some)
    for file in (tmp_path / "whole").iterdir():
        assert (masks / file.name).read_bytes() == file.read_bytes()
