"""`RunPlots`: the figures of a run, for notebooks and papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from medpipe.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from medpipe.evaluation.predictions import Predictions
    from medpipe.report.facts import ReportFacts

Split = Literal["validation", "test"]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunPlots:
    """The figures of a run: ``run.plot.roc()``.

    Each is a new `matplotlib.figure.Figure`, which shows itself in Jupyter;
    ``figure.savefig("roc.pdf")`` writes it.
    """

    _facts: Callable[[], ReportFacts]

    def __repr__(self) -> str:
        names = (
            name for name, value in vars(type(self)).items() if name.islower() and callable(value)
        )
        return f"RunPlots({', '.join(name for name in names if name[0] != '_')})"

    def history(self) -> Figure:
        """Losses, the monitored metric and the learning rate by epoch.

        Raises:
            RunError: No epoch is complete.
        """
        from medpipe.report.history_figure import history_figure

        facts = self._facts()
        if not facts.history:
            raise RunError(f"The run {facts.path} has no complete epoch to draw.")
        best = facts.record.get("best_epoch")
        return history_figure(facts.history, monitor=facts.monitor, best=best)

    def confusion_matrix(self, split: Split = "test") -> Figure:
        """Counts with a row for each true class, and the shares of the row as colours.

        Raises:
            RunError: The run has no predictions on the split, or its task no classes.
        """
        from medpipe.report.class_figures import confusion_figure

        predictions = self._predictions(split, {"class"}, "a confusion matrix")
        counts = predictions.tables()["confusion"]
        return confusion_figure(counts, predictions.task.names)

    def roc(self, split: Split = "test") -> Figure:
        """ROC curves with 95 % bands, of each finding or of each class against the rest.

        Raises:
            RunError: The run has no predictions on the split, or its task no classes or findings.
        """
        from medpipe.report.class_figures import roc_figure

        return roc_figure(self._predictions(split, {"class", "findings"}, "ROC curves"))

    def precision_recall(self, split: Split = "test") -> Figure:
        """Precision-recall curves with 95 % bands; else as `roc`."""
        from medpipe.report.class_figures import precision_recall_figure

        found = self._predictions(split, {"class", "findings"}, "precision-recall curves")
        return precision_recall_figure(found)

    def calibration(self, split: Split = "test") -> Figure:
        """The reliability diagram, of the test also after temperature scaling.

        Raises:
            RunError: As `roc`.
        """
        from medpipe.evaluation.calibration import calibration
        from medpipe.report.class_figures import reliability_figure
        from medpipe.report.results import scaled_calibration

        found = self._predictions(split, {"class", "findings"}, "a reliability diagram")
        before = calibration(found)
        assert before is not None
        after, _ = scaled_calibration(self._facts(), split, found)
        return reliability_figure(before, after)

    def scatter(self, split: Split = "test", target: str | None = None) -> Figure:
        """Predicted against true values of a regression.

        Args:
            split: The split.
            target: The target; None: the first.

        Raises:
            RunError: The run has no predictions on the split, or its task is no regression with
                this target.
        """
        from medpipe.report.regression_figures import scatter_figure

        return scatter_figure(*self._target(split, target))

    def bland_altman(self, split: Split = "test", target: str | None = None) -> Figure:
        """Differences against means, with bias and 95 % limits of agreement; else as `scatter`."""
        from medpipe.report.regression_figures import bland_altman_figure

        return bland_altman_figure(*self._target(split, target))

    def _target(self, split: Split, target: str | None) -> tuple[Predictions, str]:
        predictions = self._predictions(split, {"numbers"}, "scatter and Bland-Altman plots")
        names = predictions.task.names
        if target is not None and target not in names:
            raise RunError(f"There is no target {target!r}: there are {', '.join(names)}.")
        return predictions, target or names[0]

    def _predictions(self, split: Split, forms: set[str], what: str) -> Predictions:
        facts = self._facts()
        form = facts.data.task.step.answer_form
        if form not in forms:
            raise RunError(f"A {facts.data.task.kind} task has no {what.removeprefix('a ')}.")
        if split not in facts.predictions:
            raise RunError(f"The run {facts.path} has no predictions on the split {split!r}.")
        return facts.predictions[split]
