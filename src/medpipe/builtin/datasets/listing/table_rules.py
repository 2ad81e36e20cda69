"""Check which parameters of the dataset step `table` can be combined.

Each check is a validator of one field. Other fields may have no value yet, so they are read with
their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  (parameters' types are looked up)
from typing import TYPE_CHECKING, Any, TypeAlias

from medpipe.builtin.datasets.listing.grouping import captures
from medpipe.builtin.datasets.listing.predefined_splits import names_splits
from medpipe.builtin.datasets.listing.structures import (
    MaskValue,
    Structures,
    are_ignored,
    are_structures,
)
from medpipe.builtin.datasets.listing.values import (
    key,
    names_classes,
    one_or_several,
    several_classes,
)
from medpipe.plugin import Multiclass, Multilabel, Regression, Segmentation, TaskStep

if TYPE_CHECKING:
    import attrs

    Field: TypeAlias = attrs.Attribute[Any]

Wanted: TypeAlias = str | int | float | tuple[str | int | float, ...]
"""The value, or the values, that rows must have in a column."""
RESERVED = ("image", "label", "id", "reading")
"""Keys that a sample's dictionary has already."""


def task_of(table: object) -> TaskStep:
    """The task that a table's parameters ask for."""
    given: TaskStep | None = getattr(table, "task", None)
    if given is not None:
        return given
    if getattr(table, "mask", None) is not None:
        return Segmentation()
    several = len(one_or_several(getattr(table, "label", "label"))) > 1
    return Multilabel() if several or getattr(table, "separator", None) else Multiclass()


def is_delimiter(table: object, field: Field, value: str) -> None:
    """Check that it is one character that can separate cells."""
    if len(value) != 1 or value in '"\r\n ':
        raise ValueError(f"must be one character, such as ';', got {value!r}.")


def label_fits(table: object, field: Field, value: str | tuple[str, ...]) -> None:
    """Check that it is at least one column, and none twice."""
    columns = one_or_several(value)
    if not columns or not all(columns):
        raise ValueError("name a column.")
    if len(set(columns)) < len(columns):
        raise ValueError("a column is named twice.")


def mask_fits(table: object, field: Field, value: str | tuple[str, ...] | None) -> None:
    """Check that it names columns, and that there is no other label or task."""
    given: TaskStep | None = getattr(table, "task", None)
    if value is None:
        if given is not None and given.cells == "masks":
            raise ValueError("name the column of masks: the task is a segmentation.")
        return
    label_fits(table, field, value)
    if given is not None and given.cells != "masks":
        raise ValueError(f"it is for a segmentation, and dataset.task is {given.name}.")
    if getattr(table, "label", "label") != "label":
        raise ValueError("masks are the labels, and dataset.label names others. Leave one out.")


def structures_fit(table: object, field: Field, value: Structures | None) -> None:
    """Check that it has values for the structures of one column of masks."""
    mask: str | tuple[str, ...] | None = getattr(table, "mask", None)
    columns = () if mask is None else one_or_several(mask)
    if len(columns) == 1 and value is None:
        raise ValueError("give the value of each structure in the masks, such as { lesion = 255 }.")
    if len(columns) != 1 and value is not None:
        raise ValueError(
            "it is for one column of masks: of several each has the structure of its name."
        )
    are_structures(table, field, value)


def ignore_fits(table: object, field: Field, value: tuple[MaskValue, ...]) -> None:
    """Check that colours are used with one column of masks."""
    are_ignored(table, field, value)
    mask: str | tuple[str, ...] | None = getattr(table, "mask", None)
    texts = [one for one in value if isinstance(one, str)]
    if texts and mask is not None and len(one_or_several(mask)) > 1:
        raise ValueError(
            f"{texts[0]!r} is a colour, and with several columns of masks what is not 0 is the "
            "structure. Give numbers."
        )


def separator_fits(table: object, field: Field, value: str | None) -> None:
    """Check that it is used for findings in one column."""
    if value is None:
        return
    if not value.strip():
        raise ValueError("it needs a character that is not a space.")
    _only(Multilabel, table)
    if len(one_or_several(getattr(table, "label", "label"))) > 1:
        raise ValueError(
            "it is for findings in one column, and dataset.label names several. Leave it out."
        )


