"""Open a packed cache, and make it first where it isn't there: one process makes, others wait."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from medpipe.data.packing.cache import PackedCache
from medpipe.data.packing.folders import (
    PackingError,
    cache_limit,
    folder_of,
    lock_of,
    make_room,
    remove_broken,
    remove_leftovers,
    size_text,
    tried_lock,
)
from medpipe.data.packing.work import making, try_out, workers_for
from medpipe.data.packing.writer import PackedWriter
from medpipe.errors import RunError
from medpipe.files import locked
from medpipe.progress import bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from medpipe.data.packing.work import Produce

logger = logging.getLogger("medpipe")


def build_or_open(
    key: str,
    about: Mapping[str, Any],
    ids: Sequence[str],
    produce: Produce,
    *,
    workers: int,
    total_bytes_estimate: int | None = None,
) -> PackedCache | None:
    """Open the packed cache of a key, and make it first where it isn't there.

    Of several processes one makes it and the others wait for it. One that is damaged is made
    anew.

    Args:
        key: What the values depend on, hashed: steps, parameters, versions, files.
        about: The same in words.
        ids: All samples, in the order in which they are to lie in the file.
        produce: Makes samples; it may be called in several processes or threads at once, and
            gives an array and its metadata for each of the ids that it gets, in their order.
        workers: How many processors to use.
        total_bytes_estimate: About how large it will be; None: the first samples tell.

    Returns:
        The cache; None, after a warning, where it can't be written.

    Raises:
        MedpipeError: What `produce` raises, or ``MEDPIPE_CACHE_LIMIT`` holds no size.
    """
    try:
        with _locked(key):
            cache = _opened(key, ids)
            if cache is None:
                remove_leftovers(key)
                if total_bytes_estimate is not None:
                    make_room(total_bytes_estimate, keep=key)
                _build(key, about, ids, produce, workers=workers)
                cache = PackedCache(folder_of(key))
    except PackingError as error:
        logger.warning("Going on without a packed cache: %s", error)
        return None
    cache.touch()
    return cache


@contextmanager
def _locked(key: str) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            lock_of(key).parent.mkdir(parents=True, exist_ok=True)
            if not stack.enter_context(tried_lock(key)):
                logger.info("Waiting for another process, which makes the packed cache.")
                stack.enter_context(locked(lock_of(key)))
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise PackingError(f"{lock_of(key)} can't be locked: {reason.lower()}.") from error
        yield


def _opened(key: str, ids: Sequence[str]) -> PackedCache | None:
    """The cache if there is a good one; one that isn't is removed."""
    path = folder_of(key)
    if not path.exists():
        return None
    try:
        cache = PackedCache(path)
    except RunError as error:
        logger.warning("A packed cache is made anew. %s", error.__cause__ or error)
    else:
        if cache.ids == tuple(ids) or set(cache.ids) == set(ids):
            return cache
        del cache
        logger.warning("The packed cache %s holds other samples. It is made anew.", path)
    remove_broken(key)
    return None


def _build(
    key: str, about: Mapping[str, Any], ids: Sequence[str], produce: Produce, *, workers: int
) -> None:
    limit = cache_limit()
    with PackedWriter(folder_of(key), about) as writer:
        trial = try_out(ids, produce)
        for piece in trial.pieces:
            writer.append(piece)
        size = trial.bytes_each * len(ids)
        make_room(int(size), keep=key)
        rest = ids[trial.count :]
        if not rest:
            return
        used = workers_for(len(rest), trial, workers)
        seconds = len(rest) * trial.seconds_each / used
        logger.info(
            "Packing %d samples: about %s and %.0f s. Later runs open them at once.",
            len(ids),
            size_text(size),
            seconds,
        )
        with (
            making(rest, produce, trial, workers=used) as pieces,
            bar(f"Packing ({size_text(size)})", len(rest), unit="samples") as shown,
        ):
            for piece in pieces:
                writer.append(piece)
                shown.advance(len(piece.ids))
                if writer.bytes > limit:
                    raise PackingError(
                        f"The packed cache grew beyond the limit of {size_text(limit)}. "
                        "Set MEDPIPE_CACHE_LIMIT higher to have it."
                    )
