"""`medpipe check-plugin` and `check_plugin`: what ran, passed, was skipped and failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medpipe.errors import PluginError
from medpipe.testing import Checked, PluginReport, StepReport, check_plugin
from support.programs import HEAD, exit_code, install, medpipe

SOUND = '''
from typing import ClassVar
import attrs
from medpipe.plugin import ScheduleStep, TransformStep, hookimpl

@attrs.frozen(kw_only=True)
class Invert(TransformStep):
    """Turns dark into light.

    Attributes:
        most: The largest value.
    """

    name: ClassVar[str] = "checked_invert"
    most: float = 1.0

    def build(self):
        return lambda sample: {**sample, "image": self.most - sample["image"]}

@hookimpl
def medpipe_transforms(): return [Invert]
'''
"""A plugin whose step fails no check."""
QUICK = ["documents_itself", "leaves_what_it_is_given", "differs_between_samples"]
"""Checks of it that take no time."""


def module(folder: Path, name: str, source: str, patch: pytest.MonkeyPatch) -> str:
    """A module of a plugin in the working folder."""
    (folder / f"{name}.py").write_text(source)
    patch.chdir(folder)
    patch.syspath_prepend(str(folder))
    return name


def test_a_sound_plugin_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = check_plugin(module(tmp_path, "sound_one", SOUND, monkeypatch))
    assert report.passed, str(report)
    assert [one.name for one in report.plugin] == [
        "loads",
        "has_what_it_requires",
        "imports_quietly",
        "imports_without_torch",
        "is_typed",
        "has_names_of_its_own",
        "gives_examples_of_all_steps",
    ]
    (step,) = report.steps
    assert (step.kind, step.name, step.lacking) == ("transform", "checked_invert", 0)
    assert step.demanded == len(step.checked) == step.count("passed") + step.count("skipped")
    text = str(report)
    assert text.startswith("sound_one: passed\n")
    assert "transform checked_invert: it is not random (differs_between_samples, " in text


def test_what_fails_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = SOUND.replace('"""Turns dark into light.', '"""').replace(
        'self.most - sample["image"]', 'sample["image"].mul_(-1)'
    )
    name = module(tmp_path, "broken_one", broken, monkeypatch)
    assert exit_code("check-plugin", name, "--checks", *QUICK) == 1
    said = capsys.readouterr()
    assert "broken_one: failed" in said.out
    assert "checked_invert fails leaves_what_it_is_given: its use changes what" in said.out
    assert "Work on a copy: no '+=', no methods of torch that end with '_'." in said.out
    assert "Tried: Invert(most=1.0)" in said.out
    assert exit_code("check-plugin", name, "--checks", *QUICK, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["passed"], found["distribution"]) == (False, "broken_one")
    (step,) = found["steps"]
    assert {one["name"] for one in step["checks"]} == set(QUICK)
    assert step["demanded"] == 3


def test_a_step_without_examples_fails_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SOUND.replace("most: float = 1.0", "most: float")
    report = check_plugin(module(tmp_path, "no_examples", source, monkeypatch), checks=QUICK)
    assert not report.passed
    (failed,) = [one for one in report.plugin if one.status == "failed"]
    assert failed.name == "gives_examples_of_all_steps"
    assert failed.said == "transform checked_invert: its parameter most has no default."
    assert failed.remedy == (
        "Define the classmethod examples(cls, folder), or give every parameter a default."
    )
    (step,) = report.steps
    assert {one.said for one in step.checked} == {
        "it needs what the check 'gives_examples' finds wrong"
    }


def test_a_default_that_is_refused_is_named_and_its_text_stands_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = "most: float = attrs.field(default=0.0, validator=attrs.validators.ge(1))"
    source = SOUND.replace("most: float = 1.0", refusing)
    name = module(tmp_path, "refused_default", source, monkeypatch)
    report = check_plugin(name, checks=["gives_examples", *QUICK])
    said = (
        "the default of its parameter most, 0.0, is refused: ValueError: 'most' must be >= 1: 0.0"
    )
    remedy = (
        "Give most a default that its own validator allows, or define the classmethod "
        "examples(cls, folder) with values that it does."
    )
    (failed,) = [one for one in report.plugin if one.status == "failed"]
    assert (failed.said, failed.remedy) == (f"transform checked_invert: {said}.", remedy)
    (step,) = report.steps
    (failed,) = [one for one in step.checked if one.status == "failed"]
    assert (failed.name, failed.said, failed.remedy) == ("gives_examples", said, remedy)
    listed = str(report).partition("\nSkipped:\n")[2]
    assert "must be >= 1" not in listed
    assert "it needs what the check 'gives_examples' finds wrong (documents_itself, " in listed


def test_what_a_step_raises_is_told_once_with_its_line_and_a_remedy_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SOUND.replace('sample["image"]}', 'sample["centre"]}')
    name = module(tmp_path, "raising_one", source, monkeypatch)
    report = check_plugin(name, checks=["takes_samples", *QUICK, "prints_nothing"])
    (step,) = report.steps
    (failed,) = [one for one in step.checked if one.status == "failed"]
    assert failed.name == "takes_samples"
    assert failed.said.endswith(
        "failed on the sample 'sample': KeyError: 'centre' (raising_one.py, line 18)"
    )
    assert failed.remedy.startswith("Mend what it says. ")
    assert "centre" not in str(report).partition("\nSkipped:\n")[2]
    assert {one.said for one in step.checked if one.status == "skipped"} == {
        "it needs what the check 'takes_samples' finds wrong"
    }


def test_a_package_without_py_typed_and_with_a_taken_name_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "untyped_one").mkdir()
    source = SOUND.replace("checked_invert", "rand_flip")
    (tmp_path / "untyped_one" / "__init__.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    report = check_plugin("untyped_one", checks=QUICK)
    failed = {one.name: one.said for one in report.plugin if one.status == "failed"}
    assert failed == {
        "is_typed": "the package untyped_one has no file py.typed.",
        "has_names_of_its_own": "the transform 'rand_flip' means medpipe-imaging's; name "
        "medpipe-imaging:rand_flip, untyped_one:rand_flip.",
    }
    (tmp_path / "untyped_one" / "py.typed").touch()
    again = check_plugin("untyped_one", checks=QUICK)
    assert next(one for one in again.plugin if one.name == "is_typed").status == "passed"


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("check-plugin", "medpipe-nowhere") == 2
    assert "There is no plugin 'medpipe-nowhere': no installed distribution" in (
        capsys.readouterr().err
    )
    for name in ("imaging", "medpipe-imagin", "Medpipe_Imagng"):
        assert exit_code("check-plugin", name) == 2
        assert "Did you mean 'medpipe-imaging'? Else install it" in capsys.readouterr().err
    with pytest.raises(PluginError, match="There is no check 'is_nice'"):
        check_plugin("medpipe-imaging", checks=["is_nice"])


def test_fewer_checks_than_demanded_or_a_skip_without_a_reason_fails() -> None:
    def report(*checked: Checked) -> PluginReport:
        step = StepReport(kind="network", name="net", checked=checked, demanded=2)
        return PluginReport(distribution="tiny", version="1", plugin=(), steps=(step,))

    one = Checked(name="one", status="passed")
    assert report(one, Checked(name="two", status="skipped", said="for a reason")).passed
    for lacking in (report(one), report(one, Checked(name="two", status="skipped"))):
        assert not lacking.passed
        assert "network net: 1 of its checks neither ran nor say why they were skipped." in str(
            lacking
        )
    assert not report(one, Checked(name="two", status="failed", said="wrong")).passed
    reasons = [Checked(name=name, status="skipped", said="no") for name in ("one", "two")]
    assert not report(*reasons).passed  # nothing of it was tried


@pytest.mark.long
def test_an_installed_distribution_that_is_broken(tmp_path: Path) -> None:
    offer = "@hookimpl\ndef medpipe_networks(): raise ValueError('no licence')\n"
    install(tmp_path, "medpipe-broken", "print('hello')\n" + HEAD + offer)
    done = medpipe(tmp_path, "check-plugin", "medpipe_broken")
    assert done.returncode == 1, done.stderr
    assert "medpipe-broken 1.2: failed" in done.stdout
    assert (
        "the plugin fails loads: medpipe-broken 1.2: medpipe_networks raised ValueError: no licence"
        in done.stdout
    )
    assert "the plugin fails imports_quietly: importing it prints 'hello'." in done.stdout
    assert "hello" in done.stderr
