"""The README and the docs say what is true: their blocks run, their tables are complete."""

from __future__ import annotations

import re
import shlex
import sys
import textwrap
import tomllib
import types
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import medpipe
from medpipe import hookspecs, recipes
from medpipe.cli import app
from medpipe.settings import (
    EvaluationSettings,
    LoaderSettings,
    RunSettings,
    SplitSettings,
    WeightsSettings,
)
from medpipe.steps import STEP_KINDS, ExportParts, ExportStep, TaskStep
from medpipe.system.threads import threads
from support.folders import image_folder
from support.programs import exit_code
from support.shown_commands import RUNNABLE, lay_out, start_as_shown

if TYPE_CHECKING:
    pass

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]
BLOCK = re.compile(r"^```(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("medpipe_"))
# What the examples of the hooks take for granted: a plugin's usual imports.
IMPORTS = """
from __future__ import annotations
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal
import attrs
import numpy as np
Array = np.ndarray
from medpipe.plugin import *
"""


def blocks(page: Path, language: str) -> list[str]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for name, text in found if name == language]


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def pages_with(language: str) -> list[object]:
    return [pytest.param(page, id=name_of(page)) for page in PAGES if blocks(page, language)]


def _marked(page: Path) -> object:
    """Pages whose examples are trained for long are left to `.ci/run`."""
    long = page.stem in {
        "README",
        "fine-tuning",
        "own-data",
        "folds",
        "first-project",
        "weights",
        "tutorial",
        "clusters",
        "dicom",
        "results",
        "report",
        "several-processes",
        "export",
        "parts",
        "from-monai",
        "from-lightning",
        "from-nnunet",
        "from-gandlf",
    }
    return pytest.param(page, id=name_of(page), marks=[pytest.mark.long] if long else [])


