"""A user name where the system has none, as in containers."""

from __future__ import annotations

import getpass
import os

ASKED = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""The variables that Python looks for the name in, before it asks the system."""


def give_user_a_name() -> None:
    """Set ``LOGNAME`` where Python finds no name: MONAI can't be imported without one."""
    if any(os.environ.get(name) for name in ASKED):
        return
    try:
        getpass.getuser()
    except (OSError, KeyError, ImportError):  # by version and system
        os.environ["LOGNAME"] = f"user-{os.getuid() if hasattr(os, 'getuid') else 0}"
