"""What was measured on the data (`DataInfo`) as plain data, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medpipe.registry.parameters import unstructure
from medpipe.steps import DataInfo, Task, TaskStep

if TYPE_CHECKING:
    from medpipe.registry.registry import Registry


def info_record(data: DataInfo, registry: Registry) -> dict[str, Any]:
    """What was measured on the data, as plain data; `info_of` reads it."""
    fields = ("channels", "spatial_shape", "spatial_dims", "outputs", "statistics")
    step = data.task.step
    known = registry.plugin_of(step) is not None
    task = unstructure(step, name_of=registry.saved_name if known else lambda cls: cls.name)
    return {
        "task": {"kind": task, "names": list(data.task.names), "unit": data.task.unit},
        **{name: getattr(data, name) for name in fields},
    }


def info_of(record: Mapping[str, Any], registry: Registry) -> DataInfo:
    """What `info_record` wrote.

    Raises:
        UnknownStepError: The task is that of a plugin that is not there.
        ConfigError: The plugin's task has other parameters now.
    """
    info = dict(record)
    task = dict(info.pop("task"))
    parameters = dict(task.pop("kind"))
    step = registry.create(TaskStep, parameters.pop("step"), parameters)
    plain = {name: tuples(item) for name, item in info.items()}
    return DataInfo(task=Task(kind=step, **task), **plain)


def tuples(value: Any) -> Any:
    """Lists as tuples, also inside of a table."""
    if isinstance(value, Mapping):
        return {name: tuples(item) for name, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value
