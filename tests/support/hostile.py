"""Files and samples that are broken, hostile or odd, each made by a function, for the tests.

Every case begins with a folder of two classes of good images; it adds what is wrong.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import Image
from pydicom.uid import RLELossless

from support.drawn_dicom import dicom, write_dicom

Make = Callable[[Path], object]


@attrs.frozen(kw_only=True)
class Case:
    """One thing that can be wrong with a folder of images.

    Attributes:
        make: Adds it to the root of good images.
        parameters: Of the step `image_folder`.
        resized: Whether the chain makes all images of one size.
        batch_size: How many samples are in a batch.
    """

    make: Make
    parameters: dict[str, Any] = attrs.field(factory=dict)
    resized: bool = False
    batch_size: int = 8


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """An image that looks like no other."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def good_images(root: Path, *, each: int = 12) -> Path:
    """Two classes of grey images of 32 x 32 pixels."""
    for number in range(2 * each):
        name = root / "ab"[number % 2] / f"{number:02}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(32, 32, seed=100 + number)).save(name)
    return root


def picture(values: np.ndarray[Any, Any], kind: str, **options: Any) -> bytes:
    """An image as a file."""
    content = BytesIO()
    Image.fromarray(values).save(content, kind, **options)
    return content.getvalue()


def written(name: str, content: bytes) -> Make:
    """Writes a file."""
    return lambda root: (root / name).write_bytes(content)


def saved(name: str, values: np.ndarray[Any, Any], kind: str = "PNG", **options: Any) -> Make:
    """Writes a picture."""
    return written(name, picture(values, kind, **options))


def volume(name: str, values: np.ndarray[Any, Any], *, keep: float = 1) -> Make:
    """Writes a NIfTI file, or the first part of one."""
    import nibabel

    def make(root: Path) -> None:
        path = root / name
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])

    return make


def nifti_bomb(root: Path) -> None:
    """A gzipped NIfTI file of few bytes that says that it holds 281 TB."""
    volume("a/x.nii", noise(32, 32).astype(np.float64))(root)
    content = bytearray((root / "a" / "x.nii").read_bytes())
    content[40:48] = struct.pack("<4h", 3, 32767, 32767, 32767)
    (root / "a" / "x.nii").unlink()
    (root / "a" / "x.nii.gz").write_bytes(gzip.compress(content))


def nowhere(root: Path) -> None:
    """A NIfTI file whose affine is all NaN."""
    import nibabel

    image = nibabel.Nifti1Image(noise(32, 32), np.eye(4))
    nibabel.save(image, root / "a" / "x.nii")
    content = bytearray((root / "a" / "x.nii").read_bytes())
    content[280:328] = struct.pack("<12f", *[float("nan")] * 12)
    (root / "a" / "x.nii").write_bytes(content)


def cut_off_dicom(root: Path) -> None:
    """A DICOM file whose pixels end too early."""
    path = write_dicom(root / "a" / "cut.dcm", noise(32, 32).astype(np.uint16))
    path.write_bytes(path.read_bytes()[:-700])


def dicom_bomb(root: Path) -> None:
    """A compressed DICOM file of few bytes that says that it holds 281 TB."""
    dataset = dicom(noise(32, 32).astype(np.uint16))
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.Rows = dataset.Columns = 65535
    dataset.NumberOfFrames = 32768
    dataset.save_as(root / "a" / "x.dcm", enforce_file_format=True)


def dicom_without_pixels(root: Path) -> None:
    """A DICOM file of an image kind without an image."""
    dataset = dicom(noise(32, 32).astype(np.uint16))
    del dataset.PixelData
    dataset.save_as(root / "a" / "none.dcm", enforce_file_format=True)


def chunk(name: bytes, content: bytes) -> bytes:
    """A part of a PNG file."""
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


PNG = b"\x89PNG\r\n\x1a\n"


