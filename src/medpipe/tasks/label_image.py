"""`LabelImage`: a label that is an image."""

from __future__ import annotations

from typing import Any, Literal

import attrs

IGNORED = 255
"""The index of pixels that count nowhere, in labels as they are read."""
BLACK = "#000000"
Value = float | str
"""What a pixel of a mask has: a number, a colour as ``#rrggbb``, or a segment's label."""
OnMismatch = Literal["error", "resample"]
Values = tuple[tuple[Value, tuple[int, ...]], ...]
"""For values of a mask the places of the names that they mean; of the background none."""


@attrs.frozen(kw_only=True, eq=False)
class LabelImage:
    """A label that is an image: the mask of a segmentation, on the grid of the sample's image.

    Attributes:
        image: As `Sample.image`: a file; several, one for each of the task's names, in which what
            is not 0 belongs to the name (None: not annotated); or an array or `DecodedImage`.
        values: What the values of a single mask mean, such as ``((0, ()), (255, (0,)))``: 255 is
            the first name, 0 the background. A value that is not named is a fault. None: the
            values are 0 for the background, 1 for the first name, and so on. A mask in colours has
            texts: ``(("#000000", ()), ("#ff0000", (0,)))``. Of a DICOM segmentation numbers are
            those of segments, and other texts their labels (SegmentLabel).
        ignore: Values of a single mask that count nowhere: not in the loss, not in a metric.
        channels: How many names there are, where they may overlap: the label then has a channel of
            0 and 1 for each. None: each pixel has one name, or the background.
        absent: The places of names that are nowhere in the image, though they were looked for. In
            place of their files, or of a single mask where it is all names, `image` has the
            sample's image, whose grid alone counts.
        on_mismatch: What becomes of a mask on another grid than its image, where both have an
            affine: ``"error"``, or it is put onto the image's by nearest neighbour
            (``"resample"``); outside of it is the background then.
    """

    image: Any
    values: Values | None = None
    ignore: tuple[Value, ...] = ()
    channels: int | None = None
    absent: tuple[int, ...] = ()
    on_mismatch: OnMismatch = "error"

    @property
    def texts(self) -> tuple[str, ...]:
        """The values that are colours or labels of segments."""
        given = (*(value for value, _ in self.values or ()), *self.ignore)
        return tuple(value for value in given if isinstance(value, str))

    @property
    def colours(self) -> bool:
        """Whether the mask's values are colours."""
        return any(text.startswith("#") for text in self.texts)
