"""What a newcomer sees first: the README's first screen, the landing page, the tutorial's parts."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from medpipe import PipelineBuilder
from support.pages import Page

DOORS = ["Train on your images", "Write a plugin", "Use the parts"]
DOOR = re.compile(r"^:::\{grid-item-card\} (.+)\n:link: (\S+)\n:link-type: doc$", re.MULTILINE)
PARTS = ["tutorial", "first-project", "first-plugin"]


def text_of(repository: Path, page: str) -> str:
    return (repository / page).read_text(encoding="utf-8")


def test_the_readme_begins_with_what_convinces(repository: Path) -> None:
    text = text_of(repository, "README.md")
    first = text[: text.index("\n## ")]
    order = [
        "**not for**",
        "not a medical device",
        "**Untested on a GPU:**",
        "$ pip install -c constraints.txt -e .\n",
        "$ medpipe plan ",
        "$ medpipe run ",
        '<img src="docs/images/hippocampus.png"',
        "names no patients",
    ]
    places = [first.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)


def test_the_readme_says_how_to_run_the_example_and_the_tests(repository: Path) -> None:
    lines = text_of(repository, "README.md").splitlines()
    assert "$ pip install -c constraints.txt -e . && python examples/mednist.py" in lines
    assert '$ pip install -c constraints.txt -e ".[test]" && pytest' in lines


def test_the_readme_s_ten_lines_are_ten(repository: Path) -> None:
    text = text_of(repository, "README.md")
    *_, script = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len([line for line in script.splitlines() if line]) == 10


@pytest.mark.parametrize("tool", ["MONAI", "nnU-Net", "Lightning"])
def test_the_readme_says_where_others_are_the_better_choice(repository: Path, tool: str) -> None:
    (row,) = re.findall(rf"^\| {tool} \|(.+)\|$", text_of(repository, "README.md"), re.MULTILINE)
    assert len(row.split("|")) == 2
    assert f"## {tool}\n" in text_of(repository, "docs/explanation/comparison.md")


def test_the_landing_page_has_three_doors_that_open(repository: Path) -> None:
    found = DOOR.findall(text_of(repository, "docs/index.md"))
    assert [title for title, _ in found] == DOORS
    for _, target in found:
        assert (repository / "docs" / f"{target}.md").is_file(), target


def test_the_landing_page_s_pictures_are_there(repository: Path) -> None:
    pictures = re.findall(r"\{image\} (\S+)", text_of(repository, "docs/index.md"))
    assert pictures == ["images/hippocampus.png", "images/hippocampus-dark.png"]
    for picture in pictures:
        assert (repository / "docs" / picture).is_file(), picture


def test_the_tutorial_has_three_parts_each_of_which_leads_to_the_next(repository: Path) -> None:
    index = text_of(repository, "docs/index.md")
    assert "```{toctree}\n:hidden:\n:caption: Tutorial\n\n" + "\n".join(PARTS) + "\n```" in index
    for number, part in enumerate(PARTS, start=1):
        text = text_of(repository, f"docs/{part}.md")
        assert text.startswith(f"# Part {number}: your ")
        for following in PARTS[number : number + 1]:
            end = text[len(text) * 3 // 4 :]
            assert re.search(rf"\[[Pp]art {number + 1}[^\]]*\]\({following}\.md\)", end)


@pytest.fixture
def script(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that draws the picture."""
    monkeypatch.setattr(sys, "path", [str(repository / "docs"), *sys.path])
    import make_hippocampus_picture

    assert isinstance(make_hippocampus_picture, ModuleType)
    return make_hippocampus_picture


def test_neighbouring_numbers_are_a_person(script: Any) -> None:
    ids = [f"imagesTr/hippocampus_{number:03}.nii.gz" for number in (1, 2, 3, 20, 394)]
    people = ["001+002", "001+002", "003+004", "019+020", "393+394"]
    assert [script.person_of(one) for one in ids] == people


@pytest.mark.long
def test_the_picture_shows_numbers_and_names_and_no_image(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDPIPE_REPORT", "0")
    run = (
        PipelineBuilder(device="cpu")
        .dataset("phantom_masks", samples=20, size=16)
        .transforms("load_image", "ensure_channel_first", "normalize_intensity", "to_tensor")
        .network("unet", channels=(4, 8), strides=(2,))
        .trainer("supervised", max_epochs=1)
        .loader(batch_size=8, workers=0)
        .build()
        .run(tmp_path / "run")
    )
    without = run.report(tmp_path / "report.html", images=False).read_text(encoding="utf-8")
    page = script.shown(without)
    read = Page(page)
    assert [one for one in read.ids if one in script.SHOWN] == [*script.SHOWN]
    assert "img" not in read.tags
    assert "data:image" not in page
    worst = run.metrics["test"]["worst_cases"][0]["id"]
    for said in ("95 % interval", "The worst cases by Dice", worst, "in more than one split"):
        assert said in page
    with_image = without.replace("</h2>", '</h2><img src="a.png" alt="">')
    with pytest.raises(SystemExit, match="would show images"):
        script.shown(with_image)


@pytest.mark.long
@pytest.mark.real_data
def test_the_evidence_is_what_the_page_says(script: Any, repository: Path) -> None:
    if script.find() is None:
        pytest.skip("needs MEDPIPE_DATA to name a folder with Task04_Hippocampus or its archive")
    page = text_of(repository, "docs/explanation/splits.md")
    dataset = script.listed()
    rows = re.findall(r"^\| \d and \d, .* \| (\d+) \| (0\.\d\d) \|$", page, re.MULTILINE)
    found = [(str(many), f"{value:.2f}") for many, value in script.evidence(dataset).values()]
    assert rows == found
    groups: dict[str, set[str | None]] = {}
    for sample in script.by_person(dataset).samples:
        groups.setdefault(sample.group, set()).add(sample.split)
    tested = [splits for splits in groups.values() if "test" in splits]
    divided = [splits for splits in tested if len(splits) > 1]
    assert (len(divided), len(tested)) == (36, 50)
    readme = text_of(repository, "README.md")
    assert f"{len(divided)} of {len(tested)} persons in the test" in readme
    assert f"\n  {len(divided)} groups: " in page
