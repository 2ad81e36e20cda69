"""The samples of files to predict, in memory that worker processes share."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, overload

from medpipe.steps import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from medpipe.steps import ImageFile


class FileSamples(Sequence[Sample]):
    """The samples of files, each made when it is asked for.

    Worker processes share the memory of the process that forked them until one writes to it, and
    to use a Python object is to write to it. A list of samples would so be copied little by
    little while it is predicted; of this one the names are two blocks of bytes.

    Args:
        images: The files by id. Series and tuples are kept as they are.
        label: The label of all samples.
    """

    def __init__(self, images: Mapping[str, ImageFile | tuple[ImageFile, ...]], label: Any) -> None:
        files = [image if isinstance(image, str) else None for image in images.values()]
        self._ids, self._paths = _Texts(images), _Texts(path or "" for path in files)
        pairs = enumerate(zip(images.values(), files, strict=True))
        self._others = {place: image for place, (image, path) in pairs if path is None}
        self._label = label

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice[Any, Any, Any]) -> list[Sample]: ...
    def __getitem__(self, place: int | slice[Any, Any, Any]) -> Sample | list[Sample]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        one = range(len(self))[place]
        image = self._others[one] if one in self._others else self._paths[one]
        return Sample(id=self._ids[one], image=image, label=self._label)


class _Texts:
    """Texts, names of files among them that are no UTF-8, in one block of bytes."""

    def __init__(self, texts: Iterable[str]) -> None:
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._block = b"".join(parts)
        self._starts = array("q", accumulate(map(len, parts), initial=0))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, place: int) -> str:
        part = self._block[self._starts[place] : self._starts[place + 1]]
        return part.decode("utf-8", "surrogatepass")
