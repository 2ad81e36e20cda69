"""Remarks on the metrics of one task: what has not been learned, and what is undefined and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REMEDY = "Look at the training loss, trainer.learning_rate and the number of epochs."


FEW = 10
"""Of fewer images of a class, or fewer labels, a proportion or an error is hardly known."""
MOST = 10
"""How many classes a sentence names."""
TOO_GOOD = (
    "So good a result often has another cause: look for patients or images that are in training "
    "and test, and for marks in the images that give the answer away."
)


def class_remarks(metrics: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Sentences about classes that are absent, never answered or never found, and about chance.

    Args:
        metrics: The metrics, with ``intervals`` where there are any.
        names: The classes.
    """
    confusion = metrics.get("confusion", [])
    true = [sum(row) for row in confusion]
    said = [sum(column) for column in zip(*confusion, strict=True)]
    total, occurring = sum(true), sum(count > 0 for count in true)
    if occurring == 0:
        return []
    if occurring == 1:
        only = names[true.index(total)]
        told = "how well it is told from the other classes is not known"
        return [f"all {total} images are {only!r}: {told}."] if total > 1 else []
    remarks = [*_absent(names, true)]
    answered = [name for name, count in zip(names, said, strict=True) if count]
    if len(answered) == 1:
        remarks.append(
            f"the network answers {answered[0]!r} for each of the {total} images. {REMEDY}"
        )
    else:
        remarks += _not_found(names, confusion, true, said)
    remarks += few_remarks({name: count for name, count in zip(names, true, strict=True) if count})
    return [*remarks, *_chance(metrics, names, true), *all_right(metrics, "accuracy", total)]


def _absent(names: Sequence[str], true: Sequence[int]) -> list[str]:
    absent = [repr(name) for name, count in zip(names, true, strict=True) if not count]
    if not absent:
        return []
    more = f" and {len(absent) - MOST} more" if len(absent) > MOST else ""
    return [
        f"no image of {', '.join(absent[:MOST])}{more}: without a class its sensitivity is "
        "undefined, and so are the auc and the average_precision over all classes."
    ]


def _not_found(
    names: Sequence[str],
    confusion: Sequence[Sequence[int]],
    true: Sequence[int],
    said: Sequence[int],
) -> list[str]:
    """Classes that are never answered, or never where they are true."""
    remarks, never = [], {}
    for place, name in enumerate(names):
        row = confusion[place]
        if row[place] or not true[place]:
            continue
        if said[place]:
            images, instead = counted(true[place], "image"), names[row.index(max(row))]
            remarks.append(
                f"{name!r} is never found: of its {images} most are answered {instead!r}."
            )
        else:
            never[name] = true[place]
    return [f"never answered, with so many images: {named(never)}.", *remarks] if never else remarks


def _chance(metrics: Mapping[str, Any], names: Sequence[str], true: Sequence[int]) -> list[str]:
    """Whether one answer for each image does as well."""
    total, occurring = sum(true), sum(count > 0 for count in true)
    usual, share, chance = true.index(max(true)), max(true) / total, 1 / occurring
    above = is_above(metrics, "balanced_accuracy", chance)
    if metrics.get("accuracy") is not None and not is_above(metrics, "accuracy", share):
        sentence = (
            f"the accuracy, {_said(metrics, 'accuracy')}, is not surely above {share:.4f}, "
            f"which {names[usual]!r} for each image gives."
        )
        if above:
            sentence += (
                f" The balanced accuracy, {_said(metrics, 'balanced_accuracy')}, is above the "
                f"{chance:.4f} of that answer: judge by it."
            )
        return [sentence]
    return []


