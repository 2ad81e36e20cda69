"""``medpipe init``: an empty project."""

from __future__ import annotations

from pathlib import Path

from medpipe.recipes import project
from medpipe.system.files import make_directories, write_text
from medpipe.system.output_folders import refuse_existing


def init(folder: Path = Path(), /) -> None:
    """Write an empty project: a configuration, a README and a .gitignore.

    Args:
        folder: The folder to write into, created if needed; by default the working folder.
    """
    content = project()
    for name in content:
        refuse_existing(folder / name, kind="folder", parameter=None)
    make_directories(folder)
    for name, written in content.items():
        write_text(folder / name, written)
    print(f"{', '.join(str(folder / name) for name in content)} are written.")
    print(f"Put the images into {folder / 'data'}; then: medpipe check pipeline.toml")