def png_bomb() -> bytes:
    """A PNG of few bytes that says that it has 3.6 thousand million pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    return PNG + header + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


def png_text_bomb() -> bytes:
    """A PNG with a compressed remark of 100 MB."""
    parts = picture(noise(32, 32), "PNG")
    remark = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 << 20)))
    return parts[:33] + remark + parts[33:]


def jpeg_bomb() -> bytes:
    """A JPEG whose header says that it has 4.3 thousand million pixels."""
    content = bytearray(picture(noise(32, 32), "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    return bytes(content)


def damaged_png() -> bytes:
    """A PNG with a byte of its pixels changed."""
    content = bytearray(picture(noise(32, 32), "PNG"))
    content[content.index(b"IDAT") + 30] ^= 0xFF
    return bytes(content)


def pages(root: Path) -> None:
    """A TIFF of two pages."""
    first, second = (Image.fromarray(noise(32, 32, seed=n)) for n in (1, 2))
    first.save(root / "a" / "pages.tif", save_all=True, append_images=[second])


def floats(value: float) -> np.ndarray[Any, Any]:
    """Floats, one of which is something else."""
    values = noise(32, 32).astype(np.float32)
    values[3, 5] = value
    return values


def nan_and_infinite(root: Path) -> None:
    """Floats of both kinds."""
    values = floats(np.nan)
    values[0, 0] = np.inf
    saved("a/x.tif", values, "TIFF")(root)


def link(name: str, target: str) -> Make:
    """Makes a link."""
    return lambda root: (root / name).symlink_to(target)


def link_outside(root: Path) -> None:
    """A link to a file beside the root."""
    outside = root.parent / "elsewhere"
    outside.mkdir()
    Image.fromarray(noise(32, 32)).save(outside / "x.png")
    (root / "a" / "out.png").symlink_to(outside / "x.png")


def copied(source: str, *names: str) -> Make:
    """Copies a file."""

    def make(root: Path) -> None:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes((root / source).read_bytes())

    return make


def compressed_again(root: Path) -> None:
    """An image with structure as PNG, and the same as JPEG."""
    coarse = Image.fromarray(noise(9, 9, seed=7)).resize((32, 32), Image.Resampling.BICUBIC)
    coarse.save(root / "a" / "coarse.png")
    coarse.save(root / "a" / "coarse.jpg", quality=80)


def pipe_by_link(root: Path) -> None:
    """A link to a pipe beside the root."""
    pipe("../p")(root)
    (root / "a" / "x.png").symlink_to("../../p")


def two_cases(root: Path) -> None:
    """Names that differ only in case."""
    for number, name in enumerate(("x.png", "X.png")):
        saved(f"a/{name}", noise(32, 32, seed=number))(root)


def pipe(name: str) -> Make:
    """Makes a pipe, which nobody writes to."""
    return lambda root: os.mkfifo(root / name)


def not_utf8(root: Path) -> None:
    """A name in Latin-1."""
    (root / "a" / os.fsdecode(b"\xe9.png")).write_bytes(picture(noise(32, 32), "PNG"))


def composed_twice(root: Path) -> None:
    """One name in two Unicode forms."""
    for number, name in enumerate(("\u00e9.png", "e\u0301.png")):
        (root / "a" / name).write_bytes(picture(noise(32, 32, seed=number), "PNG"))


def unreadable(root: Path) -> None:
    """A file that nobody may read."""
    saved("a/secret.png", noise(32, 32))(root)
    (root / "a" / "secret.png").chmod(0)


def in_splits(root: Path) -> None:
    """Given splits, with patient p1 in both."""
    for number in range(16):
        split, patient = ("train", number // 2) if number < 12 else ("test", number)
        patient = 1 if number == 13 else patient
        name = root / split / "ab"[number % 2] / f"p{patient}_{number}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(32, 32, seed=number)).save(name)


def copies_in_splits(root: Path) -> None:
    """Given splits, with an image in both."""
    for number in range(16):
        name = root / ("train" if number < 12 else "test") / "ab"[number % 2] / f"{number}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(32, 32, seed=4 if number == 14 else number)).save(name)


def made_pipe(path: Path) -> Path:
    """A pipe, which nobody writes to."""
    os.mkfifo(path)
    return path


def two_sizes(root: Path) -> tuple[str, str]:
    """Two files of one sample that don't fit each other."""
    for number in (1, 2):
        saved(f"{number}.png", noise(32, 32 * number))(root)
    return str(root / "1.png"), str(root / "2.png")
