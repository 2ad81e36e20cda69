"""What the pictures of the gallery show: parameters, sizes and whether pictures are current.

The pictures are drawn by docs/make_gallery.py and kept; the page is made from these notes and
from the steps, without torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from .examples import EXAMPLES, Example

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .drawing import Shown

FOLDER = Path(__file__).parents[1] / "images" / "gallery"
NOTES = FOLDER / "shown.json"

Note = dict[str, Any]


def note_of(shown: Shown, example: Example) -> Note:
    """What is shown of a step: its example, and the sizes of the image before and after."""
    sizes = sorted({tuple(one.image.shape) for one in shown.after})
    return {
        **asked(example),
        "before": list(shown.before.image.shape),
        "after": [list(size) for size in sizes],
    }


def picture_names() -> set[str]:
    """The names of all pictures, without their ending."""
    return {*EXAMPLES, *(example.before for example in EXAMPLES.values())}


def asked(example: Example) -> Note:
    """An example as JSON holds it."""
    plain: Note = json.loads(json.dumps(attrs.asdict(example)))
    return plain


def read_notes() -> Mapping[str, Note]:
    """The notes by the step's name; none before anything was drawn."""
    if not NOTES.is_file():
        return {}
    found: dict[str, Note] = json.loads(NOTES.read_text(encoding="utf-8"))
    return found


def write_notes(notes: Mapping[str, Note]) -> None:
    """Write the notes, one step a line."""
    from medpipe.system import files

    lines = [f" {json.dumps(name)}: {json.dumps(notes[name])}" for name in sorted(notes)]
    files.write_text(NOTES, "{\n" + ",\n".join(lines) + "\n}\n")
