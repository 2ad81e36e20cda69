"""`medpipe plan`, then `medpipe run`, and nothing else, on data as they come in projects."""

from __future__ import annotations

import argparse
import csv
import importlib
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from benchmarks.first_projects import drawn
from benchmarks.first_projects.measuring import environment
from benchmarks.first_projects.sets import real

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HEADER = """\
| data | images | metric (95 % interval) | apart | leaks | given; plan, run (s) | epochs, network |
|---|---|---|---|---|---|---|"""
BASELINES = {"auc": 0.5, "r2": 0.0}


@attrs.frozen(kw_only=True)
class Project:
    """Data in a layout.

    Attributes:
        name: Of the row.
        make: Writes the files into a folder and gives what to plan for: it, another, or a table.
        metric: What is told from the baseline.
        minutes: The time that the plan is given.
        patient: What captures the patient in a sample's id; None: nothing does.
        label: The column to learn, where several may be.
    """

    name: str
    make: Callable[[Path], Path]
    metric: str = "balanced_accuracy"
    minutes: float = 0.5
    patient: str | None = None
    label: str | None = None


def _layouts() -> Any:
    """The makers of layouts that the tests have."""
    return importlib.import_module("tests.support.layouts")


def _generator(number: int) -> Any:
    import numpy as np

    return np.random.default_rng([77, number])


def parts(root: Path) -> Path:
    """Folders train, val, test; a patient has two images, and some lie in two parts."""
    layouts = _layouts()
    for number in range(1000):
        patient, kind = number // 2, number // 2 % 2
        part = "train" if patient < 300 else ("val", "test")[patient % 5 > 0]
        if patient in (310, 311, 312) and number % 2:
            part = "train"
        name = f"{part}/{('clear', 'finding')[kind]}/patient{patient:04d}_{number % 2}.png"
        layouts.save(root / name, drawn.rare(_generator(number), kind))
    return root


def several_images(root: Path) -> Path:
    """A table with three images for each patient; files are missing and labels blank."""
    layouts, rows = _layouts(), []
    for number in range(900):
        patient, kind = number // 3, number // 3 % 3
        name = f"im{number}.png"
        if number % 50 != 7:
            pixels = drawn.shapes(_generator(number), kind)
            layouts.save(root / "images" / name, pixels)
        label = "" if number % 90 == 3 else drawn.SHAPES[kind]
        rows.append({"patientid": f"p{patient}", "filename": name, "finding": label})
    layouts.table(root / "metadata.csv", rows)
    return root


def findings(root: Path) -> Path:
    """Columns of 1 and 0 for four findings, two images for each patient."""
    layouts, rows = _layouts(), []
    for number in range(1000):
        generator = _generator(number)
        present = [int(generator.random() < 0.35) for _ in drawn.FINDINGS]
        name = f"patient{number // 2:04d}/view{number % 2}.png"
        layouts.save(root / name, drawn.findings(generator, present))
        rows.append({"Path": name, **dict(zip(drawn.FINDINGS, present, strict=True))})
    layouts.table(root / "train.csv", rows)
    return root


def ages(root: Path) -> Path:
    """An age for each image."""
    layouts, rows = _layouts(), []
    for number in range(600):
        generator = _generator(number)
        age = round(generator.uniform(0, 100), 1)
        layouts.save(root / "hands" / f"{number}.png", drawn.ages(generator, age))
        rows.append({"id": number, "age": age})
    layouts.table(root / "ages.csv", rows)
    return root


def dicom(root: Path) -> Path:
    """A folder for each class, in it patients with a series of 8 slices."""
    layouts = _layouts()
    for patient in range(320):
        generator, kind = _generator(patient), patient % 2
        volume = drawn.volumes(generator, kind)[4:28:3]
        for number, pixels in enumerate(volume):
            layouts.dicom_file(
                root / ("benign", "malignant")[kind] / f"case{patient:03d}" / f"IM{number:03d}",
                (pixels + 1024).clip(0),
                patient=f"case{patient:03d}",
                series=f"1.2.{patient + 1}",
                number=number,
            )
    return root


def hippocampus(root: Path) -> Path:
    """Real MR volumes (MSD Task04), and the volume of the hippocampus in a table."""
    import nibabel
    import numpy as np

    rows, source = [], real("Task04_Hippocampus")
    for file in sorted((source / "imagesTr").glob("[!.]*.nii.gz")):
        read: Any = nibabel.load  # it has no types
        mask = np.asanyarray(read(source / "labelsTr" / file.name).dataobj)
        rows.append({"scan": str(file), "volume": round(float((mask > 0).sum()) / 1000, 3)})
    root.mkdir(parents=True, exist_ok=True)
    return Path(_layouts().table(root / "volumes.csv", rows))


