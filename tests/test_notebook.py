"""In a real Jupyter kernel: bars, lines and figures appear, and no output is long."""

from __future__ import annotations

from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install nbclient")
pytest.importorskip("ipykernel", reason="needs ipykernel: pip install ipykernel")

pytestmark = pytest.mark.long
LONGEST = 5000

SOURCE = {
    "build": """
        import os, medpipe
        from medpipe.plugin import bar
        pipeline = (
            medpipe.PipelineBuilder(device="cpu")
            .dataset("phantom", samples=60, size=32)
            .transform("rand_flip", prob=0.5)
            .network("resnet10", widen_factor=0.125, conv1_t_size=3)
            .trainer("supervised", max_epochs=60, learning_rate=1e-3)
            .loader(batch_size=64, workers=0)
            .split(validation=0.2, test=0.2)
            .build()
        )
        pipeline""",
    "check": "pipeline.check()",
    "check data": "pipeline.check_data()",
    "preview": "pipeline.preview(2)",
    "run": 'run = pipeline.run(OUTPUT / "runs" / "first")',
    "show run": "run",
    "show set": 'medpipe.RunSet.load(OUTPUT / "runs")',
    "registry": "pipeline.registry",
    "predictions": "run.predictions()",
    "matrix": "run.plot.confusion_matrix()",
    "history": "run.plot.history()",
    "bar": """
        from medpipe.system.notebook import NotebookBar
        NotebookBar.PAUSE = 0
        begun = bar("Reading <all>", 10, unit="images")
        shown = begun.__enter__()
        shown.advance(4)
        shown.advance()""",
    "ended bar": """
        with bar("Reading", 10, unit="images") as shown:
            shown.advance(4)""",
    "off": """
        os.environ["MEDPIPE_PROGRESS"] = "off"
        with bar("Reading", 10) as shown:
            shown.advance(4)
        report = pipeline.check()""",
    "lines": """
        os.environ["MEDPIPE_PROGRESS"] = "lines"
        with bar("Reading", 10) as shown:
            shown.advance(4)
        report = pipeline.check()""",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The outputs of each cell."""
    import textwrap

    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    begin = f"from pathlib import Path; OUTPUT = Path({str(folder)!r})"
    sources = [begin, *(textwrap.dedent(text).strip() for text in SOURCE.values())]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3")
    client.execute(cwd=str(folder))
    return {name: cell.outputs for name, cell in zip(SOURCE, notebook.cells[1:], strict=True)}


def texts(output: Any) -> list[str]:
    """The texts of an output: a stream's, or of each form but the picture."""
    if output.output_type == "stream":
        return [output.text]
    return [text for form, text in output.data.items() if form != "image/png"]


def test_no_output_is_long(outputs: dict[str, list[Any]]) -> None:
    for name, some in outputs.items():
        length = sum(len(text) for output in some for text in texts(output))
        assert length <= LONGEST, name


def test_a_run_shows_its_last_epochs_in_one_output(outputs: dict[str, list[Any]]) -> None:
    (log,) = [o for o in outputs["run"] if "Epoch" in o.data["text/plain"]]
    lines = log.data["text/plain"].splitlines()
    assert lines[-1].startswith("Epoch 60: training loss ")
    assert lines[0].endswith(" lines before)")
    assert 10 < len(lines) <= 32


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("build", ["Pipeline", "resnet10", "rand_flip", "prob = 0.5"]),
        ("check", ["The pipeline can run.", "samples", "36 training"]),
        ("check data", ["Data: 60 samples"]),
        ("show run", ["first", "finished", "test accuracy", "36 training"]),
        ("show set", ["first", "seed", "balanced_accuracy"]),
        ("registry", ["medpipe-imaging", "tensorboard"]),
    ],
)
def test_results_are_short_tables(
    name: str, words: list[str], outputs: dict[str, list[Any]]
) -> None:
    data = outputs[name][-1].data
    assert len(data["text/plain"]) < 300
    assert data["text/html"].startswith("<p><b>")
    for word in words:
        assert word in data["text/html"], word


@pytest.mark.parametrize("name", ["preview", "matrix", "history"])
def test_figures_appear_once(name: str, outputs: dict[str, list[Any]]) -> None:
    figures = [o for o in outputs[name] if "image/png" in getattr(o, "data", {})]
    assert len(figures) == 1
    assert len(figures[0].data["image/png"]) > 5000


def test_bars_appear_and_go(outputs: dict[str, list[Any]]) -> None:
    (shown,) = outputs["bar"]
    assert shown.data["text/plain"].startswith("Reading <all>: 5/10 images, ")
    assert '<progress value="5" max="10"></progress> Reading &lt;all&gt;' in shown.data["text/html"]
    (gone,) = outputs["ended bar"]
    assert gone.data["text/plain"] == ""


def test_one_switch_ends_bars_and_lines(outputs: dict[str, list[Any]]) -> None:
    assert outputs["off"] == []
    (stream,) = outputs["lines"]
    assert stream.name == "stderr"
    assert stream.text.startswith("Checking the data")
