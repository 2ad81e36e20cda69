"""Every built-in dataset, reader and task step, and those of the example plugin, pass the kit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medpipe.registry.registry import Registry
from medpipe.steps import DatasetStep, ReaderStep, TaskStep
from medpipe.testing import checks_for

pytestmark = pytest.mark.long

if TYPE_CHECKING:
    from medpipe.steps import Step

KINDS = (DatasetStep, ReaderStep, TaskStep)
GRADES = Path(__file__).parents[1] / "examples" / "plugins" / "medpipe-grades"
SKIPPED = {
    "dataset": {
        "leaves_what_it_is_given",
        "lists_masks_that_fit",
        "lists_without_decoding",
        "lists_the_same_elsewhere",
        "writes_nothing_beside_its_files",
        "names_a_folder_that_is_missing",
        "names_a_file_that_is_missing",
        "names_a_file_that_is_broken",
    },
    "reader": set[str](),
    "task": {
        "brings_outputs_back_from_scores",
        "decides_masks",
        "measures_masks",
        "relabels_there_and_back",
        "predicts_answers_that_are_labels",
    },
}
"""What may say nothing of a step of a kind: of one without files, without masks, and so on."""


def builtin() -> list[type[Step]]:
    (plugin,) = [plugin for plugin in Registry.discover().plugins if plugin.builtin]
    return [step for step in plugin.steps if issubclass(step, KINDS)]


def outcomes(step: type[Step], registry: Registry) -> dict[str, list[str]]:
    """What failed, with what is said, and what was skipped for all examples."""
    found: dict[str, list[str]] = {"failed": [], "skipped": []}
    for check in checks_for(step):
        if check.name.startswith("imports_"):  # of modules: one process for each is slow
            continue
        said = list(check.outcomes(step, registry=registry))
        found["failed"] += [str(one) for one in said if one.status == "failed"]
        if all(one.status == "skipped" for one in said):
            found["skipped"].append(check.name)
    return found


def test_there_are_steps_of_each_kind() -> None:
    for kind, least in zip(KINDS, (9, 4, 4), strict=True):
        assert len([step for step in builtin() if issubclass(step, kind)]) >= least


@pytest.mark.parametrize("step", builtin(), ids=lambda step: f"{step.kind}-{step.name}")
def test_a_builtin_step_passes(step: type[Step]) -> None:
    found = outcomes(step, Registry.discover())
    assert found["failed"] == []
    assert set(found["skipped"]) <= SKIPPED[step.kind]


@pytest.mark.parametrize("name", ["GrownDiscs", "DiscFile", "Grades"])
def test_a_step_of_the_example_plugin_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(GRADES))
    import medpipe_grades  # type: ignore[import-not-found]

    try:
        registry = Registry.discover().with_plugin(medpipe_grades, name="medpipe-grades")
        step = getattr(medpipe_grades, name)
        found = outcomes(step, registry)
        assert found["failed"] == []
        assert set(found["skipped"]) <= SKIPPED[step.kind]
    finally:
        sys.modules.pop("medpipe_grades", None)
