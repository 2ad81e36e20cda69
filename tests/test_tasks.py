"""Tasks: nothing but `tasks/` branches on the kind of a task."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import medpipe
from medpipe.tasks import TASKS, Multiclass, Regression, Task

SOURCE = Path(medpipe.__file__).parent
NAMES = {step.name for step in TASKS}
CLASSES = {step.__name__ for step in TASKS} | {"ClassLabels", "VectorLabels"}


def _asks(node: ast.AST) -> bool:
    """Whether a node looks at which task there is."""
    if isinstance(node, ast.Compare | ast.Dict | ast.Match):
        return any(
            isinstance(inner, ast.Constant) and inner.value in NAMES for inner in ast.walk(node)
        )
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
        return any(isinstance(inner, ast.Name) and inner.id in CLASSES for inner in ast.walk(node))
    return False


def _asked(path: Path) -> list[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return [f"{path.name}:{node.lineno}" for node in ast.walk(tree) if _asks(node)]  # type: ignore[attr-defined]


def test_nothing_else_asks_which_task_there_is() -> None:
    # The checks for plugins draw data of each built-in task.
    apart = {SOURCE / "tasks", SOURCE / "testing"}
    files = [path for path in SOURCE.rglob("*.py") if apart.isdisjoint(path.parents)]
    assert len(files) > 150
    assert [place for path in files for place in _asked(path)] == []


def test_what_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "asks.py"
    for line in (
        'x = 1 if task.kind == "multiclass" else 2',
        'x = {"regression": 1}[task.kind]',
        "x = isinstance(task.step, Multilabel)",
        'x = task.kind in ("multilabel", "regression")',
    ):
        path.write_text(line)
        assert _asked(path) == ["asks.py:1"], line


def test_a_built_in_task_can_be_named() -> None:
    assert Task(names=("a", "b")) == Task(kind=Multiclass(), names=("a", "b"))
    assert Task(kind="regression", names=("age",)).step == Regression()
    assert str(Task(names=("a", "b"))) == "multiclass (a, b)"
    with pytest.raises(ValueError, match="There is no built-in task 'survival'"):
        Task(kind="survival", names=("time",))
