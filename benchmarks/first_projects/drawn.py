"""Drawn data sets: what each image shows, in arrays of (row, column[, colour or slice])."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray[Any, Any]
Generator = np.random.Generator
SHAPES = ("disc", "square", "triangle", "cross", "ring", "bar")
FINDINGS = ("spot", "stripes", "ring", "shade")
SEGMENTS = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")
"""The lit segments of the ten digits of a display."""
LINES = {
    "a": (-1, -0.5, -1, 0.5),
    "b": (-1, 0.5, 0, 0.5),
    "c": (0, 0.5, 1, 0.5),
    "d": (1, -0.5, 1, 0.5),
    "e": (0, -0.5, 1, -0.5),
    "f": (-1, -0.5, 0, -0.5),
    "g": (0, -0.5, 0, 0.5),
}
"""From row and column to row and column."""
WRONG = 0.15
"""The share of wrong labels in `hard`, in training and test alike: 0.85 is the most to reach."""


def spots(generator: Generator, kind: int) -> Array:
    """64 pixels, grey: a smooth background, and in the second class a soft bright spot."""
    return _bytes(_spotted(generator, kind, 64, height=50))


def rare(generator: Generator, kind: int) -> Array:
    """32 pixels, grey: as `spots`."""
    return _bytes(_spotted(generator, kind, 32, height=60))


def textures(generator: Generator, kind: int) -> Array:
    """64 pixels, RGB: fine stripes of any direction, or as fine grains without one."""
    side, colours = 64, generator.uniform(0.4, 1, 3)
    frequency = generator.uniform(0.6, 0.9)
    if kind:
        turn = generator.uniform(0, np.pi)
        y, x = np.mgrid[:side, :side]
        wave = np.sin(frequency * (np.cos(turn) * y + np.sin(turn) * x) + generator.uniform(0, 6))
    else:
        wide = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.fftfreq(side)[None] ** 2
        band = np.exp(-(((np.sqrt(wide) - frequency / 2 / np.pi) / 0.015) ** 2))
        wave = np.fft.ifft2(np.fft.fft2(generator.normal(size=(side, side))) * band).real
        wave /= wave.std() * 1.4
    grey = 110 + 25 * wave + generator.normal(0, 25, (side, side))
    return _bytes(grey[..., None] * colours)


def shapes(generator: Generator, kind: int) -> Array:
    """32 pixels, grey: one of six shapes, anywhere, of any size and turn, under noise."""
    grey = 60 + generator.uniform(50, 120) * _shape(generator, SHAPES[kind], 32)
    return _bytes(grey + generator.normal(0, 25, (32, 32)))


def coloured(generator: Generator, kind: int) -> Array:
    """32 pixels, RGB: one of six shapes in one colour, before a bar in another."""
    grey = np.stack([_shape(generator, name, 32) for name in ("bar", SHAPES[kind])])
    colours = generator.uniform(-70, 100, (2, 3))
    image = 90 + np.tensordot(grey, colours, (0, 0))
    return _bytes(image + generator.normal(0, 20, (32, 32, 3)))


def digits(generator: Generator, kind: int) -> Array:
    """32 pixels, grey: one of the ten digits of a display, shifted, slanted, under noise."""
    y, x = _grid(32)
    size, slant = generator.uniform(0.45, 0.7), generator.uniform(-0.3, 0.3)
    over, down = generator.uniform(-0.25, 0.25, 2)
    y, x = (y - down) / size, (x - over) / size - slant * (y - down) / size
    drawn = np.zeros((32, 32))
    for name in SEGMENTS[kind]:
        drawn = np.maximum(drawn, _line(y, x, LINES[name], 0.18))
    return _bytes(80 + generator.uniform(40, 100) * drawn + generator.normal(0, 40, (32, 32)))


def volumes(generator: Generator, kind: int) -> Array:
    """32 voxels: a head of two tissues and noise, and in the second class a bright spot."""
    places = np.meshgrid(*[np.linspace(-1, 1, 32)] * 3, indexing="ij")
    far = np.sqrt(sum((one / 0.85) ** 2 for one in places))
    head = 500 * (far < 1) + 300 * (far < generator.uniform(0.5, 0.65))
    if kind:
        middle = generator.uniform(-0.35, 0.35, 3)
        near = sum((one - at) ** 2 for one, at in zip(places, middle, strict=True))
        head = head + 600 * np.exp(-near / generator.uniform(0.15, 0.22) ** 2)
    noisy: Array = (head + generator.normal(0, 80, head.shape)).astype(np.int16)
    return noisy


def hard(generator: Generator, kind: int) -> Array:
    """32 pixels, grey: a disc or a square, with the wrong label in 15 of 100."""
    shown = kind ^ int(generator.random() < WRONG)
    return shapes(generator, shown)


def findings(generator: Generator, present: Sequence[int]) -> Array:
    """32 pixels, grey: four findings, each there or not."""
    y, x = _grid(32)
    image = 90 + _smooth(generator, 32, 15)
    spot, stripes, ring, shade = present
    if spot:
        image += 70 * _soft_spot(generator, 32)
    if stripes:
        turn = generator.uniform(0, np.pi)
        image += 18 * np.sin(16 * (np.cos(turn) * y + np.sin(turn) * x))
    if ring:
        image += 40 * _shape(generator, "ring", 32)
    if shade:
        turn = generator.uniform(0, 2 * np.pi)
        image += 40 * (np.cos(turn) * y + np.sin(turn) * x)
    return _bytes(image + generator.normal(0, 18, (32, 32)))


def ages(generator: Generator, age: float) -> Array:
    """32 pixels, grey: an ellipse that grows and whose rim thickens with age, of any brightness."""
    y, x = _grid(32)
    turn, stretch = generator.uniform(0, np.pi), generator.uniform(0.85, 1.15)
    over, down = generator.uniform(-0.2, 0.2, 2)
    along = np.cos(turn) * (y - down) + np.sin(turn) * (x - over)
    across = np.cos(turn) * (x - over) - np.sin(turn) * (y - down)
    radius = 0.25 + 0.45 * (age + generator.normal(0, 5)) / 100
    far = np.sqrt((along * stretch) ** 2 + (across / stretch) ** 2)
    rim = 0.05 + 0.15 * (age + generator.normal(0, 5)) / 100
    body = generator.uniform(30, 80) * _inside(radius - far)
    body += generator.uniform(30, 60) * _inside(rim - np.abs(far - radius))
    return _bytes(60 + body + generator.normal(0, 15, (32, 32)))


def _spotted(generator: Generator, kind: int, side: int, *, height: float) -> Array:
    image = 90 + _smooth(generator, side, 25) + generator.normal(0, 15, (side, side))
    return image + kind * height * _soft_spot(generator, side)


def _soft_spot(generator: Generator, side: int) -> Array:
    y, x = _grid(side)
    down, over = generator.uniform(-0.65, 0.65, 2)
    spot: Array = np.exp(-((x - over) ** 2 + (y - down) ** 2) / generator.uniform(0.12, 0.2) ** 2)
    return spot


def _smooth(generator: Generator, side: int, spread: float) -> Array:
    """A few wide waves."""
    y, x = _grid(side)
    waves = [
        np.sin(generator.uniform(-3, 3) * y + generator.uniform(-3, 3) * x + phase)
        for phase in generator.uniform(0, 6, 4)
    ]
    smooth: Array = spread / 2 * np.sum(waves, axis=0)
    return smooth


def _shape(generator: Generator, name: str, side: int) -> Array:
    """A shape of 0 to 1, of any place, size and turn."""
    y, x = _grid(side)
    turn, size = generator.uniform(0, 2 * np.pi), generator.uniform(0.3, 0.55)
    down, over = generator.uniform(-0.4, 0.4, 2)
    y, x = (y - down) / size, (x - over) / size
    y, x = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
    far = np.sqrt(y**2 + x**2)
    match name:
        case "disc":
            inside = 1 - far
        case "square":
            inside = 0.9 - np.maximum(np.abs(y), np.abs(x))
        case "triangle":
            inside = np.minimum(0.6 - y, (y + 1.2 - 1.732 * np.abs(x)) / 2)
        case "cross":
            least, most = np.minimum(np.abs(y), np.abs(x)), np.maximum(np.abs(y), np.abs(x))
            inside = np.minimum(0.32 - least, 1 - most)
        case "ring":
            inside = 0.25 - np.abs(far - 0.8)
        case _:
            inside = np.minimum(0.3 - np.abs(y), 1.1 - np.abs(x))
    return _inside(inside * size)


def _line(y: Array, x: Array, ends: tuple[float, float, float, float], width: float) -> Array:
    down, over, to_down, to_over = ends
    along = np.clip(
        ((y - down) * (to_down - down) + (x - over) * (to_over - over))
        / ((to_down - down) ** 2 + (to_over - over) ** 2),
        0,
        1,
    )
    far = np.hypot(y - down - along * (to_down - down), x - over - along * (to_over - over))
    return _inside(width - far)


def _inside(depth: Array) -> Array:
    """How much of a pixel lies inside, from the depth below the rim."""
    covered: Array = np.clip(depth * 16 + 0.5, 0, 1)
    return covered


def _grid(side: int) -> tuple[Array, Array]:
    line = np.linspace(-1, 1, side)
    return line[:, None] + 0 * line, 0 * line[:, None] + line


def _bytes(image: Array) -> Array:
    return image.clip(0, 255).round().astype(np.uint8)
