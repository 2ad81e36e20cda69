"""The items of CLAIM 2024, with answers where a run's record has them.

Source: Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024
Update, Radiology: Artificial Intelligence 6(4), 2024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.evaluation.subgroups import group_count
from medpipe.report.blocks import interval, number
from medpipe.system.text import counted

if TYPE_CHECKING:
    from medpipe.report.facts import ReportFacts

ITEMS = (
    "Identification as a study of AI methodology, with the category of technology",
    "Abstract: summary of design, methods, results and conclusions",
    "Scientific and clinical background, intended use and role of the AI approach",
    "Study aims, objectives and hypotheses",
    "Prospective or retrospective study",
    "Study goal",
    "Data sources",
    "Inclusion and exclusion criteria",
    "Data preprocessing",
    "Selection of data subsets",
    "De-identification methods",
    "How missing data were handled",
    "Image acquisition protocol",
    "Definition of the methods used to obtain the reference standard",
    "Rationale for choosing the reference standard",
    "Source of reference standard annotations",
    "Annotation of the test set",
    "Measurement of inter- and intrarater variability",
    "How data were assigned to partitions",
    "Level at which partitions are disjoint",
    "Intended sample size",
    "Detailed description of the model",
    "Software libraries, frameworks and packages",
    "Initialization of model parameters",
    "Details of the training approach",
    "Method of selecting the final model",
    "Ensembling techniques",
    "Metrics of model performance",
    "Statistical measures of significance and uncertainty",
    "Robustness or sensitivity analysis",
    "Methods for explainability or interpretability",
    "Evaluation on internal data",
    "Testing on external data",
    "Clinical trial registration",
    "Numbers of patients or examinations included and excluded",
    "Demographic and clinical characteristics of cases in each partition",
    "Performance metrics and measures of statistical uncertainty",
    "Estimates of diagnostic performance and their precision",
    "Failure analysis of incorrect results",
    "Study limitations",
    "Implications for practice, intended use and clinical role",
    "Reference to the full study protocol or additional technical details",
    "Availability of software, trained model and data",
    "Sources of funding and other support; role of funders",
)
"""The checklist's 44 items in its order, in short."""


def claim_items(facts: ReportFacts) -> list[tuple[str, str | None]]:
    """Each item with its answer; None where only a person knows it."""
    answers = _answers(facts)
    return [(item, answers.get(place)) for place, item in enumerate(ITEMS, 1)]


def _answers(facts: ReportFacts) -> dict[int, str | None]:
    """By the number of the item, what the record says."""
    record = facts.record
    split, data = record["split"], record["data"]
    versions = record.get("versions", {})
    found: dict[int, str | None] = {
        12: f"Left out as faulty: {sum((data.get('quarantine') or {}).values())} samples; the data "
        "sheet of the report says what else",
        19: _assignment(facts),
        20: "Patients or other groups, and copies of an image, are whole in one partition"
        if any(p.groups.count(None) < len(p) for p in facts.predictions.values())
        else "Images; copies of an image are in one partition. No patients were given",
        23: ", ".join(f"{name} {version}" for name, version in versions.items()),
        24: "Weights of a file" if record.get("weights") else "Random, by the network's own rule",
        32: f"Held out by the seed {split['seed']}: "
        + ", ".join(f"{name} {count}" for name, count in data["splits"].items()),
        35: f"{counted(data['samples'], 'sample')} included, "
        f"{sum((data.get('quarantine') or {}).values())} excluded as faulty",
    }
    if facts.assembly is not None:
        configuration = facts.assembly.configuration
        steps = [step.name for step in configuration.transforms]
        trainer = configuration.trainer
        found[9] = f"Transforms: {', '.join(steps)}"
        found[22] = f"{configuration.network.name}, {facts.data.outputs} outputs"
        found[25] = f"{trainer.name}, {trainer.max_epochs} epochs, seed {record['seeds']['run']}"
        found[27] = "None"
    if record.get("best_epoch") is not None:
        found[26] = f"Epoch {record['best_epoch']}, {facts.choice}"
    shown = facts.shown_split
    if shown is not None:
        found |= _results(facts, shown)
    return found


def _assignment(facts: ReportFacts) -> str:
    split = facts.record["split"]
    if split.get("folds"):
        return f"Fold {split['fold']} of {split['folds']} folds, by the seed {split['seed']}"
    return f"At random within strata of the labels, by the seed {split['seed']}, or as given"


def _results(facts: ReportFacts, split: str) -> dict[int, str | None]:
    metrics: Any = facts.metrics[split]
    intervals = metrics.get("intervals", {})
    values = [
        f"{name} {number(metrics.get(name))}" + (f" ({interval(found)})" if found else "")
        for name, found in intervals.items()
    ]
    predictions = facts.predictions[split]
    dense = predictions.task.step.dense
    return {
        28: ", ".join(intervals),
        29: str(metrics.get("interval_method", "")) or None,
        31: None if dense else "Grad-CAM, in the report",
        37: f"On {counted(len(predictions), 'image')} of "
        f"{counted(group_count(predictions), 'group')}: {'; '.join(values)}",
        38: "Sensitivity, specificity and predictive values by class, in the report"
        if predictions.task.step.answer_form in ("class", "findings")
        else (f"By {predictions.task.step.word}, in the report" if dense else None),
        39: "The worst case, beside the best and the median, with the outlines of reference and "
        "prediction, in the report"
        if dense
        else "The most confident mistakes, in the report",
    }
