"""Broken plugins of every kind of step are named, and leave the others' steps alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.programs import install, listed, medpipe

HEAD = """
from typing import ClassVar
import attrs
from medpipe.plugin import *
"""
BASES = {
    "dataset": ("DatasetStep", "datasets", "has no build method"),
    "transform": ("TransformStep", "transforms", "has no build method"),
    "network": ("NetworkStep", "networks", "has no build method"),
    "trainer": ("TrainerStep", "trainers", "has no build method"),
    "loss": ("LossStep", "losses", "has no build method"),
    "optimizer": ("OptimizerStep", "optimizers", "has no build method"),
    "schedule": ("ScheduleStep", "schedules", "has no factor method"),
    "metric": ("MetricStep", "metrics", "has no rows method"),
    "inferer": ("InfererStep", "inferers", "has no build method"),
    "handler": ("HandlerStep", "handlers", "has no attach method"),
    "reader": ("ReaderStep", "readers", "has no recognises and no decode method"),
    "export": ("ExportStep", "exports", "has no write and no open and no about method"),
    "task": ("ClassLabels", "tasks", "needs loss, monitor, metrics as ClassVar"),
}
DECORATED = '@attrs.frozen(kw_only=True)\nclass Bad({base}):\n    name: ClassVar[str] = "bad"\n'
KINDS: dict[str, tuple[str, str]] = {
    f"empty-{kind}": (
        DECORATED.format(base=base) + f"@hookimpl\ndef medpipe_{plural}(): return [Bad]",
        f"medpipe_{plural}: Bad {what}",
    )
    for kind, (base, plural, what) in BASES.items()
} | {
    f"plain-{kind}": (
        f"class Bad({base}):\n    name = 'bad'\n@hookimpl\ndef medpipe_{plural}(): return [Bad]",
        f"medpipe_{plural}: Bad lacks the decorator @attrs.frozen(kw_only=True).",
    )
    for kind, (base, plural, _) in BASES.items()
}
OTHERS: dict[str, tuple[str, str]] = {
    "raises": (
        "@hookimpl\ndef medpipe_metrics(): return 1 / 0",
        "medpipe_metrics raised ZeroDivisionError: division by zero",
    ),
    "nothing": ("@hookimpl\ndef medpipe_handlers(): pass", "medpipe_handlers gave None"),
    "another-kind": (
        "@hookimpl\ndef medpipe_schedules(): return [Multiclass]",
        "medpipe_schedules: Multiclass is not a ScheduleStep.",
    ),
    "misspelt": (
        "@hookimpl\ndef medpipe_metricses(): return []",
        "medpipe_metricses is not a hook of medpipe; the hooks are medpipe_datasets",
    ),
}


def test_all_are_named_with_hook_and_cause(tmp_path: Path) -> None:
    broken = KINDS | OTHERS
    assert len(broken) >= 25
    for name, (source, _) in broken.items():
        install(tmp_path, f"medpipe-{name}", HEAD + source)
    found = listed(tmp_path)
    for name, (_, message) in broken.items():
        plugin = found[f"medpipe-{name}"]
        assert plugin["version"] == "1.2"
        assert message in plugin["error"], name
        assert plugin["steps"] == []
    assert found["medpipe-imaging"]["error"] is None
    assert len(found["medpipe-imaging"]["steps"]) > 100


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            "class Bad(MetricStep):\n    name = 'bad'\n@hookimpl\n"
            "def medpipe_metrics(): return [Bad, Good]",
            "medpipe_metrics: Bad lacks the decorator @attrs.frozen(kw_only=True).",
        ),
        (
            "@attrs.frozen(kw_only=True)\nclass Bad(Good):\n    name = 'bad'\n"
            "    direction = 'up'\n    answers = 'class'\n"
            "@hookimpl\ndef medpipe_metrics(): return [Bad, Good]",
            "medpipe_metrics: Bad has direction = 'up', which must be 'max' or 'min'; Bad has "
            "answers = 'class', which must be a set of texts.",
        ),
        (
            "@hookimpl\ndef medpipe_metrics(): return [Good]\ndef medpipe_handlers(): return []",
            "medpipe_handlers is not marked: put @hookimpl of medpipe.plugin above it.",
        ),
        (
            "@hookimpl\ndef medpipe_metrics(): return [Good]\n"
            "@hookimpl\ndef medpipe_tasks(): raise SystemExit",
            "medpipe_tasks raised SystemExit",
        ),
    ],
)
def test_one_bad_step_does_not_take_the_others_along(
    bad: str, message: str, tmp_path: Path
) -> None:
    good = (
        '@attrs.frozen(kw_only=True)\nclass Good(MetricStep):\n    name: ClassVar[str] = "good"\n'
        '    direction: ClassVar[str] = "max"\n    def rows(self, scores, labels, task): ...\n'
    )
    install(tmp_path, "medpipe-mixed", HEAD + good + bad)
    plugin = listed(tmp_path)["medpipe-mixed"]
    assert plugin["error"] is None
    assert [message in problem for problem in plugin["problems"]] == [True]
    assert plugin["steps"] == [{"kind": "metric", "name": "good"}]
    shown = medpipe(tmp_path, "plugins").stdout
    assert f"  left out: {message}" in shown
