"""The distribution's name: hints to install come from it, and collisions are named."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from medpipe.system import distribution
from medpipe.system.distribution import DISTRIBUTION, install_command, own_distribution

TEXTS = ("*.md", "*.py", "*.toml", "*.txt", "*.html", "*.ipynb", "*.yml", ".ci/*")
BY_NAME = re.compile(
    r"(?:pip3?|uv|pipx|poetry|conda|mamba)\s+(?:\w+\s+)?(?:install|add)\b[^\n`&;|]*?"
    r"""[ \t"'`(]medpipe(?:\[[\w,-]*\])?(?:[=<>~!]=?[\w.]+)?["'`]*(?:\s|$|[.,;)])"""
)


REQUIRED = re.compile(r"""["']medpipe(?:\[[\w,-]*\])?\s*(?:[=<>~!]=?\s*[\w.]+)?["'](?=\s*[,\]])""")
"""A requirement of the other project's distribution, in a list of requirements."""
EXTRAS = re.compile(rf"""{DISTRIBUTION}\[([\w,-]+)\]|install_command\(["'](\w+)["']\)""")
LISTS = re.compile(r"^(?:dependencies|requires)\s*=\s*\[.*?\]\s*$", re.MULTILINE | re.DOTALL)


def test_hints_name_the_installed_distribution() -> None:
    assert own_distribution() == DISTRIBUTION
    assert metadata.distribution(DISTRIBUTION).metadata["Name"] == DISTRIBUTION
    assert install_command("dicom") == f'pip install "{DISTRIBUTION}[dicom]"'
    assert "dicom" in metadata.distribution(DISTRIBUTION).metadata.get_all("Provides-Extra", [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('pip install "medpipe[dicom]"', True),
        ("run `pip install medpipe`.", True),
        ("uv add medpipe", True),
        ("python -m pip install -U medpipe==0.1", True),
        ('pip install "medpipe-imaging[dicom]"', False),
        ("pip install -e . && medpipe plugins", False),
        ("pip install medpipe-tiny", False),
    ],
)
def test_what_tells_to_install_by_the_name_of_another_project(text: str, told: bool) -> None:
    assert bool(BY_NAME.search(text)) is told


def texts(repository: Path, *patterns: str) -> dict[str, str]:
    """The texts of a clone, by their names."""
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=repository, capture_output=True, text=True, check=False
    ).stdout.split()
    if not listed:
        pytest.skip("not in a clone")
    return {
        name: (repository / name).read_text(encoding="utf-8")
        for name in listed
        if name != "tests/test_distribution.py" and (repository / name).is_file()
    }


def test_no_text_tells_to_install_the_distribution_of_another_project(repository: Path) -> None:
    told = {
        name: found.group(0)
        for name, text in texts(repository, *TEXTS).items()
        if (found := BY_NAME.search(text))
    }
    assert told == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('dependencies = ["medpipe"]', True),
        ('dependencies = ["attrs", "medpipe>=0.1"]', True),
        ("dependencies = ['medpipe[dicom]',\n 'attrs']", True),
        ('dependencies = ["medpipe-imaging>=0.1", "medpipe-heart"]', False),
    ],
)
def test_what_requires_the_distribution_of_another_project(text: str, told: bool) -> None:
    assert any(REQUIRED.search(one) for one in LISTS.findall(text)) is told


def test_no_project_requires_the_distribution_of_another_project(repository: Path) -> None:
    told = {
        name: found.group(0)
        for name, text in texts(repository, "*.toml", "*.toml.txt", "*.md").items()
        for one in LISTS.findall(text)
        if (found := REQUIRED.search(one))
    }
    assert told == {}


def test_every_extra_that_is_named_is_there(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(project["project"]["optional-dependencies"])
    named = {
        (name, extra)
        for name, text in texts(repository, *TEXTS).items()
        for found in EXTRAS.findall(text)
        for extra in ",".join(found).split(",")
        if extra
    }
    assert {extra for _, extra in named} >= {"dicom", "onnx", "bundle", "parquet", "mlflow"}
    assert {(name, extra) for name, extra in named if extra not in extras} == set()


@pytest.mark.long
def test_doctor_names_a_distribution_that_brings_the_same_package(tmp_path: Path) -> None:
    (tmp_path / "medpipe-0.3.dist-info").mkdir()
    (tmp_path / "medpipe-0.3.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: medpipe\nVersion: 0.3\n"
    )
    (tmp_path / "medpipe-0.3.dist-info" / "RECORD").write_text("medpipe/__init__.py,,\n")
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from medpipe.cli import main; sys.argv = ['medpipe', 'doctor']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert (
        "The distribution medpipe 0.3 has a package medpipe too, and files of one may stand in "
        "place of the other's. Uninstall both ('pip uninstall medpipe medpipe-imaging'), then "
        "install medpipe-imaging alone." in done.stdout
    )


def test_nothing_collides_here() -> None:
    assert distribution.collisions() == []
