"""Runs on bad data: refused, or left out and recorded, also when they go on; and the commands."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest

from medpipe import CheckFailed, PipelineBuilder, Registry, Run, RunError, StepError
from medpipe.checks.data_info import probes
from medpipe.cli import main
from medpipe.data.chain import Chain
from medpipe.data.quality.non_finite import REMEDY
from medpipe.data.quality.quarantine_file import read_quarantine, write_quarantine
from medpipe.data.scanning.scan import scan
from medpipe.errors import Fault
from medpipe.plugin import TransformStep, hookimpl
from support import hostile
from support.hostile import floats, noise, picture, saved, written
from support.places import without_place


def network(data: Any) -> Any:
    from torch import nn

    pooled = nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*pooled, nn.Linear(4 * data.channels, data.outputs))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Good images, and three files that are not."""
    root = hostile.good_images(tmp_path / "root")
    written("a/empty.png", b"")(root)
    written("b/cut.png", picture(noise(32, 32), "PNG")[:600])(root)
    saved("b/nan.tif", floats(np.nan), "TIFF")(root)
    return root


def builder(root: Path, bad_data: Any = "quarantine", **options: Any) -> PipelineBuilder:
    return (
        PipelineBuilder(device="cpu", bad_data=bad_data, **options)
        .dataset("image_folder", root=str(root))
        .network(network)
        .trainer("supervised", max_epochs=1)
        .loader(batch_size=8, workers=0)
    )


def test_training_refuses_by_default(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed) as caught:
        builder(root, "refuse").build().run(tmp_path / "run")
    assert str(caught.value) == (
        "The pipeline can't run:\n"
        "  dataset: 3 of 27 samples can't be used:\n"
        f"  The image {root}/a/empty.png is empty.\n"
        f"  The image {root}/b/cut.png is damaged: it ends within its IDAT chunk.\n"
        f"  The image {root}/b/nan.tif holds NaN values.\n"
        'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the '
        "command line --quarantine). medpipe check --data lists all that is wrong.\n"
        f"{REMEDY}"
    )


def test_quarantine_trains_on_the_rest_and_records_it(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "medpipe"):
        run = builder(root).build().run(tmp_path / "run")
    said = "3 faulty samples were left out (run.bad_data): 1 empty, 1 nan, 1 truncated."
    assert said in caplog.messages
    assert said in run.record["data"]["notes"]
    assert run.record["data"]["quarantine"] == {"empty": 1, "nan": 1, "truncated": 1}
    assert run.record["data"]["samples"] == 24
    with (run.path / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["kind"]) for row in rows] == [
        ("a/empty.png", "empty"),
        ("b/cut.png", "truncated"),
        ("b/nan.tif", "nan"),
    ]
    assert rows[0]["path"] == str(root / "a" / "empty.png")
    assert rows[0]["message"] == f"The image {root}/a/empty.png is empty."
    clean = builder(root).build().run(tmp_path / "again")
    assert clean.record["split"]["digest"] == run.record["split"]["digest"]


def test_without_faults_there_is_no_such_file(tmp_path: Path) -> None:
    run = builder(hostile.good_images(tmp_path / "root")).build().run(tmp_path / "run")
    assert not (run.path / "quarantine.csv").exists()
    assert run.record["data"]["quarantine"] == {}


def stopped(root: Path, output: Path) -> Run:
    run = builder(root).trainer("supervised", max_epochs=3).build().run(output, max_time=1e-9)
    assert run.status == "stopped"
    return run


def test_a_resumed_run_leaves_the_same_ones_out(root: Path, tmp_path: Path) -> None:
    before = stopped(root, tmp_path / "run")
    # A file has come back meanwhile: a disk that was away. The run is still the same.
    saved("a/empty.png", noise(32, 32, seed=5))(root)
    pipeline = builder(root).trainer("supervised", max_epochs=3).build()
    after = pipeline.run(tmp_path / "run", resume=True)
    assert after.status == "finished"
    for key in ("split", "data"):
        assert after.record[key]["digest"] == before.record[key]["digest"]
    assert len(read_quarantine(after.path / "quarantine.csv")) == 3
    assert pipeline.run(tmp_path / "new").record["data"]["samples"] == 25


def test_a_name_that_is_no_unicode_is_left_out_once(root: Path, tmp_path: Path) -> None:
    saved("a/bad\udcff.png", noise(32, 32, seed=9))(root)
    before = stopped(root, tmp_path / "run")
    after = (
        builder(root).trainer("supervised", max_epochs=3).build().run(tmp_path / "run", resume=True)
    )
    for key in ("data", "split"):
        assert after.record[key] == before.record[key]
    assert len(read_quarantine(after.path / "quarantine.csv")) == 4


def test_a_file_that_breaks_meanwhile_ends_the_run(root: Path, tmp_path: Path) -> None:
    stopped(root, tmp_path / "run")
    written("a/00.png", b"")(root)
    with pytest.raises(RunError, match="the data: files were added, removed or changed"):
        builder(root).trainer("supervised", max_epochs=3).build().run(tmp_path / "run", resume=True)


