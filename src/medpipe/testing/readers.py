"""Checks of reader steps."""

from __future__ import annotations

import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from medpipe.data.readers.arrays import plain_array
from medpipe.data.readers.formats import READERS
from medpipe.data.readers.reader import decode_content
from medpipe.data.readers.unreadable import HEAD
from medpipe.errors import DataError
from medpipe.steps import DecodedImage, ReaderStep, Reading
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.damage import SECONDS, Tried, chosen_reader, tried
from medpipe.testing.examples import examples_of
from medpipe.testing.use import Use, typical
from medpipe.testing.watched import difference

THREADS = 4
OTHER = {
    "notes.txt": b"Nothing of an image.\n",
    "empty": b"",
    "table.csv": b"image,label\na.png,1\n",
}


@check(
    ReaderStep,
    protects="A reader that does not know its own files reads none.",
    remedy="Write files of the format in examples(cls, folder), and know them by their first "
    "bytes.",
)
def recognises_its_files(case: Case) -> None:
    """It recognises a file that its examples write, by the first 512 bytes and the name."""
    files = _files(case)
    if not files:
        raise FailedError("its examples write no file of its format")
    if not any(_recognised(case, path, content) for path, content in files.items()):
        raise FailedError(f"it recognises none of its files, {min(files).name} for one")


@check(
    ReaderStep,
    protects="Every file of a folder is shown to it, however short.",
    remedy="Compare with head.startswith(...) in place of unpacking numbers.",
)
def recognises_any_bytes(case: Case) -> None:
    """It answers about empty, short and strange heads too."""
    heads = [b"", b"\0", b"\xff" * 3, bytes(HEAD), bytes(range(256)) * 2]
    heads += [content[:1] for content in _files(case).values()]
    for head in heads:
        try:
            case.step.recognises(head, "file")
        except Exception as error:
            raise FailedError(f"of {len(head)} bytes it raises {described(error)}") from error


@check(
    ReaderStep,
    protects="The library refuses what is neither yes nor no, in every listing.",
    remedy="Return True or False from recognises: bool(...) of what was found.",
    needs=[recognises_any_bytes],
)
def answers_with_a_bool(case: Case) -> None:
    """It answers True or False."""
    heads = [(path.name.lower(), content[:HEAD]) for path, content in _files(case).items()]
    for name, head in (*heads, ("file", bytes(HEAD)), ("file", b"\xff" * HEAD)):
        answer: Any = case.step.recognises(head, name)
        if not isinstance(answer, bool):
            raise FailedError(f"asked about {name} it answers {answer!r:.60}")


@check(
    ReaderStep,
    protects="A reader is asked before the library's own: what it takes no other reads.",
    remedy="Go by the format's mark in the first bytes, and by the name where it has none.",
    needs=[recognises_any_bytes],
)
def leaves_other_files(case: Case) -> None:
    """It recognises no file of another format, as PNG, DICOM, NIfTI, NumPy and text are."""
    own = [(content[:HEAD], path.name.lower()) for path, content in _files(case).items()]
    suffixes = {Path(name).suffix for _, name in own}
    others = {n: content for n, content in OTHER.items() if Path(n).suffix not in suffixes}
    for reader, files in _of_others():
        if not any(reader.recognises(head, name) for head, name in own):
            others |= files
    for name, content in others.items():
        if case.step.recognises(content[:HEAD], name):
            raise FailedError(f"it recognises {name}, which is none of its files")


@check(
    ReaderStep,
    protects="A file that is recognised and not decoded is a fault of its sample.",
    remedy="Return DecodedImage(values=...), rows from the top and channels last.",
    needs=[recognises_its_files],
)
def decodes_its_files(case: Case) -> None:
    """It decodes a file that its examples write."""
    for path, image in _decoded(case):
        values: Any = getattr(image, "values", None)
        if not isinstance(image, DecodedImage) or not hasattr(values, "ndim"):
            raise FailedError(f"of {path.name} it makes {image!r:.80}, no DecodedImage")


@check(
    ReaderStep,
    protects="Everything that follows counts the axes of images and volumes.",
    remedy="Give (height, width) or (height, width, depth), and channels=True with one more.",
    needs=[recognises_its_files, decodes_its_files],
)
def gives_axes_of_images(case: Case) -> None:
    """Images have two axes, volumes three, and channels are one more."""
    for path, image in _decoded(case):
        if image.values.ndim - image.channels not in (2, 3) or not image.values.size:
            channels = "with" if image.channels else "without"
            raise FailedError(f"{path.name} has the shape {image.values.shape} {channels} channels")