@pytest.mark.parametrize("page", [_marked(page) for page in PAGES if blocks(page, "python")])
def test_python_blocks_run_in_order(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(f"page_{page.stem.replace('-', '_').lower()}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    text = page.read_text(encoding="utf-8")
    for configuration in blocks(page, "toml")[:1]:
        (tmp_path / "tiny.toml").write_text(configuration, encoding="utf-8")
    with threads(1):  # the networks are small: more would wait for each other
        for match in BLOCK.finditer(text):
            if match[1] == "python":
                above = "\n" * text.count("\n", 0, match.start(2))  # errors name the page's line
                exec(compile(above + match[2], str(page), "exec"), vars(module))
    printed = capsys.readouterr().out.splitlines()
    for shown in blocks(page, "text"):
        if shown.startswith(("samples ", "The pipeline has problems")):
            for line in shown.splitlines():
                # A trained network's numbers differ between machines in their last digits.
                assert line in printed or line.startswith("accuracy "), line


@pytest.mark.parametrize("page", pages_with("toml"))
def test_toml_blocks_are_toml_and_configurations_load(page: Path) -> None:
    for text in blocks(page, "toml"):
        tomllib.loads(text)
        if text.startswith("format = 1"):
            builder = medpipe.PipelineBuilder.from_toml(text)
            assert medpipe.PipelineBuilder.from_toml(builder.to_toml()) == builder


ELSEWHERE = {"first-plugin"}
"""Pages whose commands are run by a test of their own: they install a package."""


@pytest.mark.parametrize(
    "page",
    [_marked(page) for page in PAGES if blocks(page, "console") and page.stem not in ELSEWHERE],
)
def test_console_blocks_with_medpipe_run(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    configurations = [t for t in blocks(page, "toml") if t.startswith("format = 1")]
    if configurations:
        (tmp_path / "tiny.toml").write_text(configurations[0], encoding="utf-8")
    small = medpipe.PipelineBuilder(device="cpu").dataset("phantom", samples=60, size=32)
    network = small.network("densenet121", init_features=8, growth_rate=4)
    lines = [line for text in blocks(page, "console") for line in text.splitlines()]
    if any(line.startswith("$ torchrun ") for line in lines):  # each start takes long enough
        network = small.network("resnet10", widen_factor=0.125).trainer("supervised", max_epochs=2)
    network.loader(batch_size=16, workers=0).save(tmp_path / "small.toml")
    if any("xray" in line for line in lines):
        for folder in ("xray", "data/xray"):
            image_folder(tmp_path / folder, samples=48)
    lay_out(page.read_text(encoding="utf-8"), tmp_path)
    lines = [re.sub(r"--time \S+", "--time 2s", line) for line in lines]  # not half an hour
    commands = [shlex.split(line[2:]) for line in lines if line.startswith(RUNNABLE)]
    with threads(1):  # the networks are small: more would wait for each other
        for program, *arguments in commands:
            if program == "torchrun":
                start_as_shown(arguments)
                continue
            code = exit_code(*arguments)
            printed = capsys.readouterr()
            assert not code, (arguments, printed.out, printed.err)
            assert printed.out


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_every_hook_works(
    hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = getattr(hookspecs, hook).__doc__
    source = textwrap.dedent(doc.partition("::\n")[2])
    module = types.ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    exec(compile(IMPORTS + source, hook, "exec"), vars(module))
    registry = medpipe.Registry.discover().with_plugin(module)
    kind = next(kind for kind in STEP_KINDS if hookspecs.hook_of(kind) == hook)
    offered = [step for step in registry.plugins[-1].steps if step.kind == kind.kind]
    assert len(offered) == 1
    if hook == "medpipe_exports":
        _opens_what_it_wrote(registry.create(ExportStep, offered[0].name))
        return
    with threads(1):  # the networks are small: more would wait for each other
        report = _with_step(offered[0], registry, tmp_path).build().check()
    assert report.ok, report


def _opens_what_it_wrote(step: ExportStep) -> None:
    import torch

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = torch.nn.Linear(3, 2)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"scores": self.network(image)}

    graph, about = Graph(), {"run": "a"}
    parts = ExportParts(
        network=graph.network, program=lambda: None, outputs=("scores",), about=about
    )
    content = step.write(parts)
    assert step.about(content) == about
    images = np.random.default_rng(0).random((4, 3), np.float32)
    found = step.open(content, Graph)(images)["scores"]
    np.testing.assert_array_equal(found, graph(torch.tensor(images))["scores"].detach())


def _with_step(step: type, registry: medpipe.Registry, folder: Path) -> medpipe.PipelineBuilder:
    builder = medpipe.PipelineBuilder(device="cpu", registry=registry)
    builder = builder.dataset("phantom", samples=60, size=32)
    builder = builder.network("densenet121", init_features=8, growth_rate=4)
    builder = builder.loader(batch_size=16, workers=0)
    if step.kind == "dataset":
        from PIL import Image

        random = np.random.default_rng(0)
        for number in range(20):
            pixels = random.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{'ab'[number % 2]}{number}.png")
        return builder.dataset(step.name, root=str(folder))
    if step.kind == "transform":
        return builder.transform(step.name)
    if step.kind == "network":
        return builder.network(step.name)
    if step.kind == "trainer":
        return builder.trainer(step.name, max_epochs=1)
    if step.kind == "metric":
        return builder.metrics(step.name)
    if step.kind == "handler":
        return builder.handlers(step.name)
    if step.kind == "reader":
        return builder.readers(step.name)
    if step.kind == "inferer":
        return builder.inferer(step.name)
    if step.kind == "task":
        task = registry.create(TaskStep, step.name)
        samples = [
            medpipe.Sample(id=f"{n}", image=np.full((32, 32), float(n)), label=n % 2)
            for n in range(40)
        ]
        return builder.dataset(
            medpipe.Dataset(samples=samples, task=medpipe.Task(kind=task, names=("a", "b")))
        ).transforms("load_image", "ensure_channel_first", "to_tensor")
    return builder.trainer("supervised", **{step.kind: medpipe.step(step.name)})


def test_each_hook_is_documented() -> None:
    reference = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    how_to = (DOCS / "how-to" / "plugin.md").read_text(encoding="utf-8")
    assert {hookspecs.hook_of(kind) for kind in STEP_KINDS} == set(HOOKS)
    for hook in HOOKS:
        assert hook in reference
        assert f"`{hook}`" in how_to


def test_every_public_name_is_in_the_reference() -> None:
    import medpipe.plugin
    import medpipe.testing

    reference = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    errors = {name for name, value in vars(medpipe.errors).items() if isinstance(value, type)}
    public = {*medpipe.__all__, *medpipe.plugin.__all__, *medpipe.testing.__all__}
    for name in public - errors - {"__version__"}:
        assert re.search(rf"\b{name}\b", reference), name
    assert "automodule:: medpipe.errors" in reference


def test_every_builtin_step_is_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    import tables

    page = (DOCS / "reference" / "steps.md").read_text(encoding="utf-8")
    builtin = next(p for p in medpipe.Registry.discover().plugins if p.builtin)
    for kind in STEP_KINDS:
        assert f"_build/tables/{kind.kind}.md" in page
        text = tables.steps_of(kind)
        names = {step.name for step in builtin.steps if step.kind == kind.kind}
        assert set(re.findall(r"^### `(.+)`$", text, re.MULTILINE)) == names
    for line in tables.steps_of(STEP_KINDS[1]).splitlines():
        assert not line.startswith("|") or re.sub(r"\\\|", "", line).count("|") == 5, line


def test_every_check_is_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    import tables

    from medpipe.testing import all_checks

    assert "_build/tables/checks.md" in (DOCS / "reference" / "checks.md").read_text("utf-8")
    text = tables.checks()
    named = re.findall(r"^\| `(\w+)` \| (.+?\.) \| (.+?\.) \| (.+?\.) \|$", text, re.MULTILINE)
    assert sorted(name for name, *_ in named) == sorted(check.name for check in all_checks())


def test_every_setting_is_in_the_reference() -> None:
    import attrs

    page = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
    supervised = medpipe.Registry.discover().trainers["supervised"]
    sections = {
        "weights": WeightsSettings,
        "loader": LoaderSettings,
        "split": SplitSettings,
        "evaluation": EvaluationSettings,
        "run": RunSettings,
        "trainer": supervised,
    }
    for section, settings in sections.items():
        for field in attrs.fields(settings):
            assert f"| `{section}.{field.name}` |" in page, f"{section}.{field.name}"
    for recipe in recipes.names():
        assert f"`{recipe}`" in page


def test_every_command_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    commands = {name for name in app if not name.startswith("-")}
    assert set(re.findall(r"^## medpipe (\S+)$", page, re.MULTILINE)) == commands


def test_the_run_directory_page_names_what_a_run_writes() -> None:
    page = (DOCS / "reference" / "run-directory.md").read_text(encoding="utf-8")
    run = (
        medpipe.PipelineBuilder(device="cpu")
        .dataset("phantom", samples=60, size=16)
        .network(_mean_network)
        .trainer("supervised", max_epochs=2)
        .loader(batch_size=32, workers=0)
        .build()
        .run("run")
    )
    written = {p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file()}
    named = set(re.findall(r"^\| `([^`]+\.\w+)` \|", page, re.MULTILINE))
    seldom = {"pipeline.toml", "quarantine.csv", "checkpoints/damaged.safetensors"}
    assert written | seldom == named
    for key in run.record:
        assert f"`{key}`" in page, key


def _mean_network(data: medpipe.DataInfo) -> object:
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, data.outputs))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in target:
                assert (page.parent / target).is_file(), f"{name_of(page)}: {target}"
