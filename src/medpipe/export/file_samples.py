"""Real samples as files, for formats that read files themselves, with the run's answers."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.chain import sample_dictionary
from medpipe.data.readers.formats import READERS
from medpipe.data.readers.reader import file_bytes, image_files, read_sample_image, recognises
from medpipe.data.readers.unreadable import HEAD
from medpipe.errors import ExportError
from medpipe.export.samples import ENOUGH, SPLITS, cut_sample, run_samples
from medpipe.optimization.deep_supervision import first_output
from medpipe.steps import Sample, Series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch

    from medpipe.prediction.trained import TrainedNetwork
    from medpipe.steps import DecodedImage

    Array = np.ndarray[Any, np.dtype[Any]]

NIFTI, PNG = ".nii.gz", ".png"
FORMATS = {NIFTI: "nifti", PNG: "pictures"}
ALIKE = ((".jpg", ".jpeg"), (".nii", ".nii.gz"), (".tif", ".tiff"))
"""Ends of names of one format."""
FOLDER = "samples"
_SUFFIX = re.compile(r"(\.nii)?\.[a-z][a-z0-9]{0,5}")


@attrs.frozen(kw_only=True, eq=False)
class KnownFile:
    """One sample as a file, with the run's answer.

    Attributes:
        name: Of the copy.
        content: Of the copy, which holds the pixels and their place, and nothing else.
        original: The run's own file; None for an image in memory.
        formats: Those of both, by the names of their readers.
        suffixes: The ends of their names.
        sides: Of the image in the file.
        prepared: As it enters the network, of shape (channels, spatial...).
        outputs: The run's answer: ``scores``; or ``labels`` on the file's grid, as they are
            written, and ``unsure``: 1 where rounding may decide.
    """

    name: str
    content: bytes
    original: str | None
    formats: frozenset[str]
    suffixes: tuple[str, ...]
    sides: tuple[int, ...]
    prepared: Array
    outputs: Mapping[str, Array]


def known_files(
    trained: TrainedNetwork, *, allowed: float
) -> tuple[list[KnownFile], dict[str, int]]:
    """Send samples through the run's own chain, network and task, and copy them to files.

    Args:
        trained: The network with its chain.
        allowed: How far a score may be from the run's: closer ones may be decided either way.

    Returns:
        At least `ENOUGH`, and of how many splits they are. Where images may have any size and all
        have one, the first is there a second time, cut to three quarters.

    Raises:
        ExportError: There are too few, or they are no files that a format could read alone.
    """
    found: list[KnownFile] = []
    counts = dict.fromkeys(SPLITS, 0)
    first: Sample | None = None
    for split, sample in run_samples(trained):
        first = first or sample
        found.append(_known(trained, sample, len(found), allowed))
        counts[split] += 1
        if len(found) == ENOUGH:
            break
    if first is None or len(found) < ENOUGH:
        raise ExportError(
            f"An export is compared with its run on {ENOUGH} samples, and the data set has only "
            f"{len(found)}. Restore what was removed from it since, or export a run with more "
            "samples."
        )
    if len({known.sides for known in found}) == 1:
        cut = attrs.evolve(first, image=cut_sample(first, trained))
        if _takes(trained, cut, found[0].prepared.shape):
            found.append(_known(trained, cut, len(found), allowed))
    return found, {split: count for split, count in counts.items() if count}


def _takes(trained: TrainedNetwork, sample: Sample, shape: Sequence[int]) -> bool:
    """Whether an image of another size enters the network with one that it takes."""
    prepared = _prepared(trained, sample)
    return tuple(prepared.shape) == tuple(shape) or None in trained.data.spatial_shape


def _prepared(trained: TrainedNetwork, sample: Sample) -> Any:
    """A sample as it leaves the chain."""
    *_, left = trained.assembly.chain().stages(sample_dictionary(sample, trained.reading))
    return left["image"]


def _known(trained: TrainedNetwork, sample: Sample, place: int, allowed: float) -> KnownFile:
    import torch

    from medpipe.data.loading.collate import as_tensor

    original, form = _original(sample, trained)
    decoded = read_sample_image(sample.image, trained.reading)
    content, suffix = _copied(decoded, sample, pictures=form in (None, "pictures"))
    image = _prepared(trained, sample)
    prepared = as_tensor(image).float().clone()
    network: Any = trained.network
    step = trained.data.task.step
    if step.dense:
        network = first_output(network)
    with torch.no_grad():
        outputs = trained.assembly.inferer(trained.data)(prepared[None], network).float()
    if step.dense:
        answer = _masks(trained, image, outputs[0], allowed)
    else:
        answer = {"scores": step.to_scores(outputs.double())[0].numpy()}
    suffixes = (suffix,) if original is None else (suffix, suffix_of(original))
    return KnownFile(
        name=f"{place:02d}{suffix}",
        content=content,
        original=original,
        formats=frozenset({FORMATS[suffix], *([] if form is None else [form])}),
        suffixes=suffixes,
        sides=decoded.values.shape,
        prepared=prepared.numpy(),
        outputs=answer,
    )


def suffix_of(path: str) -> str:
    """The end of a file's name in lower case; empty where it tells no format, as in ``1.2.840``."""
    name = Path(path).name.lower()
    suffix = NIFTI if name.endswith(NIFTI) else Path(name).suffix
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _original(sample: Sample, trained: TrainedNetwork) -> tuple[str | None, str | None]:
    """The file of a sample and the reader of its format; both None for an image in memory."""
    files = image_files(sample.image)
    if files is None:
        return None, None
    if len(files) != 1 or isinstance(files[0], Series):
        raise ExportError(
            f"The sample {sample.id} is made of several files, and the format reads one file for "
            "each image. Use --format onnx, torch-export or safetensors."
        )
    path, content = str(files[0]), file_bytes(files[0])
    head, name = content[:HEAD], Path(path).name.lower()
    for chosen in trained.reading.readers:
        if recognises(chosen, head, name):
            return path, chosen.step.name
    for reader in READERS:
        if reader.recognises(head, name):
            return path, reader.name
    return path, "an unknown reader"


