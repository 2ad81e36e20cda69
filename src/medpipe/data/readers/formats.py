"""The readers that medpipe brings; the decoders are imported when a file of theirs is decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from medpipe.data.readers import marks
from medpipe.steps import ReaderStep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from medpipe.steps import DecodedImage, Reading


@attrs.frozen(kw_only=True)
class DicomReader(ReaderStep):
    """DICOM, by pydicom; the data set's parameters say which grey values it gives."""

    name: ClassVar[str] = "dicom"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """A slice of a CT."""
        from medpipe.data.readers.example_files import write_dicom

        write_dicom(folder)
        return [cls()]

    def recognises(self, head: bytes, name: str) -> bool:
        """Whether the mark is there."""
        return marks.is_dicom_content(head)

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        """Decode a file; see `medpipe.plugin.read_image`."""
        from medpipe.data.readers.dicom.image import decode_dicom

        return decode_dicom(content, path, reading)


@attrs.frozen(kw_only=True)
class NiftiReader(ReaderStep):
    """NIfTI, gzipped or not, by nibabel."""

    name: ClassVar[str] = "nifti"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """A volume, gzipped and not."""
        from medpipe.data.readers.example_files import write_nifti

        write_nifti(folder)
        return [cls()]

    def recognises(self, head: bytes, name: str) -> bool:
        """Whether the magic of NIfTI or gzip is there; Analyze 7.5 is recognised to refuse it."""
        return marks.is_nifti(head)

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        """Decode a file; see `medpipe.plugin.read_image`."""
        from medpipe.data.readers.nifti import decode_nifti

        return decode_nifti(content, path, reading)


def _are_axes(_: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is None:
        return
    if len({*value}) < len(value) or not {*"yx"} <= {*value} <= {*"yxzc"}:
        raise ValueError(
            f"{attribute.name} must be letters of 'yxzc' (row, column, slice, channel), each once, "
            f"with y and x among them, got {value!r}."
        )


@attrs.frozen(kw_only=True)
class NumpyReader(ReaderStep):
    """NumPy's ``.npy`` and ``.npz``, without pickled objects.

    Attributes:
        axes: What the axes of the arrays are, in their order: ``y`` (row), ``x`` (column), ``z``
            (slice) and ``c`` (channel), such as ``"zyx"`` for a volume. None: ``"yx"``; arrays of
            more axes don't say what these are, and are refused.
        key: The name of the array in a ``.npz``. None: the only one.
    """

    name: ClassVar[str] = "numpy"
    axes: str | None = attrs.field(default=None, validator=_are_axes)
    key: str | None = None

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """An image in both kinds of files, and a volume."""
        from medpipe.data.readers.example_files import write_numpy

        write_numpy(folder)
        return [cls(), cls(axes="zyx")]

    def recognises(self, head: bytes, name: str) -> bool:
        """Whether the magic is there; of zip, only with the suffix ``.npz``."""
        return head.startswith(marks.NUMPY) or (
            head.startswith(marks.ZIP) and name.endswith(".npz")
        )

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        """Decode a file; see `medpipe.plugin.read_image`."""
        from medpipe.data.readers.numpy_files import decode_numpy

        return decode_numpy(content, path, axes=self.axes, key=self.key)


@attrs.frozen(kw_only=True)
class PictureReader(ReaderStep):
    """PNG, JPEG, TIFF and BMP, compared with what the file says of itself."""

    name: ClassVar[str] = "pictures"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """One of each format."""
        from medpipe.data.readers.example_files import write_pictures

        write_pictures(folder)
        return [cls()]

    def recognises(self, head: bytes, name: str) -> bool:
        """Whether the file begins as one of them."""
        return head.startswith(marks.PICTURES)

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        """Decode a file; see `medpipe.plugin.read_image`."""
        from medpipe.data.readers.pictures import decode_picture

        return decode_picture(content, path, reading)


READERS: tuple[ReaderStep, ...] = (DicomReader(), NiftiReader(), NumpyReader(), PictureReader())
"""Asked in this order, after those of the configuration."""
