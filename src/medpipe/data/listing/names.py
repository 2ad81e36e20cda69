"""File names: suffixes of images, names of system files and editor backups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.system.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SPELLINGS: tuple[tuple[str, ...], ...] = (
    (".png",),
    (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif"),
    (".tif", ".tiff"),
    (".bmp", ".dib"),
    (".nii.gz",),
    (".nii",),
    (".npy",),
    (".npz",),
)
IMAGE_SUFFIXES = tuple(suffix for same in _SPELLINGS for suffix in same)
"""Suffixes of images, in lower case; DICOM files are recognised by their content."""
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""Suffixes of DICOM files, if they have one at all."""

_END = "\0"  # no name holds it
_SYSTEM_NAMES = frozenset(
    {
        "__macosx",  # what macOS adds to archives
        "icon\r",
        "network trash folder",
        "temporary items",
        "thumbs.db",  # Windows
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "$recycle.bin",
        "system volume information",
        "lost+found",  # Linux
        "@eadir",  # Synology and QNAP
        "@tmp",
        "@recycle",
        "@recently-snapshot",
        "@sharesnap",
        "@sharebin",
        "@synoresource",
        "#recycle",
        "#snapshot",
    }
)
_THUMBNAILS = ("synofile_thumb", "synophoto_thumb")
_COPIES = ("~", ".swp", ".swo", ".bak")
"""Suffixes of the copies that editors leave beside a file."""
_TRACES = (
    *(f"{_END}{start}" for start in (".", "~$", "#", *_THUMBNAILS)),
    *(f"{_END}{name}{_END}" for name in sorted(_SYSTEM_NAMES) if name[0] != "#"),
    *(f"{end}{_END}" for end in _COPIES),
)
"""One of these is in the joined lower-case names of a folder if one is a system name."""


def spellings(suffix: str) -> tuple[str, ...]:
    """A suffix and the others that mean the same format: ``.jpg``, ``.jpeg``, ``.jfif``."""
    lower = suffix.lower()
    for same in (*_SPELLINGS, DICOM_SUFFIXES):
        if lower in same:
            return (suffix, *(other for other in same if other != lower))
    return (suffix,)


def is_system_name(name: str, *, folder: bool) -> bool:
    """Whether a name is hidden, a system's own, or that of a copy which an editor left."""
    lower = name.lower()
    if name.startswith(".") or lower in _SYSTEM_NAMES:
        return True
    if folder:
        return False
    between_hashes = len(name) > 2 and name[0] == name[-1] == "#"
    return between_hashes or lower.startswith(("~$", *_THUMBNAILS)) or lower.endswith(_COPIES)


def may_hold_system_names(names: Sequence[str]) -> bool:
    """Whether `is_system_name` may hold for some: all at once, which is quicker."""
    together = _END.join(["", *names, ""]).lower()
    return any(trace in together for trace in _TRACES)


def are_all_images(names: Iterable[str]) -> bool:
    """Whether all names end as those of images do: all at once, which is quicker."""
    together = _END.join([*names, ""]).lower()
    ends = sum(together.count(suffix + _END) for suffix in IMAGE_SUFFIXES)
    return ends == together.count(_END)


def look_alike(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Names that differ only in case, in spaces or in invisible characters, sorted."""
    together = _END.join(["", *names, ""])
    plain = together.isascii() and not any(s in together for s in ("  ", f" {_END}", f"{_END} "))
    if plain and len(set(together.lower().split(_END))) == len(names) + 1:
        return []  # as almost always
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(" ".join(visible(name).casefold().split(" ")), set()).add(name)
    return sorted(tuple(sorted(same)) for same in found.values() if len(same) > 1)
