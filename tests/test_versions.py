"""What is said about installed distributions is what the standard library says."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from medpipe.system.versions import version_of

if TYPE_CHECKING:
    from pathlib import Path

INSTALLED = sorted({one.name for one in metadata.distributions() if one.name})


@pytest.mark.parametrize("name", INSTALLED)
def test_the_version_is_the_one_that_the_standard_library_reads(name: str) -> None:
    assert version_of(name) == metadata.version(name)


def test_what_is_not_installed_has_none() -> None:
    assert version_of("no-such-distribution") is None


@pytest.mark.parametrize(
    ("folder", "file"),
    [("own_plain-1.5.dist-info", "METADATA"), ("own_plain.egg-info", "PKG-INFO")],
)
def test_the_description_is_not_taken_for_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, file: str
) -> None:
    (tmp_path / folder).mkdir()
    text = "Metadata-Version: 2.1\nName: own-plain\nVersion: 1.5\n\nVersion: 9\n"
    (tmp_path / folder / file).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    version_of.cache_clear()
    assert version_of("own-plain") == "1.5"
    version_of.cache_clear()
