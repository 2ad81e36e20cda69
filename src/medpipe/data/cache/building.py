"""Build or open a packed cache; one process builds, others wait."""

from __future__ import annotations

import logging
import secrets
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from medpipe.data.cache.cache import PackedCache
from medpipe.data.cache.folders import (
    PackingError,
    cache_limit,
    folder_of,
    lock_of,
    make_room,
    packed_root,
    remove_broken,
    remove_leftovers,
)
from medpipe.data.cache.work import pack, portions, try_out, workers_for
from medpipe.data.cache.writer import PackedWriter
from medpipe.errors import RunError
from medpipe.system.cache_folder import warn_without_cache
from medpipe.system.file_errors import failure, size_text
from medpipe.system.files import make_directories, rename
from medpipe.system.locks import locked, tried
from medpipe.system.processes import LostWorkerError, in_order
from medpipe.system.progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from medpipe.data.cache.index import Piece
    from medpipe.data.cache.work import Produce

logger = logging.getLogger("medpipe")


def build_or_open(
    key: str,
    about: Mapping[str, Any],
    ids: Sequence[str],
    produce: Produce,
    *,
    workers: int,
    sources: bytes = b"",
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
        workers: How many CPU cores to use.
        sources: For each of `ids` a digest of 16 bytes of what it is made from, by which later
            caches reuse it; empty: they can't.

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
                with PackedWriter(folder_of(key), about) as writer:
                    writer.sources = sources
                    work = partial(pack, produce=produce)
                    fill(writer, ids, work, key=key, workers=workers)
                cache = PackedCache(folder_of(key))
    except PackingError as error:
        warn_without_cache("The run has no packed cache", error)
        return None
    cache.touch()
    return cache


@contextmanager
def _locked(key: str) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            make_directories(packed_root())
            if not stack.enter_context(tried(lock_of(key))):
                logger.info("Waiting for another process, which makes the packed cache.")
                stack.enter_context(locked(lock_of(key)))
        except OSError as error:
            raise PackingError(failure(lock_of(key), "locked", error, "MEDPIPE_CACHE")) from error
        yield


def _opened(key: str, ids: Sequence[str]) -> PackedCache | None:
    """The cache if it exists and is valid; an invalid one is removed."""
    path = folder_of(key)
    if not path.exists():
        return None
    try:
        cache = PackedCache(path)
    except RunError as error:
        logger.warning("A packed cache is made anew. %s", error.__cause__ or error)
    else:
        if cache.ids == tuple(ids):
            cache.share(tuple(ids))
            return cache
        if set(cache.ids) == set(ids):
            return cache
        del cache
        logger.warning("The packed cache %s holds other samples. It is made anew.", path)
    remove_broken(key)
    return None


@contextmanager
def new_cache(about: Mapping[str, Any], key: Callable[[], str]) -> Iterator[PackedWriter]:
    """Write a packed cache whose key is only known when all its samples are made.

    It exists once the block ends without an error, and not at all otherwise. If another process
    has made one of this key meanwhile, that one stays.

    Args:
        about: What the values depend on, in words.
        key: Returns the key; called when the block has ended.

    Raises:
        PackingError: It can't be written.
    """
    provisional = f"new-{secrets.token_hex(8)}"
    try:
        with _locked(provisional):  # what no process holds is taken for a leftover
            with PackedWriter(folder_of(provisional), about) as writer:
                yield writer
            own = key()  # over all samples: asked once
            with _locked(own):
                if folder_of(own).exists():
                    remove_broken(provisional)
                else:
                    rename(folder_of(provisional), folder_of(own))
    except RunError as error:
        raise PackingError(str(error)) from error


def fill(
    writer: PackedWriter,
    ids: Sequence[str],
    work: Callable[[Sequence[str]], Piece],
    *,
    workers: int,
    key: str = "",
    heard: Callable[[Piece], object] = lambda _: None,
    title: str = "Packing",
) -> None:
    """Make samples with all CPU cores and write them, in their order.

    Args:
        writer: Takes them.
        ids: The samples.
        work: Makes those of one portion, in any process.
        workers: How many CPU cores to use.
        key: The cache's, where it is known: it stays where others are removed to make room.
        heard: Called with each piece, in this process.
        title: What the progress bar says.

    Raises:
        MedpipeError: What `work` raises.
        PackingError: It would be larger than it may be, or a worker was killed.
    """
    limit = cache_limit()
    trial = try_out(ids, work)

    def take(piece: Piece) -> None:
        writer.append(piece)
        heard(piece)

    for piece in trial.pieces:
        take(piece)
    size = trial.bytes_each * len(ids)
    make_room(int(size), keep=key)
    rest = ids[trial.count :]
    if not rest:
        return
    used = workers_for(len(rest), trial, workers)
    logger.info(
        "%s %d samples: about %s and %.0f s. Later runs open them at once.",
        title,
        len(ids),
        size_text(size),
        len(rest) * trial.seconds_each / used,
    )
    try:
        with (
            in_order(work, portions(rest, trial, workers=used), workers=used) as pieces,
            bar(f"{title} ({size_text(size)})", len(rest), unit="samples") as shown,
        ):
            for piece in pieces:
                take(piece)
                shown.advance(len(piece.ids))
                if writer.bytes > limit:
                    raise PackingError(
                        f"The packed cache grew beyond the limit of {size_text(limit)}. "
                        "Set MEDPIPE_CACHE_LIMIT higher to have it."
                    )
    except LostWorkerError as error:
        raise PackingError(
            "A process that made samples for the packed cache was killed, perhaps for lack of "
            "memory. Give the job more memory, or set loader.cache = 'off'."
        ) from error
