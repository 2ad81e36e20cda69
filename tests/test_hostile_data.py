"""Data cases, hostile or broken: each is named by one exact message, and hurts nothing else."""

from __future__ import annotations

import gzip
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from medpipe import BadDataError, Dataset, Pipeline, PipelineBuilder, Sample, Task
from medpipe.assembly import Assembly
from support import hostile
from support.hostile import Case, floats, noise, picture, saved, volume, written
from support.waiting import within

png = picture(noise(32, 32), "PNG")
jpeg = picture(noise(32, 32), "JPEG")


def _null_byte() -> str:
    """What this Python says of a path with a zero byte."""
    try:
        os.close(os.open("\0", os.O_RDONLY))
    except ValueError as error:
        return f"{error}."
    raise AssertionError


NULL_BYTE = _null_byte()

CASES: dict[str, Case] = {
    "truncated PNG": Case(make=written("a/x.png", png[:600])),
    "PNG of its first bytes": Case(make=written("a/x.png", png[:20])),
    "truncated JPEG": Case(make=written("a/x.jpg", jpeg[:500])),
    "JPEG of its first bytes": Case(make=written("a/x.jpg", jpeg[:20])),
    "truncated DICOM": Case(make=hostile.cut_off_dicom),
    "truncated NIfTI": Case(make=volume("a/x.nii", noise(32, 32), keep=0.6)),
    "truncated gzipped NIfTI": Case(make=volume("a/x.nii.gz", noise(32, 32), keep=0.6)),
    "empty": Case(make=written("a/x.png", b"")),
    "text": Case(make=written("a/x.png", b"not a picture")),
    "a web page": Case(make=written("a/x.jpg", b"<!DOCTYPE html><title>403</title>")),
    "GIF called PNG": Case(make=saved("a/x.png", noise(32, 32), "GIF")),
    "text called NIfTI": Case(make=written("a/x.nii", b"not a volume" * 100)),
    "gzipped text called NIfTI": Case(
        make=written("a/x.nii.gz", gzip.compress(b"not a volume" * 100))
    ),
    "text called DICOM": Case(make=written("a/x.dcm", b"not a picture" * 100)),
    "DICOM without pixels": Case(make=hostile.dicom_without_pixels),
    "PNG bomb": Case(make=written("a/x.png", hostile.png_bomb())),
    "PNG text bomb": Case(make=written("a/x.png", hostile.png_text_bomb())),
    "JPEG bomb": Case(make=written("a/x.jpg", hostile.jpeg_bomb())),
    "NIfTI bomb": Case(make=hostile.nifti_bomb),
    "DICOM bomb": Case(make=hostile.dicom_bomb),
    "damaged PNG": Case(make=written("a/x.png", hostile.damaged_png())),
    "TIFF of two pages": Case(make=hostile.pages),
    "NaN in NIfTI": Case(make=volume("a/x.nii", floats(np.nan))),
    "infinite NIfTI": Case(make=volume("a/x.nii", floats(-np.inf))),
    "NaN in TIFF": Case(make=saved("a/x.tif", floats(np.nan), "TIFF")),
    "infinite TIFF": Case(make=saved("a/x.tif", floats(np.inf), "TIFF")),
    "NaN and infinite TIFF": Case(make=hostile.nan_and_infinite),
    "beyond float32": Case(make=volume("a/x.nii", noise(32, 32) * 1e300)),
    "complex NIfTI": Case(make=volume("a/x.nii", noise(32, 32).astype(np.complex64))),
    "NIfTI that lies nowhere": Case(make=hostile.nowhere),
    "NIfTI without pixels": Case(make=volume("a/x.nii", np.empty((0, 32), np.uint8))),
    "constant": Case(make=saved("a/x.png", np.full((32, 32), 7, np.uint8))),
    "beside the class folders": Case(make=saved("x.png", noise(32, 32))),
    "constant of 16 bits": Case(make=saved("a/x.png", np.full((32, 32), 7000, np.uint16))),
    "constant colour": Case(
        make=saved("a/x.png", np.full((32, 32, 3), (1, 2, 3), np.uint8)),
        parameters={"channels": 3},
    ),
    "nearly constant": Case(make=saved("a/x.png", np.diag([0] * 9 + [1] + [0] * 22).astype("u1"))),
    "16 bits": Case(make=saved("a/x.png", noise(32, 32).astype(np.uint16) * 257)),
    "colour among grey": Case(make=saved("a/x.png", noise(32, 32, 3))),
    "alpha among grey": Case(make=saved("a/x.png", noise(32, 32, 4))),
    "four channels for grey": Case(
        make=volume("a/x.nii", noise(32, 32, 1, 4)), parameters={"channels": 1}
    ),
    "another size": Case(make=saved("a/x.png", noise(32, 40))),
    "another size that is resized": Case(make=saved("a/x.png", noise(32, 40)), resized=True),
    "another size in batches of one": Case(make=saved("a/x.png", noise(32, 40)), batch_size=1),
    "a volume among images": Case(make=volume("a/x.nii", noise(32, 32, 5))),
    "the same image twice": Case(make=hostile.copied("a/00.png", "a/x.png")),
    "the same image under two labels": Case(make=hostile.copied("a/00.png", "b/x.png")),
    "the same image nearly": Case(make=hostile.compressed_again),
    "link out of the root": Case(make=hostile.link_outside),
    "link within the root": Case(make=hostile.link("a/x.png", "../a/00.png")),
    "link to nothing": Case(make=hostile.link("a/x.png", "nothing.png")),
    "link to itself": Case(make=hostile.link("a/x.png", "x.png")),
    "link to a folder": Case(make=hostile.link("a/x.png", "../b")),
    "folder called PNG": Case(make=lambda root: (root / "a" / "x.png").mkdir()),
    "pipe": Case(make=hostile.pipe("a/x.png")),
    "pipe by a link": Case(make=hostile.pipe_by_link),
    "name in Latin-1": Case(make=hostile.not_utf8),
    "one name in two forms": Case(make=hostile.composed_twice),
    "names that differ in case": Case(make=hostile.two_cases),
    "may not be read": Case(make=hostile.unreadable),
    "JPEG with something behind it": Case(make=written("a/x.jpg", jpeg + b"more")),
    "patient in two splits": Case(
        make=hostile.in_splits,
        parameters={"splits": {"train": "train", "test": "test"}, "group_pattern": r"(p\d+)_"},
    ),
    "image in two splits": Case(
        make=hostile.copies_in_splits,
        parameters={"splits": {"train": "train", "test": "test"}},
    ),
}

