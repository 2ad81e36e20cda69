"""`Run`: read a run directory with its networks, predictions and metrics."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe import config
from medpipe.assembly import Assembly
from medpipe.config import Configuration
from medpipe.config.measured import info_of
from medpipe.errors import RunError
from medpipe.registry.registry import Registry
from medpipe.runs.record import CONFIGURATION, HISTORY, PREDICTIONS, read_record
from medpipe.runs.shown import as_html, in_short
from medpipe.runs.trained import loaded_network, read_configuration, trained_network
from medpipe.steps import ExportStep
from medpipe.system.file_errors import mode_of
from medpipe.system.place import place
from medpipe.system.text import counted

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from torch import nn

    from medpipe.evaluation.predictions import Predictions
    from medpipe.export.verifying import VerifiedExport
    from medpipe.prediction.external import Evaluation
    from medpipe.prediction.file_predictions import FilePredictions
    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.report.facts import ReportFacts
    from medpipe.report.plots import RunPlots
    from medpipe.runs.record import RunStatus
    from medpipe.steps import DataInfo, Dataset, DatasetStep, ImageFile

__all__ = ["Run"]


@attrs.frozen(kw_only=True, eq=False)
class Run:
    """A run directory: the record, networks, predictions and metrics of a run.

    Attributes:
        path: The directory.
        record: The content of ``run.json``.
    """

    path: Path
    record: Mapping[str, Any] = attrs.field(repr=False)
    _configuration: Configuration | None = attrs.field(default=None, repr=False)
    _registry: Registry | None = attrs.field(default=None, repr=False)

    def __repr__(self) -> str:
        return in_short(self.path, self.record)

    def _repr_html_(self) -> str:
        return as_html(self.path, self.record)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run directory.

        Raises:
            RunError: It is not there, holds no run, or one of a newer medpipe.
        """
        folder = Path(path)
        return cls(path=folder, record=read_record(folder))

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """The metrics by split: ``run.metrics["test"]["accuracy"]``.

        Those of ``validation`` are the best epoch's; those of ``test`` the best network's, with
        95 % intervals under ``intervals``.
        """
        return dict(self.record["metrics"])

    @property
    def status(self) -> RunStatus:
        """The state of the run.

        ``running``, ``finished``, ``stopped`` (by a time limit or a signal; it can be resumed),
        ``interrupted`` (by Ctrl-C) or ``failed``.
        """
        status: RunStatus = self.record["status"]
        return status

    @property
    def timings(self) -> Mapping[str, float]:
        """Where the time went, in seconds; see ``timings`` of ``run.json``."""
        timings: Mapping[str, float] = self.record["timings"]
        return timings

    @property
    def data(self) -> DataInfo:
        """What was measured on the data."""
        return info_of(self.record["data"]["info"], self._registry or Registry.discover())

    @property
    def history(self) -> list[dict[str, float | None]]:
        """The epochs in order: losses, validation metrics, seconds."""
        try:
            text = (self.path / HISTORY).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        rows = csv.DictReader(text.splitlines())
        return [{k: float(v) if v else None for k, v in row.items()} for row in rows]

    def predictions(self, split: Literal["validation", "test"] = "test") -> Predictions:
        """The best network's predictions on a split, by sample id.

        Raises:
            RunError: The run has none, for example because it did not finish.
        """
        from medpipe.evaluation.predictions import read_predictions

        path = self.path / PREDICTIONS.format(split)
        if not mode_of(path):
            raise RunError(f"The run {self.path} has no predictions on the split {split!r}.")
        return read_predictions(path, self.data.task)

    def network(
        self, which: Literal["best", "last"] = "best", *, registry: Registry | None = None
    ) -> nn.Module:
        """A network of the run, on the CPU and in evaluation mode.

        Args:
            which: ``best`` by the monitored metric, or ``last``.
            registry: Where the network's step is looked up; by default every installed plugin.

        Raises:
            RunError: There is no such checkpoint, or the network was a ready object and this
                is not the `Run` that `Pipeline.run` returned.
            ConfigError: The run's configuration names a step that is not there.
        """
        return loaded_network(
            self.path, which, assembly=lambda: self._assembly(registry), data=self.data
        )

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
        """Predict new files, read and transformed as in training.

        Of several processes that torchrun started all call it, and each predicts a part. A file
        that can't be predicted is one of `FilePredictions.errors`.

        Args:
            paths: Files, folders (searched at any depth: images and NIfTI files by name, DICOM
                files by content) or `Series`; a tuple is one sample of several files, stacked as
                channels.
            which: The network: ``best`` by the monitored metric, or ``last``.
            device: Where to compute; as ``run.device``.
            batch_size: Images in a batch; None: the run's.
            masks: A new folder for the masks of a segmentation, each on the grid of its file:
                NIfTI, PNG, or DICOM segmentations of DICOM files. None: volumes alone are given.
            output: A new CSV file for the table. Answers are kept beside it as they come.
            resume: Go on with what an earlier prediction into `output` had come to when it ended.
            dicom_ids: Whether the table has patient, study, series and image of DICOM files.
            registry: Where steps are looked up; by default every installed plugin.

        Raises:
            DataError: No file can be predicted: they can't be read, are not finite, or don't fit
                the network; it names them.
            RunError: The run has no such network, or the output is there or can't be resumed.
            DeviceError: The device is not there.
        """
        from medpipe.prediction.files import predict_files

        return predict_files(
            self.trained(which, registry),
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
        """Evaluate the network on an external data set.

        Labels are matched by the names of classes, findings or targets. Of several processes that
        torchrun started all call it, as `predict`.

        Args:
            data: The data set; all its samples are used.
            output: A new folder for ``metrics.json`` and ``predictions.csv``; None: nothing is
                written.
            which: The network: ``best`` by the monitored metric, or ``last``.
            device: Where to compute; as ``run.device``.
            batch_size: Images in a batch; None: the run's.
            allow_overlap: Allow images that the run was trained on; they are recorded.
            registry: Where steps are looked up; by default every installed plugin.

        Raises:
            DataError: The data set has another task, its images can't be read or don't fit
                the network, or the run was trained on some of them.
            RunError: The run has no such network, or the output exists.
            DeviceError: The device is not there.
        """
        from medpipe.prediction.external import evaluate_dataset
        from medpipe.report.files import at_the_end, write_evaluation_report

        trained = self.trained(which, registry)
        done = evaluate_dataset(
            trained,
            data,
            output=None if output is None else Path(output),
            device=device,
            batch_size=batch_size,
            allow_overlap=allow_overlap,
        )
        if output is not None and place().leads:
            facts, folder = attrs.evolve(self.facts(), trained=lambda: trained), Path(output)
            at_the_end(lambda: write_evaluation_report(facts, done, folder))
        return done

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        format: str = "onnx",  # noqa: A002 - as the command has it
        which: Literal["best", "last"] = "best",
        registry: Registry | None = None,
        **parameters: object,
    ) -> VerifiedExport:
        """Write the network for other programs, with what stands before and after it.

        It gets its name once a fresh process has found the run's answers for 16 real samples in
        it. These samples travel with it, for `verify_export`.

        Args:
            path: A new folder.
            format: ``onnx``, ``torch_export``, ``safetensors``, ``bundle`` or a plugin's.
            which: The network: ``best`` by the monitored metric, or ``last``.
            registry: Where steps are looked up; by default every installed plugin.
            parameters: Of the export step.

        Raises:
            ExportError: It can't be written, or does not give what the run gives.
            RunError: The run has no such network, or the folder exists.
        """
        from medpipe.export.writing import export_network

        step = (registry or self._registry or Registry.discover()).create(
            ExportStep, format.replace("-", "_"), parameters
        )
        return export_network(self.trained(which, registry), self.record, Path(path), step)

    @property
    def plot(self) -> RunPlots:
        """The figures of the run: ``run.plot.confusion_matrix()``; see `RunPlots`."""
        from medpipe.report.plots import RunPlots

        return RunPlots(facts=self.facts)

    def report(
        self,
        output: str | os.PathLike[str] | None = None,
        *,
        images: bool = True,
        paths: bool = True,
    ) -> Path:
        """Write the report: one HTML file that needs no network, and ``model_card.md`` beside it.

        Args:
            output: The file to write; None: ``report.html`` in the run directory. The model card
                is written to the same folder.
            images: Whether it may show images of the data set.
            paths: Whether it may name paths, samples and groups (patients).

        Returns:
            The file.

        Raises:
            RunError: It can't be written.
        """
        from medpipe.report.files import REPORT, write_report

        path = self.path / REPORT if output is None else Path(output)
        return write_report(self.facts(), path, images=images, paths=paths)

    def facts(self, dataset: Dataset | None = None) -> ReportFacts:
        """What a report is made from; for medpipe's own use.

        Args:
            dataset: The run's data set, where it is listed already.
        """
        from medpipe.runs.reported import facts_of

        return facts_of(
            self.path,
            self.record,
            data=self.data,
            history=self.history,
            predictions=self.predictions,
            dataset=dataset,
            assembly=lambda: self._assembly(None),
            trained=lambda: self.trained("best", None),
        )

    def track(self, to: str, *, registry: Registry | None = None, **parameters: object) -> int:
        """Send what a tracker lacks of the run; return how many points of curves that were.

        Args:
            to: ``tensorboard``, ``mlflow`` or a plugin's tracker.
            registry: Where it is looked up; by default every installed plugin.
            parameters: Its parameters, in place of those of the configuration.

        Raises:
            MedpipeError: There is none of that name, it is not installed, or it refuses.
        """
        from medpipe.runs.tracked import send

        return send(self.path, to, registry or self._registry or Registry.discover(), parameters)

    def summary(self) -> str:
        """The metrics of every split with their intervals, tables and remarks, as text.

        Beside each metric of the test is that of one answer for all images.
        """
        from medpipe.evaluation.lines import result_lines

        lines = []
        for split, metrics in self.metrics.items():
            if metrics:  # there may be no validation split
                lines += [f"{split} on {counted(metrics['images'], 'image')}:"]
                lines += result_lines(metrics)
        return "\n".join(lines)

    def trained(self, which: Literal["best", "last"], registry: Registry | None) -> TrainedNetwork:
        """The network with all that it needs to predict; for medpipe's own use."""
        return trained_network(
            self.path,
            self.record,
            which=which,
            network=self.network(which, registry=registry),
            assembly=self._assembly(registry),
            data=self.data,
        )

    def _assembly(self, registry: Registry | None) -> Assembly:
        known = registry or self._registry or Registry.discover()
        chosen = self.record["auto"]
        configuration = self._read_configuration(registry)
        configuration = config.with_decided(configuration, chosen, registry=known)
        return Assembly(configuration=configuration, registry=known, decided=chosen)

    def configured(self, known: Registry | None = None) -> tuple[Configuration | None, Registry]:
        """The configuration, None where there is no file, and where its steps are looked up.

        Raises:
            ConfigError: The run's configuration names a step that is not there.
        """
        registry = known or self._registry or Registry.discover()
        if self._configuration is None and not mode_of(self.path / CONFIGURATION):
            return None, registry  # it used ready objects
        return self._read_configuration(known), registry

    def _read_configuration(self, registry: Registry | None) -> Configuration:
        if self._configuration is not None:
            return self._configuration
        known = registry or self._registry or Registry.discover()
        return read_configuration(self.path, self.record, registry=known)
