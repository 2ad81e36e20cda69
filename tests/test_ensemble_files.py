"""Files predicted by the mean of runs: bad ones, identifiers, and a table that is resumed."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medpipe import DataError, RunError, RunSet
from medpipe.prediction.answers import BatchAnswers, mean_answers
from medpipe.prediction.file_predictions import DICOM_IDS
from medpipe.prediction.parts import parts_of
from support.blobs import REGISTRY, blobs
from support.drawn_dicom import write_dicom
from support.interrupted import ENDING, begin
from support.torchrun import environment, torchrun
from support.trained import write_png


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Seven images, one of them broken."""
    generator = np.random.default_rng(0)
    for number in range(7):
        values = generator.integers(0, 256, (32, 32), np.uint8)
        path = write_png(tmp_path / "new" / f"{number}.png", values)
    path.write_bytes(b"no image")
    return tmp_path / "new"


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file, strict=True))


@pytest.mark.long
def test_a_bad_file_has_a_row_and_dicom_files_their_identifiers(
    folds: Path, new: Path, tmp_path: Path
) -> None:
    values = np.random.default_rng(1).integers(0, 256, (32, 32)).astype(np.uint16)
    write_dicom(new / "a.dcm", values, PatientID="P7", StudyInstanceUID="1.2")
    output = tmp_path / "new.csv"
    command = [sys.executable, "-m", "medpipe", "predict", str(folds), str(new), "-o", str(output)]
    done = subprocess.run(
        [*command, "--dicom-ids"], capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 1, done.stderr
    assert "1 of 8 images can't be predicted:" in done.stderr
    header, *others = rows(output)
    assert header[1:5] == list(DICOM_IDS)
    names = [f"{number}.png" for number in range(7)]
    assert [row[0] for row in others] == [*names, "a.dcm"]
    assert others[-1][1:4] == ["P7", "1.2", "1.2.3"]
    bad = others[6]
    assert bad[-1].startswith(str(new / "6.png"))
    assert set(bad[1:-1]) == {""}
    assert [bool(row[-1]) for row in others] == [row is bad for row in others]
    found = RunSet.load(folds).predict(new, dicom_ids=True)
    assert found.to_csv() == output.read_text()
    by_hand = sum(run.predict(new).scores for run in RunSet.load(folds).runs) / 3
    np.testing.assert_allclose(found.scores, by_hand, atol=1e-6, rtol=0)


def test_it_goes_on_inside_a_network(
    folds: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medpipe.prediction import batches

    runs, output = RunSet.load(folds), tmp_path / "new.csv"
    begin(monkeypatch, runs, new, output, after=6)  # of four batches by each of three networks
    assert not output.exists()
    read: list[str] = []
    image = batches.read_sample_image

    def reading(path: Any, *more: Any) -> Any:
        read.append(Path(path).name)
        return image(path, *more)

    monkeypatch.setattr(batches, "read_sample_image", reading)
    found = runs.predict(new, output=output, batch_size=2, resume=True)
    names = [f"{number}.png" for number in range(7)]
    assert read == [*names[4:], *names]
    monkeypatch.undo()
    assert output.read_text() == found.to_csv() == runs.predict(new, batch_size=2).to_csv()
    assert not parts_of(output).exists()


def test_other_runs_do_not_go_on(
    folds: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, output = RunSet.load(folds), tmp_path / "new.csv"
    begin(monkeypatch, runs, new, output)
    with pytest.raises(RunError, match=r"can't be resumed as this one") as caught:
        runs.runs[0].predict(new, output=output, batch_size=2, resume=True)
    assert f"the weights: it was begun with others, those of {folds / 'fold-0'}, " in str(
        caught.value
    )
    (folds / "fold-1").rename(folds / "fold-9")
    with pytest.raises(RunError, match="the weights: it was begun with others"):
        RunSet.load(folds).predict(new, output=output, batch_size=2, resume=True)
    (folds / "fold-9").rename(folds / "fold-1")
    found = RunSet.load(folds).predict(new, output=output, batch_size=2, resume=True)
    assert output.read_text() == found.to_csv()


def test_files_of_which_no_network_predicts_one_are_refused(
    folds: Path, new: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="None of 1 image can be predicted"):
        RunSet.load(folds).predict(new / "6.png", output=tmp_path / "new.csv")
    assert not parts_of(tmp_path / "new.csv").exists()


@pytest.mark.long
@pytest.mark.rare
def test_what_several_processes_began_one_finishes(
    folds: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ending.py").write_text(ENDING)
    output, whole = tmp_path / "new.csv", tmp_path / "whole.csv"
    arguments = ("predict", str(folds), "new", "--device", "cpu", "--batch-size", "2", "-o")
    done = torchrun("ending", *arguments, str(output), env={"MEMBER": "1", "ANSWERED": "2"})
    assert done.returncode != 0
    kept = [path for path in parts_of(output).glob("*.jsonl") if path.stat().st_size]
    assert len(kept) == 2, done.stderr
    command = [sys.executable, "-m", "medpipe", *arguments, str(output), "--resume"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert ended.returncode == 1, ended.stderr
    RunSet.load(folds).predict("new", output=whole, device="cpu", batch_size=2)
    assert output.read_bytes() == whole.read_bytes()
    assert torchrun("medpipe", *arguments, str(tmp_path / "two.csv")).returncode == 1
    assert (tmp_path / "two.csv").read_bytes() == whole.read_bytes()


@pytest.mark.long
def test_masks_of_three_networks_go_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "blobs"
    blobs(root, epochs=1).build().run_seeds(3, tmp_path / "seeds")
    runs = RunSet.load(tmp_path / "seeds")
    paths = sorted(root.glob("b*.nii.gz"))[:4]
    runs.predict(paths, masks=tmp_path / "whole", output=tmp_path / "whole.csv", registry=REGISTRY)
    output, masks = tmp_path / "new.csv", tmp_path / "new"
    begin(monkeypatch, runs, paths, output, after=1, masks=masks, registry=REGISTRY)
    runs.predict(paths, masks=masks, output=output, batch_size=2, resume=True, registry=REGISTRY)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    for file in (tmp_path / "whole").iterdir():
        assert (masks / file.name).read_bytes() == file.read_bytes()


# The mean of answers


@st.composite
def answered(draw: st.DrawFn) -> tuple[list[BatchAnswers], int, dict[str, list[float | None]]]:
    """What networks answer about batches of two, and the number of each by file; None: none."""
    networks, files = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    score = st.none() | st.floats(0, 1)
    found, by_file = [], {}
    for number, first in enumerate(range(0, files, 2)):
        ids = [str(file) for file in range(first, min(first + 2, files))]
        for id_ in ids:
            by_file[id_] = draw(st.lists(score, min_size=networks, max_size=networks))
        for member in range(networks):
            good = [id_ for id_ in ids if by_file[id_][member] is not None]
            found.append(
                BatchAnswers(
                    number=number,
                    member=member,
                    ids=good,
                    scores=[[by_file[id_][member]] for id_ in good],
                    errors={id_: f"{id_} by {member}" for id_ in ids if id_ not in good},
                )
            )
    return draw(st.permutations(found)), networks, by_file


@given(answered())
def test_a_mean_is_that_of_all_networks_or_the_first_error(given_: Any) -> None:
    found, networks, by_file = given_
    mean = mean_answers(found, networks)
    assert [batch.number for batch in mean] == list(range(len(mean)))
    scores = {
        id_: row for batch in mean for id_, (row,) in zip(batch.ids, batch.scores, strict=True)
    }
    errors = {id_: said for batch in mean for id_, said in batch.errors.items()}
    for id_, each in by_file.items():
        if None in each:
            assert id_ not in scores
            assert errors[id_] == f"{id_} by {each.index(None)}"
        else:
            assert id_ not in errors
            assert scores[id_] == pytest.approx(np.mean(each), abs=1e-12)
