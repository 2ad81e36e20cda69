"""Images in folders, one folder for each class."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import optional

from medpipe.builtin.datasets.listing.class_folders import class_folders, class_remarks, classes_of
from medpipe.builtin.datasets.listing.dicom_groups import (
    DicomGroup,
    header_groups,
    with_header_groups,
)
from medpipe.builtin.datasets.listing.grouping import (
    Patterns,
    Ungrouped,
    captures,
    compiled,
    group_of,
)
from medpipe.builtin.datasets.listing.predefined_splits import names_splits
from medpipe.builtin.datasets.listing.readings import is_window, reading_of
from medpipe.builtin.datasets.listing.spellings import alike
from medpipe.builtin.datasets.listing.suffixes import are_suffixes
from medpipe.builtin.datasets.listing.values import Merged, several_classes
from medpipe.builtin.datasets.listing.wording import NAMED, counted, listed
from medpipe.plugin import (
    IMAGE_SUFFIXES,
    DataError,
    Dataset,
    DatasetStep,
    Fault,
    FolderListing,
    FoundImages,
    Frames,
    MissingSpacing,
    OnLeak,
    Padding,
    Sample,
    Task,
    Window,
    find_images,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from medpipe.builtin.datasets.listing.class_folders import ClassFolder

_MOST_SHOWN = 10


@attrs.frozen(kw_only=True)
class ImageFolder(DatasetStep):
    r"""Images in folders: one class for each folder in `root`, files at any depth below it.

    Takes PNG, JPEG (``.jpg``, ``.jpeg``, ``.jpe``, ``.jfif``, ``.jfi``, ``.jif``), TIFF
    (``.tif``, ``.tiff``), BMP (``.bmp``, ``.dib``) and NIfTI (``.nii``, ``.nii.gz``) by their
    suffix in any case, and DICOM files by their content. Hidden and system files and folders
    (``Thumbs.db``, ``@eaDir``), files of other kinds and links to folders are skipped and
    counted; links to files are followed. Classes are sorted by name; a sample's id is its path
    below `root` with ``/`` between folders, in Unicode form NFC, the same on every machine.

    Attributes:
        root: The folder that holds the class folders.
        channels: 1: convert images to grey; 3: to RGB; ``"auto"``: keep the files' channels,
            without alpha and with palettes resolved.
        window: The window for grey values of DICOM files: ``"none"``, ``"voi"`` or (centre,
            width); see `Reading`.
        frames: What to do with multi-frame DICOM files without frame positions: an error
            (``"positions"``), a ``"volume"`` in the stored order, or the ``"first"`` frame.
        padding: What to do with padding in DICOM files: ``"lowest"`` or ``"keep"``; see `Reading`.
        missing_spacing: What to do with DICOM volumes with slice positions but no PixelSpacing: an
            error, or they are read with an ``"unknown"`` spacing.
        unit: Whether each DICOM file is an image, or all files of a series, whose id is then
            ``folder/SeriesInstanceUID`` with the folder that holds them all.
        suffixes: Take only files with these suffixes. None: all images.
        classes: The folder or folders of each class. None: every folder is a class of its own
            name.
        splits: The folder or folders directly below `root` that hold the class folders of
            ``training`` (or ``train``), ``validation`` (``valid``, ``val``) and ``test``. All
            splits share one list of classes; a split may lack some. None: the library splits the
            images.
        group_pattern: A regular expression that is searched in each id; what it captures, joined
            by ``/``, is the sample's group: samples of one group (one patient) stay in one split.
            ``(person\d+)``. Of a list the first that matches is used. None: every image is a
            group of its own, unless it is DICOM (`dicom_group`).
        dicom_group: For DICOM images without a given group: the header's identifier to group by:
            ``"patient"`` (PatientID with its issuer), ``"study"`` or ``"series"``. Where it is
            blank, a placeholder or the same in all images, the next one is used. ``"none"``: don't
            trust headers: each image is a group of its own, and the files of a series lie in one
            folder.
        ungrouped: What to do with images that no pattern matches: an error, each a group of its
            ``"own"``, or ``"drop"``: they are left out.
        on_leak: What to do where `splits` divide a group or copies of one image: ``"error"``, or
            ``"drop_train"``: leave out the training samples concerned.
    """

    name: ClassVar[str] = "image_folder"

    root: Path
    channels: Literal[1, 3, "auto"] = "auto"
    window: Window = attrs.field(default="none", validator=is_window)
    frames: Frames = "positions"
    padding: Padding = "lowest"
    missing_spacing: MissingSpacing = "error"
    unit: Literal["file", "series"] = "file"
    suffixes: tuple[str, ...] | None = attrs.field(default=None, validator=are_suffixes)
    classes: Merged | None = attrs.field(default=None, validator=optional(several_classes))
    splits: Merged | None = attrs.field(default=None, validator=optional(names_splits))
    group_pattern: Patterns | None = attrs.field(default=None, validator=captures)
    dicom_group: DicomGroup = "patient"
    ungrouped: Ungrouped = "error"
    on_leak: OnLeak = "error"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Pictures of four patients in two classes, without and with splits."""
        from medpipe.builtin.datasets.drawn import draw_picture

        names = [f"{kind}/patient{n}_{view}.png" for kind in "ab" for n in (1, 2) for view in "lr"]
        for number, name in enumerate(names):
            draw_picture(folder / "plain" / name, number)
            split = "train" if "patient1" in name else "test"
            draw_picture(folder / "split" / split / name, number)
        return [
            cls(root=folder / "plain", group_pattern=r"(patient\d+)"),
            cls(root=folder / "split", channels=1, splits={"training": "train", "test": "test"}),
        ]

    def build(self) -> Dataset:
        """List the images, sorted by class and id.

        Raises:
            DataError: The folder isn't there or has another layout, a file can't be read, or
                `group_pattern` does not match a file.
        """
        return self._list(None)

    def build_with_faults(self) -> Dataset:
        """List the images as `build` does, with errors in single files as faults.

        These are images outside of class folders, folders that can't be read, broken links, names
        that are not valid Unicode and damaged DICOM files.

        Raises:
            DataError: The folder isn't there or has another layout, or `group_pattern` does not
                match a file.
        """
        faults: list[Fault] = []
        listed = self._list(faults)
        return attrs.evolve(listed, faults=sorted(faults, key=attrgetter("sample")))

    def _list(self, faults: list[Fault] | None) -> Dataset:
        """List the images; errors in single files are added to `faults`, unless it is None."""
        root = Path(self.root).expanduser()
        try:
            return self._listed(root, faults)
        except DataError as error:
            # Files that could not be read may be why the layout seems wrong.
            more = [str(fault) for fault in faults or () if str(fault) not in str(error)]
            if not more:
                raise
            raise DataError("\n".join([str(error), *more[:_MOST_SHOWN]])) from error

    def _listed(self, root: Path, faults: list[Fault] | None) -> Dataset:
        listing = FolderListing(faults=faults)
        folders = class_folders(
            root, listing, splits=self.splits, classes=self.classes, suffixes=self.suffixes
        )
        for folder in folders:
            listing.look_below(folder.path, folder.id)
        class_of, names = classes_of(root, folders, self.classes)
        by_id = {folder.id: folder for folder in folders}
        folder_of = self._folder_of(by_id)
        found = find_images(
            listing,
            suffixes=self.suffixes,
            unit=self.unit,
            across_folders=self.dicom_group != "none",
            apart=lambda id_: (class_of[folder_of(id_).name], folder_of(id_).split),
        )
        first_of = found.first_of
        index = {name: position for position, name in enumerate(names)}
        label_of = {id_: index[class_of[folder.name]] for id_, folder in by_id.items()}
        in_folder = [folder_of(first_of.get(id_, id_)) for id_ in found.images]
        filled = {folder.id for folder in in_folder}
        filled |= {
            folder_of(id_).id for id_ in found.members
        }  # the members of a series are of one class
        self._require_images(root, [id_ for id_ in by_id if id_ not in filled], found.notes)
        nothing: Mapping[str, Any] = {}  # shared: half a million of them would take 30 MB
        samples = [
            Sample(
                id=id_,
                image=image,
                label=label_of[folder.id],
                split=folder.split,
                extra=nothing,
            )
            for (id_, image), folder in zip(found.images.items(), in_folder, strict=True)
        ]
        samples.sort(key=attrgetter("id"))
        samples.sort(key=attrgetter("label"))
        samples, notes = self._grouped(root, samples)
        samples, more = self._grouped_by_headers(samples, found, faults)
        notes += [*more, *class_remarks(folders, class_of, merged=self.classes is not None)]
        without = [name for name in names if name not in {class_of[f.name] for f in by_id.values()}]
        if without:
            notes.append(
                f"dataset.classes names no folder that exists in {root} for {listed(without)}."
            )
        return Dataset(
            samples=samples,
            task=Task(names=names),
            reading=reading_of(self),
            on_leak=self.on_leak,
            notes=(*found.notes, *notes),
        )

    def _folder_of(self, by_id: Mapping[str, ClassFolder]) -> Callable[[str], ClassFolder]:
        """Return a function that gives the class folder of a file's id."""
        if self.splits is None:
            return lambda id_: by_id[id_.partition("/")[0]]
        return lambda id_: by_id["/".join(id_.split("/", 2)[:2])]

    def _require_images(self, root: Path, empty: Sequence[str], notes: Sequence[str]) -> None:
        """Refuse class folders without images."""
        if not empty:
            return
        several = len(empty) > 1
        kinds = f"files ending in {', '.join(self.suffixes or IMAGE_SUFFIXES)}"
        kinds += ", and DICOM files" if self.suffixes is None else " (dataset.suffixes)"
        lines = [
            f"{root}: no images in the class folder{'s' * several} {listed(empty)}. Images are "
            f"{kinds}. Remove the folder{'s' * several} or add {'their' if several else 'its'} "
            "images.",
            *notes,
        ]
        raise DataError("\n".join(lines))

    def _grouped(self, root: Path, samples: list[Sample]) -> tuple[list[Sample], list[str]]:
        """The samples with their groups, and notes on those without one."""
        if self.group_pattern is None:
            return samples, []
        patterns = compiled(self.group_pattern)
        pairs = [(sample, group_of(patterns, sample.id)) for sample in samples]
        same = alike({group for _, group in pairs if group is not None})
        said = []
        if same:
            named = "; ".join(listed(one) for one in same[:NAMED])
            more = f"; and {len(same) - NAMED:,} more" if len(same) > NAMED else ""
            said.append(
                "dataset.group_pattern captures groups that differ only in case, in spaces or in "
                f"how a number is written: {named}{more}. If they are the same group, rename them."
            )
        without = [sample.id for sample, group in pairs if group is None]
        if not without:
            return [attrs.evolve(sample, group=group) for sample, group in pairs], said
        if self.ungrouped == "error" or (self.ungrouped == "drop" and len(without) == len(pairs)):
            shown = [f"  {id_}" for id_ in without[:_MOST_SHOWN]]
            if len(without) > _MOST_SHOWN:
                shown.append(f"  and {len(without) - _MOST_SHOWN:,} more")
            lines = [
                f"dataset.group_pattern captures nothing in {len(without):,} of "
                f"{counted(len(samples), 'image')} in {root}:",
                *shown,
                "Change the pattern, or give a list of patterns, of which the first that matches "
                'counts. Or set dataset.ungrouped to "own" (each of these images is a group of '
                'its own) or "drop" (they are left out).',
            ]
            raise DataError("\n".join(lines))
        if self.ungrouped == "own":  # unless its header has a group
            return [attrs.evolve(sample, group=group) for sample, group in pairs], said
        kept = [attrs.evolve(s, group=group) for s, group in pairs if group is not None]
        left = "was left out" if len(without) == 1 else "were left out"
        return kept, [_without_group(without, f"{left} (dataset.ungrouped)"), *said]

    def _grouped_by_headers(
        self, samples: list[Sample], found: FoundImages, faults: list[Fault] | None
    ) -> tuple[list[Sample], list[str]]:
        """The samples with the groups of their DICOM headers, where no other is given."""
        groups = header_groups(
            found.identities, beginning=self.dicom_group, whole_series=self.unit == "series"
        )
        given = self.group_pattern is not None
        grouped, notes = with_header_groups(samples, groups, faults, given=given)
        if not given:
            return grouped, notes
        own = [sample.id for sample in grouped if sample.group is None]
        pairs = zip(samples, grouped, strict=True)
        headed = [now.id for before, now in pairs if before.group is None and now.group is not None]
        are = "is a group of its own" if len(own) == 1 else "are each a group of their own"
        have = "has that" if len(headed) == 1 else "have those"
        notes += [_without_group(own, f"{are} (dataset.ungrouped)")] if own else []
        of = f"{have} of {'its header' if len(headed) == 1 else 'their headers'}"
        notes += [_without_group(headed, f"{of} (dataset.dicom_group)")] if headed else []
        return grouped, notes


def _without_group(ids: Sequence[str], became: str) -> str:
    return (
        f"{counted(len(ids), 'image')} in which dataset.group_pattern captures nothing {became}, "
        f"{ids[0]!r}{'' if len(ids) == 1 else ' for one'}."
    )
