"""One law for every format: scan, training and prediction see the same image."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import torch
from monai import transforms as monai_transforms
from monai.data import PydicomReader
from PIL import Image

from medpipe.builtin.transforms.monai_transforms import TRANSFORMS, LoadImage
from medpipe.data.chain import Chain, sample_dictionary
from medpipe.data.scanning import scan as scanning
from medpipe.data.scanning.scan import scan
from medpipe.plugin import DecodedImage, Reading, Sample, Series, read_image, read_sample_image
from medpipe.steps import Dataset, Task
from support.drawn_dicom import write_dicom, write_series

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8)
WIDE = RANDOM.integers(0, 4096, (6, 5)).astype(np.uint16)
VOLUME = RANDOM.integers(-1000, 2000, (6, 5, 4)).astype(np.int16)
AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])
RGB = Image.fromarray(COLOURS)
GREY = RGB.convert("L")


def _picture(name: str, image: Image.Image, **options: Any) -> Callable[[Path], Any]:
    def write(folder: Path) -> Path:
        image.save(folder / name, **options)
        return folder / name

    return write


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _nifti(name: str, values: np.ndarray) -> Callable[[Path], Any]:
    def write(folder: Path) -> Path:
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), folder / name)
        return folder / name

    return write


def _dicom(values: np.ndarray, **elements: Any) -> Callable[[Path], Any]:
    return lambda folder: write_dicom(folder / "IM1", values, **elements)


def _series(folder: Path) -> Series:
    elements = {"RescaleSlope": 1, "RescaleIntercept": -24, "WindowCenter": 9, "WindowWidth": 99}
    paths = write_series(folder, VOLUME, **elements)
    return Series(files=[str(path) for path in reversed(paths)])


FORMATS: dict[str, Callable[[Path], Any]] = {
    "PNG L": _picture("a.png", GREY),
    "PNG RGB": _picture("a.png", RGB),
    "PNG RGBA": _picture("a.png", RGB.convert("RGBA")),
    "PNG P": _picture("a.png", RGB.quantize(9)),
    "PNG 16": _picture("a.png", Image.fromarray(WIDE)),
    "JPEG grey": _picture("a.jpg", GREY),
    "JPEG RGB": _picture("a.jpg", RGB),
    "JPEG EXIF": _picture("a.jpg", RGB, exif=_turned()),
    "TIFF 8": _picture("a.tif", RGB),
    "TIFF 16": _picture("a.tif", Image.fromarray(WIDE)),
    "TIFF palette": _picture("a.tif", RGB.quantize(9)),
    "BMP": _picture("a.bmp", RGB),
    "NIfTI 3-D": _nifti("a.nii.gz", VOLUME),
    "NIfTI 4-D": _nifti("a.nii", np.stack([VOLUME] * 2, axis=-1)),
    "DICOM": _dicom(WIDE, RescaleSlope=2, RescaleIntercept=-24, WindowCenter=9, WindowWidth=99),
    "DICOM MONOCHROME1": _dicom(WIDE, PhotometricInterpretation="MONOCHROME1"),
    "DICOM RGB": _dicom(COLOURS, colours=True),
    "DICOM frames": _dicom(
        np.moveaxis(VOLUME, 2, 0),
        GridFrameOffsetVector=[2.0 * n for n in range(VOLUME.shape[2])],
        PixelSpacing=[2, 3],
    ),
    "DICOM series": _series,
}
READINGS = {
    "untouched": Reading(),
    "grey": Reading(channels=1),
    "RGB": Reading(channels=3),
    "auto, voi": Reading(channels="auto", window="voi"),
    "window": Reading(window=(40.0, 400.0)),
}
# All of them but two measurements as colours.
CASES = [
    (kind, asked)
    for kind in FORMATS
    for asked in READINGS
    if kind != "NIfTI 4-D" or asked not in ("grey", "RGB")
]
STEPS = {step.name: step for step in TRANSFORMS}


def _chain(axes: Any) -> Chain:
    names = ("ensure_channel_first", "scale_intensity", "to_tensor")
    steps: list[Any] = [LoadImage(axes=axes), *(STEPS[name]() for name in names)]
    return Chain([(step.name, step) for step in steps], seed=0)


@pytest.mark.parametrize("axes", ["wh", "hw"])
@pytest.mark.parametrize(("kind", "asked"), CASES)
def test_training_scan_and_prediction_see_one_image(
    tmp_path: Path, kind: str, asked: str, axes: Any
) -> None:
    image, reading = FORMATS[kind](tmp_path), READINGS[asked]
    chain = _chain(axes)
    sample = Sample(id="a", image=image, label=0)

    # Training and validation: what is fed to the chain for a sample of the data set.
    seen = [chain(sample_dictionary(sample, reading), training=t)["image"] for t in (True, False)]
    # Prediction: a bare file, which has no label; and an image that was read before.
    bare = image if isinstance(image, Series) else str(image)
    decoded = read_image(bare, reading)
    seen += [
        chain({"image": given, "id": "b", "reading": reading}, training=False)["image"]
        for given in (bare, (bare,), decoded)
    ]
    sides = decoded.values.shape[: decoded.values.ndim - decoded.channels]
    first = (sides[1], sides[0], *sides[2:]) if axes == "wh" else sides
    channels = decoded.values.shape[-1] if decoded.channels else 1
    for tensor in seen:
        assert tensor.shape == (channels, *first)
        assert torch.equal(tensor.as_tensor(), seen[0].as_tensor())
        assert torch.equal(tensor.affine, seen[0].affine)

    # And the scan, whose fingerprints find duplicates and leaks.
    in_memory = Sample(id="c", image=decoded, label=0)
    dataset = Dataset(samples=[sample, in_memory], task=Task(names=("x", "y")), reading=reading)
    found = scan(dataset, workers=1).fingerprints
    assert found["a"].pixels == found["c"].pixels
    assert found["a"].shape == sides
    assert found["a"].channels == (channels if decoded.channels else None)
    assert scan(dataset, workers=1).fingerprints == found  # from the cache


def test_plain_dicom_is_what_monai_reads(tmp_path: Path) -> None:
    place = {
        "ImagePositionPatient": [-10, -20, 30],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [2, 3],
    }
    for name, elements in {
        "ct": {"RescaleSlope": 1, "RescaleIntercept": -1024},
        "mr": {},
    }.items():
        path = write_dicom(tmp_path / f"{name}.dcm", WIDE, **elements, **place)
        ours: Any = LoadImage().build()({"image": path})["image"]
        theirs: Any = monai_transforms.LoadImage(reader=PydicomReader)(path)
        assert torch.equal(ours.as_tensor(), theirs.as_tensor())
        assert torch.equal(ours.affine, theirs.affine)

    series = write_series(tmp_path / "series", VOLUME, RescaleSlope=1, RescaleIntercept=-24)
    image = Series(files=[str(path) for path in series])
    ours = LoadImage().build()({"image": image})["image"]
    theirs = monai_transforms.LoadImage(reader=PydicomReader)(tmp_path / "series")
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())
    assert torch.equal(ours.affine, theirs.affine)


def test_a_series_is_fingerprinted_by_content_not_by_names(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a", VOLUME)
    for path in paths:
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "b" / f"{9 - int(path.stem)}").write_bytes(path.read_bytes())
    samples = [
        Sample(id=name, image=Series(files=map(str, (tmp_path / name).iterdir())), label=0)
        for name in "ab"
    ]
    dataset = Dataset(samples=samples, task=Task(names=("x", "y")))
    found = scan(dataset, workers=2).fingerprints
    assert found["a"] == found["b"]
    assert scan(dataset, workers=2).fingerprints == found

    # A changed slice is seen, though the cache is asked.
    write_series(tmp_path / "a", VOLUME + 1)
    again = scan(dataset, workers=2).fingerprints
    assert again["a"] != found["a"]
    assert again["b"] == found["b"]


def test_the_cache_knows_the_window(tmp_path: Path) -> None:
    sample = Sample(id="a", image=write_dicom(tmp_path / "a", WIDE), label=0)
    prints = [
        scan(
            Dataset(samples=[sample], task=Task(names=("x",)), reading=Reading(window=window)),
            workers=1,
        ).fingerprints["a"]
        for window in ("none", (40.0, 400.0), (50.0, 400.0), "none")
    ]
    assert len({found.pixels for found in prints}) == 3
    assert prints[0] == prints[3]


def test_large_volumes_are_read_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "LARGE", 100)
    now, most = 0, 0
    lock = threading.Lock()
    real = scanning.read

    def counted(sample: Sample, reading: Reading) -> Any:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
        time.sleep(0.01)
        try:
            return real(sample, reading)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(scanning, "read", counted)
    samples = []
    for n in range(12):
        path = _nifti(f"{n}.nii", VOLUME + n)(tmp_path)
        samples.append(Sample(id=str(n), image=path, label=0))
    found = scan(Dataset(samples=samples, task=Task(names=("x",))), workers=8).fingerprints
    assert len({one.pixels for one in found.values()}) == 12
    # Each is a task of its own, though all are fewer than a chunk.
    assert most == scanning.LARGE_AT_ONCE


def test_nothing_but_the_axes_can_be_configured() -> None:
    import attrs

    assert [field.name for field in attrs.fields(LoadImage)] == ["axes"]
    with pytest.raises(TypeError):
        LoadImage(reader="os.system")  # type: ignore[call-arg]


def test_a_decoded_image_is_never_shared() -> None:
    image = DecodedImage(values=VOLUME.astype(np.float32), affine=AFFINE)
    loaded = LoadImage().build()({"image": image, "id": "a"})["image"]
    loaded += 1
    loaded.affine[0, 0] = 7
    np.testing.assert_array_equal(image.values, VOLUME)
    assert image.affine is not None
    assert image.affine[0, 0] == 2
    assert read_sample_image(image, Reading()) is image
