"""``medpipe cache`` as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpipe.cli import app, main
from medpipe.cli.cache import cache
from medpipe.data.cache.cache import PackedCache
from medpipe.data.cache.folders import folder_of, packed_folders, packed_root
from medpipe.data.cache.writer import PackedWriter


@pytest.fixture(autouse=True)
def _command() -> None:
    if "cache" not in list(app):
        app.command(cache)


def call(*arguments: str) -> Any:
    try:
        main(["cache", *arguments])
    except SystemExit as ended:
        return ended.code
    return 0


def make(key: str, used: int) -> Path:
    path = folder_of(key)
    with PackedWriter(path, {"data": "MedNIST", "steps": ["load_image"]}) as writer:
        writer.add("a", np.arange(1000), {})
    os.utime(path / "about.json", (used, used))
    return path


def test_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert not call("list")
    assert capsys.readouterr().out == (
        f"There is no packed cache in {os.environ['MEDPIPE_CACHE']}.\n"
    )


def test_the_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    make("1" * 32, 86400 * 400)
    make("2" * 32, 86400 * 365)
    (make("1" * 12 + "3" * 20, 0) / "about.json").write_text("damaged")
    monkeypatch.setenv("MEDPIPE_CACHE_LIMIT", "1GB")
    assert not call("list")
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first.split() == ["name", "size", "samples", "last", "used", "of"]
    assert [line.split()[0] for line in lines] == ["2" * 13, "1" * 13, "1" * 12 + "3"]
    assert lines[0].split()[2:4] == ["KB", "1"]
    assert lines[0].endswith("data MedNIST")
    assert "damaged" in lines[2]
    assert last.endswith(f"of at most 1.0 GB in {os.environ['MEDPIPE_CACHE']}")


def test_verify_removes_what_is_not_what_was_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key in ("absent", "good", "index", "values"):
        make(key, 0)
    (folder_of("absent") / "values.bin").unlink()
    for key, name in (("index", "index.npz"), ("values", "values.bin")):
        file = folder_of(key) / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    assert call("verify") == 2
    printed = capsys.readouterr()
    assert printed.out == "1 packed cache verified, 3 damaged.\n"
    assert sorted(printed.err.splitlines()) == [
        "absent: no such file or directory; removed.",
        "index: index.npz does not have the SHA-256 that was written; removed.",
        "values: values.bin does not have the SHA-256 that was written; removed.",
    ]
    assert [folder.key for folder in packed_folders()] == ["good"]
    assert not call("verify")


def test_clear_by_name_and_all(capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("one", "two", "twice", "three"):
        make(key, 0)
    (packed_root() / ".gone.x.part").mkdir()
    assert not call("clear", "one", "thr")
    assert capsys.readouterr().out.startswith("2 packed caches removed, ")
    assert not folder_of("one").exists()
    assert not folder_of("three").exists()
    assert call("clear", "tw") == 2
    assert capsys.readouterr().err == (
        "Several packed caches begin with 'tw'. Use the names that 'medpipe cache list' shows.\n"
    )
    assert call("clear", "x") == 2
    assert capsys.readouterr().err.startswith("No packed cache begins with 'x'.")
    assert not call("clear", "--all")
    assert not [path for path in packed_root().iterdir() if path.is_dir()]


@pytest.mark.parametrize("arguments", [(), ("one", "--all")])
def test_clear_wants_to_know_which(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    make("one", 0)
    assert call("clear", *arguments) == 2
    assert capsys.readouterr().err == (
        "Name the packed caches to remove, as 'medpipe cache list' shows them, or give --all.\n"
    )
    assert folder_of("one").exists()


def test_one_in_use_stays(capsys: pytest.CaptureFixture[str]) -> None:
    make("free", 0)
    held = PackedCache(make("held", 0))
    assert call("clear", "--all") == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("1 packed cache removed, ")
    assert printed.err == (
        "1 packed cache not removed: held. A process uses the cache, or its folder is not yours. "
        "Wait until "
        "the process ends.\n"
    )
    assert held.array("a").sum() == 499500
    del held
    assert not call("clear", "held")


def test_it_stays_light() -> None:
    code = """
import sys
from medpipe.cli.cache import list_caches
list_caches()
assert not {"numpy", "torch", "monai", "PIL"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
