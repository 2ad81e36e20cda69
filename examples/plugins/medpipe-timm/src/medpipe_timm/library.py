"""The package timm, or the reason why it can't be imported.

It has no types, and where types are checked it may be missing: so it is `Any` here.
"""

from __future__ import annotations

import importlib
from typing import Any

from medpipe.plugin import PluginError


def timm() -> Any:
    """Import timm.

    Raises:
        PluginError: It, or torchvision which it imports, can't be imported.
    """
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise PluginError(
            f"network 'timm' needs the package {error.name}, which is not installed: pip install "
            "timm. It brings torchvision, which must be the one for the torch that is installed: "
            "name the same --index-url as for torch."
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        text = " ".join(str(error).split()).rstrip(".")
        raise PluginError(
            f"network 'timm' can't import timm: {type(error).__name__}: {text}. timm imports "
            "torchvision, and each torch has a torchvision of its own, also for the CPU: install "
            "both together and from one index (pip install --upgrade torch torchvision "
            "--index-url ...)."
        ) from error