TASK = Task(names=("a", "b"))
FINDINGS = Task(kind="multilabel", names=("mass", "nodule"))
AGES = Task(kind="regression", names=("age",))


def good(task: Task = TASK, label: Any = None) -> list[Sample]:
    """Samples of which nothing is wrong, in memory."""
    return [
        Sample(id=f"s{n:02}", image=noise(32, 32, seed=n), label=n % 2 if label is None else label)
        for n in range(24)
    ]


def one(image: Any, label: Any = 0, sample_id: str = "x", **more: Any) -> Sample:
    return Sample(id=sample_id, image=image, label=label, **more)


SAMPLES: dict[str, Callable[[Path], Dataset]] = {
    "a file that is not there": lambda root: of(one(root / "nothing.png")),
    "a folder for a file": lambda root: of(one(root)),
    "a pipe for a file": lambda root: of(one(hostile.made_pipe(root / "p.png"))),
    "a device for a file": lambda _: of(one("/dev/zero")),
    "a path too long": lambda root: of(one(f"{root}/{'x' * 300}.png")),
    "a path with a zero byte": lambda root: of(one(f"{root}/a\0.png")),
    "several files of two sizes": lambda root: of(one(hostile.two_sizes(root))),
    "no file at all": lambda _: of(one(())),
    "nothing for an image": lambda _: of(one(None)),
    "an array without pixels": lambda _: of(one(np.empty((0, 5), np.uint8))),
    "an array of one row": lambda _: of(one(np.arange(5))),
    "an array of texts": lambda _: of(one(np.array([["a", "b"]] * 2))),
    "an array of objects": lambda _: of(one(np.array([[None, 1]] * 2))),
    "an array of complex numbers": lambda _: of(one(noise(32, 32) * 1j)),
    "an array with NaN": lambda _: of(one(floats(np.nan))),
    "a constant array": lambda _: of(one(np.zeros((32, 32)))),
    "a label of NaN": lambda _: of(one(noise(32, 32), math.nan)),
    "a label of text": lambda _: of(one(noise(32, 32), "a")),
    "a label that is missing": lambda _: of(one(noise(32, 32), None)),
    "a label out of range": lambda _: of(one(noise(32, 32), 2)),
    "a label below range": lambda _: of(one(noise(32, 32), -1)),
    "a label between classes": lambda _: of(one(noise(32, 32), 0.5)),
    "an infinite label": lambda _: of(one(noise(32, 32), math.inf)),
    "a label of several": lambda _: of(one(noise(32, 32), (0, 1))),
    "a finding too few": lambda _: of(one(noise(32, 32), (1.0,)), FINDINGS, (0.0, 1.0)),
    "a finding of two": lambda _: of(one(noise(32, 32), (1.0, 2.0)), FINDINGS, (0.0, 1.0)),
    "a finding of text": lambda _: of(one(noise(32, 32), (1.0, "no")), FINDINGS, (0.0, 1.0)),
    "an infinite age": lambda _: of(one(noise(32, 32), math.inf), AGES, 50.0),
    "two readers' findings": lambda _: of(
        one(noise(32, 32, seed=0), (1.0, 1.0)), FINDINGS, (0.0, 1.0)
    ),
    "an id twice": lambda _: of(one(noise(32, 32, seed=99), sample_id="s03")),
    "an id that is no text": lambda _: of(one(noise(32, 32), sample_id="\udce9")),
    "an id that is a path": lambda _: of(one(noise(32, 32), sample_id="../../etc/passwd")),
    "an empty id": lambda _: of(one(noise(32, 32), sample_id="")),
    "no samples": lambda _: Dataset(samples=[], task=TASK),
    "one class": lambda _: Dataset(samples=good(label=0), task=Task(names=("a",))),
    "a class without samples": lambda _: Dataset(
        samples=good(), task=Task(names=("a", "b", "none"))
    ),
    "two classes of the same": lambda _: Dataset(samples=good(label=0), task=TASK),
    "an unknown split": lambda _: of(one(noise(32, 32), split="dev")),
}


