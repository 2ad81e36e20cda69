"""Downloads and extractions that are killed at any moment, or done by two processes at once."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drawn_archives import file, packed
from medpipe.fetching import archives
from medpipe.fetching.archives import MARKER
from medpipe.plugin import extract_archive
from support.marks import long

if TYPE_CHECKING:
    from loopback import Loopback

CONTENT = random.Random(0).randbytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PROGRAM = Path(__file__).with_name("fetched_by_a_process.py")
FILES = {f"set/{n % 7}/{n:04d}.bin": random.Random(n).randbytes(100 + n) for n in range(3000)}


def launch(what: str, source: object, target: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), what, str(source), str(target), SHA256]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def start(what: str, source: object, target: Path) -> subprocess.Popen[str]:
    """A process that has done its imports and begins."""
    process = launch(what, source, target)
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.read() in ("done\n", "begins\ndone\n")
    assert process.wait(timeout=60) == 0


def kill_after(process: subprocess.Popen[str], seconds: float) -> None:
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=60)


@pytest.fixture
def publishing(loopback: Loopback, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """Sends the content in about a second, a piece at a time."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    loopback.content, loopback.pace = CONTENT, 0.01
    return loopback


@pytest.mark.parametrize("seed", range(4))
def test_a_download_that_is_killed_again_and_again(
    seed: int, publishing: Loopback, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    target = tmp_path / "file.bin"
    for _ in range(3):
        kill_after(start("download", publishing.url("/fine"), target), rng.uniform(0.02, 0.4))
        assert not target.exists() or target.read_bytes() == CONTENT
    end(start("download", publishing.url("/fine"), target))
    assert target.read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.bin"]


def test_a_killed_download_goes_on_where_it_was(publishing: Loopback, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    part = tmp_path / ".file.bin.part"
    process = start("download", publishing.url("/fine"), target)
    while not part.exists() or part.stat().st_size < 200_000:
        assert process.poll() is None
        time.sleep(0.005)
    kill_after(process, 0)
    kept = part.stat().st_size
    assert kept < len(CONTENT)
    end(start("download", publishing.url("/fine"), target))
    assert publishing.asked[-1] == ("/fine", f"bytes={kept}-")
    assert target.read_bytes() == CONTENT


@pytest.mark.long
def test_two_processes_download_once(publishing: Loopback, tmp_path: Path) -> None:
    publishing.pace = 0.03  # so that the second begins before the first has ended
    target = tmp_path / "file.bin"
    both = [launch("download", publishing.url("/fine"), target) for _ in range(2)]
    for process in both:
        end(process)
    assert target.read_bytes() == CONTENT
    assert publishing.asked == [("/fine", None)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    blocks = [file(name, content) for name, content in FILES.items()]
    return packed(tmp_path_factory.mktemp("published") / "set.tar.gz", *blocks)


def is_whole(target: Path) -> bool:
    found = {
        str(path.relative_to(target)): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file() and path.name != MARKER
    }
    return found == FILES


@pytest.mark.parametrize("seed", [0, 1, *map(long, range(2, 6))])
def test_an_extraction_that_is_killed_at_any_moment(
    seed: int, archive: Path, tmp_path: Path
) -> None:
    target = tmp_path / "set"
    process = start("extract", archive, target)
    kill_after(process, random.Random(seed).uniform(0, 0.5))
    assert not target.exists() or is_whole(target)
    end(start("extract", archive, target))
    assert is_whole(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_an_extraction_that_is_killed_while_it_writes(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "set"
    process = start("extract", archive, target)
    while not list(tmp_path.glob(".set.*.part/set/*/*")):
        assert process.poll() is None
        time.sleep(0.001)
    kill_after(process, 0)
    assert not target.exists()
    assert list(tmp_path.glob(".set.*.part"))
    end(start("extract", archive, target))
    assert is_whole(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_two_processes_extract_once(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "set"
    both = [launch("extract", archive, target) for _ in range(2)]
    for process in both:
        end(process)
    assert is_whole(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_the_marker_is_written_last_and_after_a_sync(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut would leave: each step must be on the disk before the next one begins."""
    from medpipe.system.disk import Disk
    from medpipe.system.files import through

    done: list[str] = []

    class Watched(Disk):
        def close(self, path: Path, file: int) -> None:
            done.append(f"close {'marker' if MARKER in path.name else 'file'}")
            super().close(path, file)

        def sync(self, path: Path, file: int) -> None:
            done.append(f"sync {'marker' if MARKER in path.name else 'file'}")
            super().sync(path, file)

        def rename(self, source: Path, target: Path) -> None:
            done.append(f"rename to {target.name}")
            super().rename(source, target)

        def sync_directory(self, path: Path) -> None:
            done.append(f"sync folder {path.name if path == tmp_path else 'within'}")
            super().sync_directory(path)

        def sync_all(self) -> None:
            done.append("sync all")

    with through(Watched()):
        extract_archive(archive, tmp_path / "set")
    assert done == [
        "sync all",
        "sync marker",
        "close marker",
        f"rename to {MARKER}",
        "sync folder within",
        "sync folder within",
        "rename to set",
        f"sync folder {tmp_path.name}",
    ]
    monkeypatch.setattr(archives, "_look_through", None)
    assert is_whole(extract_archive(archive, tmp_path / "set"))
