"""Each kind of degenerate result is said, in its exact words; and a good result is left alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import pytest

from medpipe import PipelineBuilder
from medpipe.evaluation.frozen import chosen_on_validation, results_of
from medpipe.evaluation.metrics import compute_metrics
from medpipe.evaluation.predictions import Predictions
from medpipe.evaluation.remarks import prior_remarks
from medpipe.registry.registry import Registry
from medpipe.settings import EvaluationSettings, OperatingPoint
from medpipe.steps import DataInfo, Task

REGISTRY = Registry.discover()
REMEDY = "Look at the training loss, trainer.learning_rate and the number of epochs."
TOO_GOOD = (
    "So good a result often has another cause: look for patients or images that are in training "
    "and test, and for marks in the images that give the answer away."
)
CATALOGUE: list[Any] = []


def said(sentence: str) -> Callable[[Callable[[], Sequence[str]]], Callable[[], Sequence[str]]]:
    """Put a result into the catalogue, with the sentence that must be said of it."""

    def add(make: Callable[[], Sequence[str]]) -> Callable[[], Sequence[str]]:
        CATALOGUE.append(pytest.param(make, sentence, id=make.__name__))
        return make

    return add


def make(kind: str, scores: Any, labels: Any, groups: Any = None, extra: Any = None) -> Predictions:
    scores = np.asarray(scores, dtype=float)
    return Predictions(
        task=Task(kind=kind, names=tuple("abcd"[: scores.shape[1]])),
        ids=tuple(f"s{row:04}" for row in range(len(scores))),
        scores=scores,
        labels=labels,
        groups=groups or (None,) * len(scores),
        extra=extra or {},
    )


def remarks(predictions: Predictions) -> Sequence[str]:
    metrics = compute_metrics(predictions, registry=REGISTRY, intervals=True, subgroups=True)
    found = metrics.get("remarks", [])
    assert isinstance(found, list)
    return found


def classes(labels: Any, answers: Any, groups: Any = None, sure: float = 0.8) -> Predictions:
    """Answers of three classes, with different probabilities around `sure`."""
    answers, names = np.asarray(answers), 3
    scores = np.full((len(answers), names), 0.0)
    top = sure + 0.0005 * np.arange(len(answers))
    scores[:] = ((1 - top) / (names - 1))[:, None]
    scores[np.arange(len(answers)), answers] = top
    return make("multiclass", scores, np.asarray(labels), groups)


def good(count: int = 120, seed: int = 0, groups: Any = None) -> Predictions:
    """Three classes that are told apart, with probabilities that hold."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    logits = rng.normal(size=(count, 3))
    logits[np.arange(count), labels] += 2
    exponents = np.exp(2 * logits)
    scores = exponents / exponents.sum(axis=1, keepdims=True)
    return make("multiclass", scores, labels, groups)


def findings(count: int = 120, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, 2)) < 0.4).astype(float)
    scores = 1 / (1 + np.exp(-(rng.normal(size=(count, 2)) + 3 * (labels - 0.5)) * 2))
    return make("multilabel", scores, labels)


