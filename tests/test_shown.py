"""What a shell and a notebook show of results, and how progress is shown in a script."""

from __future__ import annotations

import html.parser
import logging
import re
from pathlib import Path

import numpy as np
import pytest

import medpipe
from medpipe.checks.data_report import DataReport
from medpipe.errors import Fault, Problem, RunError
from medpipe.evaluation.predictions import Predictions
from medpipe.plugin import Task, bar
from medpipe.prediction.file_predictions import FilePredictions
from medpipe.runs.shown import as_html, in_short
from medpipe.system import progress
from medpipe.system.html import LONGEST, table
from medpipe.system.narration import narrated
from medpipe.system.notebook import KEPT, NotebookLog
from support.folders import phantom


class _Cells(html.parser.HTMLParser):
    """Collects the cells of a table, and refuses tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def cells(text: str) -> list[str]:
    parser = _Cells()
    parser.feed(text)
    assert parser.open == []
    return parser.cells


def test_a_table_shows_what_it_is_given_and_runs_nothing() -> None:
    hostile = "<script>alert('&')</script>"
    text = table([(hostile, None, 3)], title=hostile, head=("a", "b", hostile))
    assert "<script" not in text
    assert cells(text) == ["a", "b", hostile, hostile, "", "3"]


def test_a_long_table_is_cut_between_rows_and_says_so() -> None:
    text = table([(place, "x" * 1000) for place in range(5000)], title="Long")
    assert len(text) < LONGEST + 100
    found = cells(text)
    shown = (len(found) - 1) // 2
    assert found[-1] == f"and {5000 - shown:,} more"
    assert {len(cell) for cell in found[1:-1:2]} == {200}


def test_a_report_on_bad_data_is_short() -> None:
    faults = tuple(
        Fault(kind="unreadable", message=f"<b>image {place} can't be read", sample=str(place))
        for place in range(5000)
    )
    report = DataReport(samples=5000, faults=faults, notes=("a note",))
    assert (
        repr(report) == "DataReport(ok=False, 5,000 samples, 5,000 unreadable; print it to see all)"
    )
    text = report._repr_html_()
    assert len(text) < LONGEST + 100
    assert cells(text)[:2] == ["note", "a note"]
    assert "<b>image 0 can't be read" in cells(text)[3]


def test_a_check_that_failed_says_so_in_short() -> None:
    problems = [Problem(path="network", message="<i>too wide</i>.", remedy="Make it narrow.")] * 40
    report = medpipe.CheckReport(problems=problems, warnings=["old"])
    assert repr(report) == "CheckReport(ok=False, 40 problems, 1 warning; print it to see all)"
    text = report._repr_html_()
    assert text.startswith("<p><b>The pipeline can&#x27;t run: 40 problems.</b></p>")
    assert cells(text)[0] == "problem"
    assert "<i>too wide</i>" in cells(text)[1]


def test_a_check_shows_the_split_as_a_table_of_its_own() -> None:
    pipeline = (
        medpipe.PipelineBuilder(device="cpu")
        .dataset("phantom", samples=60, size=16)
        .network("resnet10", widen_factor=0.125, conv1_t_size=3)
        .loader(workers=0)
        .build()
    )
    text = pipeline.check()._repr_html_()
    assert text.count("<table>") == 2
    found = cells(text)
    assert found[found.index("samples") + 1] == "48 training, 6 validation, 6 test"
    begin = found.index("AbdomenCT")
    assert found[begin - 4 : begin + 4] == [
        *("", "training", "validation", "test"),
        *("AbdomenCT", "8", "1", "1"),
    ]
    assert found[-4:] == ["(samples)", "48", "6", "6"]


def test_a_run_without_results_has_a_short_form() -> None:
    record = {
        "status": "failed",
        "metrics": {},
        "best_epoch": None,
        "device": "cpu",
        "precision": "float32",
        "data": {"splits": {"training": 1200}},
    }
    assert in_short(Path("runs/a"), record) == "Run('runs/a', failed)"
    assert cells(as_html(Path("runs/a"), record)) == [
        *("status", "failed", "samples", "1,200 training", "best epoch", ""),
        *("device", "cpu, float32"),
    ]
    undefined = {"images": 3, "accuracy": 0.5, "auc": None, "remarks": ["Look."]}
    undefined["intervals"] = {"accuracy": [0.25, 0.75], "auc": None}
    shown = cells(as_html(Path("runs/a"), {**record, "metrics": {"test": undefined}}))
    assert shown[8:] == [
        *("test accuracy", "0.5000 (0.2500 to 0.7500)"),
        *("test auc", "undefined", "look at this", "Look."),
    ]


TASK = Task(names=("ill", "<well>"))


def test_predictions_of_files_are_a_table_with_few_digits() -> None:
    found = FilePredictions(
        task=TASK,
        ids=("0.12345678", "b"),
        scores=np.array([[2 / 3, 1 / 3], [0.25, 0.75]]),
        errors={"c": "c can't be read"},
        dicom_ids={"b": ("0012345", "1.2.840.10", "1.2", "")},
    )
    text = found._repr_html_()
    assert text.startswith("<p><b>3 files</b></p>")
    head = ["id", "patient_id", "study_instance_uid", "series_instance_uid", "sop_instance_uid"]
    assert cells(text) == [
        *(*head, "prediction", "p(ill)", "p(<well>)", "error"),
        *("0.12345678", "", "", "", "", "ill", "0.6667", "0.3333", ""),
        *("b", "0012345", "1.2.840.10", "1.2", "", "<well>", "0.25", "0.75", ""),
        *("c", "", "", "", "", "", "", "", "c can't be read"),
    ]


def test_an_evaluation_shows_its_metrics_and_what_to_look_at() -> None:
    evaluation = medpipe.Evaluation(
        metrics={
            "images": 2,
            "accuracy": 0.5,
            "intervals": {"accuracy": [0.25, 0.75]},
            "baseline": {"accuracy": 0.4},
            "remarks": ["Few."],
        },
        predictions=Predictions(
            task=TASK, ids="ab", scores=[[1, 0], [1, 0]], labels=[0, 1], groups=(None, None)
        ),
        notes=("<b>Others</b>",),
        record={},
        dataset=medpipe.Dataset(samples=(), task=TASK),
    )
    text = evaluation._repr_html_()
    assert text.startswith("<p><b>Evaluation on 2 images</b></p>")
    assert cells(text) == [
        *("accuracy", "0.5000 (0.2500 to 0.7500); one answer for all: 0.4000"),
        *("look at this", "Few.", "note", "<b>Others</b>"),
    ]


def test_a_split_shows_classes_and_groups() -> None:
    def drawn(grouped: bool) -> medpipe.SplitSamples:
        samples = [
            medpipe.Sample(
                id=str(n), image=s.image, label=n % 2, group=str(n // 2) if grouped else None
            )
            for n, s in enumerate(phantom(40, 16).samples)
        ]
        dataset = medpipe.Dataset(samples=samples, task=TASK)
        return medpipe.PipelineBuilder().dataset(dataset).build().splits()

    assert cells(drawn(True)._repr_html_()) == [
        *("", "training", "validation", "test"),
        *("ill", "16", "2", "2", "<well>", "16", "2", "2"),
        *("(samples)", "32", "4", "4", "(groups)", "16", "2", "2"),
    ]
    assert cells(drawn(False)._repr_html_())[-4:] == ["(samples)", "32", "4", "4"]


def test_a_plan_shows_its_text_and_is_short_elsewhere() -> None:
    plan = medpipe.Plan(text='# <b>\nroot = "a"\n', questions=("Is it?",))
    assert plan._repr_html_().endswith("># &lt;b&gt;\nroot = &quot;a&quot;</pre>")
    assert repr(plan) == "Plan(1 question; print it to see all)"
    long = medpipe.Plan(text="# a line of a plan\n" * 1000)._repr_html_()
    assert len(long) < LONGEST + 100
    shown = long.removesuffix("</pre>").splitlines()
    assert shown[-1] == f"and {1000 - len(shown) + 1:,} more lines"


def test_a_registry_and_a_pipeline_are_short() -> None:
    registry = medpipe.Registry.discover()
    assert re.fullmatch(r"Registry\(\d+ steps of .+\)", repr(registry))
    assert len(repr(registry)) < 300
    pipeline = medpipe.PipelineBuilder().build()
    assert repr(pipeline) == (
        "Pipeline(dataset=mednist, transforms=4, network=densenet121, trainer=supervised)"
    )
    assert "densenet121" in cells(pipeline._repr_html_())


def test_a_ready_object_is_from_this_script() -> None:
    def doubled(sample: dict[str, object]) -> dict[str, object]:
        return sample

    pipeline = medpipe.PipelineBuilder().transform(doubled).build()
    found = cells(pipeline._repr_html_())
    assert found[found.index("transform[4]") + 3] == "this script"


def test_the_log_of_a_notebook_keeps_the_newest_lines() -> None:
    log = NotebookLog()
    shown: list[str] = []
    log._shown.show = lambda text, markup="": shown.append(text)  # type: ignore[method-assign]
    for place in range(500):
        log.emit(logging.makeLogRecord({"msg": f"line {place} " + "x" * (place % 300)}))
    assert max(len(text) for text in shown) < 3600
    lines = shown[-1].splitlines()
    assert lines[-1].startswith("line 499 ")
    assert lines[0] == f"({500 - len(lines) + 1} lines before)"
    assert len(lines) <= KEPT + 1


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines come at each step."""
    monkeypatch.setattr(progress._Lines, "PAUSE", 0.0)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("mode", ["", "auto", "lines", "off"])
