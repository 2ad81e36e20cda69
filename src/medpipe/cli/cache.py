"""``medpipe cache``: the packed caches, listed and cleared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter

from medpipe.data.cache.folders import (
    PackedFolder,
    cache_limit,
    damage_of,
    packed_folders,
    remove_all_leftovers,
    remove_folder,
)
from medpipe.errors import MedpipeError
from medpipe.system.cache_folder import cache_directory
from medpipe.system.file_errors import size_text
from medpipe.system.progress import track

cache = App(
    name="cache",
    help="List, verify and clear the packed caches, which runs create from their images.",
)

SHORT = 12
"""Characters of a key that are shown; ``clear`` takes any unique prefix."""


@cache.command(name="list")
def list_caches() -> None:
    """List the packed caches with their sizes, the most recently used last."""
    folders = packed_folders()
    if not folders:
        print(f"There is no packed cache in {cache_directory()}.")
        return
    short = _short_names(folders)
    width = max(map(len, short.values()))
    print(f"{'name':{width}}  {'size':>9}  {'samples':>9}  {'last used':16}  of")
    for folder in folders:
        samples = folder.about.get("samples", "damaged")
        used = folder.used.astimezone().strftime("%Y-%m-%d %H:%M")
        print(
            f"{short[folder.key]:{width}}  {size_text(folder.bytes):>9}  {samples:>9}  {used:16}  "
            f"{_words(folder.about.get('about'))}".rstrip()
        )
    total = size_text(sum(folder.bytes for folder in folders))
    print(f"{total} of at most {size_text(cache_limit())} in {cache_directory()}")


@cache.command(name="clear")
def clear_caches(
    *names: str,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
) -> None:
    """Remove packed caches; a run that needs one makes it again.

    A cache that a run is using is kept.

    Args:
        names: The names of the caches, as medpipe cache list shows them.
        all_: Remove all packed caches, and what interrupted runs left.
    """
    if bool(names) == all_:
        raise MedpipeError(
            "Name the packed caches to remove, as 'medpipe cache list' shows them, or give --all."
        )
    folders = packed_folders()
    chosen = folders if all_ else _chosen(folders, names)
    gone = [folder for folder in chosen if remove_folder(folder.key)]
    if all_:
        remove_all_leftovers()
    freed = size_text(sum(folder.bytes for folder in gone))
    print(f"{_count(len(gone))} removed, {freed} free.")
    kept = [folder.key for folder in chosen if folder not in gone]
    if kept:
        raise MedpipeError(
            f"{_count(len(kept))} not removed: {', '.join(kept)}. A process uses the cache, or its "
            "folder is not yours. Wait until the process ends."
        )


@cache.command(name="verify")
def verify_caches() -> None:
    """Read every packed cache completely, and remove damaged ones.

    A run checks only the index of a cache, since its values may be large. Ends with exit code 2
    if one was damaged.
    """
    folders = packed_folders()
    damaged = {}
    for folder in track(folders, "Verifying packed caches", len(folders), unit="caches"):
        why = damage_of(folder)
        if why:
            damaged[folder.key] = f"{why}; {'removed' if remove_folder(folder.key) else 'in use'}"
    print(f"{_count(len(folders) - len(damaged))} verified, {len(damaged)} damaged.")
    if damaged:
        raise MedpipeError("\n".join(f"{key}: {why}." for key, why in damaged.items()))


def _chosen(folders: Sequence[PackedFolder], names: Sequence[str]) -> list[PackedFolder]:
    chosen: dict[str, PackedFolder] = {}
    for name in names:
        found = [folder for folder in folders if folder.key.startswith(name)]
        if len(found) != 1:
            what = "Several packed caches begin" if found else "No packed cache begins"
            raise MedpipeError(
                f"{what} with {name!r}. Use the names that 'medpipe cache list' shows."
            )
        chosen[found[0].key] = found[0]
    return list(chosen.values())


def _short_names(folders: Sequence[PackedFolder]) -> dict[str, str]:
    """The shortest prefixes of the keys that are all different."""
    keys = [folder.key for folder in folders]
    length = SHORT
    while len({key[:length] for key in keys}) < len(keys):
        length += 1
    return {key: key[:length] for key in keys}


def _words(about: Any) -> str:
    """What a cache was made from, in one line."""
    if not isinstance(about, dict):
        return ""
    return ", ".join(f"{name} {value}" for name, value in about.items() if _is_short(value))


def _is_short(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= 60)


def _count(number: int) -> str:
    return "1 packed cache" if number == 1 else f"{number} packed caches"
