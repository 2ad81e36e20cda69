"""Ways to predict, evaluate and export, which type checkers accept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import medpipe
from medpipe.plugin import Dataset, DatasetStep, Series

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


def probabilities_of_the_test_split(run: medpipe.Run) -> dict[str, list[float]]:
    predictions: medpipe.Predictions = run.predictions("test")
    scores: np.ndarray[Any, np.dtype[Any]] = predictions.scores
    return dict(zip(predictions.ids, scores.tolist(), strict=True))


def new_files(run: medpipe.Run) -> Mapping[str, str]:
    predicted: medpipe.FilePredictions = run.predict(["a.png", Path("more")], which="last")
    predicted.write(Path("predictions.csv"))
    return predicted.errors


def samples_of_several_files(run: medpipe.Run) -> tuple[str, ...]:
    return run.predict([("t1.nii.gz", "t2.nii.gz")], batch_size=1).ids


def series_into_masks(run: medpipe.Run) -> Mapping[str, tuple[Path, ...]]:
    series = Series(files=("1.dcm", "2.dcm"))
    return run.predict(series, masks="masks", output="volumes.csv", dicom_ids=True).masks


def ensemble_of_folds(runs: medpipe.RunSet) -> str:
    return runs.predict("images").to_csv()


def external_data(run: medpipe.Run, data: Dataset) -> Mapping[str, Any]:
    evaluation: medpipe.Evaluation = run.evaluate(data, output="external", allow_overlap=True)
    return evaluation.metrics


def external_data_by_an_ensemble(runs: medpipe.RunSet, step: DatasetStep) -> tuple[str, ...]:
    return runs.evaluate(step, device="cpu").notes


def exported_to_onnx(run: medpipe.Run) -> dict[str, float]:
    written: medpipe.VerifiedExport = run.export("exported", which="best", opset=18)
    return written.difference


def exported_to_a_bundle(run: medpipe.Run) -> Path:
    return run.export(Path("bundle"), format="bundle").path


def verified_again(folder: Path) -> dict[str, Any]:
    return medpipe.verify_export(folder).to_dict()
