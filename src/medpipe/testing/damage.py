"""Damaged files, decoded by a process of their own that may hang or run out of memory.

torch, NumPy and the decoders are imported inside functions.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.errors import DataError, MedpipeError
from medpipe.steps import ChosenReader, ReaderStep, Reading
from medpipe.system.raised import described
from medpipe.testing.check import skip

if TYPE_CHECKING:
    from collections.abc import Mapping

Ended = Literal["image", "refused", "error", "memory", "hang"]
SECONDS = 5.0
"""How long a damaged file may take."""
START = 60.0
"""How long the process may take to import what it needs."""
MEMORY = 2 << 30
"""Bytes that decoding may take beyond what the process has: the files have a few KB."""
CUTS = (1 / 3, 1 / 2, 2 / 3)
FLIPPED = 12
HEADER = 64
"""The bytes in which numbers are made large, four at a time."""

_PROGRAM = """
import sys
sys.path[:0] = {path!r}
from medpipe.testing.damage import run
run()
"""
_known: dict[tuple[type, str], list[Tried]] = {}


@attrs.frozen(kw_only=True)
class Tried:
    """What became of a damaged file.

    Attributes:
        file: Its name.
        damage: How it is damaged, in words.
        cut: Whether it lacks a part.
        ended: How decoding ended.
        said: The error, or the shape of the image.
        named: Whether the error names the file.
        whole: The shape of the image of the whole file.
    """

    file: str
    damage: str
    cut: bool
    ended: Ended
    said: str
    named: bool = True
    whole: str = ""


def chosen_reader(step: ReaderStep) -> ChosenReader:
    """The reader as a configuration would name it."""
    return ChosenReader(step=step, title=f"The reader step {step.name!r}", made_by=None)


def tried(step: ReaderStep, files: Mapping[str, bytes]) -> list[Tried]:
    """Decode damaged files, once for each step.

    Args:
        step: The reader.
        files: Whole files that it decodes, by name.

    Raises:
        CheckSkipped: Another process can't import the step.
    """
    key = (type(step), repr(step))
    if key not in _known:
        _known[key] = _tried(step, files)
    return _known[key]


def _damaged(content: bytes) -> list[tuple[str, bool, bytes]]:
    length = len(content)
    found = [(f"cut after {int(length * cut)} bytes", True, content[: int(length * cut)])
             for cut in CUTS]  # fmt: skip
    found.append(("cut after 1 byte", True, content[:1]))
    for place in range(FLIPPED):
        at = place * length // FLIPPED
        flipped = bytearray(content)
        flipped[at] ^= 0xFF
        found.append((f"with byte {at} flipped", False, bytes(flipped)))
    for at in range(0, min(HEADER, length - 4), 4):
        for name, value in (("255", b"\xff" * 4), ("127", b"\xff\xff\xff\x7f"), ("0", bytes(4))):
            changed = content[:at] + value + content[at + 4 :]
            found.append((f"with bytes {at} to {at + 3} of {name}", False, changed))
    return found


def _tried(step: ReaderStep, files: Mapping[str, bytes]) -> list[Tried]:
    work = [
        (name, damage, cut, changed)
        for name, content in files.items()
        for damage, cut, changed in _damaged(content)
    ]
    try:
        sent = pickle.dumps((step, dict(files), [(name, changed) for name, _, _, changed in work]))
    except Exception as error:
        raise skip(f"it can't be tried in another process: {described(error)}") from error
    program = _PROGRAM.format(path=[path for path in sys.path if path])
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_talk, args=(process, sent, lines), daemon=True).start()
    try:
        return _heard(lines, work)
    finally:
        process.kill()
        process.wait()


def _heard(lines: queue.Queue[bytes], work: list[tuple[str, str, bool, bytes]]) -> list[Tried]:
    """What the process says of each file; nothing of those after one without an end."""
    try:
        first = lines.get(timeout=START)
    except queue.Empty:
        first = b""
    if not first:
        raise skip("it can't be tried in another process")
    whole = json.loads(first)
    found: list[Tried] = []
    for name, damage, cut, _ in work:
        about: dict[str, Any] = {"file": name, "damage": damage, "cut": cut, "whole": whole[name]}
        try:
            line = lines.get(timeout=SECONDS)
        except queue.Empty:
            return [*found, Tried(ended="hang", said="", **about)]
        if not line:
            return [*found, Tried(ended="error", said="it ended the process", **about)]
        found.append(Tried(**about, **json.loads(line)))
    return found


def _talk(process: subprocess.Popen[bytes], sent: bytes, lines: queue.Queue[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):
        process.stdin.write(sent)
        process.stdin.close()
    with suppress(OSError, ValueError):
        for line in process.stdout:
            lines.put(line)
    lines.put(b"")


def run() -> None:
    """In the process: decode what comes by standard input, and say a line of each."""
    step, files, work = pickle.loads(sys.stdin.buffer.read())
    # What decoders print must not be taken for an answer.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    reading = Reading(readers=(chosen_reader(step),))
    whole = {name: _decoded(name, content, reading)["said"] for name, content in files.items()}
    print(json.dumps(whole), file=out, flush=True)
    _limit_memory()
    for name, content in work:
        print(json.dumps(_decoded(name, content, reading)), file=out, flush=True)


def _decoded(name: str, content: bytes, reading: Reading) -> dict[str, Any]:
    from medpipe.data.readers.reader import decode_content

    path = os.path.join(os.sep, "nowhere", name)  # noqa: PTH118  (a text in errors)
    try:
        image = decode_content(content, path, reading)
    except MemoryError:
        return {"ended": "memory", "said": "MemoryError"}
    except DataError as error:
        return {"ended": "refused", "said": str(error), "named": name in str(error)}
    except MedpipeError as error:
        return {"ended": "memory" if _of_memory(error) else "error", "said": described(error)}
    except BaseException as error:
        return {"ended": "error", "said": described(error)}
    return {"ended": "image", "said": str(image.values.shape)}


def _of_memory(error: BaseException) -> bool:
    return isinstance(error.__cause__, MemoryError) or "memory" in str(error).lower()


def _limit_memory() -> None:
    """Let the process have so much more than it has; where the system can't, nothing is done."""
    with suppress(ImportError, OSError, ValueError):
        import resource
        from pathlib import Path

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
