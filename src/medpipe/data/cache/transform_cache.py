"""Cache the results of a chain's cached stage, or open what an earlier run cached.

Heavy: it imports torch. The rest of the package imports it inside functions.
"""

from __future__ import annotations

import functools
import json
import logging
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs
import torch

from medpipe.data.cache.building import build_or_open, fill, new_cache
from medpipe.data.cache.cache import PackedCache
from medpipe.data.cache.cached_images import BETWEEN, NAMED, OWN_FILE, CachedImages, label_of
from medpipe.data.cache.folders import PackingError, packed_folders
from medpipe.data.cache.index import SOURCE, Piece
from medpipe.data.chain import sample_dictionary
from medpipe.data.readers.reader import image_files, source_of
from medpipe.data.scanning.fingerprints import Fingerprint, Fingerprints, FoundFingerprints
from medpipe.data.scanning.scan import content_digest, read
from medpipe.errors import DataError, MedpipeError, RunError
from medpipe.steps import DecodedImage
from medpipe.system.files import sha256_of
from medpipe.system.versions import versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np

    from medpipe.data.chain import Chain
    from medpipe.registry.registry import Registry
    from medpipe.steps import Dataset, Reading, Sample

logger = logging.getLogger("medpipe")

FORMAT = 2
DONORS = 4
"""How many caches made by the same steps are searched for results to reuse."""

AT_ONCE = 1 << 18
"""Bytes of decoded images that are taken together, if not one alone: a CPU cache holds
them, as they are and as float32."""

ReusableEntries = dict[bytes, tuple[PackedCache, str]]
"""The cache and the id of results that exist already, by the digest of their source."""
Made = tuple["np.ndarray[Any, Any]", "Mapping[str, Any]"]

_Read = tuple["Sample", Fingerprint, DecodedImage]
"""A sample, what identifies its image, and the image."""


COMPUTING = frozenset(
    {"medpipe", "torch", "monai", "numpy", "pillow", "simplejpeg", "pydicom", "nibabel"}
)
"""What decodes and transforms images: other versions may give other values."""