def of(sample: Sample, task: Task = TASK, label: Any = None) -> Dataset:
    return Dataset(samples=[*good(task, label), sample], task=task)


def case_pipeline(name: str, root: Path) -> Pipeline:
    """A pipeline on the folder of a case."""
    case = CASES[name]
    if "splits" not in case.parameters:
        hostile.good_images(root)
    case.make(root)
    builder = small().dataset("image_folder", root=str(root), **case.parameters)
    builder = builder.loader(batch_size=case.batch_size)
    if case.resized:
        builder = builder.transform("resize", spatial_size=(32, 32), before="scale_intensity")
    return builder.build()


def sample_pipeline(name: str, root: Path) -> Pipeline:
    """A pipeline on the data set of a case."""
    return small().dataset(SAMPLES[name](root)).build()


def small() -> PipelineBuilder:
    return PipelineBuilder(device="cpu").loader(batch_size=8, workers=0)


def found(pipeline: Pipeline, root: Path) -> list[str]:
    """What the check of the data finds, a line for each fault and warning."""
    report = pipeline.check_data()
    assert report.ok == (not report.faults)
    lines = [f"{one.kind} {one.sample}: {one}" for one in report.faults]
    lines += [f"warning {one.kind} {one.sample}: {one}" for one in report.warnings]
    assert all(line.partition(": ")[2] in str(report) for line in lines if "\udce9" not in line)
    json.dumps(report.to_dict(), allow_nan=False).encode("utf-8")
    return [line.replace(str(root), "ROOT").replace(str(root.parent), "ABOVE") for line in lines]


