"""What is published: the source distribution, the wheel that is built of it, and the citation."""

from __future__ import annotations

import ast
import configparser
import email
import email.message
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from medpipe import Run
from medpipe.system.distribution import DISTRIBUTION

LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
DATA = {".dcm", ".nii", ".gz", ".npy", ".npz", ".h5", ".pt", ".pth", ".safetensors", ".zip", ".whl"}
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".webp"}
NEEDED = {
    "py.typed",
    "recipes/mednist_fast.toml",
    "recipes/project/gitignore",
    "recipes/plugin/pyproject.toml.txt",
    "recipes/plugin/network.py.txt",
    "report/templates/report.html",
}


@attrs.frozen(kw_only=True)
class Published:
    """What is published.

    Attributes:
        sources: The unpacked source distribution.
        wheel: The wheel that was built of it.
    """

    sources: Path
    wheel: Path

    def told(self, name: str) -> str:
        """What a file beside the package says."""
        with zipfile.ZipFile(self.wheel) as archive:
            (path,) = [one for one in archive.namelist() if one.endswith(f".dist-info/{name}")]
            return archive.read(path).decode()

    @property
    def metadata(self) -> email.message.Message:
        """What a package index shows."""
        return email.message_from_string(self.told("METADATA"))


def build(of: Path, what: str, into: Path) -> Path:
    """Build as a front end does, without a network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", what, "-d", str(into)]
    done = subprocess.run(command, cwd=of, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = into.glob("*.tar.gz" if what == "sdist" else "*.whl")
    return file


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    with tarfile.open(build(Path(__file__).parents[1], "sdist", folder)) as archive:
        archive.extractall(folder, filter="data")
    (sources,) = (path for path in folder.iterdir() if path.is_dir())
    return Published(sources=sources, wheel=build(sources, "wheel", folder))


@pytest.fixture
def project(repository: Path) -> dict[str, Any]:
    found = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    described: dict[str, Any] = found["project"]
    return described


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_and_nothing_else(
    published: Published, repository: Path
) -> None:
    with zipfile.ZipFile(published.wheel) as archive:
        names: dict[str, set[str]] = {}
        for name in archive.namelist():
            first, _, rest = name.partition("/")
            names.setdefault(first, set()).add(rest)
    package = files(repository / "src" / "medpipe")
    assert names.pop("medpipe") == package
    assert package >= NEEDED
    ((info, held),) = names.items()
    assert info.endswith(".dist-info")
    assert held == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def test_the_wheel_of_the_sources_is_that_of_the_clone(
    published: Published, repository: Path, tmp_path: Path
) -> None:
    assert build(repository, "wheel", tmp_path).read_bytes() == published.wheel.read_bytes()


def test_the_sources_hold_what_is_in_the_clone_and_no_data(
    published: Published, repository: Path
) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    held = files(published.sources)
    if listed.stdout:
        assert held - {"PKG-INFO"} <= set(listed.stdout.splitlines())
    else:
        assert not (repository / ".git").exists(), listed.stderr
    assert {"README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "SECURITY.md"} <= held
    assert {"CONTRIBUTING.md", "tests/test_published.py", "docs/index.md"} <= held
    assert [name for name in held if Path(name).suffix in DATA] == []
    pictures = {name for name in held if Path(name).suffix in PICTURES}
    assert {Path(name).parent.as_posix() for name in pictures} == {
        "docs/images",
        "docs/images/gallery",
    }


def test_the_metadata_are_those_of_the_project(
    published: Published, project: dict[str, Any], repository: Path
) -> None:
    from trove_classifiers import classifiers

    found = published.metadata
    assert (found["Name"], found["Version"]) == (DISTRIBUTION, project["version"])
    assert found["Summary"] == project["description"]
    assert (found["License-Expression"], found["License-File"]) == ("Apache-2.0", "LICENSE")
    assert found["Requires-Python"] == ">=3.11"
    assert found["Author"] == "The medpipe developers"
    told = found.get_all("Classifier", [])
    assert sorted(told) == sorted(project["classifiers"])
    assert set(told) <= set(classifiers)
    assert not any(one.startswith("License ::") for one in told)  # the expression says it
    assert set(found.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    required = [one.partition(";")[0] for one in found.get_all("Requires-Dist", [])]
    assert not any("@" in one or "==" in one for one in required)
    assert not any(re.match(r"medpipe(?!-imaging)", one) for one in required)
    urls = found.get_all("Project-URL", [])
    assert all(re.fullmatch(r"[\w ]+, https://\S+", url) for url in urls)
    assert found["Description-Content-Type"] == "text/markdown"
    assert found.get_payload() == (repository / "README.md").read_text(encoding="utf-8")


def test_the_wheel_brings_the_command_and_the_built_in_steps(published: Published) -> None:
    points = configparser.ConfigParser()
    points.read_string(published.told("entry_points.txt"))
    assert {name: dict(points[name]) for name in points.sections()} == {
        "console_scripts": {"medpipe": "medpipe.cli:main"},
        "medpipe": {"builtin": "medpipe.builtin"},
    }
    assert "Tag: py3-none-any" in published.told("WHEEL").splitlines()


@pytest.mark.long
def test_what_the_package_imports_is_required(repository: Path, published: Published) -> None:
    required = {
        canonicalize_name(Requirement(one).name)
        for one in published.metadata.get_all("Requires-Dist", [])
    }
    known = {**metadata.packages_distributions(), "mlflow": ["mlflow-skinny"]}
    unknown: dict[str, str] = {}
    for path in sorted((repository / "src" / "medpipe").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.partition(".")[0] for name in names}:
                own = name == "medpipe" or name in sys.stdlib_module_names
                bringing = {canonicalize_name(one) for one in known.get(name, [name])}
                if not own and not required & bringing:
                    unknown[name] = path.name
    assert unknown == {"pandas": "table_file.py"}  # where it is, in place of pyarrow


def test_the_readme_renders_and_its_links_lead_somewhere(published: Published) -> None:
    from markdown_it import MarkdownIt

    text = str(published.metadata.get_payload())
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(text)
    assert [token.tag for token in tokens if token.type == "heading_open"].count("h1") == 1
    titles = [
        tokens[place + 1].content
        for place, token in enumerate(tokens)
        if token.type == "heading_open"
    ]
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    html = [token.content for token in tokens if token.type == "html_block"]
    inline = [part for token in tokens for part in token.children or ()]
    html += [part.content for part in inline if part.type == "html_inline"]
    assert all(one.startswith("<img ") and "alt=" in one for one in html)
    fences = [token for token in tokens if token.type == "fence"]
    assert all(token.info in {"console", "python", "text", "toml"} for token in fences)
    assert text.count("```") == 2 * len(fences)
    links = {first or second for first, second in LINK.findall(text)}
    assert len(links) > 20
    for link in links:
        if link.startswith("#"):
            assert link[1:] in anchors, link
        elif not link.startswith("https://"):
            assert (published.sources / link.partition("#")[0]).exists(), link


@pytest.fixture(scope="module")
def python(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that has what this one has, but medpipe from the wheel."""
    folder = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    paths = [path for path in sys.path if path.endswith("site-packages")]
    (site / "there.pth").write_text("\n".join(paths) + "\n")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(site), str(published.wheel)], check=True, capture_output=True)
    return folder / "bin" / "python"