def _copied(decoded: DecodedImage, sample: Sample, *, pictures: bool) -> tuple[bytes, str]:
    """A file with the values of an image and its place, and its suffix: PNG, or else NIfTI."""
    import numpy as np

    values = decoded.values
    whole = values.dtype.kind in "biu" or bool((values == np.floor(values)).all())
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    sides = values.ndim - decoded.channels
    if sides == 2 and pictures and whole and low >= 0:
        if high < 256 and (not decoded.channels or values.shape[-1] in (3, 4)):
            return _png(values.astype(np.uint8)), PNG
        if high < 65536 and not decoded.channels:
            return _png(values.astype(np.uint16)), PNG
    if sides == 2 and decoded.channels:
        raise ExportError(
            f"The sample {sample.id} has {values.shape[-1]} channels with values from {low:g} to "
            f"{high:g}, which MONAI reads from no file as they are. Use --format onnx, "
            "torch-export or safetensors."
        )
    return _nifti(decoded, values), NIFTI


def _png(values: Array) -> bytes:
    import numpy as np
    from PIL import Image

    into = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values)).save(into, format="PNG")
    return into.getvalue()


def _nifti(decoded: DecodedImage, values: Array) -> bytes:
    import gzip

    import nibabel
    import numpy as np

    from medpipe.export.samples import smallest

    affine = decoded.affine
    if affine is None:
        affine = np.eye(4)
        if decoded.spacing is not None and decoded.spacing_of == "patient":
            rows, columns, *slices = decoded.spacing
            affine = np.diag([columns, rows, *(slices or [1.0]), 1.0])
    kept = smallest(np.asarray(values, np.float32)).swapaxes(0, 1)
    made: Any = nibabel.Nifti1Image(np.ascontiguousarray(kept), affine)  # type: ignore[no-untyped-call]
    made.header.set_xyzt_units("mm")
    return gzip.compress(made.to_bytes(), compresslevel=6, mtime=0)


def _masks(
    trained: TrainedNetwork, image: Any, outputs: torch.Tensor, allowed: float
) -> dict[str, Array]:
    """The labels that the run writes for an image, and where rounding may decide."""
    import numpy as np
    import torch

    from medpipe.data.readers.file_grid import FileGrid

    step, grid = trained.data.task.step, FileGrid.of(image)
    if grid is None or not grid.only_moved:
        steps = ", ".join(one.name for _, one in trained.assembly.chain().steps if one.spatial)
        raise ExportError(
            f"The chain resamples images ({steps}), and MONAI brings masks back to the files' "
            "grids with other numbers than medpipe. Use --format onnx, torch-export or "
            "safetensors."
        )

    def unsure(given: torch.Tensor) -> torch.Tensor:
        scores = step.to_scores(given.double())
        best = scores.topk(2, dim=1).values
        return (best[:, :1] - best[:, 1:] <= 2 * allowed).to(torch.uint8)

    values = np.array(step.written_values(trained.data.task.names))
    return {
        "labels": values[grid.to_file(outputs, step.decided).numpy()],
        "unsure": grid.to_file(outputs, unsure).numpy(),
    }