NUMBERS = (
    "Convert the values to real numbers, such as float32; for complex numbers take the magnitude."
)
EXPECTED: dict[str, list[str]] = {
    "truncated PNG": [
        "truncated a/x.png: The image ROOT/a/x.png is damaged: it ends within its IDAT chunk.",
    ],
    "PNG of its first bytes": [
        "truncated a/x.png: The image ROOT/a/x.png is damaged: it ends within its IHDR chunk.",
    ],
    "truncated JPEG": [
        "truncated a/x.jpg: The image ROOT/a/x.jpg is damaged: it ends without an end marker.",
    ],
    "JPEG of its first bytes": [
        "truncated a/x.jpg: The image ROOT/a/x.jpg is damaged: it ends without an end marker.",
    ],
    "truncated DICOM": [
        "truncated a/cut.dcm: The image ROOT/a/cut.dcm is truncated: it should hold 2048 bytes of "
        "pixels, not 1348. Write the file again with a header that fits its pixels, or leave it "
        "out.",
    ],
    "truncated NIfTI": [
        "truncated a/x.nii: The image ROOT/a/x.nii is truncated: it should hold 1376 bytes, "
        "not 825.",
    ],
    "truncated gzipped NIfTI": [
        "truncated a/x.nii.gz: The image ROOT/a/x.nii.gz is damaged: Compressed file ended "
        "before the end-of-stream marker was reached.",
    ],
    "empty": [
        "empty a/x.png: The image ROOT/a/x.png is empty.",
    ],
    "text": [
        "not_an_image a/x.png: The image ROOT/a/x.png is not a PNG, JPEG, TIFF, BMP, NIfTI, "
        "DICOM or NumPy image.",
    ],
    "a web page": [
        "not_an_image a/x.jpg: The image ROOT/a/x.jpg is not a PNG, JPEG, TIFF, BMP, NIfTI, "
        "DICOM or NumPy image.",
    ],
    "GIF called PNG": [
        "not_an_image a/x.png: The image ROOT/a/x.png is not a PNG, JPEG, TIFF, BMP, NIfTI, "
        "DICOM or NumPy image.",
    ],
    "text called NIfTI": [
        "not_an_image a/x.nii: The image ROOT/a/x.nii is not a PNG, JPEG, TIFF, BMP, NIfTI, "
        "DICOM or NumPy image.",
    ],
    "gzipped text called NIfTI": [
        "not_an_image a/x.nii.gz: The image ROOT/a/x.nii.gz is gzipped but holds no NIfTI image. "
        "Convert it to NIfTI, or leave it out.",
    ],
    "text called DICOM": [
        "not_an_image a/x.dcm: ROOT/a/x.dcm is called DICOM without DICOM's mark (DICM at "
        "byte 128). Write such files again with pydicom.dcmread(path, force=True).save_as(path, "
        "enforce_file_format=True), or remove them.",
    ],
    "DICOM without pixels": [
        "damaged a/none.dcm: ROOT/a/none.dcm is of the kind CT Image Storage but has no "
        "pixels: it may be cut off.",
    ],
    "PNG bomb": [
        "bomb a/x.png: The image ROOT/a/x.png may be a decompression bomb: it has 3600000000 "
        "pixels, more than Pillow's limit of 89478485. If it is genuine, raise "
        "PIL.Image.MAX_IMAGE_PIXELS.",
    ],
    "PNG text bomb": [  # texts are not unpacked
    ],
    "JPEG bomb": [
        "bomb a/x.jpg: The image ROOT/a/x.jpg may be a decompression bomb: it has 4290250000 "
        "pixels, more than Pillow's limit of 89478485. If it is genuine, raise "
        "PIL.Image.MAX_IMAGE_PIXELS.",
    ],
    "NIfTI bomb": [
        "bomb a/x.nii.gz: The image ROOT/a/x.nii.gz may be a decompression bomb: it should hold "
        "281449207693656 bytes, more than this machine's memory.",
    ],
    "DICOM bomb": [
        "bomb a/x.dcm: The image ROOT/a/x.dcm may be a decompression bomb: it should hold "
        "281466386841600 bytes, more than this machine's memory.",
    ],
    "damaged PNG": [
        "damaged a/x.png: The image ROOT/a/x.png is damaged: the checksum (CRC) of its IDAT "
        "chunk at byte 33 is wrong.",
    ],
    "TIFF of two pages": [
        "unsupported a/pages.tif: The image ROOT/a/pages.tif has 2 pages, of which only the "
        "first would be read. Save each page as a file of its own.",
    ],
    "NaN in NIfTI": [
        "nan a/x.nii: The image ROOT/a/x.nii holds NaN values.",
    ],
    "infinite NIfTI": [
        "infinite a/x.nii: The image ROOT/a/x.nii holds infinite values, or values beyond float32.",
    ],
    "NaN in TIFF": [
        "nan a/x.tif: The image ROOT/a/x.tif holds NaN values.",
    ],
    "infinite TIFF": [
        "infinite a/x.tif: The image ROOT/a/x.tif holds infinite values, or values beyond float32.",
    ],
    "NaN and infinite TIFF": [
        "nan a/x.tif: The image ROOT/a/x.tif holds NaN values.",
    ],
    "beyond float32": [
        "infinite a/x.nii: The image ROOT/a/x.nii holds infinite values, or values beyond "
        "float32, and the chain fails on it: ROOT/a/x.nii has values beyond 3.4e38, which are "
        "infinite in float32, the type in which training computes. Scale them first.",
    ],
    "complex NIfTI": [
        "unsupported a/x.nii: The image ROOT/a/x.nii holds complex numbers. Save their "
        "magnitude, or real and imaginary parts.",
    ],
    "NIfTI that lies nowhere": [
        "damaged a/x.nii: The image ROOT/a/x.nii has no valid affine: its sform or qform is "
        "not finite or can't be inverted. Write a valid affine into its header.",
    ],
    "NIfTI without pixels": [
        "damaged a/x.nii: The image ROOT/a/x.nii is damaged: its dim is [0, 32], with a side below "
        "1.",
    ],
    "beside the class folders": [
        "label x.png: The image ROOT/x.png is not in a class folder. Put it into the folder of "
        "its class.",
    ],
    "constant": [
        "warning constant a/x.png: The image ROOT/a/x.png is constant: all pixels have the same "
        "value.",
    ],
    "constant of 16 bits": [
        "warning constant a/x.png: The image ROOT/a/x.png is constant: all pixels have the same "
        "value.",
    ],
    "constant colour": [
        "warning constant a/x.png: The image ROOT/a/x.png is constant: all pixels have the same "
        "value.",
    ],
    "nearly constant": [],
    "16 bits": [],
    "colour among grey": [
        "channels a/x.png: The image ROOT/a/x.png leaves the chain as (3, 32, 32), but 24 of "
        "25 images as (1, 32, 32).",
    ],
    "alpha among grey": [
        "channels a/x.png: The image ROOT/a/x.png leaves the chain as (3, 32, 32), but 24 of "
        "25 images as (1, 32, 32).",
    ],
    "four channels for grey": [
        "channels a/x.nii: The image ROOT/a/x.nii has 4 channels, which can't be converted "
        'to 1. Set dataset.channels = "auto".',
    ],
    "another size": [
        "size a/x.png: The image ROOT/a/x.png leaves the chain as (1, 40, 32), but 24 of 25 "
        "images as (1, 32, 32).",
    ],
    "another size that is resized": [],
    "another size in batches of one": [],
    "a volume among images": [
        "size a/x.nii: The image ROOT/a/x.nii leaves the chain as (1, 32, 32, 5), but 24 of "
        "25 images as (1, 32, 32).",
    ],
    "the same image twice": [
        "warning duplicate a/00.png: 'a/00.png' = 'a/x.png': the same pixels.",
    ],
    "the same image under two labels": [
        "contradiction a/00.png: The image ROOT/a/00.png has the label 'a', and 'b/x.png', "
        "which has the same pixels, 'b'.",
        "contradiction b/x.png: The image ROOT/b/x.png has the label 'b', and 'a/00.png', "
        "which has the same pixels, 'a'.",
    ],
    "the same image nearly": [
        "warning near_duplicate a/coarse.jpg: 'a/coarse.jpg' (training) and 'a/coarse.png' "
        "(training) look alike.",
    ],
    "link out of the root": [
        "warning link a/out.png: ROOT/a/out.png is a link that leads out of ROOT, to "
        "ABOVE/elsewhere/x.png.",
    ],
    "link within the root": [
        "warning duplicate a/00.png: 'a/00.png' = 'a/x.png': the same pixels.",
    ],
    "link to nothing": [
        "missing a/x.png: ROOT/a/x.png is a link to a file that is not there.",
    ],
    "link to itself": [
        "unreadable a/x.png: ROOT/a/x.png can't be looked at: too many levels of symbolic links.",
    ],
    "link to a folder": [],
    "folder called PNG": [],
    "pipe": [
        "unreadable a/x.png: ROOT/a/x.png is not a file but a pipe, a socket or a device.",
    ],
    "pipe by a link": [
        "unreadable a/x.png: ROOT/a/x.png is not a file but a pipe, a socket or a device.",
    ],
    "name in Latin-1": [
        "id a/\udce9.png: ROOT/a holds a name that is not UTF-8: b'\\xe9.png'. Rename it.",
    ],
    "one name in two forms": [
        "id a/\xe9.png: ROOT/a/e\u0301.png and ROOT/a/\xe9.png have the same name in Unicode "
        "form NFC. Rename one of them.",
    ],
    "names that differ in case": [],
    "JPEG with something behind it": [],
    "patient in two splits": [
        "leak train/a/p1_2.png: The sample 'train/a/p1_2.png' is in training and "
        "'test/b/p1_13.png' in test, but both are of the group 'p1'.",
        "leak train/b/p1_3.png: The sample 'train/b/p1_3.png' is in training and "
        "'test/b/p1_13.png' in test, but both are of the group 'p1'.",
    ],
    "image in two splits": [
        "leak train/a/4.png: The sample 'train/a/4.png' is in training and 'test/a/14.png' "
        "in test, but both are the same image.",
    ],
    "a file that is not there": [
        "missing x: The image ROOT/nothing.png is not there.",
    ],
    "a folder for a file": [
        "unreadable x: The image ROOT can't be read: is a directory.",
    ],
    "a pipe for a file": [
        "unreadable x: The image ROOT/p.png is not a file but a pipe.",
    ],
    "a device for a file": [
        "unreadable x: The image /dev/zero is not a file but a device.",
    ],
    "a path too long": [
        "unreadable x: The image "
        "ROOT/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.png can't be read: file name "
        "too long.",
    ],
    "a path with a zero byte": [
        "unreadable x: The image ROOT/a\x00.png can't be read: " + NULL_BYTE,
    ],
    "several files of two sizes": [
        "unsupported x: The images ROOT/1.png (32 x 32) and ROOT/2.png (32 x 64) belong to "
        "one sample but differ in size. Resample them to one size.",
    ],
    "no file at all": [
        "unsupported x: A sample names no image file. Give it at least one.",
    ],
    "nothing for an image": [
        "unsupported x: A sample's image is of the type NoneType. Give a path, a Series, a "
        "tuple of these, a numpy array or a DecodedImage.",
    ],
    "an array without pixels": [
        "empty x: The image of the sample 'x' has no pixels: its shape is (0, 5). Leave it out.",
    ],
    "an array of one row": [
        "unsupported x: A sample's image is an array of shape (5,), which is neither "
        "(height, width) nor (height, width, channels). Give a volume as a DecodedImage.",
    ],
    "an array of texts": [
        "unsupported x: The image of the sample 'x' holds values of the type <U1, which are not "
        f"real numbers. {NUMBERS}",
    ],
    "an array of objects": [
        "unsupported x: The image of the sample 'x' holds values of the type object, which are "
        f"not real numbers. {NUMBERS}",
    ],
    "an array of complex numbers": [
        "unsupported x: The image of the sample 'x' holds complex numbers, which are not real "
        f"numbers. {NUMBERS}",
    ],
    "an array with NaN": [
        "nan x: The image of the sample 'x' holds NaN values.",
    ],
    "a constant array": [
        "warning constant x: The image of the sample 'x' is constant: all pixels have the same "
        "value.",
    ],
    "a label of NaN": [
        "label x: The sample 'x' has the label nan, but the 2 classes (a, b) are 0 to 1.",
    ],
    "a label of text": [
        "label x: The sample 'x' has the label 'a', but the 2 classes (a, b) are 0 to 1. Give the "
        "class's place, 0 for 'a'.",
    ],
    "a label that is missing": [
        "label x: The sample 'x' has the label None, but the 2 classes (a, b) are 0 to 1.",
    ],
    "a label out of range": [
        "label x: The sample 'x' has the label 2, but the 2 classes (a, b) are 0 to 1.",
    ],
    "a label below range": [
        "label x: The sample 'x' has the label -1, but the 2 classes (a, b) are 0 to 1.",
    ],
    "a label between classes": [
        "label x: The sample 'x' has the label 0.5, but the 2 classes (a, b) are 0 to 1.",
    ],
    "an infinite label": [
        "label x: The sample 'x' has the label inf, but the 2 classes (a, b) are 0 to 1.",
    ],
    "a label of several": [
        "label x: The sample 'x' has the label (0, 1), but the 2 classes (a, b) are 0 to 1.",
    ],
    "a finding too few": [
        "label x: The sample 'x' has the label (1.0,), but the task has 2 values for each "
        "sample: mass, nodule.",
    ],
    "a finding of two": [
        "label x: The sample 'x' has the label (1.0, 2.0). Each finding is 1, 0 or NaN (missing).",
    ],
    "a finding of text": [
        "label x: The sample 'x' has the label (1.0, 'no'), which is not a number.",
    ],
    "an infinite age": [
        "label x: The sample 'x' has the label inf: it is infinite.",
    ],
    "two readers' findings": [
        "warning contradiction s00: The image of the sample 's00' has the label 'nodule', "
        "and 'x', which has the same pixels, 'mass, nodule'.",
        "warning contradiction x: The image of the sample 'x' has the label 'mass, nodule', "
        "and 's00', which has the same pixels, 'nodule'.",
        "warning duplicate s00: 's00' = 'x': the same pixels.",
    ],
    "an id twice": [
        "id s03: The id 's03' is that of 2 samples. Give each sample an id of its own.",
        "id s03: The id 's03' is that of 2 samples. Give each sample an id of its own.",
    ],
    "an id that is no text": [
        "id \udce9: The id '\\udce9' is not valid Unicode text. Rename the file in UTF-8.",
    ],
    "an id that is a path": [
        "warning duplicate s00: 's00' = '../../etc/passwd': the same pixels.",
    ],
    "an empty id": [
        "id : A sample has an empty id. Give each sample an id of its own.",
    ],
    "no samples": [
        "listing : The data set has no samples.",
    ],
    "one class": [
        "listing : There is only one class, ('a',). A classifier needs two or more.",
    ],
    "a class without samples": [
        "split : The class 'none' has no training samples: it has no samples. Remove the "
        "class, or give it more samples or groups.",
    ],
    "two classes of the same": [
        "split : The class 'b' has no training samples: it has no samples. Remove the class, "
        "or give it more samples or groups.",
    ],
    "an unknown split": [
        "split x: The sample 'x' has the split 'dev'. The splits are training, validation, test.",
    ],
}