def finding_remarks(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences about findings that are unknown, absent, never predicted or not ranked.

    Args:
        metrics: The metrics, with ``class_table`` where there are intervals.
    """
    remarks = []
    findings, tables = metrics.get("findings", {}), metrics.get("class_table", {})
    total = metrics.get("images", 0)
    for name, table in findings.items():
        known, there = table["images"], table["positives"]
        predicted = tables.get(name, {}).get("predicted")
        if not known:
            remarks.append(unknown(name))
            continue
        if not there:
            remarks.append(
                f"no image with a known label has {name!r}: its sensitivity and auc are undefined."
            )
        elif there == known:
            remarks.append(
                f"each image with a known label has {name!r}: its specificity and auc are "
                "undefined."
            )
        if predicted == 0 and there:
            remarks.append(
                f"{name!r} is predicted for no image, as no probability reaches 0.5: "
                f"{counted(there, 'image')} with it."
            )
        if predicted == known and there < known:
            remarks.append(
                f"{name!r} is predicted for each image: {counted(known - there, 'image')} without "
                "it."
            )
        if 2 * known < total:
            remarks.append(f"of {name!r} only {known} of {total} labels are known.")
        if len(findings) > 1 and table["auc"] is not None and table["auc"] <= 0.5:
            remarks.append(
                f"{name!r} is ranked no better than by chance: its auc is {table['auc']:.4f}."
            )
    found = {name: table["positives"] for name, table in findings.items()}
    remarks += few_remarks({name: count for name, count in found.items() if count})
    return [*remarks, *all_right(metrics, "f1", total)]


def target_remarks(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences about targets that are unknown, do not vary, or are not predicted."""
    remarks = []
    targets = metrics.get("targets", {})
    for name, table in targets.items():
        known, mae, rmse, r2 = (table[key] for key in ("images", "mae", "rmse", "r2"))
        if not known:
            remarks.append(unknown(name))
            continue
        if r2 is None and known > 1:
            remarks.append(f"all {known} known labels of {name!r} are equal: its r2 is undefined.")
        if known < FEW:
            remarks.append(
                f"of {name!r} only {known} labels are known: its errors are hardly known."
            )
        if mae == 0:
            remarks.append(f"each prediction of {name!r} is exactly right. {TOO_GOOD}")
        elif mae is not None and rmse is not None and rmse > 3 * mae:
            remarks.append(
                f"few large errors decide the rmse of {name!r}, {rmse:.4g}: its mae is {mae:.4g}. "
                "Look at the largest errors."
            )
        if len(targets) > 1 and r2 is not None and r2 <= 0:
            remarks.append(
                f"the r2 of {name!r}, {r2:.4f}, is no better than that of its mean for each image."
            )
    return remarks


def unknown(name: str) -> str:
    """The sentence for a name without any label."""
    return f"no label of {name!r} is known: it is left out of all means."


def few_remarks(counts: Mapping[str, int]) -> list[str]:
    """A sentence on classes or findings of few images, by how many have them."""
    few = {name: count for name, count in counts.items() if count < FEW}
    if not few:
        return []
    return [f"with fewer than {FEW} images a sensitivity is hardly known: {named(few)}."]


def named(counts: Mapping[str, int]) -> str:
    """``'a' (3), 'b' (1)``, and how many more."""
    some = [f"{name!r} ({count})" for name, count in list(counts.items())[:MOST]]
    more = f" and {len(counts) - MOST} more" if len(counts) > MOST else ""
    return ", ".join(some) + more


def all_right(metrics: Mapping[str, Any], name: str, total: int) -> list[str]:
    """A sentence where a metric says that no answer is wrong."""
    return (
        [f"all answers for {total} images are right. {TOO_GOOD}"] if metrics.get(name) == 1 else []
    )


def reversed_remarks(metrics: Mapping[str, Any], name: str, guess: float) -> list[str]:
    """A sentence where a metric is surely below a guess's."""
    interval = metrics.get("intervals", {}).get(name)
    if interval is None or interval[1] >= guess:
        return []
    return [
        f"the {name}, {_said(metrics, name)}, is surely below {guess:g}: high scores go with the "
        "wrong images. Look for exchanged labels."
    ]


def guess_remarks(metrics: Mapping[str, Any], name: str, guess: float, answer: str) -> list[str]:
    """A sentence where a metric, of which more is better, is not surely above a guess's.

    Args:
        metrics: The metrics, with ``intervals`` where there are any.
        name: The metric.
        guess: The metric of the guess.
        answer: The guess, as the end of a sentence: ``gives``.
    """
    if metrics.get(name) is None or is_above(metrics, name, guess):
        return []
    return [
        f"the {name}, {_said(metrics, name)}, is not surely above {guess:g}, which {answer}. "
        f"{REMEDY}"
    ]


def is_above(metrics: Mapping[str, Any], name: str, value: float) -> bool:
    """Whether a metric is above a value with its whole interval, or alone where it has none."""
    found = metrics.get(name)
    if found is None:
        return False
    low, _ = metrics.get("intervals", {}).get(name) or (found, found)
    return bool(low > value)


def _said(metrics: Mapping[str, Any], name: str) -> str:
    interval = metrics.get("intervals", {}).get(name)
    spread = "" if interval is None else f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})"
    return f"{metrics[name]:.4f}{spread}"
