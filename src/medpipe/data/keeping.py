"""Keep the results of a chain's first stretch, or open what an earlier run kept.

Heavy: it imports torch. The rest of the package imports it inside functions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import torch

from medpipe.data.chain import Chain, sample_dictionary
from medpipe.data.kept import KeptImages
from medpipe.data.packing.building import build_or_open
from medpipe.data.packing.folders import PackingError
from medpipe.data.reading import image_files
from medpipe.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from medpipe.data.preparation import PreparedData
    from medpipe.steps import Sample

FORMAT = 1


def keep(
    chain: Chain, prepared: PreparedData, described: Sequence[Mapping[str, Any]], *, workers: int
) -> KeptImages | None:
    """Open what an earlier run kept, or make it.

    Args:
        chain: The transforms.
        prepared: The samples, with the fingerprints of their files.
        described: The steps of the first stretch with their parameters and versions, and all
            else that their results depend on.
        workers: How many processors there are.

    Returns:
        None where it does not pay or can't be done: images that are in memory already, a first
        stretch that changes more than the image, a disk that is full.
    """
    samples = prepared.dataset.samples
    if not chain.first_steps or any(image_files(sample.image) is None for sample in samples):
        return None
    prints = prepared.scan.fingerprints
    by_id = {sample.id: sample for sample in samples}
    about = {
        "format": FORMAT,
        "reading": attrs.asdict(prepared.dataset.reading),
        "steps": list(described),
        "files": sha256_of("".join(f"{i}\0{prints[i].sha256}\n" for i in sorted(by_id)).encode()),
    }
    key = sha256_of(json.dumps(about, sort_keys=True).encode())[:32]

    def produce(ids: Sequence[str]) -> Iterator[tuple[np.ndarray[Any, Any], Mapping[str, Any]]]:
        for id_ in ids:
            yield _made(chain, by_id[id_], prepared)

    cache = build_or_open(key, about, sorted(by_id), produce, workers=workers)
    return None if cache is None else KeptImages(cache=cache)


def _made(
    chain: Chain, sample: Sample, prepared: PreparedData
) -> tuple[np.ndarray[Any, Any], Mapping[str, Any]]:
    given = sample_dictionary(sample, prepared.dataset.reading)
    left = chain.first(given)
    others = {key: value for key, value in left.items() if key != "image"}
    image = left["image"]
    if (
        not isinstance(image, torch.Tensor)
        or others.keys() != given.keys() - {"image"}
        or any(value is not given[key] for key, value in others.items())
    ):
        raise PackingError(
            "a deterministic step changes more of a sample than its image, and the image alone "
            "would not be enough. Set loader.cache = 'off' to leave this out."
        )
    meta = getattr(image, "meta", {})
    try:
        kept = {key: _plain(value) for key, value in meta.items()}
    except TypeError as error:
        raise PackingError(f"an image's metadata {error}.") from error
    return image.as_subclass(torch.Tensor).numpy(), kept


def _plain(value: Any) -> Any:
    """A value of an image's metadata as JSON has it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "tolist"):  # tensors and arrays
        kind = "tensor" if isinstance(value, torch.Tensor) else "array"
        return {kind: value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    raise TypeError(f"hold a {type(value).__name__}, which can't be kept")