LATER = {"channels", "size", "leak"}
"""Kinds that only the other samples show: training refuses them by an error of its own."""


@pytest.mark.parametrize("name", [name for name in CASES if name in EXPECTED])
def test_a_folder(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    pipeline = case_pipeline(name, root)
    with within(60):  # such as for what a pipe never gives
        assert found(pipeline, root) == EXPECTED[name]
    refused_or_left_out(pipeline)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample(name: str, tmp_path: Path) -> None:
    pipeline = sample_pipeline(name, tmp_path)
    assert found(pipeline, tmp_path) == EXPECTED[name]
    refused_or_left_out(pipeline)


def test_there_are_enough_of_them_and_none_is_left_over() -> None:
    assert EXPECTED.keys() | {"may not be read"} == CASES.keys() | SAMPLES.keys()
    assert len(EXPECTED) >= 40


def refused_or_left_out(pipeline: Pipeline) -> None:
    """Training refuses what the check lists, or leaves out exactly that."""
    faults = pipeline.check_data().faults
    if not faults or not all(fault.sample or fault.kind == "id" for fault in faults):
        return
    if not {fault.kind for fault in faults} & LATER:
        plain = assembled(pipeline)
        with pytest.raises(BadDataError) as caught:
            plain.prepare_data(plain.chain())
        assert caught.value.faults == faults
        assert all(fault.message in str(caught.value) for fault in faults)
    run = attrs.evolve(pipeline.configuration.run, bad_data="quarantine")
    careful = attrs.evolve(pipeline, configuration=attrs.evolve(pipeline.configuration, run=run))
    assembly = assembled(careful)
    prepared = assembly.prepare_data(assembly.chain())
    assert prepared.quarantine == faults
    left_out = {fault.sample for fault in faults}
    listed = [sample.id for sample in assembly.listed().samples]
    kept = [sample.id for sample in prepared.dataset.samples]
    assert kept == [sample_id for sample_id in listed if sample_id not in left_out]


def assembled(pipeline: Pipeline) -> Assembly:
    return Assembly(configuration=pipeline.configuration, registry=pipeline.registry)


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="nothing is forbidden to this user"
)
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert found(case_pipeline("may not be read", root), root) == [
        "unreadable a/secret.png: The image ROOT/a/secret.png can't be read: permission denied."
    ]


