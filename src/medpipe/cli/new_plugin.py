"""``medpipe new-plugin``: an installable, typed plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medpipe.cli.arguments import StepKind
from medpipe.recipes.new_plugin import commands_for, distribution_of, plugin_files
from medpipe.system.files import make_directories, write_text
from medpipe.system.output_folders import refuse_existing


def new_plugin(
    name: str,
    /,
    *,
    kind: Annotated[tuple[StepKind, ...], Parameter(negative="")] = ("transform", "network"),
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Write a new plugin: a typed package with steps, tests, a README and a CI file.

    Args:
        name: Its name: 'heart' becomes the distribution medpipe-heart and the package
            medpipe_heart.
        kind: A kind of step that it begins with; may be given several times.
        output: Its folder, which must not be there; by default medpipe-NAME here.
    """
    files = plugin_files(name, kind)
    folder = Path(distribution_of(name)) if output is None else output
    refuse_existing(folder, kind="folder", parameter="output")
    for path, text in files.items():
        make_directories((folder / path).parent)
        write_text(folder / path, text)
    print(f"The plugin is in {folder}. Next:")
    for command in commands_for(name, kind, str(folder)):
        print(f"  {command}")
    print(f"{folder / 'README.md'} has a training command for each step.")
