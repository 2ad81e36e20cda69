"""The split as a file: written, read back, refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpipe.data.scanning.scan import Scan
from medpipe.data.splits.split import Splits, make_splits
from medpipe.data.splits.split_file import read_splits, write_splits
from medpipe.errors import ChangedError, DataError
from medpipe.settings import SplitSettings
from medpipe.steps import SPLITS, Dataset, Sample, Split, Task
from support.examples import examples
from support.splits import TASK, sample_of, scan_of

if TYPE_CHECKING:
    from pathlib import Path


def _read(
    path: Path,
    samples: list[Sample],
    scan: Scan | None = None,
    how: SplitSettings = SplitSettings(),  # noqa: B008
    **options: Any,
) -> tuple[Dataset, Splits]:
    # A regression takes any label, and asks for no class in training.
    dataset = Dataset(
        samples=samples, **{"task": Task(kind="regression", names=("age",)), **options}
    )
    return read_splits(path, dataset, scan or scan_of(samples), how)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


@settings(max_examples=examples(100), deadline=None)
@given(ids=st.lists(names, min_size=1, max_size=12, unique=True), data=st.data())
def test_split_file_round_trip(
    ids: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from medpipe.data.ids import portable_id
    from medpipe.system.text import visible

    ids = list({visible(portable_id(i)) or i: i for i in ids}.values())
    samples = [
        sample_of(i, data.draw(st.sampled_from([0, 1.5, (1.0, 0.0)])), i + "\r") for i in ids
    ]
    split = Splits(by_id={i: data.draw(st.sampled_from(SPLITS)) for i in ids})
    path = tmp_path_factory.mktemp("split") / "splits.csv"
    write_splits(path, split, samples, scan_of(samples))
    assert _read(path, samples[::-1])[1] == split


SAMPLES = [sample_of(f"{n}.png", n % 2, f"p{n // 2}") for n in range(6)]
SPLIT = Splits(by_id={s.id: SPLITS[int(s.id[0]) // 2] for s in SAMPLES})


def _written(tmp_path: Path) -> Path:
    path = tmp_path / "splits.csv"
    write_splits(path, SPLIT, SAMPLES, scan_of(SAMPLES))
    return path


def test_split_file_in_full(tmp_path: Path) -> None:
    samples = [sample_of("b,é.png", (1.0, 0.0), "p"), sample_of("a.png", 2)]
    split = Splits(by_id={"b,é.png": "test", "a.png": "training"})
    path = tmp_path / "deep" / "splits.csv"
    write_splits(path, split, samples, scan_of(samples))
    prints = scan_of(samples).fingerprints
    assert path.read_bytes().decode() == (
        "id,split,label,group,sha256,pixels\n"
        f"a.png,training,2,,{prints['a.png'].sha256},a.png\n"
        f'"b,é.png",test,1.0 0.0,p,{prints["b,é.png"].sha256},"b,é.png"\n'
    )


def test_changed_data(tmp_path: Path) -> None:
    path = _written(tmp_path)
    samples = [*SAMPLES[4:], *(sample_of(f"new {n}", 0) for n in range(2))]
    samples[1] = attrs.evolve(samples[1], split="validation")
    prints = dict(scan_of(samples).fingerprints)
    prints["4.png"] = attrs.evolve(prints["4.png"], sha256="0" * 64)
    with pytest.raises(ChangedError) as caught:
        _read(path, samples, Scan(fingerprints=prints))
    assert str(caught.value) == (
        f"The data are not those that the split file {path} was made with:\n  4 of the file's "
        "samples are not in the data: '0.png', '1.png', '2.png' and 1 more.\n  2 of the data's "
        "samples are not in the file: 'new 0', 'new 1'.\n  1 of the samples is another image "
        "(its SHA-256 differs): '4.png'.\n  1 of the samples is in another split in the data "
        "set: '5.png'.\nRestore the data, or leave split.file out for a new split."
    )


def test_blank_hash_is_not_compared_and_columns_are_optional(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    rows = "".join(f"{split},{i},\r\n" for i, split in SPLIT.items())
    path.write_text("\ufeffsplit,id,sha256\r\n" + rows, encoding="utf-8", newline="")
    assert _read(path, SAMPLES)[1] == SPLIT


def test_split_file_that_leaks(tmp_path: Path) -> None:
    path = _written(tmp_path)
    path.write_text(path.read_text().replace("3.png,validation", "3.png,test"))
    with pytest.raises(DataError) as caught:
        _read(path, SAMPLES, scan_of(SAMPLES, {"0.png": "same", "5.png": "same"}))
    assert str(caught.value) == (
        f"The split file {path} divides groups or duplicate images:\n  1 group: 'p1' (validation, "
        "test).\n  1 set of duplicate images: '0.png' (training) = '5.png' (test).\nCorrect the "
        'file, set dataset.on_leak = "drop_train" to leave the training side out, or leave '
        "split.file out for a new split."
    )


COLUMNS = "The columns are id, split, fold, label, group, sha256, pixels."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"{{path}}, line 1: there is no column id. {COLUMNS}"),
        ("id,label\na,1\n", f"{{path}}, line 1: there is no column split. {COLUMNS}"),
        (
            "id,split,age\na,test,1\n",
            f"{{path}}, line 1: the column 'age' is unknown. {COLUMNS} Remove it, or use the "
            "medpipe that wrote the file.",
        ),
        ("id,split,id\na,test,a\n", f"{{path}}, line 1: the column id occurs twice. {COLUMNS}"),
        ("id,split\n", "The split file {path} has no rows."),
        (
            "id,split\n0.png,train\n",
            "{path}, line 2, column split: 'train' is not a split. "
            "The splits are training, validation, test.",
        ),
        ("id,split\n0.png,test\n1.png\n", "{path}, line 3: 1 values for 2 columns."),
        (
            "id,split\n0.png,test\n\n0.png,training\n",
            "{path}, line 4, column id: '0.png' is already in line 2.",
        ),
        (
            "id,split,sha256\n0.png,test,12\n",
            "{path}, line 2, column sha256: '12' is not 64 hexadecimal digits.",
        ),
        (
            f"id,split,sha256\n0.png,test,{'g' * 64}\n",
            f"{{path}}, line 2, column sha256: '{'g' * 64}' is not 64 hexadecimal digits.",
        ),
        (
            "id,split,fold\n0.png,test,²\n",
            "{path}, line 2, column fold: '²' is not a whole number from 0.",
        ),
        (
            "id,split,fold\n0.png,test,-1\n",
            "{path}, line 2, column fold: '-1' is not a whole number from 0.",
        ),
        (
            f"id,split,fold\n0.png,test,{'9' * 5000}\n",
            f"{{path}}, line 2, column fold: '{'9' * 5000}' is not a whole number from 0.",
        ),
        ('id,split\n"0.png,test\n', "{path}, line 2: not valid CSV: unexpected end of data."),
    ],
)
def test_malformed_split_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "splits.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        _read(path, SAMPLES)
    assert str(caught.value) == message.format(path=path)


def test_split_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    with pytest.raises(DataError) as caught:
        _read(path, SAMPLES)
    assert str(caught.value) == (f"The split file {path} can't be read: no such file or directory.")
    path.write_bytes(b"id,split\n\xff,test\n")
    with pytest.raises(DataError) as caught:
        _read(path, SAMPLES)
    assert str(caught.value) == (
        f"The split file {path} is not UTF-8 text: 'utf-8' codec can't decode byte 0xff in "
        "position 9: invalid start byte."
    )


def test_a_class_without_training_samples_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("id,split\na,training\nb,test\n")
    with pytest.raises(DataError) as caught:
        _read(path, [sample_of("a", 0), sample_of("b", 1)], task=TASK)
    assert str(caught.value) == (
        "The class 'well' has no training samples: its only sample is in another split. Remove "
        "the class, or give it more samples or groups."
    )


FOLDS = [sample_of(f"{n:02}", n % 2, f"p{n // 3}") for n in range(45)]


def _with_folds(folds: int | None, fold: int | None) -> Splits:
    return make_splits(FOLDS, scan_of(FOLDS), SplitSettings(folds=folds, fold=fold), TASK)


def test_the_fold_is_written_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    split = _with_folds(3, 1)
    write_splits(path, split, FOLDS, scan_of(FOLDS))
    lines = path.read_text().splitlines()
    assert lines[0] == "id,split,fold,label,group,sha256,pixels"
    assert lines[1].startswith(f"00,{split['00']},{split.folds['00']},0,p0,")

    for how in (SplitSettings(folds=3, fold=1), SplitSettings()):
        _, back = _read(path, FOLDS, how=how, task=TASK)
        assert back == split
        assert back.folds == split.folds
    remedy = "Take the file of that fold's run, or leave split.file out."
    for how, message in (
        (SplitSettings(folds=3, fold=2), "does not hold out split.fold = 2"),
        (SplitSettings(folds=3), "does not hold out split.fold = 0"),
        (SplitSettings(folds=4, fold=1), "has 3 folds, but split.folds is 4"),
    ):
        with pytest.raises(DataError) as caught:
            _read(path, FOLDS, how=how, task=TASK)
        assert str(caught.value) == f"The split file {path} {message}. {remedy}"
    first = next(s.group for s in FOLDS if split.folds[s.id] == 1)
    splits: dict[str, Split] = {
        s.id: "training" if split.folds[s.id] != 1 else "validation" if s.group == first else "test"
        for s in FOLDS
    }
    write_splits(path, Splits(by_id=splits, folds=split.folds), FOLDS, scan_of(FOLDS))
    with pytest.raises(DataError, match=r"does not hold out split\.fold = 1"):
        _read(path, FOLDS, how=SplitSettings(folds=3, fold=1), task=TASK)
    write_splits(path, _with_folds(None, None), FOLDS, scan_of(FOLDS))
    with pytest.raises(DataError) as caught:
        _read(path, FOLDS, how=SplitSettings(folds=3), task=TASK)
    assert str(caught.value) == (
        f"The split file {path} has no folds, but split.folds is 3. {remedy}"
    )


def test_samples_that_a_leak_left_out_may_be_missing(tmp_path: Path) -> None:
    path = _written(tmp_path)
    leaked = [sample_of("6.png", 0, "p2", "training"), sample_of("7.png", 0, "p1")]
    brought = [attrs.evolve(s, split=SPLIT[s.id]) for s in SAMPLES]
    dataset, split = _read(path, [*brought, *leaked], on_leak="drop_train")
    assert split == SPLIT
    assert [s.id for s in dataset.samples] == [s.id for s in SAMPLES]
    (note,) = dataset.notes
    assert note.startswith(
        "2 samples were left out (2 of training), since the data set's own splits"
    )
    with pytest.raises(ChangedError):
        _read(path, [*brought, *leaked])


def test_what_the_file_divides_can_be_left_out(tmp_path: Path) -> None:
    path = _written(tmp_path)
    path.write_text(path.read_text().replace("3.png,validation", "3.png,test"))
    dataset, split = _read(path, SAMPLES, on_leak="drop_train")
    assert dict(split) == {i: SPLIT[i] for i in SPLIT if i not in ("2.png", "3.png")} | {
        "3.png": "test"
    }
    assert set(split) == {s.id for s in dataset.samples}
    assert dataset.notes == (
        "1 sample was left out (1 of validation), since the splits of the split file divide "
        "groups or duplicate images: 1 group: 'p1' (validation, test).",
    )