def test_everything_at_once(tmp_path: Path) -> None:
    """All faults are listed in one pass, and each file is read once."""
    root = hostile.good_images(tmp_path / "root")
    written("a/empty.png", b"")(root)
    written("b/cut.png", png[:600])(root)
    saved("a/nan.tif", floats(np.nan), "TIFF")(root)
    hostile.link("b/gone.png", "nothing.png")(root)
    hostile.copied("a/00.png", "b/other.png")(root)
    saved("a/blank.png", np.zeros((32, 32), np.uint8))(root)
    pipeline = small().dataset("image_folder", root=str(root)).build()
    report = pipeline.check_data()
    assert [(fault.kind, fault.sample) for fault in report.faults] == [
        ("missing", "b/gone.png"),
        ("contradiction", "a/00.png"),
        ("empty", "a/empty.png"),
        ("nan", "a/nan.tif"),
        ("truncated", "b/cut.png"),
        ("contradiction", "b/other.png"),
    ]
    assert [(one.kind, one.sample) for one in report.warnings] == [("constant", "a/blank.png")]
    assert report.counts == {"contradiction": 2, "empty": 1, "missing": 1, "nan": 1, "truncated": 1}
    assert report.samples == 30
    assert str(report).splitlines()[-1] == (
        "6 faults: 2 contradiction, 1 empty, 1 missing, 1 nan, 1 truncated."
    )


