"""Synthetic images that look like MedNIST's: the same on every machine, without a download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import Dataset, DatasetStep, Sample, Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    import numpy as np

    Grey = np.ndarray[Any, np.dtype[np.floating[Any]]]
    """float32, of shape (images, height, width), or one that broadcasts to it."""

_PIXELS_AT_ONCE = 200_000
"""Pixels drawn together: what fits a core's cache is drawn three times as fast."""


@attrs.frozen(kw_only=True)
class Phantom(DatasetStep):
    """Synthetic grey images in MedNIST's six classes; nothing is read or written.

    The bytes depend on the parameters alone, not on the machine or the versions of libraries:
    random numbers are the raw output of a fixed generator (PCG64), and pixels come from additions,
    multiplications, divisions and square roots, which IEEE 754 rounds in one way only.

    Each image is a uint8 array of shape (size, size); the classes alternate.

    Attributes:
        augmentation: None, as for MedNIST.
        samples: How many images.
        size: Their height and width in pixels.
        seed: Another seed gives other images.
    """

    name: ClassVar[str] = "phantom"
    augmentation: ClassVar[Sequence[str]] = ()

    samples: int = attrs.field(default=1200, validator=attrs.validators.ge(12))
    size: int = attrs.field(default=64, validator=attrs.validators.ge(16))
    seed: int = attrs.field(default=0, validator=attrs.validators.ge(0))

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Few images; nothing is written."""
        return [cls(samples=12, size=16)]

    def build(self) -> Dataset:
        """Draw the images."""
        import numpy as np

        names = tuple(_DRAWINGS)
        images: dict[int, np.ndarray[Any, np.dtype[np.uint8]]] = {}
        at_once = max(1, _PIXELS_AT_ONCE // self.size**2)
        for label, draw in enumerate(_DRAWINGS.values()):
            bits = np.random.PCG64([self.seed, label])
            numbers = range(label, self.samples, len(names))
            for start in range(0, len(numbers), at_once):
                chosen = numbers[start : start + at_once]
                sheet = _Sheet(bits, len(chosen), self.size)
                draw(sheet)
                images.update(zip(chosen, sheet.finished(), strict=True))
        return Dataset(
            samples=tuple(
                Sample(id=f"phantom/{number:06d}", image=images[number], label=number % len(names))
                for number in range(self.samples)
            ),
            task=Task(names=names),
        )


class _Sheet:
    """A stack of black images to draw on, each with a random zoom, rotation and shift.

    Coordinates and lengths are in half sides, before these transforms: x runs from -1 (left) to 1
    (right), y from -1 (top) to 1 (bottom). Values are 0 (black) to 1 (white).
    """

    def __init__(self, bits: np.random.PCG64, count: int, size: int) -> None:
        import numpy as np

        self._bits = bits
        self._shape = (count, size, size)
        self.pixels: Grey = np.zeros(self._shape, np.float32)
        middle = np.float32((size - 1) / 2)
        line = (np.arange(size, dtype=np.float32) - middle) / np.float32(size / 2)
        zoom = self.vary(0.86, 1.1)
        cosine, sine = _turn(self.vary(-0.12, 0.12))
        right = line[None, None, :] - self.vary(-0.1, 0.1)
        down = line[None, :, None] - self.vary(-0.1, 0.1)
        self.x: Grey = (cosine * right + sine * down) / zoom
        self.y: Grey = (cosine * down - sine * right) / zoom
        self._softness = 2.6 / size

    def _raw(self, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        return self._bits.random_raw(count)  # the only random stream that NumPy guarantees

    def vary(self, low: float, high: float) -> Grey:
        """A uniform random number for each image, of shape (images, 1, 1)."""
        import numpy as np

        fractions = (self._raw(self._shape[0]) >> np.uint64(40)).astype(np.float32)
        return fractions.reshape(-1, 1, 1) * ((high - low) / 2**24) + low

    def ellipse(
        self, x: Grey | float, y: Grey | float, a: Grey | float, b: Grey | float, tilt: float = 0.0
    ) -> Grey:
        """The coverage of each pixel by an ellipse with the centre (x, y) and half axes a and b."""
        import numpy as np

        # Some versions of NumPy compute with two Python numbers in float64.
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        right, down = self.x - x, self.y - y
        if tilt:
            cosine = (1 - tilt * tilt) / (1 + tilt * tilt)
            sine = 2 * tilt / (1 + tilt * tilt)
            right, down = cosine * right + sine * down, cosine * down - sine * right
        right /= a
        down /= b
        right *= right
        down *= down
        right += down
        distance = np.sqrt(right, out=right)
        return self.soft((1 - distance) * np.minimum(a, b))

    def rod(
        self, start: tuple[Grey, Grey], end: tuple[Grey, Grey], width: Grey | float
    ) -> tuple[Grey, Grey, Grey]:
        """A straight rod with round ends.

        Returns:
            The coverage of each pixel; the pixel's position along the rod, from 0 to 1; its
            distance from the rod's axis.
        """
        import numpy as np

        over, under = end[0] - start[0], end[1] - start[1]
        right, down = self.x - start[0], self.y - start[1]
        along = np.clip((right * over + down * under) / (over * over + under * under), 0, 1)
        right -= along * over
        down -= along * under
        distance = np.sqrt(right * right + down * down)
        return self.soft(width - distance), along, distance

    def soft(self, inside: Grey) -> Grey:
        """Convert the distance inside an edge (negative: outside) to a coverage from 0 to 1."""
        import numpy as np

        covered = inside / self._softness
        covered += 0.5
        return np.clip(covered, 0, 1, out=covered)

    def paint(self, covered: Grey, value: Grey | float) -> None:
        """Blend a grey value into the pixels, weighted by their coverage."""
        self.pixels += (value - self.pixels) * covered

    def texture(self, cells: int) -> Grey:
        """Smooth noise from -1 to 1, with `cells` cells along each side."""
        import numpy as np

        count, size, _ = self._shape
        knots = (self._raw(count * (cells + 1) ** 2) >> np.uint64(40)).astype(np.float32)
        knots = knots.reshape(count, cells + 1, cells + 1) * (2 / 2**24) - 1
        place = np.arange(size, dtype=np.float32) * np.float32(cells / size)
        below = place.astype(np.intp)
        part = place - below.astype(np.float32)
        part = part * part * (3 - 2 * part)
        rows = knots[:, below] * (1 - part)[:, None] + knots[:, below + 1] * part[:, None]
        smooth: Grey = rows[:, :, below] * (1 - part) + rows[:, :, below + 1] * part
        return smooth

    def finished(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The images as uint8, each with random contrast, brightness and noise."""
        import numpy as np

        count, size, _ = self._shape
        pixels = np.clip(self.pixels, 0, 1)
        bend = self.vary(-0.35, 0.35)
        pixels += bend * pixels * (1 - pixels)
        pixels *= self.vary(0.6, 1.0)
        pixels += self.vary(0.0, 0.08)
        # The sum of four random bytes is nearly normal, and exact on every machine.
        raw = self._raw((count * size * size + 1) // 2)
        pairs = (raw & np.uint64(0x00FF00FF00FF00FF)) + (
            (raw >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
        )
        sums = (pairs & np.uint64(0x0000FFFF0000FFFF)) + (
            (pairs >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
        )
        halves = np.stack([sums & np.uint64(0xFFFF), sums >> np.uint64(32)], axis=1).ravel()
        bell = halves[: count * size * size].reshape(self._shape).astype(np.float32)
        pixels += (bell - 510) * (self.vary(0.006, 0.03) / 148)
        tones: np.ndarray[Any, np.dtype[np.uint8]]
        tones = np.floor(np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
        return tones


def _turn(half: Grey) -> tuple[Grey, Grey]:
    """Cosine and sine from the tangent of half the angle: the same on every machine."""
    square = half * half
    return (1 - square) / (1 + square), 2 * half / (1 + square)


def _abdomen_ct(on: _Sheet) -> None:
    """Belly from below: fat, liver, stomach with gas, spleen, kidneys, aorta, spine."""
    width, height = on.vary(0.78, 0.92), on.vary(0.56, 0.68)
    on.paint(on.ellipse(0, 0, width, height), 0.28)
    rim = on.vary(0.05, 0.12)
    on.paint(on.ellipse(0, 0, width - rim, height - rim), on.vary(0.42, 0.5))
    bowel = on.ellipse(0, 0, width - rim - 0.06, height - rim - 0.06)
    on.pixels += 0.14 * on.texture(9) * bowel
    liver = on.vary(0.62, 0.7)
    on.paint(on.ellipse(on.vary(-0.44, -0.38), on.vary(-0.1, 0), 0.26, 0.34, 0.1), liver)
    on.paint(on.ellipse(on.vary(-0.2, -0.1), -0.22, on.vary(0.16, 0.26), 0.17), liver)
    stomach = on.vary(0.26, 0.36)
    on.paint(on.ellipse(stomach, -0.2, 0.24, 0.17, -0.15), 0.52)
    on.paint(on.ellipse(stomach, -0.25, on.vary(0.08, 0.17), on.vary(0.04, 0.1)), 0.04)
    on.paint(on.ellipse(on.vary(0.5, 0.57), 0.1, 0.12, 0.22, 0.12), 0.64)
    kidney, bright = on.vary(0.28, 0.34), on.vary(0.72, 0.86)
    for side, tilt in ((-1, 0.15), (1, -0.15)):
        on.paint(on.ellipse(side * kidney, 0.26, 0.1, 0.14, tilt), bright)
        on.paint(on.ellipse(side * (kidney - 0.05), 0.26, 0.04, 0.06), 0.45)
    on.paint(on.ellipse(0.06, 0.1, 0.06, 0.06), on.vary(0.65, 0.85))
    _spine(on, 0.3)


def _breast_mri(on: _Sheet) -> None:
    """Two breasts that hang free in the coil, glands inside, the chest wall below."""
    import numpy as np

    apart, width, height = on.vary(0.38, 0.46), on.vary(0.31, 0.39), on.vary(0.55, 0.8)
    wall = on.vary(0.18, 0.34)
    above = on.soft(wall + 0.08 - on.y)
    fat = on.vary(0.32, 0.62)
    glands = on.texture(14) * 0.5 + on.texture(7) * 0.5
    for side in (-1, 1):
        on.paint(on.ellipse(side * apart, wall, width, height) * above, fat)
        core = on.ellipse(side * apart, wall - 0.12, width * 0.62, height * 0.6) * above
        on.paint(core * np.clip(glands * 2 + 0.6, 0, 1), on.vary(0.6, 0.95))
    chest = on.ellipse(0, wall + 0.75, 1.0, 0.72)
    on.paint(chest, fat * 0.8)
    on.paint(on.ellipse(0, wall + 0.78, 0.88, 0.66), 0.34)
    on.pixels += 0.12 * glands * chest
    on.paint(on.ellipse(on.vary(-0.02, 0.14), wall + 0.48, 0.2, 0.2), on.vary(0.5, 0.8))
    for side in (-1, 1):
        on.paint(on.ellipse(side * 0.5, wall + 0.62, 0.26, 0.36), 0.06)


def _chest_xray(on: _Sheet) -> None:
    """Chest from the front: shoulders, dark lungs behind ribs, heart, spine, diaphragm."""
    import numpy as np

    body = on.vary(0.5, 0.64)
    on.paint(on.ellipse(0, -0.98, 0.19, 0.45), body)
    on.paint(on.ellipse(0, 0.8, on.vary(0.82, 0.94), 1.75), body)
    for side in (-1, 1):
        on.paint(on.ellipse(side * 0.55, -0.28, 0.46, 0.32, side * 0.3), body)
    width, height, apart = on.vary(0.29, 0.35), on.vary(0.6, 0.7), on.vary(0.38, 0.44)
    dark, base = on.vary(0.1, 0.26), on.vary(0.42, 0.56)
    for side in (-1, 1):
        lung = on.ellipse(side * apart, 0, width, height, side * -0.06)
        on.paint(lung, dark)
        on.pixels += 0.07 * on.texture(12) * lung
        on.paint(on.ellipse(side * 0.16, -0.02, 0.1, 0.2, side * 0.2), dark + 0.2)
    outward = np.abs(on.x) - 0.12
    phase = (on.y + on.vary(0.35, 0.6) * outward * outward) * on.vary(3.4, 4.6) + on.vary(0, 1)
    wave = np.abs(2 * (phase - np.floor(phase)) - 1)
    cage = on.ellipse(0, 0, apart + width + 0.03, height + 0.1)
    on.pixels += np.clip((wave - 0.62) * 4, 0, 1) * cage * on.vary(0.1, 0.2)
    collar, nothing = on.vary(-0.56, -0.5), on.vary(0, 0)
    for side in (-1, 1):
        inner, outer = (nothing + 0.08 * side, collar + 0.08), (nothing + 0.66 * side, collar)
        on.pixels += 0.14 * on.rod(inner, outer, 0.04)[0]
    heart, belly = on.vary(0.2, 0.3), on.vary(0.74, 0.88)
    on.paint(on.ellipse(on.vary(0.08, 0.16), 0.26, heart, 0.27, 0.25), belly - 0.06)
    for side in (-1, 1):  # the domes of the diaphragm, the right one higher
        dome = on.ellipse(side * 0.38, base + 0.5 + 0.03 * side, 0.44, 0.5)
        on.paint(dome, belly)
    on.paint(on.ellipse(0, 0, 0.1, 1.3), belly - 0.04)
    rungs = on.y * 7
    on.pixels += 0.1 * np.abs(2 * (rungs - np.floor(rungs)) - 1) * on.ellipse(0, 0, 0.08, 1.3)


def _chest_ct(on: _Sheet) -> None:
    """Chest from below: two dark lungs with vessels, heart, ribs in the wall, spine."""
    import numpy as np

    width, height = on.vary(0.8, 0.94), on.vary(0.56, 0.68)
    on.paint(on.ellipse(0, 0, width, height), on.vary(0.3, 0.4))
    on.paint(on.ellipse(0, 0, width - 0.07, height - 0.07), on.vary(0.5, 0.6))
    bone = on.vary(0.85, 1.0)
    for x, y, tilt in (
        (0.74, -0.16, 0.6),
        (0.76, 0.14, -0.7),
        (0.5, 0.4, -0.3),
        (0.46, -0.42, 0.3),
    ):
        for side in (-1, 1):
            place = side * x * width / 0.87
            on.paint(on.ellipse(place, y * height / 0.62, 0.11, 0.03, side * tilt), bone)
    dark, apart = on.vary(0.03, 0.14), on.vary(0.38, 0.44)
    vessels = np.clip((on.texture(15) + on.texture(11)) * 2 - 1.1, 0, 1)
    for side in (-1, 1):
        lung = on.ellipse(side * apart, on.vary(-0.06, 0.04), on.vary(0.26, 0.31), height - 0.2)
        on.paint(lung, dark)
        on.paint(lung * vessels, 0.5)
    heart, value = on.vary(0.22, 0.32), on.vary(0.58, 0.74)
    on.paint(on.ellipse(on.vary(0.06, 0.14), -0.12, heart, on.vary(0.2, 0.28), 0.25), value)
    on.paint(on.ellipse(0.1, 0.2, 0.065, 0.065), value)
    _spine(on, 0.32)


def _hand(on: _Sheet) -> None:
    """X-ray of a hand: soft tissue around the bones of five fingers, gaps at the joints."""
    import numpy as np

    tissue, bone = on.vary(0.26, 0.42), on.vary(0.7, 0.95)
    side = 1 - 2 * np.floor(on.vary(0, 2))  # a left or a right hand
    spread, length = on.vary(0.8, 1.25), on.vary(0.88, 1.06)
    flesh = np.zeros_like(on.pixels)
    bones = np.zeros_like(on.pixels)
    fingers = (  # where the finger leaves the wrist and ends, and how thick it is
        (-0.16, 0.42, -0.72, 0.02, 0.105),
        (-0.1, 0.46, -0.36, -0.72, 0.095),
        (-0.02, 0.48, -0.1, -0.86, 0.1),
        (0.07, 0.48, 0.17, -0.78, 0.095),
        (0.15, 0.46, 0.44, -0.54, 0.085),
    )
    for x, y, tip_x, tip_y, width in fingers:
        start = side * x, 0 * length + y
        reach = length * on.vary(0.94, 1.06)
        end = side * (x + (tip_x - x) * spread), y + (tip_y - y) * reach
        covered, along, distance = on.rod(start, end, width)
        np.maximum(flesh, covered, out=flesh)
        # Bones: thicker at their ends, four to a finger, each shorter than the one before.
        steps = along * (2.3 + 2.2 * along)
        wave = np.abs(2 * (steps - np.floor(steps)) - 1)
        shaft = on.soft(width * (0.34 + 0.2 * wave * wave) - distance)
        np.maximum(bones, shaft * np.clip((0.93 - wave) * 12, 0, 1), out=bones)
    palm = on.ellipse(0.02 * side, 0.26, on.vary(0.3, 0.36), 0.36)
    wrist = on.rod((0 * side, 0.5 + 0 * side), (0 * side, 1.5 + 0 * side), on.vary(0.2, 0.26))[0]
    np.maximum(flesh, palm, out=flesh)
    np.maximum(flesh, wrist, out=flesh)
    on.paint(flesh, tissue)
    on.paint(bones, bone)
    for x, y in ((-0.1, 0.5), (0.02, 0.52), (0.13, 0.5), (-0.04, 0.61), (0.09, 0.61)):
        on.paint(on.ellipse(side * x, y, 0.055, 0.05), bone * 0.92)
    for x, width in ((-0.08, 0.095), (0.11, 0.06)):
        on.paint(on.rod((side * x, 0.78 + 0 * side), (side * x, 1.5 + 0 * side), width)[0], bone)
    on.pixels += 0.05 * on.texture(10) * flesh


def _head_ct(on: _Sheet) -> None:
    """Head from below: skull, brain with its folds, ventricles, the fold between the halves."""
    width, height = on.vary(0.58, 0.7), on.vary(0.74, 0.86)
    on.paint(on.ellipse(0, 0, width, height), 0.24)
    thick = on.vary(0.06, 0.11)
    on.paint(on.ellipse(0, 0, width - 0.04, height - 0.04), on.vary(0.88, 1.0))
    inner = on.ellipse(0, 0, width - 0.04 - thick, height - 0.04 - thick)
    brain = on.vary(0.36, 0.56)
    on.paint(inner, brain)
    on.pixels += (0.06 * on.texture(16) + 0.05 * on.texture(5)) * inner
    fluid, apart, long = brain * on.vary(0.25, 0.5), on.vary(0.06, 0.1), on.vary(0.16, 0.26)
    for side in (-1, 1):
        on.paint(on.ellipse(side * apart, -0.14, 0.05, long, side * -0.14), fluid)
        on.paint(on.ellipse(side * (apart + 0.06), 0.2, 0.045, long * 0.8, side * 0.2), fluid)
    on.paint(on.ellipse(0, 0.03, 0.02, 0.12), fluid)
    on.paint(on.ellipse(0, 0, 0.012, height - 0.16) * inner, brain + 0.14)


def _spine(on: _Sheet, y: float) -> None:
    """A vertebra from below: its body, the canal, the arch and the processes."""
    bone = on.vary(0.86, 1.0)
    for side in (-1, 1):
        on.paint(on.ellipse(side * 0.13, y + 0.12, 0.1, 0.03, side * 0.2), bone)
    on.paint(on.ellipse(0, y + 0.16, 0.035, 0.13), bone)
    on.paint(on.ellipse(0, y, 0.12, 0.095), bone)
    on.paint(on.ellipse(0, y + 0.105, 0.045, 0.035), 0.45)


_DRAWINGS: dict[str, Callable[[_Sheet], None]] = {
    "AbdomenCT": _abdomen_ct,
    "BreastMRI": _breast_mri,
    "CXR": _chest_xray,
    "ChestCT": _chest_ct,
    "Hand": _hand,
    "HeadCT": _head_ct,
}