@check(
    ReaderStep,
    protects="Training computes in float32: other values are refused in each run.",
    remedy="Give integers or floats; of complex numbers the magnitude.",
    needs=[recognises_its_files, decodes_its_files, gives_axes_of_images],
)
def gives_real_numbers(case: Case) -> None:
    """Values are real numbers."""
    for path, image in _decoded(case):
        try:
            plain_array(image.values)
        except DataError as error:
            raise FailedError(f"the values of {path.name} can't be used: {error}") from error


BY_THE_LIBRARY = (
    recognises_its_files,
    recognises_any_bytes,
    answers_with_a_bool,
    decodes_its_files,
    gives_axes_of_images,
    gives_real_numbers,
)
"""What the library needs of a reader to decode with it at all."""


@check(
    ReaderStep,
    protects="Spacings and places scale distances, and resample images: wrong ones go unseen.",
    remedy="Give millimetres between rows, columns, slices, and an affine from column, row, "
    "slice to RAS+ that agrees; None where the file does not say.",
    needs=[recognises_its_files, decodes_its_files, gives_axes_of_images],
)
def gives_a_place_that_fits(case: Case) -> None:
    """Spacing and affine are finite, above 0, of the image's axes, and agree."""
    for path, image in _decoded(case):
        if wrong := _place_problem(image):
            raise FailedError(f"of {path.name} {wrong}")


@check(
    ReaderStep,
    protects="The scan, training and prediction each decode a file: all must see the same.",
    remedy="Draw nothing, and keep nothing between two files.",
    needs=[recognises_its_files, decodes_its_files],
)
def decodes_the_same_twice(case: Case) -> None:
    """A file decodes to the same again."""
    pairs = zip(_decoded(case), _decoded(case), strict=True)
    for (path, image), (_, again) in pairs:
        if changed := difference(image, again):
            raise FailedError(f"decoded again {path.name} has another {changed}")


@check(
    ReaderStep,
    protects="Files are read by several threads at once.",
    remedy="Keep what decoding needs in local variables.",
    needs=[*BY_THE_LIBRARY, decodes_the_same_twice],
)
def decodes_in_several_threads(case: Case) -> None:
    """Several threads at once decode what one does."""
    reading = Reading(readers=(chosen_reader(case.step),))
    work = [(path, path.read_bytes()) for path, _ in _decoded(case)]
    alone = [decode_content(content, str(path), reading) for path, content in work]
    many = work * 2 * THREADS
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda one: decode_content(one[1], str(one[0]), reading), many))
    for place, image in enumerate(found):
        if changed := difference(alone[place % len(work)], image):
            raise FailedError(
                f"with {THREADS} threads {work[place % len(work)][0].name} has another {changed}"
            )


@check(
    ReaderStep,
    protects="The content is read once, with its fingerprint; the path is for errors alone.",
    remedy="Decode content, with io.BytesIO(content) where a library wants a file.",
    needs=[recognises_its_files, decodes_its_files],
)
def decodes_content_alone(case: Case) -> None:
    """It decodes content whose path does not exist."""
    for path, _ in _decoded(case):
        nowhere = case.folder / "nowhere" / path.name
        try:
            case.step.decode(path.read_bytes(), str(nowhere), Reading())
        except Exception as error:
            raise FailedError(f"without its file it raises {described(error)}") from error


@check(
    ReaderStep,
    protects="One damaged file among thousands is found by its name.",
    remedy="Raise UnreadableImageError(path, reason, kind=...) for what can't be decoded.",
    needs=[*BY_THE_LIBRARY, decodes_content_alone],
)
def names_damaged_files(case: Case) -> None:
    """A damaged file decodes, or raises an error that names it."""
    for one in _damaged(case):
        if one.ended == "error" or (one.ended == "refused" and not one.named):
            raise FailedError(f"of {one.file} {one.damage} it says {one.said:.160}")


