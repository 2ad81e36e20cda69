"""Silence the warnings of decoders.

They warn of each oddity of each file, also of those that they correct; what can't be decoded is
an error anyway.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings

_DECODERS = re.compile(r"(pydicom|PIL|nibabel)\.")
_FILTER = ("ignore", None, Warning, _DECODERS, 0)
_lock = threading.Lock()


def quiet_decoders() -> None:
    """Silence the decoders' warnings for the rest of the process; may be called repeatedly.

    They stay silent, because restoring filters is not safe while other threads decode.
    """
    if _FILTER not in warnings.filters:
        with _lock:
            warnings.filterwarnings("ignore", module=_DECODERS.pattern)
    # nibabel has a logger that writes to the terminal by itself.
    logger = logging.getLogger("nibabel.global")
    if logger.level != logging.CRITICAL:  # setting it takes longer than a small file's decoding
        logger.setLevel(logging.CRITICAL)