def targets(count: int = 120, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    scores = rng.normal(50, 10, size=(count, 2))
    return make("regression", scores, scores + rng.normal(size=scores.shape))


@pytest.mark.parametrize("make_good", [good, findings, targets])
def test_nothing_is_said_of_a_good_result(make_good: Callable[[], Predictions]) -> None:
    assert remarks(make_good()) == []


def test_nothing_is_said_of_a_good_result_with_all_settings() -> None:
    assert results(good(), good(seed=1), class_="b", sensitivity=0.8) == []


# Classes


@said(f"the network answers 'a' for each of the 30 images. {REMEDY}")
def one_class_predicted() -> Sequence[str]:
    return remarks(classes([0, 1, 2] * 10, [0] * 30))


@said(
    "the accuracy, 0.6667 (95 % interval 0.4878 to 0.8077), is not surely above 0.6667, which 'a' "
    "for each image gives."
)
def as_good_as_the_most_frequent_class() -> Sequence[str]:
    return remarks(classes([0] * 20 + [1] * 10, [0] * 30))


@said(
    "the accuracy, 0.9000 (95 % interval 0.8256 to 0.9448), is not surely above 0.9000, which 'a' "
    "for each image gives. The balanced accuracy, 0.9444 (95 % interval 0.7998 to 0.9693), is "
    "above the 0.5000 of that answer: judge by it."
)
def a_rare_class_is_found_all_the_same() -> Sequence[str]:
    return remarks(classes([0] * 90 + [1] * 10, [0] * 80 + [1] * 20))


@said(
    "no image of 'c': without a class its sensitivity is undefined, and so are the auc and the "
    "average_precision over all classes."
)
def an_absent_class() -> Sequence[str]:
    return remarks(classes([0, 1] * 30, [0, 1] * 28 + [1, 0, 2, 1]))


@said("all 30 images are 'b': how well it is told from the other classes is not known.")
def one_class_in_the_test() -> Sequence[str]:
    return remarks(classes([1] * 30, [1] * 20 + [0] * 10))


@said("never answered, with so many images: 'b' (20), 'c' (20).")
def classes_that_are_never_answered() -> Sequence[str]:
    predictions = classes([0, 1, 2] * 20, [0] * 60)
    four = np.concatenate([predictions.scores, np.zeros((60, 1))], axis=1)
    four[0] = [0.1, 0.1, 0.1, 0.7]
    return remarks(make("multiclass", four, predictions.labels))


@said("'c' is never found: of its 20 images most are answered 'a'.")
def a_class_that_is_never_found() -> Sequence[str]:
    answers = [0, 1, 0] * 19 + [0, 2, 0]
    return remarks(classes([0, 1, 2] * 20, answers))


@said("with fewer than 10 images a sensitivity is hardly known: 'b' (4), 'c' (2).")
def classes_of_few_images() -> Sequence[str]:
    labels = [0] * 60 + [1] * 4 + [2] * 2
    return remarks(classes(labels, [*labels[1:], 2]))


@said(f"all answers for 60 images are right. {TOO_GOOD}")
def everything_is_right() -> Sequence[str]:
    return remarks(classes([0, 1, 2] * 20, [0, 1, 2] * 20))


@said(
    "the auc, 0.2583 (95 % interval 0.2254 to 0.2942), is surely below 0.5: high scores go with "
    "the wrong images. Look for exchanged labels."
)
def exchanged_labels() -> Sequence[str]:
    predictions = good()
    return remarks(attrs.evolve(predictions, labels=(predictions.labels + 1) % 3))


# Findings


@said(
    f"the auc, 0.5000, is not surely above 0.5, which the same answer for each image gives. "
    f"{REMEDY}"
)
def findings_at_chance() -> Sequence[str]:
    predictions = findings()
    return remarks(attrs.evolve(predictions, scores=np.full((120, 2), 0.3)))


@said("no label of 'b' is known: it is left out of all means.")
def a_finding_without_labels() -> Sequence[str]:
    return remarks(with_column(findings(), math.nan))


@said("no image with a known label has 'b': its sensitivity and auc are undefined.")
def an_absent_finding() -> Sequence[str]:
    return remarks(with_column(findings(), 0.0))


@said("each image with a known label has 'b': its specificity and auc are undefined.")
def a_finding_in_each_image() -> Sequence[str]:
    return remarks(with_column(findings(), 1.0))


def with_column(predictions: Predictions, value: float) -> Predictions:
    labels = predictions.labels.copy()
    labels[:, 1] = value
    return attrs.evolve(predictions, labels=labels)


@said("'b' is predicted for no image, as no probability reaches 0.5: 45 images with it.")
def a_finding_that_is_never_predicted() -> Sequence[str]:
    predictions = findings()
    scores = predictions.scores * [1.0, 0.4]
    return remarks(attrs.evolve(predictions, scores=scores))


@said("'b' is predicted for each image: 75 images without it.")
def a_finding_that_is_always_predicted() -> Sequence[str]:
    predictions = findings()
    scores = predictions.scores * [1.0, 0.4] + [0.0, 0.55]
    return remarks(attrs.evolve(predictions, scores=scores))


@said("of 'b' only 40 of 120 labels are known.")
def few_labels_of_a_finding() -> Sequence[str]:
    predictions = findings()
    labels = predictions.labels.copy()
    labels[40:, 1] = math.nan
    return remarks(attrs.evolve(predictions, labels=labels))


@said("'b' is ranked no better than by chance: its auc is 0.0216.")
def a_finding_that_is_ranked_the_wrong_way() -> Sequence[str]:
    predictions = findings()
    scores = np.stack([predictions.scores[:, 0], 1 - predictions.scores[:, 1]], axis=1)
    return remarks(attrs.evolve(predictions, scores=scores))


@said("with fewer than 10 images a sensitivity is hardly known: 'b' (3).")
def a_rare_finding() -> Sequence[str]:
    predictions = findings()
    labels = predictions.labels.copy()
    labels[:, 1] = 0
    labels[:3, 1] = 1
    return remarks(attrs.evolve(predictions, labels=labels))


# Targets


@said(
    "the r2, -0.0002 (95 % interval -0.0285 to -0.0002), is not surely above 0, which the mean "
    f"target for each image gives. {REMEDY}"
)
def as_good_as_the_mean_target() -> Sequence[str]:
    predictions = targets()
    labels = predictions.labels
    rng = np.random.default_rng(1)
    guess = labels.mean(axis=0) + 0.01 * rng.normal(size=labels.shape)
    return remarks(attrs.evolve(predictions, scores=guess))


@said("all 120 known labels of 'b' are equal: its r2 is undefined.")
def a_target_that_does_not_vary() -> Sequence[str]:
    return remarks(with_column(targets(), 3.0))


@said("no label of 'b' is known: it is left out of all means.")
def a_target_without_labels() -> Sequence[str]:
    return remarks(with_column(targets(), math.nan))


@said("of 'b' only 4 labels are known: its errors are hardly known.")
def few_labels_of_a_target() -> Sequence[str]:
    predictions = targets()
    labels = predictions.labels.copy()
    labels[4:, 1] = math.nan
    return remarks(attrs.evolve(predictions, labels=labels))


@said(f"each prediction of 'b' is exactly right. {TOO_GOOD}")
def a_target_that_is_copied() -> Sequence[str]:
    predictions = targets()
    labels = np.stack([predictions.labels[:, 0], predictions.scores[:, 1]], axis=1)
    return remarks(attrs.evolve(predictions, labels=labels))


@said(
    "few large errors decide the rmse of 'b', 91.32: its mae is 9.108. Look at the largest errors."
)
def one_large_error() -> Sequence[str]:
    predictions = targets()
    scores = predictions.scores.copy()
    scores[0, 1] += 1000
    return remarks(attrs.evolve(predictions, scores=scores))


@said("the r2 of 'b', -2.9418, is no better than that of its mean for each image.")
def one_target_is_not_predicted() -> Sequence[str]:
    predictions = targets()
    scores = np.stack([predictions.scores[:, 0], 100 - predictions.scores[:, 1]], axis=1)
    return remarks(attrs.evolve(predictions, scores=scores))


# Any task


@said("there are no images, so nothing is measured.")
def no_images() -> Sequence[str]:
    return remarks(make("multiclass", np.zeros((0, 2)), np.zeros(0, dtype=int)))


@said("there is only one image: nothing is known of others.")
def one_image() -> Sequence[str]:
    return remarks(make("regression", [[1.0]], [[2.0]]))


@said(
    "all 120 images are of one group (patient): nothing is known of others, so there are no "
    "intervals."
)
def a_test_of_one_patient() -> Sequence[str]:
    return remarks(good(groups=("p",) * 120))


@said(
    "there are only 12 groups (patients): with fewer than 20, little is known of others, and 95 % "
    "intervals hold the truth only roughly as often as that."
)
def a_test_of_few_patients() -> Sequence[str]:
    return remarks(good(groups=tuple(f"p{row % 12}" for row in range(120))))


@said(
    "there are 30 images: with fewer than 50, 95 % intervals hold the truth only roughly as often "
    "as that."
)
def a_test_of_thirty_images() -> Sequence[str]:
    return remarks(good(count=30))


@said("one group (patient) has 70 of the 120 images, and decides the result.")
def one_large_patient() -> Sequence[str]:
    return remarks(good(groups=("p",) * 70 + (None,) * 50))


@said(
    "the scores are the same for each of the 120 images: nothing in an image changes them. "
    f"{REMEDY}"
)
def constant_scores() -> Sequence[str]:
    return remarks(attrs.evolve(good(), scores=np.tile([0.5, 0.3, 0.2], (120, 1))))


@said(
    "the scores are the same for each of the 120 images: nothing in an image changes them. "
    f"{REMEDY}"
)
def a_constant_regression() -> Sequence[str]:
    return remarks(attrs.evolve(targets(), scores=np.full((120, 2), 50.0)))


@said(
    "there are only 3 different scores for 120 images: most images are tied, so an auc says little."
)
def few_different_scores() -> Sequence[str]:
    predictions = good()
    return remarks(attrs.evolve(predictions, scores=0.2 + 0.4 * np.eye(3)[predictions.predicted]))


@said(
    "for 120 of 120 images the probabilities are exactly 0 or 1: so extreme ones are no measure of "
    "certainty."
)
def saturated_probabilities() -> Sequence[str]:
    predictions = good()
    return remarks(attrs.evolve(predictions, scores=np.eye(3)[predictions.predicted]))


@said("undefined on these images: auc, average_precision.")
def undefined_metrics() -> Sequence[str]:
    return remarks(classes([0, 1] * 30, [0, 1] * 28 + [1, 0, 0, 0]))


@said(
    "no interval for f1, auc, average_precision: resamples of the images all "
    "give one value, or too many of them give none."
)
def no_interval_for_a_perfect_result() -> Sequence[str]:
    return remarks(classes([0, 1, 2] * 20, [0, 1, 2] * 20))


@said(
    "probabilities are off by 0.32 on average (expected calibration error): do not take them as "
    "such. They are too extreme: the calibration slope is 0.08, not 1."
)
def probabilities_that_are_too_extreme() -> Sequence[str]:
    predictions = good(count=300)
    scores = predictions.scores**8
    scores = scores / scores.sum(axis=1, keepdims=True)
    labels = predictions.labels.copy()
    labels[::4] = (labels[::4] + 1) % 3
    return remarks(attrs.evolve(predictions, scores=scores, labels=labels))


@said(
    "probabilities are off by 0.41 on average (expected calibration error): do not take them as "
    "such. They are too modest: the calibration slope is 7.66, not 1."
)
def probabilities_that_are_too_modest() -> Sequence[str]:
    predictions = good(count=300)
    scores = predictions.scores**0.15
    scores = scores / scores.sum(axis=1, keepdims=True)
    return remarks(attrs.evolve(predictions, scores=scores))


@said(
    "probabilities are off by 0.69 on average (expected calibration error): do not take them as "
    "such. Higher ones come true less often: the calibration slope is -3.05, not 1."
)
def sure_answers_are_wrong() -> Sequence[str]:
    right = [True] * 100 + [False] * 100
    scores = np.where(right, 0.55, 0.9) + 0.0004 * np.arange(200)
    labels = [0 if one else 1 for one in right]
    labels[0], labels[-1] = 1, 0
    return remarks(make("multiclass", np.stack([scores, 1 - scores], axis=1), np.array(labels)))


@said("subgroups of 'sex' with fewer than 20 groups: '(blank)' (2), 'f' (3). Do not compare them.")
def small_subgroups() -> Sequence[str]:
    sexes = ("f",) * 3 + ("",) * 2 + ("m",) * 115
    return remarks(attrs.evolve(good(), extra={"sex": sexes}))


# What was chosen on the validation split


def results(
    validation: Predictions | None,
    test: Predictions,
    *,
    class_: str | None = None,
    unit: Any = "image",
    **wanted: float,
) -> Sequence[str]:
    """The remarks on a test that come with what was chosen on the validation split."""
    point = None if class_ is None else OperatingPoint(class_=class_, **wanted)
    settings = EvaluationSettings(operating_point=point, unit=unit)
    chosen = chosen_on_validation(validation, settings)
    found = results_of(test, chosen, settings, metrics=(), registry=REGISTRY)
    more: list[str] = found.get("remarks", [])
    return more


@said("there is no temperature: there are no predictions on a validation split.")
def no_validation_split() -> Sequence[str]:
    return results(None, good())


@said("there is no operating point: there are no predictions on a validation split.")
def an_operating_point_without_validation() -> Sequence[str]:
    return results(None, good(), class_="a", sensitivity=0.9)


@said("there is no temperature: every answer on the validation split is right.")
def no_temperature_as_all_is_right() -> Sequence[str]:
    return results(classes([0, 1, 2] * 20, [0, 1, 2] * 20), good())


@said("there is no temperature: on the validation split the probabilities say no more than chance.")
def no_temperature_by_chance() -> Sequence[str]:
    validation = good()
    return results(attrs.evolve(validation, labels=(validation.labels + 1) % 3), good())


@said("there is no temperature: no label of the validation split is known.")
def no_temperature_without_labels() -> Sequence[str]:
    validation = findings()
    nothing = np.full(validation.labels.shape, math.nan)
    return results(attrs.evolve(validation, labels=nothing), findings())


@said("the temperature is fitted on only 30 validation images.")
def a_temperature_of_few_images() -> Sequence[str]:
    return results(good(count=30), good())


@said(
    "the temperature of the validation split does not help on these images: the log loss is 0.3554 "
    "before and 0.6678 after scaling."
)
def a_temperature_that_does_not_help() -> Sequence[str]:
    validation = good(count=300)
    scores = validation.scores**5
    scores = scores / scores.sum(axis=1, keepdims=True)
    return results(attrs.evolve(validation, scores=scores), good(seed=1))


@said("there is no operating point: no validation image of 'd' is known.")
def an_operating_point_without_cases() -> Sequence[str]:
    four = good()
    scores = np.concatenate([four.scores, np.zeros((120, 1))], axis=1)
    wide = make("multiclass", scores, four.labels)
    return results(wide, wide, class_="d", sensitivity=0.9)


@said("the operating point is chosen by only 10 validation images of 'a'.")
def an_operating_point_of_few_cases() -> Sequence[str]:
    return results(good(count=30), good(), class_="a", sensitivity=0.9)


@said("the operating point is chosen by only 10 validation images without 'a'.")
def an_operating_point_of_few_others() -> Sequence[str]:
    validation = classes([0] * 50 + [1] * 10, [0] * 40 + [1] * 20)
    return results(validation, good(), class_="a", specificity=0.9)


@said("the operating point finds 'a' in each validation image.")
def an_operating_point_that_finds_everything() -> Sequence[str]:
    validation = attrs.evolve(good(), scores=np.tile([0.5, 0.3, 0.2], (120, 1)))
    return results(validation, good(), class_="a", sensitivity=0.9)


@said("the operating point finds 'a' in no validation image of it.")
def an_operating_point_that_finds_nothing() -> Sequence[str]:
    validation = attrs.evolve(good(), scores=np.tile([0.5, 0.3, 0.2], (120, 1)))
    return results(validation, good(), class_="a", specificity=0.9)


@said("no image here is of 'c': the sensitivity at the operating point is undefined.")
def an_operating_point_without_cases_in_the_test() -> Sequence[str]:
    test = good().taken([row for row in range(120) if row % 3 != 2])
    return results(good(), test, class_="c", sensitivity=0.9)


@said(
    "the operating point does not keep its sensitivity of 0.95 on these images: it is 0.8250 (95 % "
    "interval 0.6805 to 0.9125)."
)
def an_operating_point_that_does_not_hold() -> Sequence[str]:
    test = good()
    scores = test.scores * [0.3, 1, 1]
    scores = scores / scores.sum(axis=1, keepdims=True)
    return results(good(), attrs.evolve(test, scores=scores), class_="a", sensitivity=0.95)


@said("10 groups with images of several classes: left out of the result by group.")
def groups_of_several_classes() -> Sequence[str]:
    groups = tuple(
        f"p{row}" if row < 10 else f"p{row % 10}" if row < 20 else None for row in range(120)
    )
    return results(good(), good(groups=groups), unit="group")


@said("no group has several images: the result by group is that by image.")
def groups_of_one_image() -> Sequence[str]:
    return results(good(), good(), unit="group")


def in_pairs(predictions: Predictions) -> Predictions:
    """With groups of two images of one class."""
    rows = np.argsort(predictions.labels, kind="stable")
    ordered = predictions.taken(rows.tolist())
    return attrs.evolve(ordered, groups=tuple(f"p{row // 2}" for row in range(len(rows))))


@said("by group, 'a' is answered for each of the 60 groups.")
def one_class_for_all_groups() -> Sequence[str]:
    test = in_pairs(good())
    scores = np.tile([[0.9, 0.05, 0.05], [0.3, 0.4, 0.3]], (60, 1))
    return results(good(), attrs.evolve(test, scores=scores), unit="group")


@said("the operating point by group is chosen by only 5 validation groups of 'a'.")
def an_operating_point_of_few_groups() -> Sequence[str]:
    few = in_pairs(good(count=30))
    return results(few, in_pairs(good()), class_="a", sensitivity=0.9, unit="group")


# Training that has seen other frequencies


def prior(counts: Any = (90, 30), kind: str = "multiclass", **loader: Any) -> list[str]:
    loss = loader.pop("loss", "cross_entropy")
    builder = PipelineBuilder().trainer("supervised", loss=loss).loader(**loader)
    data = DataInfo(
        task=Task(kind=kind, names=("a", "b")),
        channels=1,
        spatial_shape=(8, 8),
        spatial_dims=2,
        outputs=2,
        statistics={} if counts is None else {"class_counts": counts},
    )
    return prior_remarks(builder.build().configuration, data)


@said(
    "training drew each class equally often (loader.sampling), so probabilities fit other "
    "frequencies than the data's, and a temperature can't mend that."
)
def balanced_sampling() -> Sequence[str]:
    return prior(sampling="balanced")


@said(
    "the loss weighs classes (trainer.loss.class_weights), so probabilities fit other frequencies "
    "than the data's, and a temperature can't mend that."
)
def class_weights() -> Sequence[str]:
    import medpipe

    return prior(loss=medpipe.step("cross_entropy", class_weights="balanced"))


@said(
    "the loss weighs findings (trainer.loss.pos_weight), so probabilities fit other frequencies "
    "than the data's, and a temperature can't mend that."
)
def weighed_findings() -> Sequence[str]:
    import medpipe

    loss = medpipe.step("bce_with_logits", pos_weight=(2.0, 1.0))
    return prior(None, "multilabel", loss=loss)


@said(
    "the loss weighs classes (trainer.loss.alpha), so probabilities fit other frequencies than the "
    "data's, and a temperature can't mend that."
)
def focal_weights() -> Sequence[str]:
    import medpipe

    return prior(loss=medpipe.step("focal", alpha=(1.0, 0.5)))


def test_equal_classes_shift_nothing() -> None:
    assert prior((60, 60), sampling="balanced") == []
    assert prior() == []


@pytest.mark.parametrize(("make_result", "sentence"), CATALOGUE)
def test_it_is_said(make_result: Callable[[], Sequence[str]], sentence: str) -> None:
    found = make_result()
    assert sentence in found, "\n".join(found)
    assert len(found) == len(set(found))


def test_there_are_many_kinds() -> None:
    assert len(CATALOGUE) >= 50