@check(
    ReaderStep,
    protects="Half of an image that is taken for the whole is trained on unseen.",
    remedy="Compare the length of the content with what the header says.",
    needs=[*BY_THE_LIBRARY, decodes_content_alone],
)
def refuses_files_that_are_cut(case: Case) -> None:
    """A file that lacks a third or more never decodes to an image of the whole one's shape."""
    for one in _damaged(case):
        if one.cut and one.ended == "image" and one.said == one.whole:
            raise FailedError(f"{one.file} {one.damage} decodes as if it were whole")


@check(
    ReaderStep,
    protects="One file without an end stops the scan of a whole data set.",
    remedy="Let each loop end where the content does.",
    needs=[*BY_THE_LIBRARY, decodes_content_alone],
)
def ends_on_damaged_files(case: Case) -> None:
    """No damaged file takes longer than a few seconds."""
    for one in _damaged(case):
        if one.ended == "hang":
            raise FailedError(f"of {one.file} {one.damage} it takes longer than {SECONDS:g} s")


@check(
    ReaderStep,
    protects="A header of a few bytes that asks for all memory ends the run of everyone.",
    remedy="Compare sizes of the header with the length of the content before making arrays.",
    needs=[*BY_THE_LIBRARY, decodes_content_alone],
)
def takes_no_size_on_trust(case: Case) -> None:
    """No damaged file of a few KB makes it ask for gigabytes."""
    for one in _damaged(case):
        if one.ended == "memory":
            raise FailedError(f"of {one.file} {one.damage} it runs out of memory")


@typical("reader", found_by=decodes_its_files)
def _use(case: Case) -> Use:
    path, content = next((path, path.read_bytes()) for path, _ in _decoded(case))
    return Use(given=[content], call=lambda: case.step.decode(content, str(path), Reading()))


def _files(case: Case) -> dict[Path, bytes]:
    """The files that the class's examples write."""
    folder = case.folder / "files"
    if not folder.exists():
        folder.mkdir()
        try:
            examples_of(type(case.step), folder)
        except TypeError:
            return {}
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _recognised(case: Case, path: Path, content: bytes) -> bool:
    return bool(case.step.recognises(content[:HEAD], path.name.lower()))


def _decoded(case: Case) -> list[tuple[Path, DecodedImage]]:
    """Those of its files that it decodes with these parameters."""
    found, said = [], "it recognises none of its files"
    for path, content in _files(case).items():
        if not _recognised(case, path, content):
            continue
        try:
            found.append((path, case.step.decode(content, str(path), Reading())))
        except DataError as error:  # another example's, which has other parameters
            said = f"it decodes none of its files: {error}"
        except Exception as error:
            raise FailedError(f"of {path.name} it raises {described(error)}") from error
    if found:
        return found
    if not case.own:
        raise skip(said)
    raise FailedError(said)


def _damaged(case: Case) -> list[Tried]:
    return tried(case.step, {path.name: path.read_bytes() for path, _ in _decoded(case)})


@functools.cache
def _of_others() -> list[tuple[ReaderStep, dict[str, bytes]]]:
    """The built-in readers, each with files of its format."""
    found = []
    for reader in READERS:
        with tempfile.TemporaryDirectory() as folder:
            examples_of(type(reader), Path(folder))
            found.append((reader, {p.name: p.read_bytes() for p in Path(folder).iterdir()}))
    return found


def _place_problem(image: DecodedImage) -> str:
    """What is wrong with spacing and affine, as a sentence without its subject's file."""
    import numpy as np

    sides = image.values.ndim - image.channels
    if image.spacing_of not in ("patient", "detector", "unknown"):
        return f"spacing_of is {image.spacing_of!r}"
    if image.spacing is not None:
        spacing = np.asarray(image.spacing, dtype=np.float64)
        if spacing.shape != (sides,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
            return f"the spacing of {sides} axes is {image.spacing}"
    if image.affine is None:
        return ""
    affine = np.asarray(image.affine)
    if affine.shape != (4, 4) or affine.dtype != np.float64 or not np.isfinite(affine).all():
        return f"the affine is no finite float64 of shape (4, 4), but {affine.dtype} {affine.shape}"
    if abs(np.linalg.det(affine)) < 1e-12:
        return "the affine can't be inverted"
    if image.spacing is not None and image.spacing_of == "patient":
        columns = np.linalg.norm(affine[:3, :3], axis=0)[[1, 0, 2][:sides]]
        if not np.allclose(columns, image.spacing, rtol=1e-3):
            return f"the spacing is {image.spacing}, and by the affine {tuple(columns.tolist())}"
    return ""