def test_a_split_file_of_a_run_with_quarantine_is_taken_back(root: Path, tmp_path: Path) -> None:
    first = builder(root).build().run(tmp_path / "first")
    second = builder(root).split(file=first.path / "splits.csv").build().run(tmp_path / "second")
    assert second.record["split"]["digest"] == first.record["split"]["digest"]


def test_quarantine_files_come_back_as_they_were(tmp_path: Path) -> None:
    faults = (
        Fault(kind="nan", message='of "x",\r\ny', sample="a,b\n", path='/c"d\r'),
        Fault(kind="empty", message="e", sample="ü", path=""),
    )
    write_quarantine(tmp_path / "q.csv", faults)
    assert read_quarantine(tmp_path / "q.csv") == faults
    assert read_quarantine(tmp_path / "none.csv") == ()
    write_quarantine(tmp_path / "q.csv", [Fault(kind="id", message="\udce9", sample="\udce9")])
    (fault,) = read_quarantine(tmp_path / "q.csv")
    assert (fault.sample, fault.message) == ("\\udce9", "\\udce9")  # UTF-8 has no form for it


COLUMNS = b"id,path,kind,message\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"id,path\n1,2\n",
        b"id,path,kind,remark\na,,nan,m\n",
        COLUMNS + b"a\n",
        COLUMNS + b"a,,nan,m,more\n",
        COLUMNS + b"a,,odd,m\n",
        COLUMNS + b'"a"b,,nan,m\n',
        COLUMNS + b"\xff,,nan,m\n",
        None,
    ],
)
def test_what_is_no_quarantine_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "q.csv"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_quarantine(path)
    said = f"{path} can't be read as a list of samples that were left out: "
    assert str(caught.value).startswith(said)


def test_what_is_remembered_knows_the_defects(root: Path) -> None:
    """A second look, which reads no file, finds the same."""
    (root / "a" / "empty.png").unlink()
    (root / "b" / "cut.png").unlink()
    saved("a/blank.png", np.zeros((32, 32), np.uint8))(root)
    dataset = builder(root).build().configuration.dataset.build()
    first = scan(dataset, workers=1).fingerprints
    again = scan(dataset, workers=1).fingerprints
    assert (
        first.with_defect()
        == again.with_defect()
        == [
            ("a/blank.png", "constant"),
            ("b/nan.tif", "nan"),
        ]
    )
    saved("b/new.png", np.ones((32, 32), np.uint8))(root)
    dataset = builder(root).build().configuration.dataset.build()
    assert scan(dataset, workers=1).fingerprints.with_defect() == [
        ("a/blank.png", "constant"),
        ("b/nan.tif", "nan"),
        ("b/new.png", "constant"),
    ]


def test_constant_images_are_said_and_trained_on(tmp_path: Path) -> None:
    root = hostile.good_images(tmp_path / "root")
    for number in range(4):
        saved(f"a/blank{number}.png", np.full((32, 32), number, np.uint8))(root)
    report = builder(root, "refuse").build().check()
    assert report.ok
    assert (
        "4 images are constant, all pixels of one value: 'a/blank0.png', 'a/blank1.png', "
        "'a/blank2.png' and 1 more."
    ) in report.notes


def test_constant_images_contradict_nothing(tmp_path: Path) -> None:
    root = hostile.good_images(tmp_path / "root")
    for label in "ab":
        saved(f"{label}/blank.png", np.zeros((32, 32), np.uint8))(root)
    assert builder(root, "refuse").build().check().ok


@pytest.mark.long
@pytest.mark.rare
@pytest.mark.real_data
def test_mednist_holds_constant_images_and_nothing_that_is_refused() -> None:
    report = PipelineBuilder(device="cpu").build().check_data()
    assert report.ok, report
    kinds = Counter(one.kind for one in report.warnings)
    assert kinds == {"constant": 94, "duplicate": 347, "near_duplicate": 1000}
    assert {one.sample.split("/")[0] for one in report.warnings if one.kind == "constant"} == {
        "HeadCT"
    }
    assert report.near_pairs > report.crossing_pairs > 0


def table(root: Path, rows: str) -> PipelineBuilder:
    names = sorted(root.rglob("*.png"))
    lines = [f"{name.relative_to(root).as_posix()},{name.parent.name}" for name in names]
    (root / "table.csv").write_text("\n".join(["file,finding", *lines, rows]), encoding="utf-8")
    return builder(root).dataset(
        "table", file=str(root / "table.csv"), image="file", label="finding"
    )


def test_rows_of_a_table(tmp_path: Path) -> None:
    root = hostile.good_images(tmp_path / "root")
    pipeline = table(root, "a/00.png,a\nb/none.png,a\na/x.png,\n").build()
    (root / "a" / "x.png").write_bytes(picture(noise(32, 32), "PNG"))
    expected = [
        ("id", "a/00.png (row 26)", "row 26: 'a/00.png' is already in row 2."),
        ("missing", "b/none.png", f"row 27: there is no file {root}/b/none.png."),
        ("label", "a/x.png", "row 28: no label in column 'finding'."),
    ]
    report = pipeline.check_data()
    assert [(f.kind, f.sample, f.message) for f in report.faults] == expected
    assert report.samples == 27
    assert report.faults[1].remedy == (
        'To leave these rows out, set dataset.missing_files = "drop".'
    )
    checked = pipeline.check()
    assert checked.ok
    assert checked.prepared is not None
    assert len(checked.prepared.dataset.samples) == 24
    assert checked.prepared.quarantine == report.faults


