"""Write the masks of a segmentation, on the grids of the files that they belong to.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

import gzip
import io
import re
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import DataError
from medpipe.prediction.dicom_masks import (
    DICOM,
    NoSegmentationError,
    dicom_files,
    segmentation,
)
from medpipe.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from medpipe.data.readers.file_grid import Array, FileGrid

NIFTI, PNG = ".nii.gz", ".png"
_SUFFIX = re.compile(r"(\.nii)?\.(gz|[A-Za-z][A-Za-z0-9]{1,5})$")
_UNSAFE = re.compile(r'[<>:"|?*\x00-\x1f\\/]')


@attrs.frozen(kw_only=True)
class MaskWriter:
    """Writes a file for each mask.

    Volumes, and images with a place in the patient, become NIfTI; other images PNG. Masks of
    structures that may overlap become a file for each structure. Masks of DICOM files become a
    DICOM segmentation that refers to them, with a segment for each structure, where highdicom is
    installed and the files have what it needs; `notes` says where not. Colours are written to PNG
    alone: NIfTI has 0, 1, 2, and so on in their place.

    Attributes:
        folder: Where to.
        names: The task's names.
        values: The values of the background and of each name in the files, numbers or colours; see
            `TaskStep.written_values`. Empty: 0, 1, 2, and so on.
    """

    folder: Path
    names: Sequence[str]
    values: Sequence[int | str] = ()
    notes: list[str] = attrs.field(factory=list, init=False)

    def write(self, stem: str, mask: Array, grid: FileGrid, image: Any = None) -> list[Path]:
        """Write the mask of one image.

        Args:
            stem: The file's name below the folder; a suffix is replaced.
            mask: uint8 of shape (1 or names, spatial...): indices, or 0 and 1 for each name.
            grid: That of the file.
            image: The image, as `Sample.image`.

        Raises:
            DataError: A value of the task fits no PNG.
            RunError: A file can't be written.
        """
        paths = dicom_files(image)
        content = self._segmentation(paths, mask, grid) if paths else None
        if content is not None:
            path = self.folder / f"{_stem(stem)}{DICOM}"
            self._save(path, content)
            return [path]
        written = []
        picture = len(grid.file_shape) == 2 and not grid.known
        for name, values in self._files(stem, mask, picture=picture):
            path = self.folder / f"{name}{PNG if picture else NIFTI}"
            content = _png(values, grid, path) if picture else _nifti(values, grid)
            self._save(path, content)
            written.append(path)
        return written

    def _save(self, path: Path, content: bytes) -> None:
        files.make_directories(path.parent, sync=False)
        files.write_bytes(path, content)

    def _segmentation(self, paths: Sequence[str], mask: Array, grid: FileGrid) -> bytes | None:
        """A DICOM segmentation; None, and a note, where there can be none."""
        rows = mask if grid.axes == "hw" else mask.swapaxes(1, 2)
        try:
            return segmentation(paths, rows, self.names)
        except NoSegmentationError as error:
            if not self.notes:  # the first says it
                self.notes.append(str(error))
            return None

    def _files(self, given: str, mask: Array, *, picture: bool) -> Iterator[tuple[str, Array]]:
        stem = _stem(given)
        if len(mask) == len(self.names) and mask.ndim and len(self.names) > 1:
            for name, one in zip(self.names, mask, strict=True):
                yield f"{stem}_{_UNSAFE.sub('_', name)}", one
            return
        yield stem, self._table(colours=picture)[mask[0]]

    def _table(self, *, colours: bool) -> Array:
        """The value of each index, of shape (256,), or its colour, of shape (256, 3)."""
        import numpy as np

        given = list(self.values) or list(range(len(self.names) + 1))
        if any(isinstance(value, str) for value in given):
            if colours:
                table: Array = np.zeros((256, 3), np.uint8)
                table[: len(given)] = [list(bytes.fromhex(str(value)[1:])) for value in given]
                return table
            given = list(range(len(given)))
        values = [int(value) for value in given]
        kind = np.int16 if max(values) > 255 or min(values) < 0 else np.uint8
        table = np.zeros(256, kind)
        table[: len(values)] = values
        return table


def _stem(given: str) -> str:
    """A file's name without its suffix."""
    return _SUFFIX.sub("", given) or given


def _nifti(values: Array, grid: FileGrid) -> bytes:
    import nibabel
    import numpy as np

    affine = grid.file_affine
    if grid.axes == "hw":  # NIfTI has the column first
        values, affine = values.swapaxes(0, 1), affine[:, [1, 0, 2, 3]]
    made: Any = nibabel.Nifti1Image(np.ascontiguousarray(values), affine)  # type: ignore[no-untyped-call]
    made.header.set_xyzt_units("mm" if grid.known else "unknown")
    content: bytes = made.to_bytes()
    return gzip.compress(content, compresslevel=6, mtime=0)


def _png(values: Array, grid: FileGrid, path: Path) -> bytes:
    import numpy as np
    from PIL import Image

    if values.dtype != np.uint8:
        raise DataError(
            f"{path} can't hold the value {int(values.max())} of a label: a PNG has values up to "
            "255. Give labels smaller values."
        )
    rows = values if grid.axes == "hw" else values.swapaxes(0, 1)
    into = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rows)).save(into, format="png")
    return into.getvalue()
