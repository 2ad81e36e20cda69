"""The plugin `medpipe-timm`: without timm, and in an environment that has it.

timm requires torchvision. As the package index has it, torchvision is built for CUDA, and beside
torch's build for the CPU its compiled operators are not there, so that it can't be imported.
Networks use none of them: in the environment of these tests, where torchvision can't be imported,
two are declared, without code. Everything else is timm and torchvision as they are.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

import medpipe
from medpipe.plugin import DataInfo, NetworkStep, PluginError, Task
from medpipe.testing import checks_for

PLUGIN = Path(__file__).parents[1] / "examples" / "plugins" / "medpipe-timm"
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
NOT_PASSED_ON = ("PYTHONPATH", "PYTEST_ADDOPTS", "MEDPIPE_PLUGINS")
WITHOUT_BUILDING = (
    "gives_examples",
    "imports_nothing_heavy",
    "equals_its_copy",
    "differs_by_parameters",
    "comes_back_from_toml",
    "has_valid_defaults",
    "documents_its_parameters",
    "documents_itself",
    "refuses_wrong_values",
    "can_be_pickled",
)
CHECKED = """
for file in ("0.toml", "1.toml"):
    builder = medpipe.PipelineBuilder.load(file).loader(workers=0)
    print(builder.dataset("phantom", samples=60).build().check())
"""
DECLARED = """import torch

_declared = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _declared.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of the step, from the sources."""
    monkeypatch.syspath_prepend(str(PLUGIN / "src"))
    import medpipe_timm

    return medpipe_timm.TimmNetwork


@pytest.fixture
def data() -> DataInfo:
    task = Task(names=("a", "b"))
    return DataInfo(task=task, channels=1, spatial_shape=(32, 32), spatial_dims=2, outputs=2)


def test_without_timm_the_error_says_what_to_install(
    step: Any, data: DataInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(PluginError, match=r"needs the package timm, .*: pip install timm\. It"):
        step(model="resnet18").build(data)


def test_a_torchvision_of_another_build_is_named(
    step: Any, data: DataInfo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = "operator torchvision::nms does not exist"
    (tmp_path / "timm.py").write_text(f"raise RuntimeError({said!r})\n")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match=f"{said}. timm imports torchvision, and each torch"):
        step(model="resnet18").build(data)


def test_the_checks_that_build_nothing_pass_without_timm(step: Any) -> None:
    import medpipe_timm

    registry = medpipe.Registry.discover().with_plugin(medpipe_timm, name="medpipe-timm")
    assert registry.get(NetworkStep, "timm") is step
    found = {check.name: check for check in checks_for(step)}
    for name in WITHOUT_BUILDING:
        outcomes = list(found[name].outcomes(step, registry=registry))
        assert [one.status for one in outcomes] == ["passed"] * 2, outcomes


def test_weights_are_given_up_where_a_checkpoint_has_them(step: Any) -> None:
    given = step(model="resnet18", weights="pretrained", dropout=0.1)
    assert given.untrained() == step(model="resnet18", dropout=0.1)
    assert step(model="resnet18").untrained() == step(model="resnet18")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with timm from the package index, the plugin, and what is here."""
    folder = tmp_path_factory.mktemp("timm")
    venv.create(folder / "environment", symlinks=True)
    (site,) = (folder / "environment").glob("lib/python*/site-packages")
    paths = [path for path in sys.path if path.endswith("site-packages")]
    paths.append(str(Path(medpipe.__file__).parents[1]))
    (site / "there.pth").write_text("\n".join(paths) + "\n")
    python = folder / "environment" / "bin" / "python"
    called(python, folder, "pip", "install", "-c", str(CONSTRAINTS), "timm")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PLUGIN, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    called(python, folder, "pip", "install", "--no-deps", "--no-index", str(wheel))
    if run(python, folder, "torchvision").returncode:
        file = site / "torchvision" / "__init__.py"
        file.write_text(DECLARED + file.read_text(encoding="utf-8"), encoding="utf-8")
    return python


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call a module in the environment, without a connection to the Hugging Face hub."""
    kept = {key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON}
    return subprocess.run(
        [str(python), "-m", *arguments],
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def called(python: Path, folder: Path, *arguments: str) -> str:
    """What a module prints that ends well."""
    done = run(python, folder, *arguments)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.long
@pytest.mark.rare
@pytest.mark.skipif(sys.platform == "win32", reason="the environment is laid out as on Linux")
def test_with_timm_it_passes_the_checks_and_its_own_tests(python: Path, tmp_path: Path) -> None:
    said = called(python, tmp_path, "medpipe", "check-plugin", "medpipe-timm")
    assert "medpipe-timm 0.1.0: passed" in said
    assert re.search(r"^network timm +60 +60 +2 +0$", said, re.MULTILINE), said
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--import-mode=importlib"]
    tests = str(PLUGIN / "tests" / "test_timm.py")  # the other file has what check-plugin does
    assert " passed" in called(python, tmp_path, "pytest", *options, f"--rootdir={tmp_path}", tests)


@pytest.mark.long
@pytest.mark.rare
@pytest.mark.skipif(sys.platform == "win32", reason="the environment is laid out as on Linux")
def test_what_its_readme_shows_works(python: Path, tmp_path: Path) -> None:
    text = (PLUGIN / "README.md").read_text(encoding="utf-8")
    assert "$ python -m medpipe_timm convnext_atto" in text
    printed = called(python, tmp_path, "medpipe_timm", "convnext_atto")
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", text, re.M | re.S)
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    for number, sections in enumerate((printed, shown)):
        (tmp_path / f"{number}.toml").write_text(f"format = 1\n{sections}")
    (tmp_path / "block.py").write_text(code + CHECKED)
    assert called(python, tmp_path, "block").count("The pipeline can run.") == 3
