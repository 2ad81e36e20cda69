"""`RunSet`: several runs, such as the folds of a cross-validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.errors import MedpipeError, RunError
from medpipe.runs.one_kind import refuse_mixed, run_directories, split_of
from medpipe.runs.record import RECORD
from medpipe.runs.run import Run
from medpipe.runs.shown import set_as_html
from medpipe.runs.spread import Spread, spreads
from medpipe.system import files
from medpipe.system.text import aligned

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping

    from medpipe.evaluation.predictions import Predictions
    from medpipe.prediction.external import Evaluation
    from medpipe.prediction.file_predictions import FilePredictions
    from medpipe.registry.registry import Registry
    from medpipe.steps import Dataset, DatasetStep, ImageFile

__all__ = ["RunSet", "Spread"]

COLLECTION = "collection.json"
POOLED = "predictions_pooled.csv"

HeldOut = Literal["validation", "test"]


@attrs.frozen(kw_only=True, eq=False)
class RunSet:
    """Runs of one pipeline with different folds or seeds.

    Attributes:
        path: The folder that they are in.
        runs: Those that are finished, in natural order: ``fold-2`` before ``fold-10``.
        unfinished: The others; see `Run.status`.
    """

    path: Path
    runs: tuple[Run, ...] = attrs.field(repr=lambda runs: f"<{len(runs)} runs>")
    unfinished: tuple[Run, ...] = attrs.field(repr=lambda runs: f"<{len(runs)} runs>")

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, allow_mixed: bool = False) -> RunSet:
        """Open every run below a folder, at any depth.

        Args:
            folder: Where to look.
            allow_mixed: Also accept finished runs that differ in their data, their split or their
                configuration, to compare them in a table.

        Raises:
            RunError: There is no run, one can't be read, or two differ in more than fold and
                seed; it names them and says in what.
        """
        path = Path(folder)
        found = [Run.load(directory) for directory in run_directories(path)]
        if not found:
            raise RunError(f"There is no run in {path}: no folder below it holds a {RECORD}.")
        runs = tuple(run for run in found if run.status == "finished")
        unfinished = tuple(run for run in found if run.status != "finished")
        if not allow_mixed:
            refuse_mixed(path, runs)
        return cls(path=path, runs=runs, unfinished=unfinished)

    @property
    def missing_folds(self) -> tuple[int, ...]:
        """The folds that no finished run holds out."""
        counts = {count for run in self.runs if (count := split_of(run)["folds"]) is not None}
        held = {split_of(run)["fold"] for run in self.runs}
        return tuple(fold for fold in range(max(counts, default=0)) if fold not in held)

    def metrics(self, split: HeldOut = "test") -> dict[str, Spread]:
        """The mean and the spread over the runs of every metric that is one number.

        Raises:
            RunError: No run is finished, or one has no metrics on the split.
        """
        return spreads([_metrics(run, split) for run in self._finished()])

    def pooled(self, split: HeldOut = "test") -> Predictions:
        """The predictions of all runs put together, each sample once.

        Over folds these are the out-of-fold predictions: each by a network that was not trained
        on the sample. Where several runs hold out the same samples (several seeds), a sample's
        scores are the mean over them, so that these are the predictions of an ensemble.

        Raises:
            RunError: No run is finished, one has no predictions on the split, two runs that hold
                out different samples both predict one, or runs disagree on their task or a label.
        """
        return self.pooled_with_folds(split)[0]

    def pooled_with_folds(
        self, split: HeldOut = "test"
    ) -> tuple[Predictions, dict[str, int] | None]:
        """As `pooled`, with the fold of each sample by id, for metrics that are means of folds.

        Returns:
            The predictions, and the folds counted from 0; None where there is one.

        Raises:
            RunError: As `pooled`.
        """
        from medpipe.runs.pooling import pool

        return pool(self._finished(), split)

    def pooled_metrics(self, split: HeldOut = "test") -> dict[str, Any]:
        """The metrics of `pooled`, with 95 % intervals.

        Metrics that rank scores, such as an AUC, are the mean of the folds' own: scores of
        different networks do not compare.

        Raises:
            RunError: As `pooled`.
        """
        from medpipe.evaluation.metrics import compute_metrics

        predictions, folds = self.pooled_with_folds(split)
        configuration, registry = self.runs[0].configured()
        return compute_metrics(
            predictions,
            metrics=() if configuration is None else configuration.metrics,
            registry=registry,
            intervals=True,
            folds=folds,
        )

    def ensemble_metrics(self, split: HeldOut = "test") -> dict[str, Any]:
        """The metrics of the mean of the runs' scores on samples that all of them held out.

        Seeds share a test split, and folds do where the data set has its own. What the runs' own
        test splits are folds of, other runs were trained on: there these are no metrics.

        Returns:
            What a run has on its test split; with the temperature and the operating point that
            the mean of the validation predictions gives, where the runs share that split too.

        Raises:
            RunError: No run is finished, there is but one, they held out other samples, or the
                labels are images, of whose probabilities predictions keep nothing.
        """
        from medpipe.runs.ensemble import ensemble_metrics

        return ensemble_metrics(self._finished(), split)

    def predict(
        self,
        paths: ImageFile | Iterable[ImageFile | tuple[ImageFile, ...]],
        *,
        which: Literal["best", "last"] = "best",
        device: str = "auto",
        batch_size: int | None = None,
        masks: str | os.PathLike[str] | None = None,
        output: str | os.PathLike[str] | None = None,
        resume: bool = False,
        dicom_ids: bool = False,
        registry: Registry | None = None,
    ) -> FilePredictions:
        """Predict new files with the mean of the runs' networks, of which one is in memory.

        The mean is that of probabilities, or of a regression's values. Of a segmentation it is
        taken on the grid of the network's outputs, before masks are decided: volume by volume, so
        that each network is read from the disk for each volume.

        Args:
            paths: As for `Run.predict`, and so are all others.
            which: The network of each run.
            device: Where to compute.
            batch_size: Images in a batch; None: the first run's.
            masks: A new folder for the masks of a segmentation.
            output: A new CSV file for the table. Each network's answers are kept beside it.
            resume: Go on with what an earlier prediction into `output` had come to.
            dicom_ids: Whether the table has patient, study, series and image of DICOM files.
            registry: Where steps are looked up.

        Raises:
            DataError: As `Run.predict`.
            RunError: A run is not finished, runs get or answer different things, or the output
                is there or can't be resumed.
            DeviceError: The device is not there.
        """
        from medpipe.prediction.files import predict_files
        from medpipe.runs.ensemble import trained_together

        return predict_files(
            trained_together(self, which, registry),
            paths,
            device=device,
            batch_size=batch_size,
            masks=None if masks is None else Path(masks),
            output=None if output is None else Path(output),
            resume=resume,
            dicom_ids=dicom_ids,
        )

    def evaluate(
        self,
        data: DatasetStep | Dataset,
        *,
        output: str | os.PathLike[str] | None = None,
        which: Literal["best", "last"] = "best",
        device: str = "auto",
        batch_size: int | None = None,
        allow_overlap: bool = False,
        registry: Registry | None = None,
    ) -> Evaluation:
        """Evaluate the mean of the runs' networks on an external data set; see `predict`.

        Args:
            data: As for `Run.evaluate`, and so are all others.
            output: A new folder for ``metrics.json`` and ``predictions.csv``.
            which: The network of each run.
            device: Where to compute.
            batch_size: Images in a batch; None: the first run's.
            allow_overlap: Allow images that one of the runs was trained on; they are recorded.
            registry: Where steps are looked up.

        Raises:
            DataError: As `Run.evaluate`, of the training split of each run.
            RunError: A run is not finished, runs get or answer different things, or the output
                exists.
            DeviceError: The device is not there.
        """
        from medpipe.runs.ensemble import evaluate_together

        return evaluate_together(
            self,
            data,
            output=None if output is None else Path(output),
            which=which,
            device=device,
            batch_size=batch_size,
            allow_overlap=allow_overlap,
            registry=registry,
        )

    def collection(self, split: HeldOut = "test") -> dict[str, Any]:
        """The set as plain data: the runs, `metrics`, `pooled_metrics` and `ensemble_metrics`.

        Where predictions can't be pooled, ``pooled`` is None and ``not_pooled`` says why;
        likewise ``ensemble`` and ``no_ensemble``.

        Raises:
            RunError: No run is finished.
        """
        tables = [run.metrics.get(split, {}) for run in self._finished()]
        pooled, why = _tried(lambda: self.pooled_metrics(split))
        ensemble, why_not = _tried(lambda: self.ensemble_metrics(split))
        return {
            "format": 1,
            "split": split,
            "runs": [self._row(run) for run in self.runs],
            "unfinished": [self._row(run) for run in self.unfinished],
            "missing_folds": list(self.missing_folds),
            "metrics": {name: attrs.asdict(s) for name, s in spreads(tables).items()},
            "pooled": pooled,
            **({} if why is None else {"not_pooled": why}),
            "ensemble": ensemble,
            **({} if why_not is None else {"no_ensemble": why_not}),
        }

    def write(self, folder: str | os.PathLike[str], split: HeldOut = "test") -> dict[str, Any]:
        """Write ``collection.json`` and ``predictions_pooled.csv``; older ones are replaced.

        Where predictions can't be pooled, there is no ``predictions_pooled.csv``.

        Returns:
            What ``collection.json`` holds; see `collection`.

        Raises:
            RunError: No run is finished, or they can't be written.
        """
        from medpipe.evaluation.predictions import write_predictions

        content = self.collection(split)
        if content["pooled"] is None:
            files.remove_file(Path(folder) / POOLED)
        else:
            write_predictions(Path(folder) / POOLED, self.pooled(split))
        files.write_json(Path(folder) / COLLECTION, content)
        return content

    def table(self, split: HeldOut = "test") -> str:
        """The runs, the mean and the spread of their metrics, as text.

        A run without metrics on the split has none in the table.
        """
        metrics = spreads([run.metrics.get(split, {}) for run in self.runs])
        lines = [["run", "fold", "seed", *metrics]]
        for index, run in enumerate(self.runs):
            values = (_number(spread.values[index]) for spread in metrics.values())
            lines.append([*self._head(run), *values])
        for title, name in (("mean", "mean"), ("standard deviation", "standard_deviation")):
            values = (_number(getattr(spread, name)) for spread in metrics.values())
            lines.append([title, "", "", *values])
        text = aligned(lines) if self.runs else []
        text += [f"not finished: {self._name(run)} ({run.status})" for run in self.unfinished]
        if self.missing_folds:
            text.append(f"missing: {', '.join(f'fold {fold}' for fold in self.missing_folds)}")
        return "\n".join(text)

    def report(
        self,
        output: str | os.PathLike[str] | None = None,
        split: HeldOut = "test",
        *,
        images: bool = True,
        paths: bool = True,
    ) -> Path:
        """Write the report of the set: one HTML file that needs no network.

        Args:
            output: The file to write; None: ``report.html`` in the folder of the runs.
            split: The split that the runs held out.
            images: As for `Run.report`.
            paths: As for `Run.report`.

        Raises:
            RunError: As `pooled`, or it can't be written.
        """
        from medpipe.report.files import REPORT, write_report
        from medpipe.runs.set_report import facts_of_set, runs_section

        section = runs_section(
            self._finished(),
            self.metrics(split),
            unfinished=len(self.unfinished),
            missing_folds=self.missing_folds,
            names=paths,
        )
        facts = facts_of_set(
            self.path,
            self.runs[0],
            predictions=self.pooled(split),
            metrics=self.pooled_metrics(split),
            runs=section,
        )
        path = self.path / REPORT if output is None else Path(output)
        return write_report(facts, path, images=images, paths=paths)

    def _repr_html_(self) -> str:
        runs = (*self.runs, *self.unfinished)
        return set_as_html(self.path, [(self._head(r), r.status, r.metrics) for r in runs])

    def __str__(self) -> str:
        tested = any("test" in run.metrics for run in self.runs)
        return self.table("test" if tested else "validation")

    def _finished(self) -> tuple[Run, ...]:
        if not self.runs:
            named = ", ".join(f"{self._name(run)} ({run.status})" for run in self.unfinished)
            raise RunError(f"No run in {self.path} is finished: {named}.")
        return self.runs

    def _name(self, run: Run) -> str:
        inner = run.path.relative_to(self.path).as_posix()
        return run.path.resolve().name if inner == "." else inner

    def _head(self, run: Run) -> list[str]:
        fold, seed = split_of(run)["fold"], run.record["seeds"]["run"]
        return [self._name(run), "" if fold is None else str(fold), str(seed)]

    def _row(self, run: Run) -> dict[str, Any]:
        return {
            "run": self._name(run),
            "status": run.status,
            "seeds": run.record["seeds"],
            "split": split_of(run),
            "metrics": run.metrics,
        }


def _tried(metrics: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any] | None, str | None]:
    """Metrics, or why there are none."""
    try:
        return metrics(), None
    except MedpipeError as error:
        return None, str(error)


def _metrics(run: Run, split: HeldOut) -> Mapping[str, Any]:
    if split not in run.metrics:
        have = " and ".join(repr(name) for name in run.metrics) or "none"
        raise RunError(f"The run {run.path} has no metrics on the split {split!r}. It has {have}.")
    return run.metrics[split]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
