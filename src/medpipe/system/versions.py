"""Versions of installed distributions."""

from __future__ import annotations

import email
import functools
import platform
from importlib import metadata

from medpipe.system.distribution import own_distribution

VERSIONED = (
    "torch",
    "monai",
    "pytorch-ignite",
    "numpy",
    "nibabel",
    "pillow",
    "pydicom",
    "scikit-learn",
    "scipy",
    "safetensors",
    "simplejpeg",
)


@functools.cache
def version_of(distribution: str) -> str | None:
    """The version of a distribution; None where it is not installed.

    `importlib.metadata.version` gives the same, but reads all metadata: a millisecond each.
    """
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None
    head, _, _ = (found.read_text("METADATA") or "").partition("\n\n")
    return email.message_from_string(head)["Version"] or found.version


def versions() -> dict[str, str]:
    """The versions of Python, medpipe and what it computes with, as far as installed."""
    found: dict[str, str | None] = {"medpipe": medpipe_version()}
    found |= {name: version_of(name) for name in VERSIONED}
    installed = {name: version for name, version in found.items() if version}
    return {"python": platform.python_version(), **installed}


def writer_of(content: object) -> str:
    """Which medpipe wrote plain data that may hold its `versions`, as messages name it."""
    there = content.get("versions") if isinstance(content, dict) else None
    version = there.get("medpipe") if isinstance(there, dict) else None
    known = isinstance(version, str) and version.isprintable() and 0 < len(version) < 40
    return f"the medpipe that wrote it, {version}" if known else "the medpipe that wrote it"


def medpipe_version() -> str:
    """The version of medpipe."""
    return version_of(own_distribution()) or "unknown"
