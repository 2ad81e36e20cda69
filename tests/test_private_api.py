"""What medpipe needs of other libraries that has no public name is still there, and in one file."""

from __future__ import annotations

import ast
import io
import multiprocessing
import os
import pickletools
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import medpipe
from medpipe.system.private_api import (
    SUBCLASS_MAKER,
    end_workers,
    hand_over_failures,
    tensor_makers,
    worker_exit_codes,
)

ROOT = Path(medpipe.__file__).parent
OTHERS = ("torch", "monai", "ignite", "multiprocessing", "concurrent", "numpy", "PIL", "pydicom")


def private_uses(path: Path) -> list[str]:
    """Names with an underscore that a file takes from other libraries."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] in OTHERS:
                    imported.add((name.asname or name.name).split(".")[0])
                    found += [part for part in name.name.split(".") if part.startswith("_")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OTHERS:
            imported |= {name.asname or name.name for name in node.names}
            parts = [*(node.module or "").split("."), *(name.name for name in node.names)]
            found += [part for part in parts if part.startswith("_")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owner: ast.expr = node
            while isinstance(owner, ast.Attribute):
                owner = owner.value
            if isinstance(owner, ast.Name) and owner.id in imported:
                found.append(node.attr)
    return [name for name in found if not name.startswith("__")]


@pytest.mark.long
def test_private_names_of_other_libraries_are_used_in_one_file() -> None:
    using = {
        path.relative_to(ROOT).as_posix(): names
        for path in ROOT.rglob("*.py")
        if (names := private_uses(path))
    }
    assert set(using) == {"system/private_api.py"}, using


class Numbers(Dataset[int]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if index == 3:
            os._exit(7)
        return index


def test_a_loader_knows_how_its_workers_ended_and_ends_them() -> None:
    loader = DataLoader(Numbers(), num_workers=1, prefetch_factor=1)
    iterator = iter(loader)
    assert [int(next(iterator)) for _ in range(2)] == [0, 1]
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        list(iterator)
    assert worker_exit_codes(iterator) == [7]
    waiting = iter(DataLoader(Numbers(), num_workers=1))
    assert worker_exit_codes(waiting) == []
    end_workers(waiting)
    assert worker_exit_codes(waiting) == [0]
    end_workers(iter(DataLoader(Numbers())))  # it has none


def _in_a_process(queue: Any) -> None:
    heard = threading.Event()

    def hear(where: Any, error: Exception, given: Any) -> None:
        where.put((type(error).__name__, len(given)))
        heard.set()

    hand_over_failures(hear)
    queue.put([lambda: None])
    heard.wait(60)


@pytest.mark.long
def test_what_can_not_be_put_into_a_queue_is_heard_of() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_in_a_process, args=(queue,))
    process.start()
    kind, length = queue.get(timeout=60)
    process.join()
    assert kind in ("PicklingError", "AttributeError")  # by version of Python
    assert length == 1


class Odd(torch.Tensor):
    pass


def test_files_of_torch_name_the_functions_that_are_allowed() -> None:
    named: set[str] = set()
    kinds = [torch.ones(2), torch.nn.Parameter(torch.ones(2)), torch.ones(2).as_subclass(Odd)]
    for tensor in kinds:
        content = io.BytesIO()
        torch.save(tensor, content)
        with zipfile.ZipFile(content) as archive:
            (pickled,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
            for operation, argument, _ in pickletools.genops(archive.read(pickled)):
                if operation.name == "GLOBAL":
                    named.add(str(argument))
    makers = {" ".join(key) for key in (*tensor_makers(), SUBCLASS_MAKER)}
    assert {name for name in named if "rebuild" in name} <= makers
    assert "torch._utils _rebuild_tensor_v2" in named
    assert "torch._utils _rebuild_parameter" in named
