"""What is changed, and the tests that are to notice: those that fail soonest first.

Only tests that take seconds are listed, so that a survivor here may still be noticed by a longer
one. A change lasts until the first test fails; a survivor sees all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]

Room = Mapping[str, tuple[str, ...]]

ROOMS: dict[str, Room] = {
    "system": {
        "src/medpipe/system/cache_folder.py": ("test_streams.py", "test_limits.py"),
        "src/medpipe/system/disk.py": ("test_files.py",),
        "src/medpipe/system/distribution.py": ("test_distribution.py",),
        "src/medpipe/system/file_errors.py": ("test_files.py", "test_locks.py"),
        "src/medpipe/system/files.py": ("test_files.py", "test_streams.py"),
        "src/medpipe/system/gc_pause.py": ("test_data_transform_cache.py",),
        "src/medpipe/system/hardware.py": ("test_training_hardware.py",),
        "src/medpipe/system/lazy.py": ("test_distribution.py", "test_imports.py"),
        "src/medpipe/system/lock_holders.py": ("test_locks.py",),
        "src/medpipe/system/locks.py": ("test_locks.py",),
        "src/medpipe/system/html.py": ("test_shown.py",),
        "src/medpipe/system/narration.py": ("test_shown.py", "test_first_project.py"),
        "src/medpipe/system/notebook.py": ("test_shown.py",),
        "src/medpipe/system/options.py": ("test_pipeline_longer.py",),
        "src/medpipe/system/output_folders.py": ("test_files.py", "test_locks.py"),
        "src/medpipe/system/place.py": ("test_several_processes.py",),
        "src/medpipe/system/plain_numbers.py": ("test_plain_numbers.py",),
        "src/medpipe/system/private_api.py": ("test_private_api.py",),
        "src/medpipe/system/processes.py": ("test_processes.py",),
        "src/medpipe/system/progress.py": ("test_streams.py", "test_shown.py"),
        "src/medpipe/system/random_state.py": (
            "test_data_order.py",
            "test_builtin_batched_draws.py",
        ),
        "src/medpipe/system/raised.py": ("test_raised.py",),
        "src/medpipe/system/resource_errors.py": ("test_limits.py",),
        "src/medpipe/system/start_methods.py": ("test_start_methods.py",),
        "src/medpipe/system/text.py": ("test_text.py",),
        "src/medpipe/system/threads.py": ("test_first_project.py",),
        "src/medpipe/system/timing.py": ("test_timing.py",),
        "src/medpipe/system/user_name.py": ("test_streams.py",),
        "src/medpipe/system/versions.py": ("test_versions.py",),
    },
    "checkpoints": {
        "src/medpipe/training/checkpoint.py": (
            "test_training_checkpoint.py",
            "test_training_restoring.py",
            "test_hostile_checkpoints.py",
        ),
        "src/medpipe/training/restoring.py": (
            "test_training_restoring.py",
            "test_hostile_checkpoints.py",
            "test_resume.py",
        ),
        "src/medpipe/training/run_checkpoints.py": (
            "test_hostile_checkpoints.py",
            "test_resume.py",
        ),
    },
    "splits": {
        "src/medpipe/data/ids.py": ("test_data_scan.py", "test_data_splits_file.py"),
        "src/medpipe/data/splits/counts.py": ("test_shown.py", "test_checks.py"),
        "src/medpipe/data/splits/folds.py": ("test_data_splits_folds.py", "test_data_splits.py"),
        "src/medpipe/data/splits/iterative.py": (
            "test_data_splits_findings.py",
            "test_data_splits_laws.py",
        ),
        "src/medpipe/data/splits/leak_messages.py": (
            "test_data_splits_leaks.py",
            "test_data_splits_findings.py",
        ),
        "src/medpipe/data/splits/leak_removal.py": (
            "test_data_splits_leaks.py",
            "test_data_splits_laws.py",
        ),
        "src/medpipe/data/splits/leaks.py": (
            "test_data_splits_leaks.py",
            "test_data_splits_laws.py",
        ),
        "src/medpipe/data/splits/shares.py": ("test_data_splits.py", "test_data_splits_laws.py"),
        "src/medpipe/data/splits/split.py": (
            "test_data_splits.py",
            "test_data_splits_folds.py",
            "test_data_splits_leaks.py",
        ),
        "src/medpipe/data/splits/split_cache.py": ("test_data_split_cache.py",),
        "src/medpipe/data/splits/split_file.py": ("test_data_splits_file.py",),
        "src/medpipe/data/splits/split_samples.py": ("test_parts.py", "test_shown.py"),
        "src/medpipe/data/splits/units.py": ("test_data_splits.py", "test_data_splits_laws.py"),
    },
}

TOO_LONG = (
    "test_resume.py::test_the_command_allows_one_thing_or_anything",
    "test_limits.py::test_shared_memory_that_is_too_small",
    "test_start_methods.py::test_workers_change_no_bit_however_they_are_started",
)
"""Tests that are left out beside those marked ``long``: each takes half a minute."""


def tests_of(file: str) -> tuple[str, ...]:
    """The files of tests that are to notice a change of a file."""
    return next(room[file] for room in ROOMS.values() if file in room)


def room_of(file: str) -> str:
    """The room that a file belongs to."""
    return next(name for name, room in ROOMS.items() if file in room)
