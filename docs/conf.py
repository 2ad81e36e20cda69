"""Sphinx: MyST pages, the API from docstrings, the tables and the gallery from the code."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from gallery.page import write_gallery
from tables import write_tables

project = "medpipe"
author = "The medpipe developers"
copyright = "The medpipe developers"
release = installed_version("medpipe-imaging")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
default_role = "code"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_default_options = {"exclude-members": "__init__, __new__"}
napoleon_use_ivar = True
napoleon_attr_annotations = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["landing.css"]
html_title = f"medpipe {release}"
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = "$ "

TABLES = Path(__file__).parent / "_build" / "tables"
write_tables(TABLES)
write_gallery(TABLES / "gallery.md")