def test_the_commands(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.toml"
    text = builder(root, "refuse").network("resnet10", widen_factor=0.125).to_toml()
    file.write_text(text, encoding="utf-8")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(list(arguments))
        except SystemExit as ended:
            code = int(str(ended.code or 0))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    code, out, _ = call("check", str(file), "--data", "--json", str(tmp_path / "report.json"))
    assert code == 2
    assert out.splitlines()[-4:] == [
        f"empty          The image {root}/a/empty.png is empty.",
        f"truncated      The image {root}/b/cut.png is damaged: it ends within its IDAT chunk.",
        f"nan            The image {root}/b/nan.tif holds NaN values.",
        "3 faults: 1 empty, 1 nan, 1 truncated.",
    ]
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["counts"] == {"empty": 1, "nan": 1, "truncated": 1}
    assert report["ok"] is False
    assert report["faults"][0] == {
        "kind": "empty",
        "message": f"The image {root}/a/empty.png is empty.",
        "sample": "a/empty.png",
        "path": f"{root}/a/empty.png",
        "remedy": "",
    }
    assert call("check", str(file))[0] == 2
    code, out, _ = call("check", str(file), "--quarantine")
    assert code == 0
    assert "3 faulty samples were left out (run.bad_data): 1 empty, 1 nan, 1 truncated." in out
    code, _, err = call("run", str(file), "-o", str(tmp_path / "run"))
    assert code == 2
    assert "3 of 27 samples can't be used:" in err
    assert call("run", str(file), "-o", str(tmp_path / "run"), "--quarantine")[0] == 0
    assert len(read_quarantine(tmp_path / "run" / "quarantine.csv")) == 3
    for name in ("a/empty.png", "b/cut.png", "b/nan.tif"):
        (root / name).unlink()
    code, out, _ = call("check", str(file), "--data")
    assert code == 0
    assert out.splitlines()[-1] == "No faults were found."
    code, _, err = call("check", str(file), "--json", "x.json")
    assert (code, err.strip()) == (2, "--json needs --data. Give both.")


@attrs.frozen(kw_only=True)
class Picky(TransformStep):
    """Fails on one sample, in one of its forms."""

    name: ClassVar[str] = "picky"
    random: ClassVar[bool] = True
    wrong: str
    form: str = "apply"

    @property
    def batched(self) -> bool:
        """Whether the form for batches is used."""
        return self.form == "batch"

    def draw(self, rng: Any) -> dict[str, Any]:
        """Draw nothing."""
        return {}

    def apply(self, sample: Any, draw: Any) -> Any:
        """Fail on the sample."""
        if sample["id"] == self.wrong:
            raise ValueError("I do not like it")
        return sample

    def apply_batch(self, batch: Any, draws: Any) -> Any:
        """Fail on a batch that holds the sample."""
        if self.wrong in batch["id"] or self.wrong == "all":
            raise ValueError("I do not like it")
        return batch


class Plugin:
    """Offers the step."""

    @staticmethod
    @hookimpl
    def medpipe_transforms() -> list[type[Picky]]:
        """The step."""
        return [Picky]


@pytest.mark.parametrize("form", ["apply", "batch"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache", ["auto", "off"])
def test_a_transform_that_fails_in_training_names_file_sample_and_step(
    form: str, workers: int, cache: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medpipe.assembly.available_cpus", lambda: 2)
    root = hostile.good_images(tmp_path / "root")
    registry = Registry.discover().with_plugin(Plugin())
    plain = builder(root, registry=registry).loader(workers=workers, cache=cache)
    prepared = plain.build().check().prepared
    assert prepared is not None
    # One that the check does not try.
    training = {sample.id for sample in prepared.by_split["training"]}
    wrong = min(training - {sample.id for sample in probes(prepared)})
    pipeline = plain.transform("picky", wrong=wrong, form=form).build()
    with pytest.raises(StepError) as caught:
        pipeline.run(tmp_path / "run")
    assert without_place(caught.value) == (
        f"transform[4], the transform step 'picky' (Plugin), failed on the sample {wrong!r} "
        f"({root / wrong}): ValueError: I do not like it"
    )
    assert Run.load(tmp_path / "run").status == "failed"


def test_a_step_that_fails_on_every_sample_is_not_blamed_on_one(tmp_path: Path) -> None:
    chain = Chain([("the step", Picky(wrong="all", form="batch"))], seed=0)
    with pytest.raises(StepError) as caught:
        chain.batched_stage(
            {"id": ["a", "b"]}, training=True, epoch=0, file_of=lambda i: f"/{i}.png"
        )
    assert without_place(caught.value) == (
        "the step failed on the batch of the sample 'a' (/a.png): ValueError: I do not like it"
    )