def test_every_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = hostile.good_images(tmp_path / "root")
    pipeline = small().dataset("image_folder", root=str(root)).build()
    assert pipeline.check().ok  # what is remembered changes nothing
    opened: list[str] = []
    plain = os.open

    def noted(path: Any, *arguments: Any, **named: Any) -> int:
        opened.append(os.fspath(path))
        return plain(path, *arguments, **named)

    monkeypatch.setattr(os, "open", noted)
    assert pipeline.check_data().ok
    images = [path for path in opened if path.endswith(".png")]
    assert sorted(images) == sorted(map(str, root.rglob("*.png")))


def test_keep_trains_on_contradictions_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    hostile.good_images(root)
    hostile.copied("a/00.png", "b/x.png")(root)
    pipeline = small().dataset("image_folder", root=str(root)).build()
    run = attrs.evolve(pipeline.configuration.run, bad_data="keep")
    kept = attrs.evolve(pipeline, configuration=attrs.evolve(pipeline.configuration, run=run))
    report = kept.check_data()
    assert report.ok
    assert [one.kind for one in report.warnings] == ["contradiction"] * 2 + ["duplicate"]
    prepared = assembled(kept).prepare_data()
    assert prepared.dataset.notes == (
        "1 image appears under different labels: 'a/00.png' (a) = 'b/x.png' (b).",
    )
    assert len(prepared.dataset.samples) == 25
    written("a/empty.png", b"")(root)
    with pytest.raises(BadDataError) as caught:
        assembled(kept).prepare_data()
    assert str(caught.value) == (
        "1 of 26 samples can't be used:\n"
        f"  The image {root}/a/empty.png is empty.\n"
        'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the '
        "command line --quarantine). medpipe check --data lists all that is wrong."
    )


