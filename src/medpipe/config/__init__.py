"""Configurations: from a TOML document to a validated `Configuration`, and back.

A configuration names registered steps and gives values, nothing else: no import paths, no
expressions, no interpolation. Every problem is found at once, each with its path.
"""

from __future__ import annotations

from medpipe.config.configuration import Configuration
from medpipe.config.deciding import decided, with_decided
from medpipe.config.document import parse, read_text, set_value, unset_value
from medpipe.config.loading import (
    augmentation,
    build_step,
    check,
    default_chain,
    format_problems,
    load,
    twice,
)
from medpipe.config.sections import (
    DEFAULT_CHAIN,
    DEFAULT_TABLES,
    DEFAULT_TRANSFORMS,
    FORMAT,
    LIST_SECTIONS,
    SETTINGS_SECTIONS,
    STEP_SECTIONS,
)
from medpipe.config.writing import (
    changed_lines,
    completed,
    differing,
    dump,
    text_of,
    toml_text,
    unrepeatable,
    write,
)

__all__ = [
    "DEFAULT_CHAIN",
    "DEFAULT_TABLES",
    "DEFAULT_TRANSFORMS",
    "FORMAT",
    "LIST_SECTIONS",
    "SETTINGS_SECTIONS",
    "STEP_SECTIONS",
    "Configuration",
    "augmentation",
    "build_step",
    "changed_lines",
    "check",
    "completed",
    "decided",
    "default_chain",
    "differing",
    "dump",
    "format_problems",
    "load",
    "parse",
    "read_text",
    "set_value",
    "text_of",
    "toml_text",
    "twice",
    "unrepeatable",
    "unset_value",
    "with_decided",
    "write",
]
