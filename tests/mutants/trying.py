"""Try a change on a copy of the repository, by tests that can neither hang nor reach out of it."""

from __future__ import annotations

import compileall
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from py_compile import PycInvalidationMode

import attrs
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome

from mutants.figures import Ending, Tried
from mutants.rooms import ROOT, TOO_LONG, tests_of

COPIED = ("src", "tests", "benchmarks", "docs", "examples", "README.md", "pyproject.toml")

APART = "unshare --pid --fork --kill-child --mount-proc"
"""Processes of their own: a changed signal reaches no others, and none outlives its test."""
MEMORY = 8 << 20
"""KiB that a process may have, so that a loop without end doesn't take all."""
SLACK = 2.5
"""How many times as long as without a change tests may take."""


@attrs.define
class Copy:
    """A copy of the repository."""

    folder: Path
    _seconds: dict[str, float] = attrs.field(factory=dict)

    @classmethod
    def make(cls, folder: Path) -> Copy:
        """Make it in the folder that this process works in, and have all tests use it."""
        for name in COPIED:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "_build")
                shutil.copytree(ROOT / name, folder / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, folder / name)
        # By their content: a change may keep a file's size, and be made within the same second.
        checked = PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(folder / "src", quiet=1, invalidation_mode=checked)
        (folder / "tmp").mkdir()
        os.environ["PYTHONPATH"] = f"{folder / 'src'}{os.pathsep}{folder / 'tests'}"
        os.environ["HOME"] = os.environ["TMPDIR"] = str(folder / "tmp")
        os.environ["OMP_NUM_THREADS"] = "1"
        used = subprocess.check_output(
            [sys.executable, "-c", "import medpipe; print(medpipe.__file__)"], text=True
        )
        if not Path(used).is_relative_to(folder):
            sys.exit(f"the tests would use {used.strip()} rather than the copy of the sources")
        apart = subprocess.run([*_apart(), "true"], capture_output=True, text=True, check=False)
        if apart.returncode:
            sys.exit(f"the tests can't be given processes of their own: {apart.stderr.strip()}")
        return cls(folder)

    def measure(self, changes: Sequence[MutationSpec]) -> None:
        """See how long the tests take without a change; ends the program where one fails."""
        files = {str(change.module_path.relative_to(ROOT)) for change in changes}
        for test in sorted({test for file in files for test in tests_of(file)}):
            started = time.monotonic()
            outcome, output = run_tests(self._command([test]), 1000)
            if outcome is not TestOutcome.SURVIVED:
                sys.exit(f"{test} fails without a change:\n{output}")
            self._seconds[test] = time.monotonic() - started
            print(f"{test}: {self._seconds[test]:.0f} s", file=sys.stderr, flush=True)

    def try_it(self, change: MutationSpec) -> Tried:
        """Make a change, run the tests, and take it back."""
        file = str(change.module_path.relative_to(ROOT))
        tests = tests_of(file)
        limit = 20 + SLACK * sum(self._seconds[test] for test in tests)
        here = attrs.evolve(change, module_path=self.folder / file)
        result = mutate_and_test([here], self._command(tests), limit)
        if result.worker_outcome is not WorkerOutcome.NORMAL:
            raise RuntimeError(f"{change} was not tried: {result.output}")
        ending: Ending = "failed"
        if result.test_outcome is TestOutcome.SURVIVED:
            ending = "survived"
        elif result.output == "timeout":
            ending = "too long"
        lines = (result.diff or "").splitlines()
        changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        return Tried(
            file, change.start_pos[0], change.operator_name, change.occurrence, ending, changed
        )

    def _command(self, tests: Sequence[str]) -> str:
        """Run tests; the shell between them waits for processes that have lost their parent."""
        options = ["-x", "-q", "-n0", "-p", "no:cacheprovider", "-p", "mutants.no_shrinking"]
        options += ["--hypothesis-profile=mutants"]
        options += [f"--basetemp={self.folder / 'tmp' / 'tests'}"]
        options += [f"--deselect=tests/{test}" for test in TOO_LONG]
        program = [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)]
        limited = f'ulimit -d {MEMORY}; "$@"; exit $?'
        return shlex.join([*_apart(), "sh", "-c", limited, "sh", *program])


def _apart() -> list[str]:
    return [*APART.split(), *([] if os.geteuid() == 0 else ["--map-current-user"])]
