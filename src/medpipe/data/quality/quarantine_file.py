"""``quarantine.csv``: the samples that a run left out because something is wrong with them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, cast, get_args

from medpipe.errors import Fault, FaultKind, RunError
from medpipe.system.file_errors import mode_of
from medpipe.system.files import keep_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLUMNS = ("id", "path", "kind", "message")


def write_quarantine(path: Path, faults: Sequence[Fault]) -> bool:
    """Write what was left out, a row for each fault, if it is not there yet.

    Returns:
        Whether it had to be written.

    Raises:
        RunError: The file can't be written.
    """
    text = io.StringIO()
    # In quotes throughout: a line's end in a name is then read back as it was.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    writer.writerows(
        [written(cell) for cell in (fault.sample, fault.path, fault.kind, fault.message)]
        for fault in faults
    )
    return keep_text(path, text.getvalue())


def read_quarantine(path: Path) -> tuple[Fault, ...]:
    """Read what `write_quarantine` wrote; nothing where there is no such file.

    Raises:
        RunError: It can't be read, or holds something else.
    """
    if not mode_of(path):
        return ()
    try:
        text = path.read_bytes().decode("utf-8")  # read as text, "\r\n" in a name would be "\n"
        header, *cells = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(header) != COLUMNS or not {row[2] for row in cells} <= set(get_args(FaultKind)):
            raise ValueError("its columns or kinds are not those that medpipe writes")
        return tuple(
            Fault(sample=id_, path=file, kind=cast("FaultKind", kind), message=message)
            for id_, file, kind, message in cells
        )
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise RunError(
            f"{path} can't be read as a list of samples that were left out: {error}. Restore the "
            "file as the run wrote it, or begin a new run in another output folder."
        ) from error


def written(text: str) -> str:
    """A text without characters that UTF-8 can't encode, which file names may hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
