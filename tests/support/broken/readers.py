"""Reader steps that each fail one check."""

from __future__ import annotations

import itertools
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import DataError, DecodedImage, ReaderStep, UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    import numpy as np

    from medpipe.plugin import Reading

    Array = np.ndarray[Any, np.dtype[Any]]

MARK = b"SND1"
START = len(MARK) + 8
CALLS = itertools.count()
LAST: dict[str, bytes] = {}


@attrs.frozen(kw_only=True)
class Sound(ReaderStep):
    """A mark, height and width, and a byte for each pixel."""

    name: ClassVar[str] = "sound"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        for number in range(2):
            pixels = bytes((7 * place + number) % 251 for place in range(12 * 10))
            content = MARK + struct.pack("<II", 12, 10) + pixels
            (folder / f"image{number}.snd").write_bytes(content)
        return [cls()]

    def recognises(self, head: bytes, name: str) -> bool:
        return head.startswith(MARK)

    def values(self, content: bytes, path: str) -> Array:
        import numpy as np

        if len(content) < START:
            raise UnreadableImageError(path, "has no whole header", kind="truncated")
        height, width = struct.unpack_from("<II", content, len(MARK))
        if len(content) != START + height * width:
            raise UnreadableImageError(path, "is not as long as it says", kind="truncated")
        return np.frombuffer(content, np.uint8, offset=START).reshape(height, width)

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        return DecodedImage(values=self.values(content, path))


@attrs.frozen(kw_only=True)
class Blind(Sound):
    def recognises(self, head: bytes, name: str) -> bool:
        return False


@attrs.frozen(kw_only=True)
class Answering(Sound):
    def recognises(self, head: bytes, name: str) -> Any:
        return head.startswith(MARK) or None


@attrs.frozen(kw_only=True)
class Unpacking(Sound):
    def recognises(self, head: bytes, name: str) -> bool:
        return struct.unpack_from("<4s", head)[0] == MARK


@attrs.frozen(kw_only=True)
class Greedy(Sound):
    def recognises(self, head: bytes, name: str) -> bool:
        return True


@attrs.frozen(kw_only=True)
class NoImage(Sound):
    def decode(self, content: bytes, path: str, reading: Reading) -> Any:
        return self.values(content, path)


@attrs.frozen(kw_only=True)
class Flat(Sound):
    def values(self, content: bytes, path: str) -> Array:
        return super().values(content, path).ravel()


@attrs.frozen(kw_only=True)
class Complex(Sound):
    def values(self, content: bytes, path: str) -> Array:
        return super().values(content, path) * 1j


@attrs.frozen(kw_only=True)
class NoSpacing(Sound):
    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        found = super().decode(content, path, reading)
        return attrs.evolve(found, spacing=(1.0, 0.0), spacing_of="patient")


@attrs.frozen(kw_only=True)
class Counting(Sound):
    def values(self, content: bytes, path: str) -> Array:
        found: Array = super().values(content, path) + next(CALLS) % 7
        return found


@attrs.frozen(kw_only=True)
class Sharing(Sound):
    def values(self, content: bytes, path: str) -> Array:
        LAST["content"] = content
        time.sleep(0.002)
        return super().values(LAST["content"], path)


@attrs.frozen(kw_only=True)
class Opening(Sound):
    def values(self, content: bytes, path: str) -> Array:
        return super().values(Path(path).read_bytes(), path)


@attrs.frozen(kw_only=True)
class Nameless(Sound):
    def values(self, content: bytes, path: str) -> Array:
        try:
            return super().values(content, path)
        except UnreadableImageError:
            raise DataError("A file is damaged.") from None


@attrs.frozen(kw_only=True)
class Padding(Sound):
    def values(self, content: bytes, path: str) -> Array:
        import numpy as np

        if content[len(MARK) : START] != struct.pack("<II", 12, 10):
            return super().values(content, path)
        whole = np.zeros(120, np.uint8)
        pixels = np.frombuffer(content, np.uint8, offset=START)[:120]
        whole[: len(pixels)] = pixels
        return whole.reshape(12, 10)


@attrs.frozen(kw_only=True)
class Waiting(Sound):
    def values(self, content: bytes, path: str) -> Array:
        while len(content) < START + 120:
            time.sleep(0.01)
        return super().values(content, path)


@attrs.frozen(kw_only=True)
class Trusting(Sound):
    def values(self, content: bytes, path: str) -> Array:
        import numpy as np

        if len(content) >= START:
            height, width = struct.unpack_from("<II", content, len(MARK))
            np.zeros(height * width, np.uint8)
        return super().values(content, path)


@attrs.frozen(kw_only=True)
class Volumes(Sound):
    """Volumes of colours, for each of which a part of the file is one slice.

    Attributes:
        depth: How many slices.
    """

    name: ClassVar[str] = "volumes"
    depth: int

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        for name in ("one.snd", "two.snd"):
            content = MARK + struct.pack("<II", 12, 20) + bytes(range(240))
            (folder / name).write_bytes(content)
        return [cls(depth=2), cls(depth=4)]

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        import numpy as np

        values = self.values(content, path).reshape(12, -1, self.depth)
        affine = np.diag([0.5, 0.7, 3.0, 1.0])
        return DecodedImage(
            values=values, affine=affine, spacing=(0.7, 0.5, 3.0), spacing_of="patient"
        )


BROKEN: dict[str, Any] = {
    "recognises_its_files": Blind,
    "answers_with_a_bool": Answering,
    "recognises_any_bytes": Unpacking,
    "leaves_other_files": Greedy,
    "decodes_its_files": NoImage,
    "gives_axes_of_images": Flat,
    "gives_real_numbers": Complex,
    "gives_a_place_that_fits": NoSpacing,
    "decodes_the_same_twice": Counting,
    "decodes_in_several_threads": Sharing,
    "decodes_content_alone": Opening,
    "names_damaged_files": Nameless,
    "refuses_files_that_are_cut": Padding,
    "ends_on_damaged_files": Waiting,
    "takes_no_size_on_trust": Trusting,
}
"""For each check a step that fails it alone."""
for _broken in BROKEN.values():
    _broken.__doc__ = "Fails one check."
SOUND = [Sound, Volumes]
"""Steps that fail none."""
