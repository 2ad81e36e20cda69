"""The report of a run: whole, well-formed, self-contained, private where it is to be."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest

import medpipe
from medpipe import Dataset, PipelineBuilder, Registry, Run, RunSet, Sample, Task
from medpipe.evaluation.predictions import Predictions
from medpipe.plugin import HandlerStep, MetricStep, ReportSection, ReportTable, hookimpl
from medpipe.report.blocks import Shown
from medpipe.report.model_card import model_card
from medpipe.report.page import report_page
from support.pages import CHROMIUM, Page, measured, opened
from support.reported import PATIENTS, builder, finished

KINDS = ("multiclass", "multilabel", "regression", "volume")
SECTIONS = {
    "multiclass": ["confusion", "by-class", "curves", "calibration"],
    "multilabel": ["by-class", "curves", "calibration"],
    "regression": ["agreement"],
    "volume": ["confusion", "by-class", "curves", "calibration"],
}
WITH_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    base = tmp_path_factory.mktemp("runs")
    made = {}
    for name in KINDS:
        kind = "multiclass" if name == "volume" else name
        made[name] = finished(base / name, kind, volumes=name == "volume")
        made[name].report()
    return made


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    return runs[request.param]


def html(run: Run) -> str:
    return (run.path / "report.html").read_text(encoding="utf-8")


def kind_of(run: Run) -> str:
    return run.path.parent.name


def test_a_report_has_every_section_and_is_well_formed(run: Run) -> None:
    page = Page(html(run))
    expected = ["results", *SECTIONS[kind_of(run)], "subgroups", "learning", "errors", "data"]
    assert [i for i in page.ids if "-" not in i or i in expected] == [
        *expected,
        "chain",
        "time",
        "provenance",
    ]
    assert not {"script", "iframe", "object", "embed", "form", "link"} & page.tags


def test_a_report_points_to_nothing_outside_of_itself(run: Run) -> None:
    content = html(run)
    page = Page(content)
    inside = {f"#{name}" for name in page.ids}
    assert inside
    outside = [link for link in page.links if link not in inside]
    assert outside
    assert all(link.startswith("data:image/jpeg;base64,") for link in outside)
    assert "http:" not in content
    assert "https:" not in content
    assert "@import" not in content


def test_a_report_is_small(run: Run) -> None:
    assert (run.path / "report.html").stat().st_size < 700_000


def test_the_text_of_figures_can_be_searched_and_has_the_pages_colours(run: Run) -> None:
    content = html(run)
    drawn = re.findall(r"<svg.*?</svg>", content, flags=re.DOTALL)
    words = re.findall(r"<text[^>]*>([^<]*)</text>", "".join(drawn))
    assert {"loss", "learning rate", "training", "validation"} <= set(words)
    if kind_of(run) == "multiclass":
        assert {"AbdomenCT", "true", "predicted", "sensitivity", "precision"} <= set(words)
    assert "<image" not in "".join(drawn)
    colours = {c.lower() for c in re.findall(r"#[0-9a-fA-F]{6}", "".join(drawn))}
    assert colours <= {"#000000", "#ffffff"}
    assert "var(--s0)" in "".join(drawn)


def test_a_report_says_what_run_json_says(run: Run) -> None:
    text = " ".join(Page(html(run)).text.split())
    for name, value in run.metrics["test"].items():
        if isinstance(value, float):
            assert f"{value:.4f}" in text, name
    assert run.record["data"]["digest"] in text
    assert f"split.file={run.path / 'splits.csv'}" in text
    assert "medpipe-imaging" in text


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("paths", [True, False])
def test_what_is_private_is_left_out_where_it_is_asked_for(
    run: Run, tmp_path: Path, *, images: bool, paths: bool
) -> None:
    path = run.report(tmp_path / "shared.html", images=images, paths=paths)
    text = path.read_text(encoding="utf-8")
    card = (tmp_path / "model_card.md").read_text(encoding="utf-8")
    assert ("data:image" in text) == images
    assert ("scan0" in text) == paths
    assert ("<img" in text) == images
    names = ("secret", "table.csv", str(run.path), run.path.parent.name + "/")
    found = [name for name in names if name in text]
    assert found if paths else not found
    for private in PATIENTS:
        assert private not in text
    if not paths:
        assert str(Path.home()) not in text
        private = ("scan0", "secret", "table.csv", str(run.path), *PATIENTS)
        assert not [name for name in private if name in card]
    Page(text)


def test_a_value_that_one_patient_alone_has_is_not_named(runs: dict[str, Run]) -> None:
    facts = runs["multiclass"].facts()
    test = facts.predictions["test"]
    names = tuple(f"Name-of-{group}" for group in test.groups)
    some = attrs.evolve(test, extra={"physician": names})
    table = {n: {"images": 2, "groups": 1, "accuracy": 0.5} for n in sorted(set(names))}
    said = f"subgroups of 'physician' with fewer than 20 groups: {names[0]!r} (1)."
    with_it = {"subgroups": {"physician": table}, "remarks": [said]}
    metrics = {"test": {**facts.metrics["test"], **with_it}}
    changed = attrs.evolve(facts, predictions={"test": some}, metrics=metrics)
    assert "Name-of-" in report_page(changed, Shown(images=False, paths=True))
    hidden = report_page(changed, Shown(images=False, paths=False))
    assert "Name-of-" not in hidden
    assert "value 12" in hidden
    assert "Left out here: 1 remark that may name patients." in hidden
    assert "Name-of-" not in model_card(changed, Shown(paths=False))
    assert "Name-of-" in model_card(changed, Shown(paths=True))


@pytest.mark.long
def test_six_thousand_cases_stay_below_two_megabytes(runs: dict[str, Run]) -> None:
    count, run = 6000, runs["multiclass"]
    step: Any = Registry.discover().datasets["phantom"]
    dataset = step(samples=count, size=32).build()
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.full(6, 0.3), size=count)
    labels = np.array([rng.choice(6, p=row) for row in scores])
    predictions = Predictions(
        task=run.data.task,
        ids=[sample.id for sample in dataset.samples],
        scores=scores,
        labels=labels,
        groups=[f"p{number // 3}" for number in range(count)],
    )
    facts = attrs.evolve(
        run.facts(),
        predictions={"test": predictions, "validation": predictions},
        dataset=lambda: dataset,
    )
    content = report_page(facts, Shown())
    Page(content)
    assert "data:image" in content
    assert len(content.encode()) < 2_000_000


def test_a_regression_of_many_cases_draws_some_of_them(runs: dict[str, Run]) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(60, 10, (6000, 1))
    predictions = Predictions(
        task=runs["regression"].data.task,
        ids=[str(number) for number in range(6000)],
        scores=truth + rng.normal(0, 3, truth.shape),
        labels=truth,
        groups=[None] * 6000,
    )
    facts = attrs.evolve(runs["regression"].facts(), predictions={"test": predictions})
    content = report_page(facts, Shown(images=False))
    assert "1,500 of the cases, drawn at random" in content
    assert len(content.encode()) < 1_000_000


@pytest.mark.parametrize("width", [390, 1440])
@WITH_BROWSER
@pytest.mark.long
def test_nothing_is_cut_off_in_a_browser(run: Run, width: int, tmp_path: Path) -> None:
    found = measured(html(run), width, tmp_path)
    assert found["width"] == width
    assert found["scroll"] <= width
    assert found["wide"] == []
    assert found["cut"] == []


@WITH_BROWSER
def test_a_browser_has_no_complaint_and_asks_no_network(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    # No host can be reached, so that a request would be an error in the console.
    options = ("--host-resolver-rules=MAP * ~NOTFOUND", f"--screenshot={picture}")
    _, complaints = opened(run.path / "report.html", 1440, *options)
    assert complaints == ""
    assert picture.stat().st_size > 10_000


@WITH_BROWSER
def test_a_browser_would_complain(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"
    page.write_text(f"<!DOCTYPE html>{policy}<img src='http://127.0.0.1:9/x.png'>")
    _, complaints = opened(page, 1440, "--screenshot=" + str(tmp_path / "page.png"))
    assert "Content Security Policy" in complaints


def test_names_can_not_change_the_page(tmp_path: Path) -> None:
    evil = '<script>alert("1")</script>', "a&b </svg></title><b>$x$"
    rng = np.random.default_rng(0)
    samples = [
        Sample(id=f"<i>{n}</i>", image=rng.integers(0, 255, (32, 32), np.uint8), label=n % 2)
        for n in range(60)
    ]
    done = (
        PipelineBuilder(device="cpu")
        .dataset(Dataset(samples=samples, task=Task(names=evil)))
        .network("resnet10", widen_factor=0.125, conv1_t_size=3)
        .trainer("supervised", max_epochs=1)
        .loader(batch_size=16, workers=0)
        .build()
        .run(tmp_path / "run")
    )
    page = Page(done.report().read_text(encoding="utf-8"))
    assert not {"script", "b", "i"} & page.tags - {"b"}
    assert evil[0] in page.text
    assert evil[1] in page.text
    assert "<i>" in page.text
    card = (tmp_path / "run" / "model_card.md").read_text(encoding="utf-8")
    assert "<script>" not in card
    again = Run.load(tmp_path / "run").report()  # the images were objects of the script
    assert "ready-made objects" in Page(again.read_text(encoding="utf-8")).text


@pytest.mark.long
def test_images_that_are_gone_cost_the_images_alone(tmp_path: Path) -> None:
    run = finished(tmp_path, "multiclass", epochs=1)
    shutil.rmtree(tmp_path / "secret")
    text = Page(Run.load(run.path).report().read_text(encoding="utf-8")).text
    assert "The images can't be shown: " in text
    assert f"{run.metrics['test']['accuracy']:.4f}" in text
    hidden = Run.load(run.path).report(paths=False).read_text(encoding="utf-8")
    assert "scan0" not in hidden


@attrs.frozen(kw_only=True)
class InTheWay(HandlerStep):
    """Puts a folder where the report is to be."""

    name: ClassVar[str] = "in_the_way"

    def attach(self, engine: Any, context: Any) -> None:
        (context.output / "report.html").mkdir(exist_ok=True)


@attrs.frozen(kw_only=True)
class Telling(MetricStep):
    """The mean highest probability, with a section of its own."""

    name: ClassVar[str] = "confidence"
    direction: ClassVar[Any] = "max"
    fail: bool = False

    def rows(self, scores: Any, labels: Any, task: Any) -> Any:
        return scores.max(axis=1)

    def report_sections(self, context: Any) -> list[ReportSection]:
        from matplotlib.figure import Figure

        if self.fail:
            raise ValueError("no ruler")
        drawn, pixels = Figure((2, 2)), Figure((2, 2))
        drawn.add_subplot().plot([0, 1], [0, 1])
        pixels.add_subplot().imshow(np.zeros((4, 4)))
        table = ReportTable(columns=("class", "mean"), rows=[("<x>", 0.25)])
        return [
            ReportSection(
                title="Sureness",
                text=[f"On the {context.split} split: {len(context.scores)}."],
                tables=[table],
                figures={"a line": drawn, "some pixels": pixels},
            )
        ]


class Plugin:
    @hookimpl
    def medpipe_handlers(self) -> list[type[HandlerStep]]:
        return [InTheWay]

    @hookimpl
    def medpipe_metrics(self) -> list[type[MetricStep]]:
        return [Telling]


REGISTRY = Registry.discover().with_plugin(Plugin(), name="telling")


@pytest.mark.usefixtures("reports")
def test_a_run_writes_its_report_and_a_failure_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = builder(tmp_path, "multiclass", epochs=1, registry=REGISTRY)
    first = made.build().run(tmp_path / "first")
    assert "Results" in Page(html(first)).text
    assert (first.path / "model_card.md").is_file()
    blocked = made.handlers("in_the_way").build()
    with caplog.at_level(logging.WARNING, "medpipe"):
        second = blocked.run(tmp_path / "second")
    assert second.status == "finished"
    assert second.metrics["test"]["accuracy"] == first.metrics["test"]["accuracy"]
    (said,) = [r.message for r in caplog.records if r.message.startswith("The report")]
    assert said.startswith("The report was not written: RunError: ")
    assert said.endswith("The results are there; make it again with medpipe report.")


def test_a_run_writes_no_report_where_that_is_turned_off(runs: dict[str, Run]) -> None:
    assert os.environ["MEDPIPE_REPORT"] == "0"
    folder = runs["multiclass"].path.parent
    again = builder(folder, "multiclass", epochs=1).build().run(folder / "again")
    assert not (again.path / "report.html").exists()


@pytest.mark.usefixtures("reports")
def test_an_evaluation_writes_its_report(runs: dict[str, Run], tmp_path: Path) -> None:
    theirs = builder(tmp_path / "theirs", "multiclass").build().configuration.dataset
    runs["multiclass"].evaluate(theirs, output=tmp_path / "out", allow_overlap=True)
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "Evaluation on 96 images of 48 patients or other groups." in page.text
    assert "Evaluation of run run" in page.text
    assert "errors" in page.ids
    assert "learning" not in page.ids
    assert not (tmp_path / "out" / "model_card.md").exists()


@pytest.mark.long
def test_steps_add_sections_and_one_that_fails_is_named(tmp_path: Path) -> None:
    made = builder(tmp_path, "multiclass", epochs=1, registry=REGISTRY)
    done = made.metrics("confidence").build().run(tmp_path / "run")
    content = done.report().read_text(encoding="utf-8")
    page = Page(content)
    assert "Sureness" in page.text
    assert "On the test split: 24." in page.text
    assert "<x>" in page.text
    assert "some pixels" in page.text
    assert "<image" in content
    plain = done.report(images=False).read_text(encoding="utf-8")
    assert "some pixels" not in plain
    assert "a line" in plain
    assert "data:image" not in plain
    failing = made.metrics(medpipe.step("confidence", fail=True)).build().run(tmp_path / "failing")
    text = Page(failing.report().read_text(encoding="utf-8")).text
    assert (
        "the metric step 'confidence' (telling) failed to report: ValueError: no ruler" in text
    ), text


def test_the_command_writes_a_report(
    runs: dict[str, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medpipe.cli import app

    target = tmp_path / "private.html"
    command = ["report", str(runs["multilabel"].path), "--no-images", "--no-paths", "-o"]
    app([*command, str(target)], result_action="return_value")
    assert capsys.readouterr().out == f"The report is {target}\n"
    text = target.read_text(encoding="utf-8")
    assert "scan0" not in text
    assert "Report of the run" in text


def test_several_runs_have_one_report(folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from medpipe.cli import app

    app(["report", str(folds)], result_action="return_value")
    assert capsys.readouterr().out == f"The report is {folds / 'report.html'}\n"
    content = (folds / "report.html").read_text(encoding="utf-8")
    page = Page(content)
    runs = RunSet.load(folds)
    assert page.ids[0] == "runs"
    assert {"results", "confusion", "errors", "chain"} <= set(page.ids)
    assert not {"time", "provenance", "learning"} & set(page.ids)
    text = " ".join(page.text.split())
    for name, spread in runs.metrics().items():
        assert f"{spread.mean:.4f}" in text, name
    assert f"{runs.pooled_metrics()['accuracy']:.4f}" in text
    assert "There is no Grad-CAM: These predictions are those of several networks." in text
    assert not (folds / "model_card.md").exists()
    hidden = runs.report(folds / "hidden.html", paths=False).read_text(encoding="utf-8")
    assert "fold-0" in content
    assert "fold-0" not in hidden


@pytest.mark.long
def test_a_comparison_has_a_report(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medpipe.cli import app

    base: Path = request.getfixturevalue("finished")
    two = base / "folds" / "fold-0", base / "again"
    path = tmp_path / "comparison.html"
    app(["compare", *map(str, two), "--report", str(path)], result_action="return_value")
    assert f"The report is {path}" in capsys.readouterr().out
    content = path.read_text(encoding="utf-8")
    page = Page(content)
    assert [i for i in page.ids if "-" not in i] == ["runs", "differences", "metrics", "settings"]
    found = medpipe.compare(*two)
    text = " ".join(page.text.split())
    for name, difference in found.differences[0].items():
        assert f"{difference.value:+.4f}" in text, name
    assert found.remarks[-1][1:] in text
    assert str(two[0]) in text
    assert "run.seed" in text
    found.report(path, paths=False)
    hidden = path.read_text(encoding="utf-8")
    assert "fold-0" not in hidden
    assert str(base) not in hidden
    if CHROMIUM is not None:
        for width in (390, 1440):
            told = measured(content, width, tmp_path)
            assert told["scroll"] <= width
            assert told["cut"] == []


def test_a_run_without_predictions_has_a_report(runs: dict[str, Run]) -> None:
    facts = runs["multiclass"].facts()
    record = {**facts.record, "status": "running", "metrics": {}, "best_epoch": None}
    begun = attrs.evolve(
        facts, record={**record, "finished": None}, metrics={}, predictions={}, history=()
    )
    page = Page(report_page(begun, Shown()))
    assert "The run is running and has no predictions yet." in page.text
    assert {"results", "data", "chain", "provenance"} <= set(page.ids)
    assert "There are none yet." in model_card(begun, Shown())


def test_figures_of_a_run(runs: dict[str, Run]) -> None:
    plot = runs["multiclass"].plot
    assert repr(plot) == (
        "RunPlots(history, confusion_matrix, roc, precision_recall, calibration, scatter, "
        "bland_altman)"
    )
    for name in ("history", "confusion_matrix", "roc", "precision_recall", "calibration"):
        assert getattr(plot, name)()._repr_png_().startswith(b"\x89PNG")
    numbers = runs["regression"].plot
    assert numbers.scatter(target="brightness").axes[0].get_ylabel() == "predicted"
    assert len(numbers.bland_altman("validation").axes[0].lines) == 4
    counts = [
        int(t.get_text()) for t in plot.confusion_matrix().axes[0].texts if t.get_text().isdigit()
    ]
    assert sum(counts) == 24


@pytest.mark.parametrize(
    ("kind", "call", "said"),
    [
        ("regression", lambda p: p.roc(), "A regression task has no ROC curves."),
        (
            "multilabel",
            lambda p: p.confusion_matrix(),
            "A multilabel task has no confusion matrix.",
        ),
        (
            "multiclass",
            lambda p: p.scatter(),
            "A multiclass task has no scatter and Bland-Altman plots.",
        ),
        (
            "regression",
            lambda p: p.scatter(target="age"),
            "There is no target 'age': there are brightness.",
        ),
        (
            "multiclass",
            lambda p: p.roc("training"),
            "The run {} has no predictions on the split 'training'.",
        ),
    ],
)
def test_figures_that_a_task_has_not(runs: dict[str, Run], kind: str, call: Any, said: str) -> None:
    with pytest.raises(medpipe.RunError) as caught:
        call(runs[kind].plot)
    assert str(caught.value) == said.format(runs[kind].path)