@attrs.frozen(kw_only=True, eq=False)
class TransformCache:
    """Caches what leaves the cached stage of one chain.

    Attributes:
        chain: The transforms.
        reading: How files are decoded.
        steps: The steps of the cached stage with their parameters and versions, and all else
            that their results depend on.
        images_alone: Whether these steps are known to look at nothing but the image; others may
            use a sample's label or its extra columns.
        workers: How many CPU cores there are.
        labels: Where labels are images, a digest of each, by sample id: they are cached too.
    """

    chain: Chain
    reading: Reading
    steps: Sequence[Mapping[str, Any]]
    images_alone: bool
    workers: int
    labels: Mapping[str, str] | None = None

    @classmethod
    def of(
        cls,
        chain: Chain,
        dataset: Dataset,
        registry: Registry,
        *,
        workers: int,
        labels: Mapping[str, str] | None,
    ) -> TransformCache | None:
        """What caches a data set; None where its results can't be cached.

        Args:
            chain: The transforms.
            dataset: The samples.
            registry: Who supplied each step.
            workers: How many CPU cores there are.
            labels: A digest of each label, where labels are images.
        """
        described: list[Mapping[str, Any]] = []
        for step in chain.cached_steps:
            made_by = registry.made_by(step)
            if made_by is None:
                return None  # nothing says when it has changed
            described.append(made_by)
        computing = {name: found for name, found in versions().items() if name in COMPUTING}
        made = cls(
            chain=chain,
            reading=dataset.reading,
            steps=[*described, computing],
            images_alone=all(registry.is_builtin(step) for step in chain.cached_steps),
            workers=workers,
            labels=labels,
        )
        return made if made.fits(dataset) else None

    def fits(self, dataset: Dataset) -> bool:
        """Whether there is something to cache, and it is known what it is made by.

        Not for images that are in memory already.
        """
        if not self.chain.cached_steps or any(r.made_by is None for r in self.reading.readers):
            return False
        kinds = {type(sample.image): sample.image for sample in dataset.samples}
        return all(image_files(image) is not None for image in kinds.values())

    @property
    def reads(self) -> bool:
        """Whether the chain begins with a step that takes images that are read already."""
        return bool(self.chain.cached_steps) and self.chain.cached_steps[0].takes_decoded

    def keep(self, dataset: Dataset, prints: Mapping[str, Fingerprint]) -> CachedImages | None:
        """Open the cache of an earlier run, or make it, reusing what other caches hold.

        Args:
            dataset: The samples, which fit.
            prints: The fingerprints of their files.

        Returns:
            None where it can't be done: a cached stage that changes more than the image, a disk
            that is full.
        """
        ordered = sorted(dataset.samples, key=attrgetter("id"))
        ids = [sample.id for sample in ordered]
        known = Fingerprints.of(prints).of_ids(ids)
        sources = self._sources(ordered, known)
        entries = ids
        if self.labels is not None:
            entries = [entry for id_ in ids for entry in (id_, label_of(id_))]

        @functools.cache
        def making() -> tuple[dict[str, bytes], dict[str, int], ReusableEntries]:
            """What is needed only where a cache is made."""
            by_entry = dict(zip(entries, _cut(sources), strict=True))
            return by_entry, dict(zip(ids, range(len(ids)), strict=True)), self._donors()

        def produce(some: Sequence[str]) -> Iterator[Made]:
            by_entry, places, donors = making()
            last: tuple[str, list[Made]] | None = None
            for entry in some:
                id_, _, label = entry.partition(BETWEEN)
                donor = donors.get(by_entry[entry])
                if donor is not None:
                    cache, other = donor
                    yield cache.array(other), cache.meta(other)
                    continue
                if last is None or last[0] != id_:
                    place = places[id_]
                    last = id_, self._made_from(ordered[place], known.sha256[place])
                yield last[1][1 if label else 0]

        cache = build_or_open(
            self._key(entries, sources),
            self.about(),
            entries,
            produce,
            workers=self.workers,
            sources=sources,
        )
        if cache is None:
            return None
        return CachedImages(cache=cache, labels=self.labels is not None)

    def _made_from(self, sample: Sample, sha256: str) -> list[Made]:
        """As `made`, from a file whose content must be what was scanned.

        Raises:
            DataError: The file has another content by now.
        """
        if self.reads:
            found, decoded = read(sample, self.reading)
            now: str | None = found.sha256
            made = self.made(sample, self._image(sample, decoded))
        else:  # what another package's step reads can't be observed
            made = self.made(sample)
            now = content_digest(sample)
        if now is not None and now != sha256:
            raise DataError(
                f"The image {source_of(sample.image)} was changed after it had been looked "
                "through. Start again when nothing writes to the data any longer."
            )
        return made

    def _image(self, sample: Sample, decoded: DecodedImage) -> DecodedImage:
        return attrs.evolve(decoded, source=source_of(sample.image))

    def read_ahead(self, samples: Sequence[Sample], found: FoundFingerprints) -> None:
        """Scan samples and cache what leaves the cached stage, reading each file once.

        Failures (of a step, of a disk that is full) end it without an error: the scan or the
        caching that follows meets them again and raises.

        Args:
            samples: The samples.
            found: Gets the fingerprints of what was read; those that can't be read are left out.
        """
        by_id = {sample.id: sample for sample in samples}
        ordered = sorted(by_id)

        def work(ids: Sequence[str]) -> Piece:
            piece = Piece(found=FoundFingerprints())
            for some in self._read(by_id[id_] for id_ in ids):
                self._add(piece, some)
            return piece

        try:
            with new_cache(self.about(), lambda: self._key(ids, writer.sources)) as writer:
                fill(
                    writer,
                    ordered,
                    work,
                    workers=self.workers,
                    heard=lambda piece: found.extend(piece.found),
                    title="Reading and packing",
                )
                ids = [id_ for id_ in ordered if id_ in found]
                were_read = [by_id[id_] for id_ in ids]
                writer.sources = self._sources(were_read, found.of_ids(ids))
        except MedpipeError as error:
            logger.debug("Reading and packing was given up: %s", error)

    def _read(self, samples: Iterable[Sample]) -> Iterator[list[_Read]]:
        """The samples that can be read, several at a time.

        Reading several, then transforming, then packing them takes a fifth less time than one
        after the other: for small images the CPU's cache matters more for code than for pixels.
        """
        some: list[_Read] = []
        size = 0
        for sample in samples:
            try:
                fingerprint, decoded = read(sample, self.reading)
            except DataError:
                continue
            image = self._image(sample, decoded)
            some.append((sample, fingerprint, image))
            size += decoded.values.nbytes
            if size >= AT_ONCE:
                yield some
                some, size = [], 0
        yield some

    def _add(self, piece: Piece, some: Sequence[_Read]) -> None:
        made = [self.made(sample, image)[0] for sample, _, image in some]
        for (sample, look, _), (array, meta) in zip(some, made, strict=True):
            piece.add(sample.id, array, meta)
            piece.found.add(sample.id, look)

    def _key(self, ids: Sequence[str], sources: bytes) -> str:
        """The key of the cache of these samples, sorted by id."""
        made_from = sha256_of("\0".join(ids).encode("utf-8", "surrogatepass") + sources)
        return sha256_of(f"{self.about()['made_by']}\0{made_from}".encode("ascii"))[:32]

    def _sources(self, samples: Sequence[Sample], prints: Fingerprints) -> bytes:
        """A digest of 16 bytes for each sample of what it is made from."""
        if self.images_alone and self.labels is None:
            return prints.sha256.heads(SOURCE)
        seen = (
            [sha256, *self._beside(sample)]
            for sample, sha256 in zip(samples, prints.sha256, strict=True)
        )
        kinds = ("",) if self.labels is None else ("image", "label")
        texts = (repr([*one, *filter(None, [kind])]) for one in seen for kind in kinds)
        encoded = (text.encode("utf-8", "surrogateescape") for text in texts)
        return b"".join([bytes.fromhex(sha256_of(text))[:SOURCE] for text in encoded])

    def _beside(self, sample: Sample) -> list[Any]:
        """What a result may depend on besides the image."""
        label = sample.label if self.labels is None else self.labels[sample.id]
        if self.images_alone:
            return [label]
        return [sample.id, label, sorted(sample.extra.items())]

    def about(self) -> dict[str, Any]:
        """What the values depend on besides the files, and its digest under ``made_by``."""
        words = {
            "format": FORMAT,
            "reading": self.reading.plain(),
            "readers": [reader.made_by for reader in self.reading.readers],
            "steps": list(self.steps),
        }
        return {**words, "made_by": sha256_of(json.dumps(words, sort_keys=True).encode())}

    def made(self, sample: Sample, image: Any = None) -> list[Made]:
        """What a sample's image is when it leaves the cached stage, and its metadata.

        Where labels are images, the same of the label follows.

        Args:
            sample: The sample.
            image: What to begin with; None: what the sample names.

        Raises:
            PackingError: The image alone would not be enough, or its metadata can't be kept.
        """
        given = sample_dictionary(sample, self.reading)
        if image is not None:
            given["image"] = image
        left = self.chain.cached_stage(given)
        result = left["image"]
        kept = {"image"} if self.labels is None else {"image", "label"}
        if (
            any(not isinstance(left.get(key), torch.Tensor) for key in kept)
            or left.keys() != given.keys()
            or any(value is not given[key] for key, value in left.items() if key not in kept)
        ):
            raise PackingError(
                "a deterministic step changes more of a sample than its image, and the image "
                "alone would not be enough. Set loader.cache = 'off' to leave this out."
            )
        try:
            meta = {key: _plain(value) for key, value in getattr(result, "meta", {}).items()}
        except TypeError as error:
            raise PackingError(f"an image's metadata {error}.") from error
        if meta.get(NAMED) == (source_of(sample.image) or sample.id):
            meta[NAMED] = OWN_FILE
        made: list[Made] = [(result.as_subclass(torch.Tensor).numpy(), meta)]
        if self.labels is not None:
            made.append((left["label"].as_subclass(torch.Tensor).numpy(), {}))
        return made

    def _donors(self) -> ReusableEntries:
        """Samples in other caches of the same steps, by the digest of what they were made from."""
        made_by = self.about()["made_by"]
        found: ReusableEntries = {}
        alike = [
            folder
            for folder in packed_folders()
            if folder.about.get("about", {}).get("made_by") == made_by
        ]
        for folder in alike[-DONORS:]:
            try:
                cache = PackedCache(folder.path)
            except RunError:  # damaged, or cleared meanwhile
                continue
            found.update({source: (cache, id_) for source, id_ in cache.sources.items()})
        return found


def _cut(sources: bytes) -> list[bytes]:
    """Split the sources of several samples."""
    return [sources[start : start + SOURCE] for start in range(0, len(sources), SOURCE)]


def _plain(value: Any) -> Any:
    """A value of an image's metadata as JSON has it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "tolist"):  # tensors and arrays
        kind = "tensor" if isinstance(value, torch.Tensor) else "array"
        return {kind: value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    raise TypeError(f"hold a {type(value).__name__}, which can't be kept")
