"""Checks of metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.evaluation.mask_measures import scores_for
from medpipe.steps import MetricStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.mask_measures import mask_measures_take_all_masks
from medpipe.testing.measured_cases import forms_of, measured, predictions, values_close
from medpipe.testing.use import Use, typical

if TYPE_CHECKING:
    from medpipe.evaluation.measured import Measured
    from medpipe.evaluation.predictions import Predictions
    from medpipe.testing.measured_cases import Array, Quality

CLOSE = 1e-6
ROUNDING = 1e-9
BOTH: tuple[Quality, ...] = ("drawn", "perfect")
QUALITIES: tuple[Quality, ...] = ("drawn", "perfect", "alike")
RESAMPLES = 5


@check(
    MetricStep,
    protects="Monitoring, comparing and intervals follow what the class says of the metric.",
    remedy="Set direction, answers, interval and pooled to one of the values in MetricStep.",
)
def says_how_it_is_measured(case: Case) -> None:
    """Direction, answers, interval and pooling are ones that the library knows."""
    allowed = {
        "direction": ("max", "min"),
        "interval": ("percentiles", "logit", "wilson"),
        "pooled": ("cases", "mean"),
    }
    for name, values in allowed.items():
        if (found := getattr(case.step, name)) not in values:
            raise FailedError(f"its {name} is {found!r}, not {' or '.join(map(repr, values))}")
    if isinstance(case.step.answers, str) or not case.step.answers:
        raise FailedError(f"its answers are {case.step.answers!r}, not a set of forms")


@check(
    MetricStep,
    protects="Intervals, subgroups and folds are made of a row for each case.",
    remedy="Return an array of floats with a row for each case, NaN where it says nothing.",
    needs=[says_how_it_is_measured, mask_measures_take_all_masks],
)
def measures_each_case(case: Case) -> None:
    """It measures predictions of each form that it answers, with a row for each case."""
    for form in forms_of(case):
        some = (predictions(case, form, quality) for quality in BOTH)
        if all(measured(case, one).value is None for one in some):
            raise FailedError(f"of predictions of the form {form!r} it is undefined")


BASIC = (mask_measures_take_all_masks, measures_each_case)
"""What all others need."""


@check(
    MetricStep,
    protects="Cases are dealt out to folds, subgroups, sites and processes.",
    remedy="Compute a row from its own case; what needs all cases belongs into statistic.",
    needs=BASIC,
)
def rows_are_of_one_case(case: Case) -> None:
    """A case has the same row whichever other cases there are, and in whichever order."""
    for form in forms_of(case):
        some = predictions(case, form)
        rows, count = _rows(case, some), len(some)
        deals = (list(range(count))[::-1], [0], list(range(1, count, 2)))
        for places in deals:
            if not values_close(_rows(case, some.taken(places)), rows[places]):
                raise FailedError(
                    f"among {len(places)} cases it gives them other rows than among {count}"
                )


@check(
    MetricStep,
    protects="The order of files is that of a disk, and means nothing.",
    remedy="Leave out what depends on places, such as ties that the first one wins.",
    needs=[*BASIC, rows_are_of_one_case],
)
def value_ignores_the_order_of_cases(case: Case) -> None:
    """Cases in another order have the same value."""
    for form in forms_of(case):
        some = predictions(case, form)
        turned = some.taken([*range(1, len(some), 2), *range(0, len(some), 2)])
        one, other = measured(case, some).value, measured(case, turned).value
        if not values_close(_number(one), _number(other), CLOSE):
            raise FailedError(f"it is {one} and in another order {other}")


@check(
    MetricStep,
    protects="The best network is chosen, and runs are compared, by the direction.",
    remedy="Set direction to 'max' where more is better, and to 'min' where less is.",
    needs=BASIC,
)
def prefers_perfect_answers(case: Case) -> None:
    """Answers that are all right are at least as good as ones that know nothing."""
    for form in forms_of(case):
        perfect, drawn = (
            measured(case, predictions(case, form, quality)).value
            for quality in ("perfect", "drawn")
        )
        if perfect is None:
            raise FailedError(f"of perfect answers of the form {form!r} it is undefined")
        if drawn is None:
            continue
        sign = 1 if case.step.direction == "max" else -1
        if sign * perfect < sign * drawn - ROUNDING:
            raise FailedError(
                f"with direction {case.step.direction!r} it is {perfect:.4g} for perfect answers "
                f"and {drawn:.4g} for drawn ones (form {form!r})"
            )


@check(
    MetricStep,
    protects="Subgroups and folds may have one class alone, one case, or no label at all.",
    remedy="Give NaN where a metric is undefined; scikit-learn raises errors there.",
    needs=BASIC,
)
def says_what_is_undefined(case: Case) -> None:
    """Of no cases, one case, labels that are all alike or missing it is NaN or a number."""
    for form in forms_of(case):
        drawn = predictions(case, form)
        odd = {
            "no cases": drawn.taken([]),
            "one case": drawn.taken([0]),
            "labels that are all alike": predictions(case, form, "alike"),
            "labels that are all missing": predictions(case, form, "unknown"),
        }
        for said, some in odd.items():
            try:
                found = measured(case, some)
                if len(some):
                    found.statistic(_weights(len(some)))
            except Exception as error:
                raise FailedError(
                    f"{said} (form {form!r}): {described(error, most=300)}"
                ) from error
            if said.endswith("missing") and form != "class" and found.value is not None:
                raise FailedError(f"of {said} (form {form!r}) it is {found.value}, not undefined")


@check(
    MetricStep,
    protects="A thousand resamples are computed at once, in columns.",
    remedy="Sum over the first axis of the weights alone, the cases.",
    needs=BASIC,
)
def keeps_resamples_apart(case: Case) -> None:
    """A resample has the same value alone and among others."""
    import numpy as np

    for form in forms_of(case):
        some = predictions(case, form)
        found, weights = measured(case, some), _weights(len(some))
        together = found.statistic(weights)
        alone = [found.statistic(weights[:, [place]])[0] for place in range(RESAMPLES)]
        if not values_close(together, np.array(alone), CLOSE):
            raise FailedError(f"together resamples have other values than alone (form {form!r})")


@check(
    MetricStep,
    protects="A resample of cases is a weight for each: how often it was drawn.",
    remedy="Multiply each case's part by its weight, in sums and in counts.",
    needs=[*BASIC, rows_are_of_one_case, value_ignores_the_order_of_cases, keeps_resamples_apart],
)
def counts_weights_as_cases(case: Case) -> None:
    """A case of weight 2 counts as two such cases, and one of weight 0 as none."""
    import numpy as np

    for form in forms_of(case):
        some = predictions(case, form)
        rows, task = _rows(case, some), some.task
        weights = _weights(len(some))
        found = np.asarray(case.step.statistic(rows, task)(weights), dtype=float)
        for place, column in enumerate(weights.T):
            repeated = rows[np.repeat(np.arange(len(some)), column.astype(int))]
            ones = np.ones((len(repeated), 1))
            expected = float(case.step.statistic(repeated, task)(ones)[0])
            if not values_close(found[place], expected, CLOSE):
                raise FailedError(
                    f"with weights it is {found[place]:.6g}, and with each case as often as its "
                    f"weight says {expected:.6g} (form {form!r})"
                )


@check(
    MetricStep,
    protects="An interval is made of the statistic, and must be one of the value.",
    remedy="Leave value as it is, or compute the same in both.",
    needs=BASIC,
)
def value_is_that_of_its_statistic(case: Case) -> None:
    """With weights of 1 the statistic gives the value."""
    import numpy as np

    for form in forms_of(case):
        for quality in BOTH:
            some = predictions(case, form, quality)
            found = measured(case, some)
            expected = float(found.statistic(np.ones((len(some), 1)))[0])
            if not math.isfinite(expected):
                expected = math.nan
            if not values_close(_number(found.value), expected, CLOSE):
                raise FailedError(
                    f"its value is {found.value}, and its statistic gives {expected} (form "
                    f"{form!r}, {quality} answers)"
                )


@check(
    MetricStep,
    protects="Wilson's and the logit interval are for what lies from 0 to 1.",
    remedy="Set interval to 'percentiles', which is for any value.",
    needs=[*BASIC, says_what_is_undefined],
)
def fits_its_interval(case: Case) -> None:
    """With an interval for proportions it is one, or the mean of those that it names."""
    if case.step.interval == "percentiles":
        raise skip("percentiles of resamples are for any value")
    for form in forms_of(case):
        for quality in QUALITIES:
            some = predictions(case, form, quality)
            found = measured(case, some)
            values = [_number(found.value), *found.statistic(_weights(len(some)))]
            wrong = [one for one in values if one < -ROUNDING or one > 1 + ROUNDING]
            if wrong:
                raise FailedError(f"with the interval {case.step.interval!r} it is {wrong[0]:.4g}")
            if found.proportions is not None:
                _compare_proportions(found, len(some))


@check(
    MetricStep,
    protects="With by_name each class or structure is reported alone.",
    remedy="Give rows of shape (cases, names) and a statistic of any number of columns.",
    needs=BASIC,
)
def has_a_column_for_each_name(case: Case) -> None:
    """A metric by name has a column for each name, each of which is a metric alone."""
    import numpy as np

    if not case.step.by_name:
        raise skip("it is not by name")
    for form in forms_of(case):
        some = predictions(case, form)
        rows, names = _rows(case, some), some.task.names
        if rows.shape != (len(some), len(names)):
            raise FailedError(
                f"its rows have the shape {rows.shape} for {len(some)} cases and {len(names)} names"
            )
        ones = np.ones((len(some), 1))
        for place, name in enumerate(names):
            task = attrs.evolve(some.task, names=(name,))
            column = np.asarray(case.step.statistic(rows[:, [place]], task)(ones))
            if column.shape != (1,):
                raise FailedError(f"its statistic of one name has the shape {column.shape}")


@check(
    MetricStep,
    protects="Missing labels say nothing of a network.",
    remedy="Give NaN for cases whose label is NaN, and leave NaN out of sums and counts.",
    needs=BASIC,
)
def passes_over_missing_labels(case: Case) -> None:
    """What is predicted where a label is missing changes nothing."""
    forms = [form for form in forms_of(case) if form != "class"]
    if not forms:
        raise skip("a class can't be missing")
    for form in forms:
        some = predictions(case, form)
        if form == "cases":
            first = some.task.names[:1]
            labels, scores = some.task.step.unannotated(
                some.labels, some.scores, some.task.names, first
            )
            measures = {name: _without_first(values) for name, values in some.measures.items()}
            some = attrs.evolve(some, labels=labels, scores=scores, measures=measures)
            other = scores.copy()
            other[:, 3] += 100.0  # the first structure's predicted volume
        else:
            missing = _missing(some)
            other = some.scores.copy()
            other[missing] = 1 - other[missing] if form == "findings" else 3 * other[missing]
        one = measured(case, some).value
        two = measured(case, attrs.evolve(some, scores=other)).value
        if not values_close(_number(one), _number(two), ROUNDING):
            raise FailedError(
                f"other answers where labels are missing change it from {one} to {two} (form "
                f"{form!r})"
            )


@typical("metric", found_by=measures_each_case)
def _use(case: Case) -> Use:
    some = [predictions(case, form) for form in forms_of(case)]

    def call() -> object:
        return [measured(case, one).statistic(_weights(len(one))) for one in some]

    given: list[Any] = [[scores_for(case.step, one), one.scores, one.labels] for one in some]
    return Use(given=given, call=call)


def _rows(case: Case, some: Predictions) -> Array:
    rows: Array = case.step.rows(scores_for(case.step, some), some.labels, some.task)
    return rows


def _weights(count: int) -> Array:
    """How often each case is drawn, in a few resamples: (cases, resamples)."""
    import numpy as np

    weights: Array = np.random.default_rng(1).integers(0, 4, (count, RESAMPLES)).astype(float)
    weights[0] += weights.sum(axis=0) == 0
    return weights


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _missing(some: Predictions) -> Array:
    import numpy as np

    return np.isnan(some.labels)


def _without_first(values: Array) -> Array:
    changed = values.copy()
    changed[:, 0] = math.nan
    return changed


def _compare_proportions(found: Measured, count: int) -> None:
    import numpy as np

    assert found.proportions is not None
    right, counted = (np.asarray(one, dtype=float) for one in found.proportions)
    if right.ndim != 2 or right.shape != counted.shape or len(right) != count:
        raise FailedError(
            f"its proportions have the shapes {right.shape} and {counted.shape} for {count} cases"
        )
    if not (np.isin(right, (0, 1)).all() and np.isin(counted, (0, 1)).all()):
        raise FailedError("its proportions are not of 0 and 1")
    sums = counted.sum(axis=0)
    some = sums > 0
    mean = float(((right * counted).sum(axis=0)[some] / sums[some]).mean()) if some.any() else None
    if not values_close(_number(found.value), _number(mean), CLOSE):
        raise FailedError(f"its value is {found.value}, and the mean of its proportions {mean}")
