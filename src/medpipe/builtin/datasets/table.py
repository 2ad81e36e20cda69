"""A table that names image files, their labels and, where known, groups and splits."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import attrs
from attrs.converters import optional as optional_value
from attrs.validators import optional

from medpipe.builtin.datasets.listing import table_rules as rules
from medpipe.builtin.datasets.listing.dicom_groups import (
    DicomGroup,
    header_groups,
    series_twice,
    with_header_groups,
)
from medpipe.builtin.datasets.listing.finding_labels import FindingReader, FlagReader
from medpipe.builtin.datasets.listing.grouping import Patterns, Ungrouped, compiled
from medpipe.builtin.datasets.listing.labels import ClassReader, LabelReader, OneHotReader
from medpipe.builtin.datasets.listing.likely_mistakes import unused_patients
from medpipe.builtin.datasets.listing.mask_labels import BlankMask, MaskReader, with_grid
from medpipe.builtin.datasets.listing.number_labels import NumberReader
from medpipe.builtin.datasets.listing.predefined_splits import SPLIT_WORDS, split_of_value
from medpipe.builtin.datasets.listing.readings import is_window, reading_of
from medpipe.builtin.datasets.listing.row_report import RowReport
from medpipe.builtin.datasets.listing.structures import MaskValue, OfMasks, OnMismatch, Structures
from medpipe.builtin.datasets.listing.suffixes import are_suffixes
from medpipe.builtin.datasets.listing.table_file import Quotes, is_encoding, read_table
from medpipe.builtin.datasets.listing.table_images import ImageFinder, columns_of, names_columns
from medpipe.builtin.datasets.listing.table_rows import Repeated, RowReader
from medpipe.builtin.datasets.listing.values import Merged, by_value, key, one_or_several
from medpipe.builtin.datasets.listing.wording import counted, looked_in, rows_named
from medpipe.plugin import (
    IMAGE_SUFFIXES,
    DataError,
    Dataset,
    Fault,
    Frames,
    MissingSpacing,
    OnLeak,
    Padding,
    Regression,
    TaskStep,
    UnreadableImageError,
    Window,
    dicom_identities,
    file_mode,
    source_of,
    task_step,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from medpipe.builtin.datasets.listing.table_repeated import KeptRow
    from medpipe.plugin import Segmentation


@attrs.frozen(kw_only=True)
class Table(OfMasks):
    """A CSV, TSV or Parquet file with a row for each image and column names in row 1.

    Spaces around cells and blank rows are ignored. A sample's id is the path of its (first) image
    as the row has it, with ``/`` between folders and without a suffix from `suffixes`: so it
    depends neither on the machine nor on the file format.

    Attributes:
        file: The table: ``.csv``; ``.tsv`` or ``.tab``; ``.parquet``; text also as ``.gz``.
        encoding: The text encoding, by Python's name: ``cp1252``, ``latin-1``.
        delimiter: The character between two cells. None: a tab in TSV, else a comma.
        quotes: Double quotes around cells: ``"checked"``: a cell that holds whole rows, because its
            quote is not closed in its row, is an error; ``"trusted"``: it is accepted;
            ``"none"``: quotes are ordinary characters.
        decimal: The decimal separator of a regression's numbers.
        short_rows: What to do with rows that end before a column that is needed: an error, or
            the cells are ``"blank"``.
        missing_values: Values that mean a blank cell: ``["NA", "?"]``; not in `keep` or `where`.
        root: The folder that relative image paths start from. None: the folder of `file`.
        image: The column with the path of each image, or a template with columns in braces,
            ``"{folder}/{filename}"``. Several are stacked as channels.
        suffixes: Appended in this order where the path is no file: ``[".png"]``.
        unit: ``"series"``: `image` names folders, each with the files of one DICOM series.
        label: The column with the labels, or several.
        mask: For a segmentation, instead of `label`: the column with the path of each image's
            mask; or a column for each structure, which it names: in its masks what is not 0 is the
            structure. Paths start from `root`, and have `suffixes`, as those of images.
        labels: With one column of masks the value or values of each structure in them:
            ``{ liver = 1, tumour = [2, 3] }``, or their colours, ``{ liver = "#ff0000" }``. A value
            of several structures lets them overlap. 0, or black, is the ``background``, unless that
            has a value of its own. Of DICOM segmentations the number or the label of a segment.
        ignore: Values or colours in masks that count nowhere.
        blank_mask: The meaning of a blank cell of `mask`: an ``"error"``; the structure is not in
            the image (``"empty"``); or nobody looked (``"not_annotated"``): it then counts nowhere,
            and a row where nothing is annotated is one without a label (`missing_labels`).
        task: ``"multiclass"``: one class in each row; ``"multilabel"``: findings, either a column
            for each with 1, 0 or nothing, or all in one cell; ``"regression"``: numbers. With
            several columns of classes (one-hot) each row has one 1. ``"segmentation"``: masks.
            None: `mask` means segmentation, several columns or a `separator` multilabel, else
            multiclass.
        separator: The separator of findings in one cell: ``"|"``.
        negative: With `separator`, values that mean no finding: ``["No Finding"]``.
        uncertain: With a column for each finding, the meaning of -1. None: it is an error.
        blank: With findings, the meaning of a blank cell.
        label_unit: The unit of a regression: ``"years"``.
        classes: The value or values of `label` for each class (or finding). None: every value is
            a class. Classes are sorted.
        where: Take only rows that have this value, or one of these, in this column. Text is
            compared without spaces around it, numbers as numbers.
        missing_labels: What to do with rows without a label.
        missing_files: What to do with rows whose image is blank or not there.
        repeated: What to do with several rows for one image (for each box, or each reader): an
            error; ``"agree"``: one sample, where they have the same label, group and split;
            ``"any"``: the same, and a finding is positive if one row has it. Different values in
            `keep` are joined by ``; ``.
        keep: Columns that are copied to the predictions, as text.
        group: The column with the group that must stay in one split, usually the patient. None:
            every image is a group of its own, unless there is a `group_pattern` or it is DICOM
            (`dicom_group`).
        group_pattern: A regular expression that is searched in each id; what it captures, joined
            by ``/``, is the group. Of a list the first that matches is used.
        dicom_group: For DICOM images without a given group: the header's identifier to group by,
            ``"patient"``, ``"study"`` or ``"series"``, as in `image_folder`; ``"none"``: don't
            trust headers.
        ungrouped: What to do with rows without a group: an error, each a group of its ``"own"``,
            or ``"drop"``.
        split: The column with the split of each image. None: the library chooses.
        splits: The value or values of `split` for ``training``, ``validation`` and ``test``.
            None: ``training`` or ``train``; ``validation``, ``valid`` or ``val``;
            ``test``; in any case.
        on_leak: What to do where given splits divide a group or copies of one image: ``"error"``,
            or ``"drop_train"``: leave out the training samples concerned.
        channels: 1: convert images to grey; 3: to RGB; ``"auto"``: keep the files' channels,
            without alpha and with palettes resolved.
        window: The window for grey values of DICOM files: ``"none"``, ``"voi"`` or (centre,
            width); see `Reading`.
        frames: What to do with multi-frame DICOM files without frame positions: an error
            (``"positions"``), a ``"volume"`` in the stored order, or the ``"first"`` frame.
        padding: What to do with padding in DICOM files: ``"lowest"`` or ``"keep"``; see `Reading`.
        missing_spacing: What to do with DICOM volumes with slice positions but no PixelSpacing: an
            error, or they are read with an ``"unknown"`` spacing.
    """

    name: ClassVar[str] = "table"

    file: Path
    encoding: str = attrs.field(default="utf-8", validator=is_encoding)
    delimiter: str | None = attrs.field(default=None, validator=optional(rules.is_delimiter))
    quotes: Quotes = "checked"
    decimal: Literal[".", ","] = attrs.field(default=".", validator=rules.decimal_fits)
    short_rows: Literal["error", "blank"] = "error"
    missing_values: tuple[str, ...] = ()
    root: Path | None = None
    image: str | tuple[str, ...] = attrs.field(default="image", validator=names_columns)
    suffixes: tuple[str, ...] | None = attrs.field(default=None, validator=are_suffixes)
    unit: Literal["file", "series"] = "file"
    label: str | tuple[str, ...] = attrs.field(default="label", validator=rules.label_fits)
    task: TaskStep | None = attrs.field(default=None, converter=optional_value(task_step))
    mask: str | tuple[str, ...] | None = attrs.field(default=None, validator=rules.mask_fits)
    labels: Structures | None = attrs.field(default=None, validator=rules.structures_fit)
    ignore: tuple[MaskValue, ...] = attrs.field(default=(), validator=rules.ignore_fits)
    on_mismatch: OnMismatch = "error"
    blank_mask: BlankMask = "error"
    separator: str | None = attrs.field(default=None, validator=rules.separator_fits)
    negative: tuple[str, ...] = attrs.field(default=(), validator=rules.negative_fits)
    uncertain: Literal["missing", "positive", "negative"] | None = attrs.field(
        default=None, validator=rules.uncertain_fits
    )
    blank: Literal["missing", "negative"] = attrs.field(
        default="missing", validator=rules.blank_fits
    )
    label_unit: str | None = attrs.field(default=None, validator=rules.label_unit_fits)
    classes: Merged | None = attrs.field(default=None, validator=rules.classes_fit)
    where: Mapping[str, rules.Wanted] | None = attrs.field(default=None, validator=rules.where_fits)
    missing_labels: Literal["error", "drop"] = "error"
    missing_files: Literal["error", "drop"] = "error"
    repeated: Repeated = attrs.field(default="error", validator=rules.repeated_fits)
    keep: tuple[str, ...] = attrs.field(default=(), validator=rules.keep_fits)
    group: str | None = None
    group_pattern: Patterns | None = attrs.field(default=None, validator=rules.pattern_fits)
    dicom_group: DicomGroup = "patient"
    ungrouped: Ungrouped = "error"
    split: str | None = None
    splits: Merged | None = attrs.field(default=None, validator=rules.splits_fit)
    on_leak: OnLeak = "error"
    channels: Literal[1, 3, "auto"] = "auto"
    window: Window = attrs.field(default="none", validator=is_window)
    frames: Frames = "positions"
    padding: Padding = "lowest"
    missing_spacing: MissingSpacing = "error"

    @classmethod
    def examples(cls, folder: Path) -> Sequence[Self]:
        """Eight pictures of four patients: classes, findings, a number, and masks."""
        from medpipe.builtin.datasets.drawn import draw_table

        file = draw_table(folder)
        return [
            cls(file=file, group="patient", keep=("age",)),
            cls(file=file, group="patient", label=("one", "two")),
            cls(file=file, group="patient", label="age", task=Regression(), label_unit="years"),
            cls(file=file, group="patient", mask="mask", labels={"square": 255}),
        ]

    def build(self) -> Dataset:
        """List the images, in the order of the rows.

        Raises:
            DataError: The table can't be read, or is wrong: with row numbers as a spreadsheet
                shows them, up to ten problems at once.
        """
        return self._list(strictly=True)

    def build_with_faults(self) -> Dataset:
        """List the images as `build` does, with errors in single rows as faults.

        Raises:
            DataError: The table can't be read, or is wrong as a whole.
        """
        return self._list(strictly=False)

    def _list(self, *, strictly: bool) -> Dataset:
        file = Path(self.file).expanduser()
        root = file.parent if self.root is None else Path(self.root).expanduser()
        table = read_table(
            file, encoding=self.encoding, delimiter=self.delimiter, quotes=self.quotes
        )
        try:
            is_folder = stat.S_ISDIR(file_mode(os.fspath(root)))
        except UnreadableImageError as error:
            raise DataError(f"dataset.root: {root} {error.reason}.") from error
        if not is_folder:
            raise DataError(f"dataset.root: there is no folder {root}{looked_in(root)}.")
        report = RowReport(file=file)
        reader = self._reader(root)
        rows = reader.rows(table, table.positions(file, self._columns()), report)
        notes = self._group_by_headers(rows, report)
        faults = () if strictly else report.take_faults()
        report.raise_problems()
        if faults and not rows:
            raise report.refusal(faults)
        if not rows:
            left = [f"{file}: no row is left.", *report.notes(), *report.examples.values()]
            raise DataError("\n".join(left))
        labels, task = reader.labels.finish([(row.number, row.label) for row in rows], report)
        if all(row.sample.group is None for row in rows):
            used = [column for _, column in self._columns()]
            report.remarks += unused_patients(table.header, used)
        return Dataset(
            samples=[
                attrs.evolve(row.sample, label=with_grid(row.sample, label))
                for row, label in zip(rows, labels, strict=True)
            ],
            task=task,
            reading=reading_of(self),
            on_leak=self.on_leak,
            notes=(*report.notes(), *reader.finder.passed.notes(), *notes),
            faults=faults,
        )

    def _group_by_headers(self, rows: list[KeptRow], report: RowReport) -> list[str]:
        """Give rows without a group that of their DICOM header; refuse rows that contradict it."""
        if self.dicom_group == "none":
            return []
        files = {
            row.sample.id: path
            for row in rows
            if not (path := source_of(row.sample.image) or "").lower().endswith(IMAGE_SUFFIXES)
        }
        wrong: list[Fault] = []
        identities = dicom_identities(files, wrong) if files else {}
        whole_series = self.unit == "series"
        if whole_series:
            wrong += series_twice(identities, files)
        groups = header_groups(identities, beginning=self.dicom_group, whole_series=whole_series)
        given = self.group is not None or self.group_pattern is not None
        samples, notes = with_header_groups(
            [row.sample for row in rows], groups, wrong, given=given
        )
        numbers = {row.sample.id: row.number for row in rows}
        headed = {numbers[s.id] for s in samples if s.group is not None}.intersection(report.own)
        if headed:
            report.own = [number for number in report.own if number not in headed]
            have = "has that of its header" if len(headed) == 1 else "have those of their headers"
            notes.append(
                f"{counted(len(headed), 'row')} without a group {have} (dataset.dicom_group), "
                f"{rows_named(sorted(headed))}."
            )
        for fault in wrong:
            message = f"row {numbers[fault.sample]}: {fault.message}"
            report.refuse_row(attrs.evolve(fault, message=message))
        left_out = {fault.sample for fault in wrong}
        rows[:] = [
            attrs.evolve(row, sample=sample)
            for row, sample in zip(rows, samples, strict=True)
            if sample.id not in left_out
        ]
        return notes

    def _columns(self) -> list[tuple[str, str]]:
        """The columns that are needed, each with the field that names it."""
        images = [column for text in one_or_several(self.image) for column in columns_of(text)]
        wanted = [("image", column) for column in images]
        field = "label" if self.mask is None else "mask"
        wanted += [(field, column) for column in self._label_columns()]
        wanted += [("group", self.group)] if self.group is not None else []
        wanted += [("split", self.split)] if self.split is not None else []
        wanted += [("where", column) for column in self.where or {}]
        return wanted + [("keep", column) for column in self.keep]

    def _label_columns(self) -> tuple[str, ...]:
        return one_or_several(self.label if self.mask is None else self.mask)

    def _labels(self, root: Path) -> LabelReader:
        columns = self._label_columns()
        step = rules.task_of(self)
        if step.cells == "masks":
            return MaskReader(
                step=cast("Segmentation", step),
                columns=columns,
                labels=self.labels,
                ignore=self.ignore,
                blank=self.blank_mask,
                on_mismatch=self.on_mismatch,
                finder=ImageFinder(
                    root=root, templates=columns, suffixes=self.suffixes or (), unit="file"
                ),
            )
        classes = None if self.classes is None else by_value(self.classes)
        if step.cells == "numbers":
            return NumberReader(
                step=step, columns=columns, unit=self.label_unit, decimal=self.decimal
            )
        if step.cells == "classes" and len(columns) > 1:
            return OneHotReader(step=step, columns=columns, classes=classes)
        if step.cells == "classes":
            return ClassReader(
                step=step, column=columns[0], classes=classes, asked=self.task is not None
            )
        if self.separator is None:
            return FlagReader(
                step=step,
                columns=columns,
                uncertain=self.uncertain,
                blank=self.blank,
                asked=self.task is not None,
            )
        return FindingReader(
            step=step,
            column=columns[0],
            separator=self.separator,
            negative=frozenset(map(key, self.negative)),
            classes=classes,
            blank_is_negative=self.blank == "negative",
        )

    def _reader(self, root: Path) -> RowReader:
        split_of = SPLIT_WORDS if self.splits is None else split_of_value(self.splits)
        return RowReader(
            finder=ImageFinder(
                root=root,
                templates=one_or_several(self.image),
                suffixes=self.suffixes or (),
                unit=self.unit,
                across_folders=self.dicom_group != "none",
            ),
            labels=self._labels(root),
            label_columns=self._label_columns(),
            masks=self.mask is not None,
            where={
                column: frozenset(map(key, wanted if isinstance(wanted, tuple) else (wanted,)))
                for column, wanted in (self.where or {}).items()
            },
            missing_values=frozenset(map(key, self.missing_values)),
            missing_labels=self.missing_labels,
            missing_files=self.missing_files,
            keep=self.keep,
            group=self.group,
            patterns=() if self.group_pattern is None else compiled(self.group_pattern),
            ungrouped=self.ungrouped,
            split=self.split,
            split_of={key(value): split for value, split in split_of.items()},
            usual_splits=self.splits is None,
            short_rows=self.short_rows,
            quotes=self.quotes,
            repeated=self.repeated,
        )
