"""Read ``dataset.json``, which describes data sets of the decathlon and of nnU-Net."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from medpipe.builtin.datasets.listing.structures import BACKGROUND, MaskValue, Structures
from medpipe.builtin.datasets.listing.wording import looked_in
from medpipe.plugin import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DESCRIPTION = "dataset.json"


def described(root: Path, takes: str) -> Mapping[str, Any]:
    """The content of ``dataset.json``.

    Args:
        root: The folder.
        takes: What the step takes, as a sentence, for the error.

    Raises:
        DataError: It is not there, or can't be read.
    """
    path = root / DESCRIPTION
    try:
        about = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(
            f"There is no {path}{looked_in(root)}. {takes}, and image_masks folders of images and "
            "masks."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}.") from error
    if not isinstance(about, dict):
        raise DataError(f"{path} has no names, such as 'labels'.")
    return about


def labels_of(root: Path, about: Mapping[str, Any]) -> Structures:
    """The structures of ``dataset.json``: values to names, or names to values.

    Raises:
        DataError: There are none, or they can't be read.
    """
    given = about.get("labels")
    path = root / DESCRIPTION
    if not isinstance(given, dict) or not given:
        raise DataError(f"{path} has no 'labels'. Name them with dataset.labels.")
    found: dict[str, MaskValue | tuple[MaskValue, ...]] = {}
    try:
        for one, other in given.items():
            name, value = (other, one) if isinstance(other, str) else (one, other)
            found[str(name)] = (
                tuple(int(each) for each in value) if isinstance(value, list) else int(value)
            )
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}, labels: {given!r} can't be read as a name for each value. Name them with "
            "dataset.labels."
        ) from error
    zero = [name for name, value in found.items() if value == 0]
    return {BACKGROUND if name in zero else name: value for name, value in found.items()}
