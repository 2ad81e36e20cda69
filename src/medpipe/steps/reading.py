"""How the files of images are read: `DecodedImage`, `Reading`, and reader steps.

Nothing here imports torch, monai or numpy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.system.plain_numbers import plain_text
from medpipe.tasks import Step

if TYPE_CHECKING:
    import numpy as np

Window = Literal["voi", "none"] | tuple[float, float]
Frames = Literal["positions", "volume", "first"]
Padding = Literal["lowest", "keep"]
MissingSpacing = Literal["error", "unknown"]
SpacingOf = Literal["patient", "detector", "unknown"]


def strings(items: Iterable[str]) -> tuple[str, ...]:
    """Texts, those of NumPy too, as plain ones."""
    return tuple([plain_text(item) for item in items])


@attrs.frozen(kw_only=True, eq=False)
class DecodedImage:
    """An image or a volume in memory, as a file decodes.

    Attributes:
        values: Of shape (height, width) or (height, width, depth), rows from the top, with the
            channels as one more last axis where `channels` says so.
        channels: Whether the last axis holds channels.
        affine: From column, row and slice (each counted from 0) to millimetres to the right,
            the front and the top of the patient (RAS+, as NIfTI has it); float64 of shape
            (4, 4). None where the file doesn't say.
        spacing: Millimetres between rows, between columns and, in a volume, between slices. None
            where the file doesn't say.
        spacing_of: Where `spacing` holds: in the ``"patient"``; on the ``"detector"`` of a
            projection, where things are larger than in the patient; or it is ``"unknown"``.
            Unknown is never taken for 1 mm: the step ``spacing`` refuses both.
        source: The file that it was read from, for metadata; None where there is none.
        colours: Whether three channels are red, green and blue, which can be made grey.
        stored_channels: How many channels the file has, where the reading made others of them.
    """

    values: np.ndarray[Any, Any]
    channels: bool = False
    affine: np.ndarray[Any, Any] | None = None
    spacing: tuple[float, ...] | None = None
    spacing_of: SpacingOf = "unknown"
    source: str | None = None
    colours: bool = False
    stored_channels: int | None = None


@attrs.frozen(kw_only=True)
class Series:
    """The files of one DICOM series, read as one volume, whatever their order here.

    Attributes:
        files: Their paths.
    """

    files: tuple[str, ...] = attrs.field(converter=strings)


ImageFile = str | os.PathLike[str] | Series
"""One file, or one series of files."""


class ReaderStep(Step):
    """Decodes the files of one format.

    ``[[reader]]`` names the readers that are asked first, in their order; then come those of
    medpipe: ``dicom``, ``nifti``, ``numpy``, ``pictures``. The first that recognises a file
    decodes it, for the scan, training, evaluation and prediction alike. Both methods may be
    called from several threads at once. A file holds one image, and nothing beside it is read.
    """

    kind: ClassVar[str] = "reader"
    required: ClassVar[tuple[str, ...]] = ("recognises", "decode")

    def recognises(self, head: bytes, name: str) -> bool:
        """Whether the file is of this format; by its first bytes, where the format has a mark.

        Args:
            head: The first 512 bytes of the file, or all of a shorter one.
            name: The file's name in lower case, without its folder.
        """
        raise NotImplementedError(f"{type(self).__name__} has no recognises method")

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        """Decode a file.

        The library converts the channels that are given to those that ``reading.channels`` asks
        for, and puts the values into this machine's byte order.

        Args:
            content: The whole file.
            path: For errors.
            reading: What the data set asks for.

        Raises:
            UnreadableImageError: The file can't be read; it says why. What else is raised is
                taken for damage of the file, and the error names the reader.
        """
        raise NotImplementedError(f"{type(self).__name__} has no decode method")


@attrs.frozen(kw_only=True)
class ChosenReader:
    """A reader that is asked before medpipe's own.

    Attributes:
        step: The reader.
        title: The step and where it comes from, for errors.
        made_by: What decides what it gives: its name, parameters and its plugin's version. None
            where that is not known; then nothing is kept of what was read.
    """

    step: ReaderStep
    title: str
    made_by: str | None


@attrs.frozen(kw_only=True)
class Reading:
    """How the image files of a data set are to be decoded.

    Attributes:
        channels: 1 (grey), 3 (RGB), ``"auto"`` (as the file has it: alpha is dropped, palettes
            are resolved), or None: what MONAI's ``PILReader`` gives, untouched.
        window: Which grey values DICOM files give. ``"none"``: the stored values through the
            modality look-up (rescale), such as Hounsfield units; ``"voi"``: these through the
            file's own first window or look-up table, as a viewer shows them, or unchanged where
            it has none; (centre, width): through that window. MONOCHROME1 is inverted afterwards,
            but measurements (CT, MR, PT, NM, BMD, RTDOSE) only with ``"voi"``.
        frames: What becomes of a DICOM file of several frames. Where it says where each lies they
            are a volume in that order. Otherwise ``"positions"`` refuses it, as it may be a film;
            ``"volume"`` stacks them as they are stored, with unknown spacing; ``"first"`` takes
            the first alone.
        padding: What becomes of the pixels that DICOM's PixelPaddingValue (to
            PixelPaddingRangeLimit) says are outside of what was measured: ``"lowest"``: they get
            the lowest other value of the image or volume, so that no scaling sees them;
            ``"keep"``: the value that is stored.
        missing_spacing: What becomes of a DICOM volume that says where its slices lie, but not
            how large their pixels are: ``"error"``: it is refused, since its header is not whole;
            ``"unknown"``: it is read, without an affine. Never is a spacing of 1 mm taken.
        readers: The readers that are asked before medpipe's own. The library puts those of the
            configuration here (``[[reader]]``); a data set that gives others is an error, since
            new files are read without it.
    """

    channels: Literal[1, 3, "auto"] | None = None
    window: Window = "none"
    frames: Frames = "positions"
    padding: Padding = "lowest"
    missing_spacing: MissingSpacing = "error"
    readers: tuple[ChosenReader, ...] = ()

    def plain(self) -> dict[str, Any]:
        """All but the readers, as plain data."""
        names = [field.name for field in attrs.fields(Reading) if field.name != "readers"]
        return {name: getattr(self, name) for name in names}


@attrs.frozen(kw_only=True)
class ImageFiles:
    """How the files of images are read by what was exported.

    Attributes:
        reading: How the run read them.
        formats: The formats that were compared, by the names of their readers: ``pictures``,
            ``nifti``, ``dicom``.
        suffixes: The ends of the files' names, in lower case.
    """

    reading: Reading
    formats: frozenset[str]
    suffixes: tuple[str, ...]


_chosen: ContextVar[tuple[ChosenReader, ...]] = ContextVar("_chosen", default=())


@contextmanager
def listing_with(readers: tuple[ChosenReader, ...]) -> Iterator[None]:
    """Let what lists files in this block take the files of these readers for images."""
    token = _chosen.set(readers)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen_readers() -> tuple[ChosenReader, ...]:
    """The readers whose files are images, beside medpipe's own."""
    return _chosen.get()
