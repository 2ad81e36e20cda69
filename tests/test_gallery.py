"""The gallery shows every built-in transform, with pictures of what it does today."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from gallery.drawing import Shown, shown
from gallery.examples import EXAMPLES, WITHOUT, Example
from gallery.notes import FOLDER, asked, note_of, picture_names, read_notes
from gallery.page import builtin_steps, gallery, has_batched_form
from gallery.sheets import encoded, sheet_after, sheet_before
from PIL import Image

from support.marks import rare

LARGEST = 400 * 1024
"""Of all pictures, in bytes: they are in every clone."""
SEEN = 0.02
"""How much pixels must change on average, of the range of the image before."""
DRAWN_ANEW = ("rand_affine", "zoom", "rand_coarse_dropout", "scale_intensity_range", "orientation")


def test_every_transform_has_a_picture_or_a_reason() -> None:
    assert set(EXAMPLES) | set(WITHOUT) == set(builtin_steps())
    assert not set(EXAMPLES) & set(WITHOUT)


def test_what_is_kept_is_what_is_asked_for() -> None:
    """After a change of an example: ``python docs/make_gallery.py STEP``."""
    assert {path.stem for path in FOLDER.glob("*.webp")} == picture_names()
    assert {path.suffix for path in FOLDER.iterdir()} == {".webp", ".json"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < LARGEST
    notes = read_notes()
    assert set(notes) == set(EXAMPLES)
    for name, example in EXAMPLES.items():
        assert asked(example).items() <= notes[name].items(), name


def test_the_page_shows_each_once() -> None:
    page = gallery()
    assert sorted(re.findall(r"^### `(\w+)`$", page, re.MULTILINE)) == sorted(builtin_steps())
    named = re.findall(r"images/gallery/([\w-]+)\.webp", page)
    assert set(named) == picture_names()


def test_the_list_of_batched_forms_is_complete(repository: Path) -> None:
    text = (repository / "docs/reference/steps.md").read_text(encoding="utf-8")
    listed = text.partition("are applied to whole batches on the device: ")[2].partition(". So")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == {
        name for name, cls in builtin_steps().items() if has_batched_form(cls)
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_something_is_seen_and_masks_stay_on_their_images(name: str) -> None:
    example = EXAMPLES[name]
    result = shown(name, example)
    before = result.before
    assert note_of(result, example) == read_notes()[name]
    assert any(changed(before.image, after.image) > SEEN for after in result.after)
    if result.step.random:
        first, second, third = (after.image for after in result.after)
        assert not (same(first, second) and same(second, third))
    for after in result.after:
        assert after.mask.shape == after.image.shape[1:]
        assert set(np.unique(after.mask)) <= {0, 1, 2}
        if result.step.spatial:
            # The organ is as bright as 1 around a noise of 0.15.
            bright, inside = after.image[0] > 0.5, after.mask > 0
            assert 2 * (bright & inside).sum() / (bright.sum() + inside.sum()) > 0.95
        else:
            assert np.array_equal(after.mask, before.mask)


def changed(before: Any, after: Any) -> float:
    """By how much two images differ, as a share of the range of the first; 1 for other sizes."""
    if before.shape != after.shape:
        return 1.0
    return float(np.abs(after - before).mean() / np.ptp(before))


def same(one: Any, other: Any) -> bool:
    return one.shape == other.shape and np.array_equal(one, other)


@pytest.mark.parametrize("name", [name if name in DRAWN_ANEW else rare(name) for name in EXAMPLES])
def test_pictures_are_those_of_today(name: str) -> None:
    """After a change of a step: ``python docs/make_gallery.py STEP``."""
    example = EXAMPLES[name]
    result = shown(name, example)
    assert apart(kept(name), anew(result, example)) < 2
    assert apart(kept(example.before), decoded(encoded(sheet_before(result.before)))) < 2


def test_a_picture_of_another_draw_would_be_noticed() -> None:
    other = attrs.evolve(EXAMPLES["rand_affine"], seed=5)
    assert apart(kept("rand_affine"), anew(shown("rand_affine", other), other)) > 4


def kept(name: str) -> Any:
    return decoded((FOLDER / f"{name}.webp").read_bytes())


def anew(result: Shown, example: Example) -> Any:
    return decoded(encoded(sheet_after(result, example)))


def decoded(content: bytes) -> Any:
    """On grey, since colours mean nothing where a picture is transparent."""
    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    ground = Image.new("RGBA", picture.size, (128, 128, 128, 255))
    ground.alpha_composite(picture)
    return np.asarray(ground.convert("RGB"), dtype=np.float32)


def apart(one: Any, other: Any) -> float:
    """The mean difference of two pictures, of 255: none for one encoder, little for another."""
    assert one.shape == other.shape
    return float(np.abs(one - other).mean())
