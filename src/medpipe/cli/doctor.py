"""``medpipe doctor``: versions, device, plugins and what is wrong with the installation."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from medpipe.errors import RunError
from medpipe.registry.loading import Plugin
from medpipe.registry.registry import Registry
from medpipe.registry.remedies import lacks, what_to_do
from medpipe.system.cache_folder import cache_directory
from medpipe.system.place import place

TO_START = """Only one process was started, and --processes tries what several exchange. Start them:
  torchrun --nproc-per-node 2 -m medpipe doctor --processes
or, the same on each of two machines, with the name of the first:
  torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \\
    -m medpipe doctor --processes"""


def doctor(*, processes: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Show versions, device, memory, data and plugins; exit code 1 if a plugin is broken.

    Args:
        processes: Try instead what the processes that torchrun started exchange; exit code 1 if
            something is blocked.
    """
    if processes:
        _look_at_processes()
        return
    from medpipe.system.distribution import collisions, unreadable_points
    from medpipe.system.versions import versions

    for name, version in versions().items():
        print(f"{name:16}{version}")
    if not unreadable_points():  # torch reads entry points too, and can't be imported then
        _show_machine()
    print(f"{'cache':16}{cache_directory()}")
    print(f"{'MEDPIPE_DATA':16}{os.environ.get('MEDPIPE_DATA', 'not set')}")
    registry = Registry.discover()
    print(f"{'plugins':16}{', '.join(plugin.title for plugin in registry.plugins)}")
    broken = [plugin.title for plugin in registry.plugins if _told(plugin)]
    for conflict in registry.conflicts:
        print(f"{'':16}{conflict}")
    collided = collisions()
    for collision in collided:
        print(collision)
    if broken or collided:
        sys.exit(1)


def _show_machine() -> None:
    from medpipe.system.hardware import (
        available_cpus,
        available_memory,
        choose_device,
        is_faster_in_bfloat16,
    )

    device, said = choose_device("auto")
    memory = available_memory()
    print(f"{'device':16}{device}{', ' + said if said else ''}")
    print(f"{'bfloat16':16}{'faster' if is_faster_in_bfloat16(device) else 'not faster'}")
    print(f"{'CPU cores':16}{available_cpus()}")
    print(f"{'free memory':16}{f'{memory / 1e9:.1f} GB' if memory is not None else 'unknown'}")


def _told(plugin: Plugin) -> bool:
    """Print what is wrong with a plugin and what to do; whether it is broken."""
    lacking = lacks(plugin)
    said = [f"could not be loaded: {plugin.error}"] if plugin.error else []
    said += [f"was not loaded in full: {problem}" for problem in plugin.problems]
    said += [sentence for sentence in (lacking, *plugin.remarks) if sentence]
    for sentence in said:
        print(f"{'':16}{plugin.title} {sentence}")
    if said:
        print(f"{'':18}What to do: {what_to_do(plugin)}.")
    return bool(plugin.error or plugin.problems or lacking)


def _look_at_processes() -> None:
    from medpipe.distributed.diagnosis import diagnose

    here = place()
    if here.alone:
        raise RunError(TO_START)
    lines, blocked = diagnose(here)
    for line in lines:
        print(line, file=sys.stdout if here.leads else sys.stderr)
    if blocked:
        sys.exit(1)