def test_a_script_says_how_far_it_is_unless_that_is_off(
    mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDPIPE_PROGRESS", mode)
    logger = logging.getLogger("medpipe")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", False)  # pytest's own handlers
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    with narrated(), bar("Reading", 8, unit="images") as shown:
        shown.advance(2)
        shown.describe("Reading more")
    said = capsys.readouterr().err
    lines = ["Reading: 2 images (25%)", "Reading more: 2 images (25%)"]
    assert said.splitlines() == ([] if mode == "off" else lines)


def test_a_wrong_switch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDPIPE_PROGRESS", "loud")
    said = "The environment variable MEDPIPE_PROGRESS must be auto, lines or off, got 'loud'."
    with pytest.raises(RunError, match=f"^{re.escape(said)}$"):
        medpipe.PipelineBuilder().build().check()


def test_the_command_is_silent_where_progress_is_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medpipe.cli import main

    (tmp_path / "p.toml").write_text(
        'format = 1\n[dataset]\nstep = "phantom"\nsamples = 120\nsize = 32\n[run]\ndevice = "cpu"\n'
    )
    said = {}
    for mode in ("off", "lines"):
        monkeypatch.setenv("MEDPIPE_PROGRESS", mode)
        with pytest.raises(SystemExit) as ended:
            main(["check", str(tmp_path / "p.toml")])
        assert ended.value.code == 0
        said[mode] = capsys.readouterr()
    assert said["off"].err == ""
    assert "Checking the data" in said["lines"].err
    assert said["off"].out == said["lines"].out