def negative_fits(table: object, field: Field, value: tuple[str, ...]) -> None:
    """Check that it is used for findings in one cell."""
    if value and getattr(table, "separator", None) is None:
        raise ValueError("it is for findings in one cell. Set dataset.separator too.")


def uncertain_fits(table: object, field: Field, value: str | None) -> None:
    """Check that it is used with a column for each finding."""
    if value is None:
        return
    _only(Multilabel, table)
    if getattr(table, "separator", None) is not None:
        raise ValueError("it is for a column for each finding, and dataset.separator for one cell.")


def blank_fits(table: object, field: Field, value: str) -> None:
    """Check that it is used for findings."""
    if value != "missing":
        _only(Multilabel, table)


def label_unit_fits(table: object, field: Field, value: str | None) -> None:
    """Check that it is used for a regression."""
    if value is not None:
        _only(Regression, table)


def classes_fit(
    table: object, field: Field, value: Mapping[str, str | tuple[str, ...]] | None
) -> None:
    """Check that it is used for classes, or for findings in one cell."""
    if value is None:
        return
    if task_of(table).cells == "masks":
        raise ValueError("a segmentation has no classes: use dataset.labels.")
    cells = task_of(table).cells
    (several_classes if cells == "classes" else names_classes)(table, field, value)
    columns = one_or_several(getattr(table, "label", "label"))
    if cells == "classes" and len(columns) > 1:
        merged = {key(one) for values in value.values() for one in one_or_several(values)}
        lacking = [column for column in columns if key(column) not in merged]
        if lacking or len(merged) > len(columns):
            raise ValueError(
                "with several columns of classes it must name each column once and nothing else; "
                f"see {(lacking or sorted(map(str, merged - set(map(key, columns)))))[0]!r}."
            )
    if cells == "numbers":
        raise ValueError("a regression has no classes. Leave it out.")
    if cells == "findings" and getattr(table, "separator", None) is None:
        raise ValueError("it merges values of one column, and here each finding has its own.")


def where_fits(table: object, field: Field, value: Mapping[str, Wanted] | None) -> None:
    """Check that it has values for each column."""
    if value is None:
        return
    empty = [column for column, wanted in value.items() if wanted == ()]
    if not value or empty:
        named = f" for {empty[0]!r}" if empty else ""
        raise ValueError(f"it names no value{named}. Name one, or leave it out.")


def decimal_fits(table: object, field: Field, value: str) -> None:
    """Check that it is used for a regression, and differs from the delimiter."""
    if value != ".":
        _only(Regression, table)
        if getattr(table, "delimiter", None) in (None, value):
            raise ValueError(
                "a comma can't separate both decimals and cells: set dataset.delimiter too, such "
                "as ';'."
            )


def repeated_fits(table: object, field: Field, value: str) -> None:
    """Check that ``"any"`` is used for findings."""
    if value == "any":
        _only(Multilabel, table)


def keep_fits(table: object, field: Field, value: tuple[str, ...]) -> None:
    """Check that the names are free in a sample's dictionary."""
    taken = [column for column in value if column in RESERVED]
    if taken:
        raise ValueError(
            f"{taken[0]!r} is a name that medpipe itself uses in each sample. Rename the column "
            "in the table."
        )
    if len(set(value)) < len(value) or not all(value):
        raise ValueError("a column is named twice, or not at all.")


def pattern_fits(table: object, field: Field, value: str | tuple[str, ...] | None) -> None:
    """Check that the patterns capture, and that no column names the group."""
    captures(table, field, value)
    if value is not None and getattr(table, "group", None) is not None:
        raise ValueError("dataset.group names a column of groups already. Leave one of them out.")


def splits_fit(
    table: object, field: Field, value: Mapping[str, str | tuple[str, ...]] | None
) -> None:
    """Check that it has splits for the values of a column."""
    if value is None:
        return
    names_splits(table, field, value)
    if getattr(table, "split", None) is None:
        raise ValueError("it names values of a column. Name that column with dataset.split.")


def _only(task: type[TaskStep], table: object) -> None:
    found = task_of(table)
    if found.cells != task.cells:
        raise ValueError(
            f"it is for {task.name}, and this is {found.name}. Leave it out, or set dataset.task "
            f'= "{task.name}".'
        )