def test_the_refusal_names_ten_and_the_remedies(tmp_path: Path) -> None:
    root = hostile.good_images(tmp_path / "root")
    for number in range(11):
        written(f"a/x{number:02}.png", b"")(root)
    hostile.copied("a/00.png", "b/y.png")(root)
    pages = hostile.pages
    pages(root)
    with pytest.raises(BadDataError) as caught:
        assembled(small().dataset("image_folder", root=str(root)).build()).prepare_data()
    shown = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert str(caught.value).splitlines()[0] == "14 of 37 samples can't be used:"
    assert len(shown) == 11
    assert shown[-1] == "  and 4 more."
    assert str(caught.value).splitlines()[-3:] == [
        "Save each page as a file of its own.",
        'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the '
        "command line --quarantine). medpipe check --data lists all that is wrong.",
        'Images under two labels are trained on with run.bad_data = "keep".',
    ]


def test_where_all_are_faulty_quarantine_leaves_nothing_and_says_so() -> None:
    samples = [one(np.full((4, 4), np.nan), n % 2, f"s{n}") for n in range(3)]
    builder = PipelineBuilder(device="cpu", bad_data="quarantine")
    pipeline = builder.dataset(Dataset(samples=samples, task=TASK)).build()
    with pytest.raises(BadDataError) as caught:
        assembled(pipeline).prepare_data()
    assert str(caught.value) == (
        "All samples are faulty:\n"
        "  The image of the sample 's0' holds NaN values.\n"
        "  The image of the sample 's1' holds NaN values.\n"
        "  The image of the sample 's2' holds NaN values.\n"
        "Repair some, or add others."
    )
