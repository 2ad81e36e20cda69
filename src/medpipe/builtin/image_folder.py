"""Images in folders, one folder for each class."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs.validators import optional

from medpipe.builtin.listing.class_folders import class_folders, classes_of
from medpipe.builtin.listing.found_files import SUFFIXES, are_suffixes, files_below, find_images
from medpipe.builtin.listing.grouping import Patterns, Ungrouped, captures, compiled, group_of
from medpipe.builtin.listing.parts import names_parts
from medpipe.builtin.listing.values import Merged, several_classes
from medpipe.builtin.listing.windows import is_window
from medpipe.builtin.listing.wording import counted, listed
from medpipe.plugin import (
    DataError,
    Dataset,
    DatasetStep,
    Fault,
    Frames,
    OnLeak,
    Padding,
    Reading,
    Sample,
    Task,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MOST_SHOWN = 10


@attrs.frozen(kw_only=True)
class ImageFolder(DatasetStep):
    r"""Images in folders: one class for each folder in `root`, files at any depth below it.

    Takes ``.png``, ``.jpg``, ``.jpeg``, ``.tif``, ``.tiff``, ``.bmp``, ``.nii`` and ``.nii.gz``
    in any case, and DICOM files whatever their names. Hidden files and folders are left aside,
    files of other kinds (``Thumbs.db``) are passed over and counted. Links to folders are not
    followed, links to files are. Classes are sorted by name; a sample's id is its path below
    `root` with ``/`` between folders, in Unicode form NFC, the same on every machine.

    Attributes:
        root: The folder that holds the class folders.
        channels: 1: images become grey; 3: they become RGB; ``"auto"``: as the files have them,
            without alpha and with palettes resolved.
        window: Which grey values DICOM files give: ``"none"``, ``"voi"`` or (centre, width); see
            `Reading`.
        frames: What becomes of DICOM files of several frames that don't say where these lie: they
            are refused, stacked as a ``"volume"`` in the stored order, or the ``"first"`` is taken.
        padding: What becomes of padding in DICOM files: ``"lowest"`` or ``"keep"``; see `Reading`.
        unit: Whether each DICOM file is an image, or all files of a series in one folder, whose
            id is then ``folder/SeriesInstanceUID``.
        suffixes: Take only files whose names end so. None: all that are images.
        classes: Under each class the folder or folders that hold it. None: every folder is a
            class of its own name.
        parts: Under ``training`` (or ``train``), ``validation`` (``valid``, ``val``) and ``test``
            the folder or folders directly below `root` that hold the class folders of that part.
            The classes of all parts are one list; a part need not have all. None: the library
            divides the images.
        group_pattern: A regular expression that is searched in each id; what it captures, joined
            by ``/``, is the sample's group: samples of one group (one patient) stay in one part.
            ``(person\d+)``. Of a list the first that is found counts. None: every image is a
            group of its own.
        ungrouped: What becomes of images in which no pattern is found: an error, each a group of
            its ``"own"``, or ``"drop"``: they are left out.
        on_leak: What to do where `parts` divide a group or copies of one image: ``"error"``, or
            ``"drop_train"``: leave the training side out.
    """

    name: ClassVar[str] = "image_folder"

    root: Path
    channels: Literal[1, 3, "auto"] = "auto"
    window: Window = attrs.field(default="none", validator=is_window)
    frames: Frames = "positions"
    padding: Padding = "lowest"
    unit: Literal["file", "series"] = "file"
    suffixes: tuple[str, ...] | None = attrs.field(default=None, validator=are_suffixes)
    classes: Merged | None = attrs.field(default=None, validator=optional(several_classes))
    parts: Merged | None = attrs.field(default=None, validator=optional(names_parts))
    group_pattern: Patterns | None = attrs.field(default=None, validator=captures)
    ungrouped: Ungrouped = "error"
    on_leak: OnLeak = "error"

    def build(self) -> Dataset:
        """List the images, sorted by class and id.

        Raises:
            DataError: The folder isn't there or isn't laid out so, a file can't be reached, or
                `group_pattern` does not fit a file.
        """
        return self._list(None)

    def build_with_faults(self) -> Dataset:
        """List the images as `build` does, with what is wrong with single files as faults.

        That is images beside the class folders, folders that can't be read, links that lead
        nowhere, names that are no Unicode and damaged DICOM files.

        Raises:
            DataError: The folder isn't there or isn't laid out so, or `group_pattern` does not
                fit a file.
        """
        faults: list[Fault] = []
        return attrs.evolve(self._list(faults), faults=faults)

    def _list(self, faults: list[Fault] | None) -> Dataset:
        """List the images; what is wrong with single files goes to `faults`, if it is there."""
        root = Path(self.root).expanduser()
        try:
            layout = class_folders(
                root,
                parts=self.parts,
                classes=self.classes,
                suffixes=self.suffixes,
                faults=faults,
            )
            files = dict(layout.beside)
            links: list[str] = []
            file_links: set[str] = set(files)
            for folder in layout.folders:
                files.update(files_below(folder.path, folder.id, links, file_links, faults))
        except OSError as error:
            raise DataError(f"{error.filename or root} can't be read: {error.strerror}.") from error
        class_of, names = classes_of(root, layout.folders, self.classes)
        found = find_images(
            files, suffixes=self.suffixes, unit=self.unit, links=file_links, faults=faults
        )
        by_id = {folder.id: folder for folder in layout.folders}
        index = {name: position for position, name in enumerate(names)}
        label_of = {id_: index[class_of[folder.name]] for id_, folder in by_id.items()}
        in_folder = (
            [by_id[id_.partition("/")[0]] for id_ in found.images]
            if self.parts is None
            else [by_id["/".join(id_.split("/", 2)[:2])] for id_ in found.images]
        )
        filled = {folder.id for folder in in_folder}
        self._require_images(root, [id_ for id_ in by_id if id_ not in filled], found.notes)
        nothing: Mapping[str, Any] = {}  # one for all: half a million would take 30 MB
        samples = [
            Sample(
                id=id_,
                image=image,
                label=label_of[folder.id],
                split=folder.part,
                extra=nothing,
            )
            for (id_, image), folder in zip(found.images.items(), in_folder, strict=True)
        ]
        samples.sort(key=attrgetter("id"))
        samples.sort(key=attrgetter("label"))
        samples, notes = self._grouped(root, samples)
        if links:
            one = len(links) == 1
            notes.append(
                f"{counted(len(links), 'link')} to {'a folder was' if one else 'folders were'} not "
                f"followed, {min(links)!r}{'' if one else ' for one'}."
            )
        without = [name for name in names if name not in {class_of[f.name] for f in by_id.values()}]
        if without:
            notes.append(f"No folder is there that dataset.classes names for {listed(without)}.")
        return Dataset(
            samples=samples,
            task=Task(names=names),
            reading=Reading(
                channels=self.channels,
                window=self.window,
                frames=self.frames,
                padding=self.padding,
            ),
            on_leak=self.on_leak,
            notes=(*found.notes, *notes),
        )

    def _require_images(self, root: Path, empty: Sequence[str], notes: Sequence[str]) -> None:
        """Refuse class folders without images."""
        if not empty:
            return
        several = len(empty) > 1
        kinds = f"files ending in {', '.join(self.suffixes or SUFFIXES)}"
        kinds += ", and DICOM files" if self.suffixes is None else " (dataset.suffixes)"
        lines = [
            f"{root}: no images in the class folder{'s' * several} {listed(empty)}. Images are "
            f"{kinds}. Remove the folder{'s' * several} or add {'their' if several else 'its'} "
            "images.",
            *notes,
        ]
        raise DataError("\n".join(lines))

    def _grouped(self, root: Path, samples: list[Sample]) -> tuple[list[Sample], list[str]]:
        """The samples with their groups, and what is to be said about those that have none."""
        if self.group_pattern is None:
            return samples, []
        patterns = compiled(self.group_pattern)
        pairs = [(sample, group_of(patterns, sample.id)) for sample in samples]
        without = [sample.id for sample, group in pairs if group is None]
        if not without:
            return [attrs.evolve(sample, group=group) for sample, group in pairs], []
        if self.ungrouped == "error" or (self.ungrouped == "drop" and len(without) == len(pairs)):
            shown = [f"  {id_}" for id_ in without[:_MOST_SHOWN]]
            if len(without) > _MOST_SHOWN:
                shown.append(f"  and {len(without) - _MOST_SHOWN:,} more")
            lines = [
                f"dataset.group_pattern captures nothing in {len(without):,} of "
                f"{counted(len(samples), 'image')} in {root}:",
                *shown,
                "Change the pattern, or give a list, of which the first that is found counts. Or "
                'set dataset.ungrouped to "own" (each of these images is a group of its own) or '
                '"drop" (they are left out).',
            ]
            raise DataError("\n".join(lines))
        own = self.ungrouped == "own"
        kept = [attrs.evolve(s, group=group) for s, group in pairs if own or group is not None]
        one = len(without) == 1
        became = f"{'is' if one else 'are each'} a group of {'its' if one else 'their'} own"
        left = f"{'was' if one else 'were'} left out"
        note = (
            f"{counted(len(without), 'image')} in which dataset.group_pattern captures nothing "
            f"{became if own else left} (dataset.ungrouped), {without[0]!r}"
            f"{'' if one else ' for one'}."
        )
        return kept, [note]
