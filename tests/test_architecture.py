"""The map of the architecture page is what the folders hold and what import-linter checks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

PAGE = "docs/explanation/architecture.md"
LIMIT = 400
LONG = {
    "builder.py": "the public builder: every method with its overloads and docstring",
    "builtin/transforms/transform_table.py": "a table",
    "hookspecs.py": "a complete example of each hook",
}
"""Files of more lines than `LIMIT`, each with the reason."""


def maps(repository: Path) -> list[list[str]]:
    """The names at the beginning of the lines of each block of the page's first section."""
    text = (repository / PAGE).read_text(encoding="utf-8")
    section = text.partition("## The map\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```text\n(.*?)```", section, flags=re.DOTALL)
    begun = [[line for line in block.splitlines() if line[0] != " "] for block in blocks]
    return [[line.split()[0] for line in lines] for lines in begun]


def layers(repository: Path, container: str) -> list[str]:
    settings = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    (contract,) = [c for c in contracts if c.get("containers") == [container]]
    return [name for layer in contract["layers"] for name in layer.split(" | ")]


def held(folder: Path) -> set[str]:
    """The modules and folders of a package, as the page names them."""
    found = {path.name for path in folder.glob("*.py") if path.name != "__init__.py"}
    return found | {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}


def named(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/")


@pytest.fixture
def source(repository: Path) -> Path:
    return repository / "src" / "medpipe"


def test_the_map_is_what_the_folders_hold(repository: Path, source: Path) -> None:
    package, data, builtin = maps(repository)
    assert set(package) == held(source) - {"builtin/"}
    assert set(data) == held(source / "data")
    assert set(builtin) == {f"builtin/{name}" for name in held(source / "builtin")}


def test_the_map_has_the_order_that_imports_have(repository: Path) -> None:
    package, data, _ = maps(repository)
    assert [named(name) for name in package] == layers(repository, "medpipe")
    assert [named(name) for name in data] == layers(repository, "medpipe.data")


def test_few_modules_lie_at_the_top(source: Path) -> None:
    top = {name for name in held(source) if name.endswith(".py")} - {"__main__.py"}
    assert len(top) <= 9
    loose = {name for name in held(source / "data") if name.endswith(".py")}
    assert loose == {"chain.py", "ids.py", "preparation.py"}


def test_long_files_have_a_reason(source: Path) -> None:
    lengths = {
        path.relative_to(source).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in source.rglob("*.py")
    }
    assert {name for name, lines in lengths.items() if lines > LIMIT} == set(LONG)


def test_the_files_that_the_page_names_are_there(repository: Path, source: Path) -> None:
    text = (repository / PAGE).read_text(encoding="utf-8")
    files = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))`", text))
    assert len(files) > 20
    elsewhere = {"tests/formats/"}
    assert {f for f in files - elsewhere if not (source / f).exists()} == set()
