"""What the pages for people who come with something say is there: names, tests, commands."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import attrs
import pytest

import medpipe
from medpipe.cli import app

DOCS = Path(__file__).parents[1] / "docs"
CELL = re.compile(r"`([^`]+)`")
MONAI = (
    "monai.apps",
    "monai.bundle",
    "monai.data",
    "monai.engines",
    "monai.handlers",
    "monai.inferers",
    "monai.losses",
    "monai.metrics",
    "monai.networks.nets",
    "monai.transforms",
    "monai.utils",
)


def rows(page: str, title: str) -> list[list[str]]:
    """The cells of the first table below a title."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(f"\n## {title}\n")[2]
    table = re.search(r"^\|.+?(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    assert table is not None, (page, title)
    lines = table[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_monai_has_the_names_on_the_left() -> None:
    modules = [importlib.import_module(name) for name in MONAI]
    left = " ".join(row[0] for row in rows("how-to/from-monai.md", "What is called what"))
    named = {re.split(r"\W", text)[0] for text in CELL.findall(left)}
    named -= {"keys", "allow_missing_keys", "configs"}  # parameters, and a file
    assert len(named) > 30
    assert not {name for name in named if not any(hasattr(module, name) for module in modules)}


@pytest.mark.parametrize(
    ("page", "least"), [("monai", 40), ("lightning", 25), ("nnunet", 12), ("gandlf", 20)]
)
def test_medpipe_has_the_names_on_the_right(page: str, least: int) -> None:
    right = [row[-1] for row in rows(f"how-to/from-{page}.md", "What is called what")]
    spans = [span for cell in right for span in CELL.findall(cell)]
    known = _steps_and_fields() | _methods_and_arguments() | STANDARD
    seen = 0
    for span in spans:
        if span.startswith(("medpipe ", "torchrun ")):
            continue
        if span.startswith("--") or re.search(r"\.(csv|html|json|toml)$", span):
            continue
        for name in re.findall(r"\b[a-z]\w*", span):
            seen += 1
            assert name in known, (span, name)
    assert seen >= least
    for command in re.findall(r"\bmedpipe ([a-z][\w-]*)", " ".join(spans)):
        assert command in set(app), command


STANDARD = {"balanced", "files", "nn", "true", "format", "download", "extract_archive"}
"""Words that are no step, setting, method or argument."""


def _methods_and_arguments() -> set[str]:
    doors = (medpipe.PipelineBuilder, medpipe.Pipeline, medpipe.Run)
    methods = [
        (name, value)
        for door in doors
        for name, value in vars(door).items()
        if inspect.isfunction(value) and not name.startswith("_")
    ]
    methods.append(("PipelineBuilder", medpipe.PipelineBuilder))
    return {name for name, _ in methods} | {
        argument for _, method in methods for argument in inspect.signature(method).parameters
    }


def _steps_and_fields() -> set[str]:
    registry = medpipe.Registry.discover()
    steps = [step for plugin in registry.plugins for step in plugin.steps]
    configuration = medpipe.PipelineBuilder().build().configuration
    sections = [field.name for field in attrs.fields(type(configuration))]
    settings = [type(getattr(configuration, name)) for name in sections]
    classes = [*steps, *(cls for cls in settings if attrs.has(cls))]
    fields = {field.name for cls in classes for field in attrs.fields(cls)}
    return {step.name for step in steps} | fields | {*sections}


def test_what_is_not_run_is_marked_so_and_is_valid_at_least() -> None:
    text = (DOCS / "how-to" / "from-lightning.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names = {node.name for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ClassDef)}
    assert names == {"Scans", "Classifier"}
    for page in ("lightning", "nnunet", "gandlf"):
        said = (DOCS / "how-to" / f"from-{page}.md").read_text(encoding="utf-8")
        assert re.search(r"not installed where these pages are tested: \*\*.* not run\*\*", said)


def test_every_claim_about_medpipe_has_a_test_or_a_command() -> None:
    commands = {name for name in app if not name.startswith("-")}
    claims = rows("explanation/comparison.md", "What is said of medpipe, and how to see it")
    assert len(claims) > 15
    for claim, proof in claims:
        named = CELL.findall(proof)
        assert named, claim
        for one in named:
            path, _, test = one.partition("::")
            if one.startswith("medpipe "):
                assert one.split()[1] in commands, one
                continue
            source = (DOCS.parent / path).read_text(encoding="utf-8")
            assert not test or f"\ndef {test}(" in source, one
