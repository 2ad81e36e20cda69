"""What a fuzzed reader may not do, and inputs that are nearly right."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from medpipe import MedpipeError

SECONDS = 5.0
"""What an input may take of a processor."""
PATIENCE = 120.0
"""How long it may wait, where others work too."""
TIMERS = {signal.ITIMER_PROF: signal.SIGPROF, signal.ITIMER_REAL: signal.SIGALRM}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = (
    "subprocess.",
    "socket.",
    "pickle.",
    "shutil.",
    "tempfile.",
    "urllib.",
    "ctypes.dlopen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
)
LIBRARIES = {"PIL", "medpipe", "numpy", "nibabel", "pydicom", "simplejpeg", "torch", "safetensors"}
LIBRARIES |= {"attr", "attrs", "encodings", "gdcm", "openjpeg", "rle", "libjpeg", "jpeg_ls"}
LIBRARIES |= {"pylibjpeg", "monai", "ignite", "packaging"}
"""Whose modules may be imported late."""

done: list[str] = []
"""What was done in the block that should not be."""
_watching = False


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event == "open":
        if isinstance(arguments[2], int) and arguments[2] & WRITING:
            done.append(f"opened {arguments[0]!r} for writing")
    elif event == "import":
        root = str(arguments[0]).partition(".")[0]
        if root not in LIBRARIES and root not in sys.stdlib_module_names:
            done.append(f"imported {arguments[0]!r}")
    elif event == "exec":
        name = arguments[0].co_filename
        # Modules lie in files; what dataclasses write, as a library is imported, is named so.
        if name in ("<string>", "<stdin>", "<unknown>") and not _importing():
            done.append(f"ran code of {name}")
    elif event.startswith(FORBIDDEN):
        done.append(f"{event} {arguments!r}"[:200])


def _importing() -> bool:
    frame: Any = sys._getframe()
    while frame is not None and "importlib._bootstrap" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None


sys.addaudithook(_hear)  # for good: Python has no way to take one away


@contextmanager
def harmless() -> Iterator[None]:
    """See that a block ends in time, in an error of medpipe or none, and does nothing but read."""
    global _watching
    done.clear()
    before = {number: signal.signal(number, _too_long) for number in TIMERS.values()}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    _watching = True
    try:
        yield
    except MedpipeError:
        pass
    finally:
        _watching = False
        for timer in TIMERS:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    assert not done, "; ".join(done)


def _too_long(*_: object) -> None:
    raise AssertionError(f"it computes for more than {SECONDS} s, or waits for {PATIENCE} s")


EDITS = ("flip", "cut", "drop", "double", "insert", "overwrite")
PIECES = (
    b"\x00" * 8,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\xfe\xff\xff\xff",
    b"{" * 64,
    b"[" * 64,
)


def mutated(seeds: Sequence[bytes], pieces: Sequence[bytes] = PIECES) -> st.SearchStrategy[bytes]:
    """One of the seeds with a few edits; places near the beginning, the header, come often."""
    place = st.one_of(st.floats(0, 1), st.floats(0, 0.05))
    piece = st.one_of(st.sampled_from(list(pieces)), st.binary(min_size=1, max_size=12))
    edit = st.tuples(st.sampled_from(EDITS), place, place, piece)
    return st.builds(_edited, st.sampled_from(list(seeds)), st.lists(edit, min_size=1, max_size=5))


def _edited(seed: bytes, edits: Sequence[tuple[str, float, float, bytes]]) -> bytes:
    content = bytearray(seed)
    for kind, first, second, piece in edits:
        place, length = int(first * len(content)), int(second * len(content))
        match kind:
            case "flip" if place < len(content):
                content[place] ^= 1 << (piece[0] % 8)
            case "cut":
                del content[place:]
            case "drop":
                del content[place : place + length]
            case "double":
                content[place:place] = content[place : place + length][:4096]
            case "insert":
                content[place:place] = piece
            case "overwrite":
                content[place : place + len(piece)] = piece
            case _:
                pass
    return bytes(content)


class Clock:
    """Counts inputs and seconds, for a report at the end."""

    def __init__(self, name: str) -> None:
        self.name, self.inputs, self._started = name, 0, time.perf_counter()

    def report(self) -> None:
        """Append a line to the file that MEDPIPE_FUZZ_REPORT names, if it does."""
        chosen = os.environ.get("MEDPIPE_FUZZ_REPORT")
        if chosen:
            with Path(chosen).open("a") as file:
                seconds = time.perf_counter() - self._started
                file.write(f"{self.name}: {self.inputs} inputs in {seconds:.0f} s\n")
