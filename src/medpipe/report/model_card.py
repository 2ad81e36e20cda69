"""The model card: Markdown with the front matter of Hugging Face, from the facts of a report.

Sources: Mitchell et al., Model Cards for Model Reporting (FAT* 2019); Tejani et al., Checklist for
Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology: AI 6(4).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from medpipe.evaluation.subgroups import group_count
from medpipe.report.blocks import interval, number
from medpipe.report.claim import claim_items
from medpipe.report.making import repeating_command
from medpipe.report.remarks import shown_remarks
from medpipe.system.text import counted
from medpipe.system.versions import medpipe_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from medpipe.report.blocks import Shown
    from medpipe.report.facts import ReportFacts

FILL_IN = "*to be filled in*"


def model_card(facts: ReportFacts, shown: Shown) -> str:
    """The model card of a run, with what only a person knows left to be filled in.

    Args:
        facts: The run.
        shown: What may be in it.
    """
    return "\n".join([*_front_matter(facts, shown), "", *_body(facts, shown)]) + "\n"


def _front_matter(facts: ReportFacts, shown: Shown) -> Iterator[str]:
    """YAML of which every value is JSON, which YAML holds."""
    task, split = facts.data.task, facts.shown_split
    yield "---"
    yield "library_name: medpipe"
    yield 'tags: ["medical-imaging", "monai", "pytorch", ' + f"{json.dumps(task.kind)}]"
    if task.step.answer_form == "class":
        yield "pipeline_tag: image-classification"
    elif task.step.dense:
        yield "pipeline_tag: image-segmentation"
    if split is not None:
        results = _results(facts.metrics[split])
        yield f"metrics: {json.dumps([name for name, _ in results])}"
        yield "model-index:"
        yield f"- name: {json.dumps(_name(facts, shown))}"
        yield "  results:"
        yield f"  - task: {{type: {json.dumps(task.kind)}}}"
        yield f"    dataset: {{name: {json.dumps(f'{split} split')}, type: medical-images}}"
        yield "    metrics:"
        for name, value in results:
            yield f"    - {{type: {json.dumps(name)}, value: {value!r}}}"
    yield "---"


def _results(metrics: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(n, v) for n, v in metrics.items() if isinstance(v, float) and n != "loss"]


def _body(facts: ReportFacts, shown: Shown) -> Iterator[str]:
    record, data, task = facts.record, facts.data, facts.data.task
    sides = " x ".join(str(side) if side else "any" for side in data.spatial_shape)
    yield f"# {_escaped(_name(facts, shown))}"
    yield ""
    yield "Not a medical device: for research only."
    yield ""
    yield "## The model"
    yield ""
    if facts.assembly is not None:
        yield f"- Network: `{facts.assembly.configuration.network.name}`"
        trainer = facts.assembly.configuration.trainer
        yield f"- Trainer: `{trainer.name}`; the network kept is {facts.choice}"
    yield f"- Task: {task.kind} ({', '.join(map(_escaped, task.names))})"
    yield f"- Input: {counted(data.channels, 'channel')}, {sides}, after the run's transforms"
    yield f"- Trained by medpipe {record.get('versions', {}).get('medpipe', medpipe_version())}"
    yield f"- Licence, contact, citation: {FILL_IN}"
    yield ""
    yield "## Intended use"
    yield ""
    yield f"- Intended use, and by whom: {FILL_IN}"
    yield f"- What it must not be used for: {FILL_IN}"
    yield ""
    yield "## Data"
    yield ""
    splits = ", ".join(f"{name} {count:,}" for name, count in record["data"]["splits"].items())
    yield f"- {counted(record['data']['samples'], 'sample')}: {splits}"
    yield f"- Source, population, acquisition, reference standard: {FILL_IN}"
    yield ""
    yield "## Results"
    yield ""
    yield from _results_table(facts)
    yield ""
    yield "## Limits"
    yield ""
    yield from _limits(facts, shown)
    yield ""
    command = repeating_command(facts, shown)
    if command is not None:
        yield "## Repeat it"
        yield ""
        yield "```console"
        yield f"$ {command}"
        yield "```"
        yield ""
    yield "## CLAIM 2024"
    yield ""
    yield "Items that the run's record answers, and those that a person must."
    yield ""
    yield "| item | | answer |"
    yield "|---|---|---|"
    for place, (item, answer) in enumerate(claim_items(facts), 1):
        yield f"| {place} | {item} | {_escaped(answer) if answer else FILL_IN} |"


def _results_table(facts: ReportFacts) -> Iterator[str]:
    split = facts.shown_split
    if split is None:
        yield "There are none yet."
        return
    metrics, predictions = facts.metrics[split], facts.predictions[split]
    groups = counted(group_count(predictions), "group")
    yield f"On the {split} split: {counted(len(predictions), 'image')} of {groups}."
    yield ""
    yield "| metric | value | 95 % interval |"
    yield "|---|---|---|"
    intervals = metrics.get("intervals", {})
    for name, value in metrics.items():
        if isinstance(value, float) or (value is None and name in intervals):
            yield f"| {name} | {number(value)} | {interval(intervals.get(name))} |"
    if "interval_method" in metrics:
        yield ""
        yield f"Intervals: {metrics['interval_method']}."


def _limits(facts: ReportFacts, shown: Shown) -> Iterator[str]:
    split = facts.shown_split
    if split is not None:
        for remark in shown_remarks(facts.metrics[split], facts.predictions[split], shown):
            yield f"- {_escaped(remark)}"
    yield "- Results hold for images like those of the test split; other hospitals differ."
    yield f"- Known weaknesses, bias, and who was not in the data: {FILL_IN}"


def _name(facts: ReportFacts, shown: Shown) -> str:
    return str(facts.record["name"]) if shown.paths else "A network trained by medpipe"


def _escaped(text: str) -> str:
    """Text in a Markdown table or list: names of classes may hold anything."""
    flat = " ".join(text.split())
    for sign in "\\|<>`*_[]":
        flat = flat.replace(
            sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign]
        )
    return flat
