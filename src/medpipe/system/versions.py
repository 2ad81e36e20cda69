"""Which versions of other distributions are installed."""

from __future__ import annotations

import email
import functools
import platform
from importlib import metadata

VERSIONED = (
    "medpipe",
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

    `importlib.metadata.version` says the same and reads the whole description, a millisecond
    each.
    """
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None
    head, _, _ = (found.read_text("METADATA") or "").partition("\n\n")
    return email.message_from_string(head)["Version"] or found.version


def versions() -> dict[str, str]:
    """The versions of Python, medpipe and what it computes with, as far as installed."""
    found = {name: version_of(name) for name in VERSIONED}
    installed = {name: version for name, version in found.items() if version}
    return {"python": platform.python_version(), **installed}
