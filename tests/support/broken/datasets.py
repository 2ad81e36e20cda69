"""Dataset steps that each fail one check."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from medpipe.plugin import DataError, Dataset, DatasetStep, LabelImage, Reading, Sample, Task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

NAMES = ("benign", "malignant")
CALLS = itertools.count()


@attrs.frozen(kw_only=True)
class Sound(DatasetStep):
    """Pictures ``PATIENT_CLASS_VIEW.png``, of which two are copies.

    Attributes:
        root: Their folder.
    """

    name: ClassVar[str] = "sound"
    root: Path

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        import numpy as np
        from PIL import Image

        views = [f"p{n // 2}_{n // 2 % 2}_{n % 2}.png" for n in range(6)]
        for number, name in enumerate([*views, "p2_0_2.png"]):
            pixels = np.random.default_rng(min(number, 5)).integers(0, 256, (8, 9))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        (folder / "list.txt").write_text("\n".join(views), encoding="utf-8")
        return [cls(root=folder)]

    def names(self) -> list[str]:
        if not self.root.is_dir():
            raise DataError(f"dataset.root: there is no folder {self.root}. Name another.")
        return sorted(path.name for path in self.root.iterdir() if path.suffix == ".png")

    def sample(self, name: str) -> Sample:
        patient, label, _ = name.split("_")
        return Sample(id=name, image=str(self.root / name), label=int(label), group=patient)

    def build(self) -> Dataset:
        return Dataset(samples=[self.sample(name) for name in self.names()], task=Task(names=NAMES))


@attrs.frozen(kw_only=True)
class NoSamples(Sound):
    def names(self) -> list[str]:
        return super().names()[:0]


@attrs.frozen(kw_only=True)
class Changing(Sound):
    def sample(self, name: str) -> Sample:
        return attrs.evolve(super().sample(name), label=next(CALLS) // 3 % 2)


@attrs.frozen(kw_only=True)
class Numbered(Sound):
    def build(self) -> Dataset:
        super().build()
        names = [path.name for path in self.root.iterdir() if path.suffix == ".png"]
        samples = [
            attrs.evolve(self.sample(name), label=int(place < 3))
            for place, name in enumerate(names)
        ]
        return Dataset(samples=sorted(samples, key=lambda s: s.id), task=Task(names=NAMES))


@attrs.frozen(kw_only=True)
class OtherBuild(Sound):
    def build_with_faults(self) -> Dataset:
        dataset = super().build()
        return attrs.evolve(dataset, samples=dataset.samples[1:])


@attrs.frozen(kw_only=True)
class SameIds(Sound):
    def sample(self, name: str) -> Sample:
        found = super().sample(name)
        return attrs.evolve(found, id=str(found.group), label=1)


@attrs.frozen(kw_only=True)
class WholePaths(Sound):
    def sample(self, name: str) -> Sample:
        return attrs.evolve(super().sample(name), id=str(self.root / name))


@attrs.frozen(kw_only=True)
class SameNames(Sound):
    def build(self) -> Dataset:
        return attrs.evolve(super().build(), task=Task(names=("ill", "ill ")))


@attrs.frozen(kw_only=True)
class CountedFromOne(Sound):
    def sample(self, name: str) -> Sample:
        found: Any = super().sample(name)
        return attrs.evolve(found, label=found.label + 1)


@attrs.frozen(kw_only=True)
class GroupsOfTwo(Sound):
    def sample(self, name: str) -> Sample:
        group: Any = tuple(name.split("_")[:2])
        return attrs.evolve(super().sample(name), group=group)


@attrs.frozen(kw_only=True)
class GroupOfItsOwn(Sound):
    def sample(self, name: str) -> Sample:
        return attrs.evolve(super().sample(name), group=name)


@attrs.frozen(kw_only=True)
class Train(Sound):
    def sample(self, name: str) -> Sample:
        split: Any = "train"
        return attrs.evolve(super().sample(name), split=split)


@attrs.frozen(kw_only=True)
class Lists(Sound):
    def sample(self, name: str) -> Sample:
        return attrs.evolve(super().sample(name), extra={"box": [1, 2]})


@attrs.frozen(kw_only=True)
class Absent(Sound):
    def sample(self, name: str) -> Sample:
        return attrs.evolve(super().sample(name), image=str(self.root / f"{name}.gz"))


@attrs.frozen(kw_only=True)
class OwnReaders(Sound):
    def build(self) -> Dataset:
        from medpipe.data.readers.formats import PictureReader

        reader: Any = PictureReader()
        return attrs.evolve(super().build(), reading=Reading(readers=(reader,)))


@attrs.frozen(kw_only=True)
class WithText(Sound):
    def sample(self, name: str) -> Sample:
        found = super().sample(name)
        return attrs.evolve(found, image=(str(self.root / name), str(self.root / "list.txt")))


@attrs.frozen(kw_only=True)
class PictureAsMask(Sound):
    def build(self) -> Dataset:
        samples = [
            attrs.evolve(one, label=LabelImage(image=one.image)) for one in super().build().samples
        ]
        return Dataset(samples=samples, task=Task(kind="segmentation", names=("nodule",)))


@attrs.frozen(kw_only=True)
class Decoding(Sound):
    def sample(self, name: str) -> Sample:
        from PIL import Image

        with contextlib.suppress(OSError, SyntaxError):
            Image.open(self.root / name).load()
        return super().sample(name)


@attrs.frozen(kw_only=True)
class Nameless(Sound):
    def sample(self, name: str) -> Sample:
        path = type("Handle", (str,), {})(self.root / name)
        return attrs.evolve(super().sample(name), image=path)


@attrs.frozen(kw_only=True)
class FolderInGroup(Sound):
    def sample(self, name: str) -> Sample:
        found = super().sample(name)
        return attrs.evolve(found, group=f"{self.root.name}-{found.group}")


@attrs.frozen(kw_only=True)
class Writing(Sound):
    def build(self) -> Dataset:
        dataset = super().build()
        (self.root / "count.txt").write_text(str(len(dataset.samples)), encoding="utf-8")
        return dataset


@attrs.frozen(kw_only=True)
class NoFolder(Sound):
    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir() if path.suffix == ".png")


@attrs.frozen(kw_only=True)
class Listed(Sound):
    def names(self) -> list[str]:
        super().names()
        names = (self.root / "list.txt").read_text(encoding="utf-8").split()
        return [name for name in names if (self.root / name).stat().st_size]


@attrs.frozen(kw_only=True)
class Sizes(Sound):
    def sample(self, name: str) -> Sample:
        from PIL import Image

        with Image.open(self.root / name) as image:
            return attrs.evolve(super().sample(name), extra={"width": image.width})


@attrs.frozen(kw_only=True)
class TextRoot(DatasetStep):
    """Images in memory, and a root that is a text.

    Attributes:
        root: A folder.
    """

    name: ClassVar[str] = "text_root"
    root: str

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        return [cls(root=str(one.root)) for one in Sound.examples(folder)]

    def build(self) -> Dataset:
        import numpy as np
        from PIL import Image

        dataset = Sound(root=Path(self.root)).build()
        samples = []
        for one in dataset.samples:
            try:
                values = np.asarray(Image.open(str(one.image)))
            except OSError as error:
                raise DataError(f"The image {one.image} can't be read.") from error
            samples.append(attrs.evolve(one, image=values))
        return attrs.evolve(dataset, samples=samples)


BROKEN: dict[str, Any] = {
    "lists_samples": NoSamples,
    "lists_the_same_twice": Changing,
    "lists_in_any_order": Numbered,
    "lists_the_same_with_faults": OtherBuild,
    "gives_unique_ids": SameIds,
    "gives_ids_without_folders": WholePaths,
    "names_what_labels_mean": SameNames,
    "gives_labels_of_its_task": CountedFromOne,
    "gives_groups_as_text": GroupsOfTwo,
    "keeps_copies_in_one_group": GroupOfItsOwn,
    "gives_splits_that_are_known": Train,
    "gives_plain_columns": Lists,
    "lists_files_that_exist": Absent,
    "lists_images_that_can_be_read": [WithText, OwnReaders],
    "lists_masks_that_fit": PictureAsMask,
    "lists_without_decoding": Decoding,
    "lists_what_can_be_pickled": Nameless,
    "lists_the_same_elsewhere": FolderInGroup,
    "writes_nothing_beside_its_files": Writing,
    "names_a_folder_that_is_missing": NoFolder,
    "names_a_file_that_is_missing": Listed,
    "names_a_file_that_is_broken": Sizes,
}
"""For each check a step that fails it alone."""
for _broken in [*BROKEN.values(), WithText, OwnReaders]:
    if not isinstance(_broken, list):
        _broken.__doc__ = "Fails one check."
SOUND = [Sound, TextRoot]
"""Steps that fail none."""