def nuclei(root: Path) -> Path:
    """Real micrographs of nine sizes, and the share that nuclei cover in a table."""
    from benchmarks.first_projects.sets import nuclei_rows

    root.mkdir(parents=True, exist_ok=True)
    rows = [{"image": str(file), "covered": covered} for file, covered in nuclei_rows()]
    return Path(_layouts().table(root / "table.csv", rows))


PROJECTS = (
    Project(name="parts", make=parts, patient=r"(patient\d+)"),
    Project(name="several_images", make=several_images),
    Project(name="findings", make=findings, metric="auc", patient=r"(patient\d+)"),
    Project(name="ages", make=ages, metric="r2"),
    Project(name="dicom", make=dicom, minutes=1, patient=r"(case\d+)"),
    Project(name="nuclei", make=nuclei, metric="r2", minutes=4),
    Project(name="hippocampus", make=hippocampus, metric="r2", minutes=8),
    Project(name="mednist", make=lambda _: real("MedNIST"), minutes=5),
)


def leaks(project: Project, run: Path) -> list[str]:
    """What of ``splits.csv`` lies in two splits: patients, files or pixels."""
    with (run / "splits.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for column in ("group", "sha256", "pixels", "patient"):
        splits: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            value: str | None = row.get(column, "")
            if column == "patient":
                match = re.search(project.patient, row["id"]) if project.patient else None
                value = match and match[1]
            if value:
                splits[value].add(row["split"])
        twice = sum(len(some) > 1 for some in splits.values())
        found += [f"{twice} by {column}"] if twice else []
    return found


def measure(project: Project, scratch: Path) -> str:
    """Plan and run; a line of the table.

    Raises:
        RuntimeError: One of the two failed.
    """
    from medpipe import Run

    folder = scratch / "projects" / project.name
    planned, output = folder / "pipeline.toml", folder / "run"
    data = project.make(folder / "data")
    time_given = f"{60 * project.minutes:.0f}s"
    label = ["--label", project.label] if project.label else []
    began = time.perf_counter()
    _command(scratch, "plan", str(data), "--out", str(planned), "--time", time_given, *label)
    between = time.perf_counter()
    _command(scratch, "run", str(planned), "--output", str(output))
    ended = time.perf_counter()
    run = Run.load(output)
    test = run.metrics["test"]
    metric, baseline = _compared(project.metric, test)
    low, high = test["intervals"][metric] or (float("nan"),) * 2
    network = re.search(r"\[network\]\nstep = \"(\w+)\"", planned.read_text("utf-8"))
    cells = [
        project.name,
        f"{sum(run.record['data']['splits'].values()):,}, test {test['images']:,}",
        f"{metric} {test[metric]:.3f} ({low:.3f} to {high:.3f})",
        "yes" if low > baseline else "no",
        ", ".join(leaks(project, output)) or "none",
        f"{60 * project.minutes:.0f}, {between - began:.0f}, {ended - between:.0f}",
        f"{len(run.history)}, {network[1] if network else '?'}",
    ]
    return "| " + " | ".join(cells) + " |"


def _compared(metric: str, test: Mapping[str, Any]) -> tuple[str, float]:
    """The metric that is told from the baseline, and the baseline.

    Where all are right, only the accuracy has an interval.
    """
    if metric != "balanced_accuracy":
        return metric, BASELINES[metric]
    if test["intervals"][metric] is not None:
        return metric, 1 / len(test["classes"])
    return "accuracy", max(one["images"] for one in test["classes"].values()) / test["images"]


def _command(scratch: Path, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "medpipe", *words],
        env=environment(scratch),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"medpipe {' '.join(words)} failed:\n{done.stderr[-2000:]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; give how many failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_projects.plans")
    parser.add_argument("projects", nargs="*", metavar="PROJECT")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder for files and runs")
    given = parser.parse_args(arguments)
    failed = 0
    print(HEADER, flush=True)
    for project in PROJECTS:
        if given.projects and project.name not in given.projects:
            continue
        try:
            print(measure(project, given.scratch.resolve()), flush=True)
        except (RuntimeError, OSError) as error:
            failed += 1
            print(f"| {project.name}: failed |\n{error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
