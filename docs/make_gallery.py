"""Draw the pictures of docs/reference/gallery.md, and note what is shown in each.

Run it from anywhere: ``python docs/make_gallery.py [STEP...]``; without names it draws all. It
takes seconds, and needs medpipe, Pillow and Matplotlib. The images are those of `phantom_masks`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from typing import TYPE_CHECKING

from gallery.drawing import shown
from gallery.examples import EXAMPLES
from gallery.notes import FOLDER, note_of, picture_names, read_notes, write_notes
from gallery.sheets import encoded, sheet_after, sheet_before

from medpipe.system import files

if TYPE_CHECKING:
    from PIL import Image


def write(name: str, picture: Image.Image) -> None:
    """Write a picture."""
    files.write_bytes(FOLDER / f"{name}.webp", encoded(picture))


def main(names: list[str]) -> None:
    """Draw the pictures of some steps, and remove those of steps that are no longer there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    notes = {name: note for name, note in read_notes().items() if name in EXAMPLES}
    for name in names or EXAMPLES:
        example = EXAMPLES[name]
        result = shown(name, example)
        write(example.before, sheet_before(result.before))
        write(name, sheet_after(result, example))
        notes[name] = note_of(result, example)
        print(f"{name} is drawn")
    write_notes(notes)
    for path in FOLDER.glob("*.webp"):
        if path.stem not in picture_names():
            path.unlink()
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{FOLDER} holds {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(sys.argv[1:])
