"""Each look at a file and each read of one fails in turn: nothing is lost without a word."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from faults.reads import CODES, Reads, operations
from medpipe.builtin.datasets.image_folder import ImageFolder
from medpipe.builtin.datasets.table import Table
from medpipe.builtin.transforms.load_image import LoadImage
from medpipe.data.chain import Chain
from medpipe.data.quality.screening import screen
from medpipe.data.scanning.scan import scan
from medpipe.errors import MedpipeError
from medpipe.plugin import Reading, Sample, Task
from medpipe.prediction.batches import FAILED, GROUPS, FileBatches, FileOrder
from medpipe.prediction.listing import find_files
from medpipe.steps import DataInfo
from support.drawn_dicom import write_dicom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Found = tuple[dict[str, str], dict[str, str]]
"""Groups and pixels of what can be used, and what is said of what can't, by id."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `made_root`."""
    return made_root(tmp_path_factory.mktemp("data"))


def made_root(above: Path) -> Path:
    """Files of all kinds, by their names and by their content, links, and folders in folders."""
    root, random = above / "root", np.random.default_rng(1)
    for name in ("a/1.png", "a/p/2.png", "b/3.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(root / name)
    for number, name in enumerate(("a/p/IM1", "b/IM2", "b/s/4.dcm")):
        pixels = random.integers(0, 999, (8, 8)).astype(np.int16)
        write_dicom(root / name, pixels, PatientID=f"P{number}")
    volume = nibabel.Nifti1Image(random.integers(0, 9, (8, 8, 2)).astype(np.int16), np.eye(4))  # type: ignore[no-untyped-call]
    nibabel.save(volume, root / "b" / "5.nii.gz")  # type: ignore[attr-defined]
    (root / "a" / "6.png").symlink_to("p/2.png")
    (root / "b" / "more").symlink_to("../a/p")
    (root / "b" / ".hidden").touch()
    (root / "b" / "notes.txt").write_text("no image")
    (root / "b" / "Thumbs.db").touch()
    rows = [f"{id_},{id_[0]}\n" for id_ in sorted(_ids(root))]
    (root / "table.csv").write_text("image,label\n" + "".join(rows))
    return root


def _ids(root: Path) -> Iterator[str]:
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        hidden = path.name in (".hidden", "notes.txt", "Thumbs.db", "table.csv", "more")
        if not hidden and not name.startswith("b/more/") and path.is_file():
            yield name


def looked_through(step: Any) -> Found:
    """As training and the check of data list and look."""
    dataset = step.build_with_faults()
    found = screen(dataset, workers=1)
    said: dict[str, str] = {}
    for fault in found.faults:
        said[fault.sample] = str(fault)
    good = [sample for sample in dataset.samples if sample.id not in said]
    return _looks(good, found.scan.fingerprints), said


def _looks(samples: Any, fingerprints: Any) -> dict[str, str]:
    """The group and the pixels of each sample."""
    return {sample.id: f"{sample.group} {fingerprints[sample.id].pixels}" for sample in samples}


def evaluated(step: Any) -> Found:
    """As an evaluation lists and looks: anything wrong refuses the whole."""
    dataset = step.build()
    return _looks(dataset.samples, scan(dataset, workers=1).fingerprints), {}


def predicted(root: Path) -> Found:
    """As a prediction lists, and reads one image after the other."""
    found = find_files(root, reading=Reading(), unit="file")
    samples = [Sample(id=id_, image=image, label=0) for id_, image in found.images.items()]
    batches = FileBatches(
        samples,
        chain=Chain([("load_image", LoadImage())], seed=0),
        data=DataInfo(
            task=Task(names=("a", "b")),
            channels=1,
            spatial_shape=(8, 8),
            spatial_dims=2,
            outputs=2,
        ),
        reading=Reading(),
        known=None,
        by_pipe=False,
    )
    (order,) = FileOrder([0], count=len(samples), batch_size=len(samples))
    batch: Any = batches[order]
    looks = {
        id_: image.numpy().tobytes().hex()
        for group in batch[GROUPS]
        for id_, image in zip(group["id"], group["image"], strict=True)
    }
    return looks, {**found.unreadable, **batch[FAILED]}


def _folder(root: Path) -> Any:
    return ImageFolder(root=root, suffixes=None)


def _table(root: Path) -> Any:
    return Table(file=root / "table.csv", task="multiclass")


WAYS: dict[str, Callable[[Path], Found]] = {
    "training from folders": lambda root: looked_through(_folder(root)),
    "training from a table": lambda root: looked_through(_table(root)),
    "evaluation of folders": lambda root: evaluated(_folder(root)),
    "evaluation of a table": lambda root: evaluated(_table(root)),
    "prediction": predicted,
}


def outcome(plain: Found, work: Callable[[], Found], reads: Reads) -> tuple[str, str]:
    """What became of the samples where one operation failed, and what was lost."""
    cause = os.strerror(reads.code).lower()
    try:
        with reads.on():
            looks, said = work()
    except MedpipeError as error:
        return ("refused", "" if cause in str(error).lower() else str(error))
    missing = [id_ for id_ in plain[0] if id_ not in looks]
    unnamed = [
        id_
        for id_ in missing
        if not any(id_ == name or id_.startswith(f"{name}/") or name == reads.root for name in said)
    ]
    if unnamed or not all(cause in text.lower() for text in said.values()):
        return ("lost", f"{unnamed} {said}")
    changed = [id_ for id_, look in looks.items() if plain[0][id_] != look]
    if changed:
        return ("lost", f"{changed} have other pixels")
    return ("named" if missing else "nothing", "")


def counted(
    root: Path, way: str, caches: Path, monkeypatch: pytest.MonkeyPatch, *, all_codes: bool
) -> tuple[Counter[str], list[str]]:
    """Fail each operation of one way, and count what became of the samples; and what was lost."""
    caches.mkdir(exist_ok=True)
    number = itertools.count()

    def work() -> Found:
        monkeypatch.setenv("MEDPIPE_CACHE", str(caches / f"{way}{next(number)}"))
        return WAYS[way](root)

    plain = work()
    assert set(plain[0]) == set(_ids(root))
    assert plain[1] == {}
    names = operations(root, work)
    became: Counter[str] = Counter()
    lost = []
    for (place, name), lasting in itertools.product(enumerate(names), (False, True)):
        turn = 2 * place + lasting
        for code in CODES if all_codes else (CODES[turn % len(CODES)],):
            reads = Reads(str(root), place, code, lasting)
            what, problem = outcome(plain, work, reads)
            became[what] += 1
            if problem:
                lost.append(f"{name}, {os.strerror(code)}: {what} {problem}")
    became["operations"] = len(names)
    return became, lost


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.long
def test_no_operation_that_fails_loses_a_sample(
    root: Path, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of all: each operation with one of the errors, once and from then on."""
    became, lost = counted(root, way, tmp_path, monkeypatch, all_codes=False)
    assert lost == []
    assert became["operations"] > 60
    assert became["refused"] + became["named"] > 60


if __name__ == "__main__":  # all of it, for docs/explanation/reliability.md
    import logging
    import tempfile

    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        made = made_root(Path(folder))
        for one in WAYS:
            with pytest.MonkeyPatch.context() as patch:
                counts, wrong = counted(made, one, Path(folder) / "c", patch, all_codes=True)
            print(one, dict(counts), len(wrong), *wrong[:5], sep="\n  ")  # noqa: T201
