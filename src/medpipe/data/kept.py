"""The results of a chain's first stretch, kept from an earlier run or made now.

Heavy: it imports torch. The rest of the package imports it inside functions.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import attrs
import torch

from medpipe.data.chain import Chain, sample_dictionary
from medpipe.data.packed import PackedCache, PackingError, build_or_open
from medpipe.data.reading import image_files
from medpipe.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from medpipe.data.preparation import PreparedData
    from medpipe.steps import Sample

logger = logging.getLogger("medpipe")

FORMAT = 1


@attrs.frozen(kw_only=True, eq=False)
class KeptImages:
    """Images that have left a chain's first stretch.

    Attributes:
        cache: Where they are.
    """

    cache: PackedCache

    def stacked(self, sample_ids: Sequence[str]) -> torch.Tensor | None:
        """The images of shape (batch, channels, spatial...), in as few bits as they are kept.

        As float32 they are what left the stretch. None where they don't have one shape, or were
        not float32.
        """
        images = self.cache.stacked(sample_ids)
        if images is None or self.cache.dtype(sample_ids[0]) != "float32":
            return None
        return torch.from_numpy(images)

    def sample(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The sample as it left the first stretch."""
        from monai.data import MetaTensor

        values = torch.from_numpy(self.cache.array(given["id"]))
        meta = {key: _restored(value) for key, value in self.cache.meta(given["id"]).items()}
        return {**given, "image": MetaTensor(values, meta=meta) if meta else values}


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


def _restored(value: Any) -> Any:
    import numpy as np

    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))
    return np.array(value["array"], dtype=value["dtype"])
