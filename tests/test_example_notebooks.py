"""The notebooks among the examples: committed without outputs, and run from the first cell on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import medpipe

nbformat = pytest.importorskip("nbformat", reason="needs nbformat: pip install nbclient")

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("mednist", "own_images", "segmentation")
LONGEST = 32
"""Lines of a cell."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
TABLE = re.compile(r"<p><b>(.*?)</b></p><table>")
IMPORTS = """
import gc
import matplotlib.pyplot, monai.engines, monai.networks.nets, monai.transforms, scipy.stats
gc.collect()
gc.freeze()
"""


def read(name: str) -> Any:
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)


def test_these_are_all() -> None:
    assert {path.stem for path in EXAMPLES.rglob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_valid_and_has_no_outputs(name: str) -> None:
    book = read(name)
    nbformat.validate(book)
    assert (book.nbformat, set(book.metadata)) == (4, {"kernelspec", "language_info"})
    assert book.metadata.kernelspec.name == "python3"
    assert book.cells[0].source.startswith("# ")
    for cell in book.cells:
        assert (cell.metadata, cell.get("attachments")) == ({}, None)
        assert cell.cell_type in ("markdown", "code")
        assert len(cell.source.splitlines()) <= LONGEST, cell.source
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), cell.source


@pytest.mark.parametrize("name", NAMES)
def test_what_a_notebook_links_to_is_there(name: str) -> None:
    texts = [cell.source for cell in read(name).cells if cell.cell_type == "markdown"]
    found = [link for text in texts for link in LINK.findall(text)]
    found += [other for text in texts for other in re.findall(r"`(\w+\.ipynb)`", text)]
    assert found
    for link in found:
        assert (EXAMPLES / link).is_file(), link


@attrs.frozen(kw_only=True)
class Executed:
    """A notebook that was run in a folder of its own."""

    folder: Path
    cells: list[Any]

    @property
    def outputs(self) -> list[Any]:
        return [output for cell in self.cells for output in cell.get("outputs", ())]

    @property
    def said(self) -> str:
        return "".join(output.get("text", "") for output in self.outputs)

    @property
    def figures(self) -> int:
        return sum("image/png" in output.get("data", {}) for output in self.outputs)

    @property
    def tables(self) -> list[str]:
        """Their titles."""
        shown = [output.get("data", {}).get("text/html", "") for output in self.outputs]
        return [found[1] for html in shown if (found := TABLE.match(html))]

    @property
    def runs(self) -> list[medpipe.Run]:
        return [medpipe.Run.load(path) for path in sorted((self.folder / "runs").iterdir())]

    def assert_no_complaint(self) -> None:
        """There is neither an error nor a warning of a library."""
        for cell in self.cells:
            for output in cell.get("outputs", ()):
                assert output.output_type != "error", "\n".join([cell.source, *output.traceback])
                assert output.get("name") != "stderr", (cell.source, output.text)


def execute(folder: Path, *names: str) -> list[Executed]:
    """Run notebooks in one kernel, since the imports take as long as a notebook.

    What one defines, the next has not. What was imported stays, and is not looked through for
    garbage again.
    """
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install nbclient")
    pytest.importorskip("ipykernel", reason="needs ipykernel: pip install ipykernel")
    cells, found = [nbformat.v4.new_code_cell(IMPORTS)], []
    for name in names:
        own = folder / name
        own.mkdir()
        cells.append(nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {own}"))
        found.append(Executed(folder=own, cells=read(name).cells))
        cells += found[-1].cells
    nbclient.NotebookClient(
        nbformat.v4.new_notebook(cells=cells),
        timeout=3600,
        kernel_name="python3",
        allow_errors=True,
    ).execute(cwd=os.fspath(folder))
    return found


@pytest.mark.long
def test_without_data_and_network_each_runs_from_its_first_cell_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDPIPE_DATA", raising=False)
    monkeypatch.delenv("MEDPIPE_PROGRESS", raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    executed = execute(tmp_path, *NAMES)
    for one in executed:
        one.assert_no_complaint()
    mednist, own_images, segmentation = executed
    assert [one.figures for one in executed] == [5, 2, 3]

    assert mednist.said.startswith("There is no MedNIST here")
    assert "'notebook:tiny_cnn'" in mednist.said
    assert [run.metrics["test"]["accuracy"] > 0.6 for run in mednist.runs] == [True, True]

    (run,) = own_images.runs
    assert run.metrics["test"]["accuracy"] > 0.4
    assert own_images.tables[-2:] == ["Evaluation on 60 images", "3 files"]
    assert (run.path / "report.html").stat().st_size > 10_000
    assert len((run.path / "new_files.csv").read_text(encoding="utf-8").splitlines()) == 4

    (run,) = segmentation.runs
    assert run.metrics["test"]["dice"] > 0.4
    assert segmentation.tables[-1] == "3 files"
    assert len(list((run.path / "answers").rglob("*.nii.gz"))) == 3


@pytest.mark.long
@pytest.mark.rare
@pytest.mark.real_data
def test_with_mednist_the_first_learns_it(tmp_path: Path) -> None:
    (mednist,) = execute(tmp_path, "mednist")
    mednist.assert_no_complaint()
    test = mednist.runs[0].metrics["test"]
    assert test["images"] >= 5800
    assert test["accuracy"] >= 0.98