def call(python: Path, cwd: Path, *arguments: str) -> str:
    """Run the environment's interpreter, which knows nothing of the clone; what it prints."""
    without = ("PYTHONPATH", "PYTEST_ADDOPTS", "MEDPIPE_PLUGINS", "MEDPIPE_DATA", "MEDPIPE_REPORT")
    done = subprocess.run(
        [str(python), *arguments],
        cwd=cwd,
        env={
            **{key: value for key, value in os.environ.items() if key not in without},
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


WINDOWS = pytest.mark.skipif(
    sys.platform == "win32", reason="the environment is laid out as on Linux"
)


@pytest.mark.long
@WINDOWS
def test_a_recipe_runs_from_the_wheel(
    python: Path, tmp_path: Path, project: dict[str, Any]
) -> None:
    where = call(python, tmp_path, "-c", "import medpipe; print(medpipe.__file__)")
    assert Path(where.strip()).is_relative_to(python.parents[1])
    medpipe = ["-m", "medpipe"]
    values = ["dataset.step=phantom", "dataset.samples=60", "dataset.size=32", "run.device=cpu"]
    values += ["trainer.epoch_length=2", "loader.batch_size=16", "loader.workers=0"]
    given = [part for value in values for part in ("--set", value)]
    call(python, tmp_path, *medpipe, "run", "mednist_fast", *given, "--output", "first")
    run = Run.load(tmp_path / "first")
    assert run.status == "finished"
    (supplied,) = run.record["plugins"]
    assert (supplied["distribution"], supplied["version"]) == (DISTRIBUTION, project["version"])
    assert run.record["versions"]["medpipe"] == project["version"]
    assert "HeadCT" in (tmp_path / "first" / "report.html").read_text(encoding="utf-8")
    assert "mednist_fast" in call(python, tmp_path, *medpipe, "recipes")
    for command in (("init", "project"), ("new-plugin", "heart")):
        call(python, tmp_path, *medpipe, *command)
    assert (tmp_path / "medpipe-heart" / "pyproject.toml").is_file()


@pytest.mark.long
@WINDOWS
def test_the_readme_s_python_runs_from_the_wheel(
    python: Path, published: Published, tmp_path: Path
) -> None:
    text = str(published.metadata.get_payload())
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    printed = call(python, tmp_path, script.name)
    assert re.search(r"^accuracy [01]\.\d{3} \([01]\.\d{3} to 1\.000\) on 30 ", printed, re.M)
    assert printed.count("The pipeline can run.") == 1


CITED = {
    "cff-version": str,
    "message": str,
    "title": str,
    "authors": list,
    "type": str,
    "abstract": str,
    "version": str,
    "license": str,
    "keywords": list,
}
"""The fields of the citation, and what they are; the first four are required."""


def test_the_citation_is_one(repository: Path, project: dict[str, Any]) -> None:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, which the docs bring")
    text = (repository / "CITATION.cff").read_text(encoding="utf-8")
    found = yaml.safe_load(text)
    assert {name: type(value) for name, value in found.items()} == CITED
    assert (found["cff-version"], found["type"]) == ("1.2.0", "software")
    assert found["authors"] == [{"name": "The medpipe developers"}]
    assert found["version"] == project["version"]
    assert found["license"] == project["license"]
    assert found["keywords"] == project["keywords"]
    assert found["title"] == "medpipe"
