"""The sections of the gallery's page, made from the steps and from what was drawn of them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import medpipe
from medpipe.config import toml_text
from medpipe.plugin import PatchStep, TransformStep

from .examples import EXAMPLES, WITHOUT, Example
from .notes import read_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .notes import Note

Steps = dict[str, type[TransformStep]]

PICTURES = "../images/gallery"
GROUPS: Mapping[str, tuple[str, Callable[[type[TransformStep]], bool]]] = {
    "Random steps that move pixels": (
        "The image before, then three draws: the first three epochs of a run with `seed = 0`, "
        "where no other seed is given. Masks are moved by nearest neighbour. What comes in from "
        "outside is the mirror image, or the edge, as `padding_mode` says, in the mask too.",
        lambda cls: cls.random and cls.spatial and not issubclass(cls, PatchStep),
    ),
    "Random steps that change values": (
        "The image before, then three draws, all in the grey values of the image before: what is "
        "lighter than there has a higher value.",
        lambda cls: cls.random and not cls.spatial,
    ),
    "Random patches": (
        "The image before, then three draws. An epoch has `num_samples` patches of each image.",
        lambda cls: issubclass(cls, PatchStep),
    ),
    "Fixed steps that move pixels": (
        "The image before, then after: every image is changed alike, in training and later. Masks "
        "are moved by nearest neighbour.",
        lambda cls: not cls.random and cls.spatial,
    ),
    "Fixed steps that change values": (
        "The image before, then after, then how often each value is there: above before, below "
        "after, from the lowest value to the highest. Bars show square roots of numbers of pixels.",
        lambda cls: not cls.random and not cls.spatial,
    ),
}
"""The headings, what they say, and which steps stand below each."""
MASKS = (
    "`load_image`, `ensure_channel_first` and `squeeze_dim` do with a mask what they do with its "
    "image; the others leave it as it is."
)


def gallery() -> str:
    """All built-in transforms: those with pictures in groups, then the others."""
    steps, notes = builtin_steps(), read_notes()
    shown = {name: cls for name, cls in steps.items() if name in EXAMPLES}
    parts = []
    for title, (said, belongs) in GROUPS.items():
        entries = [entry(cls, notes[name]) for name, cls in shown.items() if belongs(cls)]
        parts += [f"## {title}\n\n{said}\n", *entries]
    parts.append(f"## Steps without a picture\n\n{MASKS}\n")
    parts += [without_picture(cls) for name, cls in steps.items() if name in WITHOUT]
    return "\n".join(parts)


def builtin_steps() -> Steps:
    """The built-in transform steps by name."""
    registry = medpipe.Registry.discover()
    found = {}
    for name, cls in registry.names(TransformStep).items():
        plugin = registry.plugin_of(cls)
        if plugin is not None and plugin.builtin:
            found[name] = cls
    return found


def sentence(cls: type[TransformStep]) -> str:
    """The first sentence of a step's docstring."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def entry(cls: type[TransformStep], note: Note) -> str:
    """A step: its sentence, its pictures, what it does to masks, and the configuration."""
    name = cls.name
    example = EXAMPLES[name]
    step = cls(**example.parameters)
    before = f"![The drawn image before {name}]({PICTURES}/{example.before}.webp)"
    after = f"![What {name} makes of it]({PICTURES}/{name}.webp)"
    said = [with_parameters(example), *sizes(note), of_masks(step), of_batches(step)]
    return (
        f"### `{name}`\n\n{sentence(cls)} [All parameters](steps.md#{name})\n\n"
        f"{before} \N{RIGHTWARDS ARROW} {after}\n\n{' '.join(said)}\n"
    )


def with_parameters(example: Example) -> str:
    """With which parameters a step is shown, as a configuration has them."""
    given = [f"`{key} = {toml_text(value)}`" for key, value in example.parameters.items()]
    said = f"With {', '.join(given)}" if given else "With its defaults"
    for step, parameters in example.first:
        values = ", ".join(f"`{key} = {toml_text(value)}`" for key, value in parameters.items())
        said += f"; in front of it `{step}` with {values}"
    return f"{said}; `seed = {example.seed}`." if example.seed else f"{said}."


def without_picture(cls: type[TransformStep]) -> str:
    """A step of which a picture would show nothing: its sentence, and why."""
    form = "a" if has_batched_form(cls) else "no"
    return (
        f"### `{cls.name}`\n\n{sentence(cls)} [All parameters](steps.md#{cls.name})\n\n"
        f"{WITHOUT[cls.name]} The step has {form} batched form.\n"
    )


def sizes(note: Note) -> list[str]:
    """A sentence where the image has another size afterwards."""
    channels, *sides = note["before"]
    made = [after for after in note["after"] if after != note["before"]]
    if not made:
        return []
    if all(after[1:] == sides for after in made):
        return [f"{channels} channel becomes {made[0][0]}, which are shown."]
    ends = " or ".join(" x ".join(map(str, after[1:])) for after in made)
    return [f"{' x '.join(map(str, sides))} pixels become {ends}."]


def of_masks(step: TransformStep) -> str:
    """What a step does to masks."""
    if isinstance(step, PatchStep):
        return "The mask is cut as the image is."
    if step.spatial:
        return "Pixels move, and the mask with them."
    return "Values change, and the mask stays as it is."


def of_batches(step: TransformStep) -> str:
    """Whether a run applies a step to whole batches."""
    if not has_batched_form(type(step)):
        return "The step has no batched form."
    if step.batched:
        return "The step has a batched form."
    return "The step has no batched form with these parameters."


def has_batched_form(cls: type[TransformStep]) -> bool:
    """Whether a run applies a step to whole batches, with some parameters.

    What moves the pixels of all images is not: their affines change with them, and batches have
    none.
    """
    has = cls.apply_batch is not TransformStep.apply_batch
    return has and (cls.random or not cls.spatial)


def write_gallery(path: Path) -> None:
    """Write the sections, if they are not as they were."""
    text = gallery()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
