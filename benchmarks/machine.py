"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("medpipe", "torch", "monai", "pytorch-ignite", "numpy", "pillow", "simplejpeg")
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
"""What decides how fast a processor trains, the best first."""


def machine() -> dict[str, object]:
    """Processor, cores, memory, GPU."""
    import torch

    description = _lines("/proc/cpuinfo")
    flags = description.get("flags", "").split()
    return {
        "processor": description.get("model name") or platform.processor(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": cores(),
        "memory": _lines("/proc/meminfo").get("MemTotal", ""),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Python and the libraries, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def sentence() -> str:
    """The machine and the versions that matter most, in one line."""
    about, found = machine(), versions()
    parts = [
        f"{about['processor']} ({', '.join(about['instructions']) or 'no vectors'})",  # type: ignore[arg-type]
        f"{about['cores']} cores",
        *([f"GPU {about['gpu']}"] if about["gpu"] else []),
        *([f"OMP_NUM_THREADS={about['threads']}"] if about["threads"] else []),
        *(f"{name} {found[name]}" for name in ("torch", "monai") if name in found),
    ]
    return ", ".join(parts)


def _lines(path: str) -> dict[str, str]:
    """The ``name: value`` lines of a file of the system, the first of each name."""
    found: dict[str, str] = {}
    try:
        for line in Path(path).read_text().splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    return found
