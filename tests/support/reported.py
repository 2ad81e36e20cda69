"""Small finished runs of every question, for the tests of reports."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medpipe import PipelineBuilder, Registry
from support.trained import write_png

if TYPE_CHECKING:
    from medpipe import Run

PATIENTS = ("Mustermann^Erika", "Doe^John", "Rossi^Maria")
"""The beginnings of the names of groups: what no private report may hold."""


def drawn(folder: Path, *, samples: int = 96, volumes: bool = False) -> list[dict[str, str]]:
    """Drawn images as files, with a row for each: its class, patient, sex, hospital and age."""
    step: Any = Registry.discover().datasets["phantom"]
    dataset = step(samples=samples, size=32).build()
    rng = np.random.default_rng(0)
    rows = []
    for number, sample in enumerate(dataset.samples):
        values = np.asarray(sample.image)
        patient = number // 2
        if volumes:
            path = folder / "secret" / f"scan{number:03}.nii"
            _write_volume(path, values, rng)
        else:
            path = write_png(folder / "secret" / f"scan{number:03}.png", values)
        bright = float(values.mean())
        rows.append(
            {
                "image": path.relative_to(folder).as_posix(),
                "class": dataset.task.names[int(sample.label)],
                "patient": f"{PATIENTS[patient % 3]}-{patient:03}",
                "sex": "fm"[patient % 2],
                "hospital": "ABC"[patient % 3],
                "bright": str(int(bright > 60)),
                "round": "" if number % 7 == 0 else str(int(number % 6 in (2, 5))),
                "brightness": "" if number % 11 == 0 else f"{bright:.3f}",
            }
        )
    return rows


def _write_volume(path: Path, values: Any, rng: np.random.Generator) -> None:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    depth = np.linspace(0.2, 1.0, 8)
    volume = values[..., None] * depth + rng.normal(0, 2, (*values.shape, 8))
    # Rows run to the feet and columns to the left, as in a coronal picture.
    affine = np.array([[-1.0, 0, 0, 0], [0, 0, 2.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    stored = np.swapaxes(volume, 0, 1).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(stored, affine), path)


def written(folder: Path, rows: list[dict[str, str]]) -> Path:
    """The rows as ``table.csv``."""
    path = folder / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


LABELS: dict[str, dict[str, Any]] = {
    "multiclass": {"label": "class"},
    "multilabel": {"label": ("bright", "round")},
    "regression": {"label": "brightness", "task": "regression", "label_unit": "grey levels"},
}


def builder(
    folder: Path,
    kind: str,
    *,
    volumes: bool = False,
    epochs: int = 2,
    registry: Registry | None = None,
) -> PipelineBuilder:
    """A pipeline on drawn images in a folder."""
    table = written(folder, drawn(folder, volumes=volumes))
    return (
        PipelineBuilder(device="cpu", seed=1, registry=registry)
        .dataset(
            "table",
            file=table,
            channels=1,
            missing_labels="drop",
            group="patient",
            keep=("sex", "hospital"),
            **LABELS[kind],
        )
        .network("resnet10", widen_factor=0.125, conv1_t_size=3)
        .trainer("supervised", max_epochs=epochs, learning_rate=3e-3)
        .loader(batch_size=16, workers=0)
        .split(validation=0.25, test=0.25)
    )


def finished(folder: Path, kind: str, **options: Any) -> Run:
    """A finished run of a question, in ``run`` below the folder."""
    return builder(folder, kind, **options).build().run(folder / "run")
