"""What metrics say of a network that has not learned: whether a constant answer does as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REMEDY = "Look at the training loss, trainer.learning_rate and the number of epochs."


def class_remarks(metrics: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Sentences about a classifier that answers one class, or is no better than one that does.

    Args:
        metrics: The metrics, with ``intervals`` where there are any.
        names: The classes.
    """
    confusion = metrics.get("confusion", [])
    true = [sum(row) for row in confusion]
    said = [sum(column) for column in zip(*confusion, strict=True)]
    total, occurring = sum(true), sum(count > 0 for count in true)
    if occurring < 2:
        return []
    remarks = []
    answered = [name for name, count in zip(names, said, strict=True) if count]
    if len(answered) == 1:
        remarks.append(
            f"the network answers {answered[0]!r} for each of the {total} images. {REMEDY}"
        )
    usual = true.index(max(true))
    share = max(true) / total
    if metrics.get("accuracy") is not None and not is_above(metrics, "accuracy", share):
        sentence = (
            f"the accuracy, {_said(metrics, 'accuracy')}, is not surely above {share:.4f}, "
            f"which {names[usual]!r} for each image gives."
        )
        chance = 1 / occurring
        if is_above(metrics, "balanced_accuracy", chance):
            sentence += (
                f" The balanced accuracy, {_said(metrics, 'balanced_accuracy')}, is above the "
                f"{chance:.4f} of that answer: judge by it."
            )
        remarks.append(sentence)
    return remarks


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
