"""The scan: fingerprints, errors and the cache."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from PIL import Image

from medpipe.data.ids import odd_ids
from medpipe.data.readers.reader import file_bytes
from medpipe.data.scanning import scan as scanning
from medpipe.data.scanning import scan_cache
from medpipe.data.scanning.scan import Fingerprint, Scan, content_digest, scan
from medpipe.data.scanning.scan_cache import FileStates
from medpipe.errors import DataError
from medpipe.steps import Dataset, Reading, Sample, Series, Task
from medpipe.system.locks import tried
from support.drawn_dicom import write_series

TASK = Task(names=("a", "b"))


def _folder(root: Path, count: int = 5) -> Dataset:
    root.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(count):
        array = random.integers(0, 256, (6, 4 + index % 2), dtype=np.uint8)
        Image.fromarray(array).save(root / f"{index}.png")
    return _listed(root)


def _listed(root: Path) -> Dataset:
    files = sorted(root.glob("*.png"))
    return Dataset(samples=[Sample(id=f.name, image=f, label=0) for f in files], task=TASK)


def _caches() -> list[Path]:
    return sorted(Path(os.environ["MEDPIPE_CACHE"]).rglob("*.prints"))


def _error(dataset: Dataset) -> str:
    with pytest.raises(DataError) as caught:
        scan(dataset, workers=2)
    return str(caught.value)


def test_fingerprints(tmp_path: Path) -> None:
    dataset = _folder(tmp_path)
    found = scan(dataset, workers=2)
    content = (tmp_path / "1.png").read_bytes()

    assert list(found.fingerprints) == [sample.id for sample in dataset.samples]
    assert found.fingerprints["1.png"].sha256 == hashlib.sha256(content).hexdigest()
    assert found.fingerprints["1.png"].shape == (6, 5)
    assert len({f.pixels for f in found.fingerprints.values()}) == 5
    assert all(len(f.pixels) == 32 for f in found.fingerprints.values())
    assert scan(dataset, workers=1) == found


def test_the_same_pixels_in_another_file(tmp_path: Path) -> None:
    _folder(tmp_path, 1)
    image = Image.open(tmp_path / "0.png")
    image.save(tmp_path / "copy.png", compress_level=1, pnginfo=None, dpi=(300, 300))
    image.convert("RGB").save(tmp_path / "rgb.png")
    found = scan(_listed(tmp_path), workers=1).fingerprints

    assert found["0.png"].pixels == found["copy.png"].pixels
    assert found["0.png"].sha256 != found["copy.png"].sha256
    assert found["0.png"].pixels != found["rgb.png"].pixels

    grey = attrs.evolve(_listed(tmp_path), reading=Reading(channels=1))
    found = scan(grey, workers=1).fingerprints
    assert found["0.png"].pixels == found["rgb.png"].pixels


def test_arrays_and_several_files(tmp_path: Path) -> None:
    _folder(tmp_path, 3)
    files = (tmp_path / "0.png", tmp_path / "2.png")
    array = np.stack([np.asarray(Image.open(f)) for f in files], axis=-1)
    samples = [
        Sample(id="files", image=files, label=0),
        Sample(id="one", image=files[:1], label=0),
        Sample(id="alone", image=files[0], label=0),
        Sample(id="array", image=array, label=0),
        Sample(id="strided", image=np.asfortranarray(array), label=0),
        Sample(id="swapped", image=array.astype(">u2"), label=0),
        Sample(id="wide", image=array.astype("<u2"), label=0),
        Sample(id="signed", image=array.view(np.int8), label=0),
        Sample(id="other sides", image=array.reshape(4, 6, 2), label=0),
    ]
    dataset = Dataset(samples=samples, task=TASK)
    found = scan(dataset, workers=1).fingerprints
    digests = b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files)

    assert found["files"].sha256 == hashlib.sha256(digests).hexdigest()
    assert found["files"].shape == found["array"].shape == (6, 4)
    assert found["files"].channels == found["array"].channels == 2
    assert found["files"].pixels == found["array"].pixels == found["strided"].pixels
    assert found["array"].sha256 == found["strided"].sha256
    assert found["swapped"] == found["wide"] != found["array"]
    # The bytes alone don't tell an image.
    for name in ("signed", "other sides"):
        assert found[name].sha256 != found["array"].sha256
        assert found[name].pixels != found["array"].pixels
    assert found["one"] == found["alone"]
    assert found["alone"].shape == (6, 4)
    assert found["alone"].channels is None
    assert scan(dataset, workers=1).fingerprints == found  # from the cache


def test_digest_is_of_ids_and_contents() -> None:
    a = Fingerprint(sha256="1" * 64, pixels="1" * 32, shape=(2, 2))
    b = Fingerprint(sha256="2" * 64, pixels="2" * 32, shape=(2, 2))
    digest = Scan(fingerprints={"x/é": a, "y": b}).digest
    assert Scan(fingerprints={"y": b, "x\\e\u0301": a}).digest == digest
    assert Scan(fingerprints={"x/é": b, "y": a}).digest != digest
    assert Scan(fingerprints={"x/é": a}).digest != digest


def test_all_unreadable_files_in_one_error(tmp_path: Path) -> None:
    _folder(tmp_path, 3)
    for index in range(9):
        (tmp_path / f"empty{index}.png").touch()
    (tmp_path / "damaged.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    page = Image.open(tmp_path / "0.png")
    page.save(tmp_path / "pages.png", format="TIFF", save_all=True, append_images=[page])
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    message = _error(_listed(tmp_path)).splitlines()

    assert message[0] == "12 of 15 images can't be read:"
    assert message[1].startswith(f"  {tmp_path / 'damaged.png'} is damaged: ")
    assert message[2:11] == [f"  {tmp_path / f'empty{n}.png'} is empty." for n in range(9)]
    assert message[11:] == ["  and 2 more.", "Remove or repair them."]


def test_unreadable_files_with_a_remedy_of_their_own(tmp_path: Path) -> None:
    _folder(tmp_path, 1)
    page = Image.open(tmp_path / "0.png")
    page.save(tmp_path / "pages.png", format="TIFF", save_all=True, append_images=[page])
    sample = Sample(id="list", image=[1], label=0)  # type: ignore[arg-type]
    dataset = _listed(tmp_path)
    assert _error(attrs.evolve(dataset, samples=(*dataset.samples, sample))) == (
        "2 of 3 images can't be read:\n"
        "  list: A sample's image is of the type list. "
        "Give a path, a Series, a tuple of these, a numpy array or a DecodedImage.\n"
        f"  {tmp_path / 'pages.png'} has 2 pages, of which only the first would be read. "
        "Save each page as a file of its own.\n"
        "Remove or repair them."
    )


def test_no_samples() -> None:
    assert _error(Dataset(samples=(), task=TASK)) == "The data set has no samples."


def test_ids_that_occur_twice(tmp_path: Path) -> None:
    samples = _folder(tmp_path, 3).samples
    dataset = Dataset(samples=(*samples, *samples[:2]), task=TASK)
    assert _error(dataset) == (
        "Several samples have the same id: '0.png', '1.png'. Each sample needs an id of its own."
    )


def test_id_that_is_no_text(tmp_path: Path) -> None:
    sample = attrs.evolve(_folder(tmp_path, 1).samples[0], id="a\udce9.png")
    assert _error(Dataset(samples=(sample,), task=TASK)) == (
        r"The id 'a\udce9.png' is not valid Unicode text. Rename the file in UTF-8."
    )


def test_an_id_may_hold_letters_that_nobody_sees() -> None:
    names = ("a\u00ad", "\u200bb", "c\t", "d\ue000")
    samples = [Sample(id=name, image="x.png", label=0) for name in names]
    assert odd_ids(samples) == (set(), [])


@pytest.mark.parametrize("kind", [Path, str])
def test_cache_is_used_until_a_file_changes(
    tmp_path: Path, kind: type[Path | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [attrs.evolve(s, image=kind(s.image)) for s in _folder(tmp_path).samples]
    dataset = Dataset(samples=samples, task=TASK)
    first = scan(dataset, workers=1)
    path = tmp_path / "0.png"
    status, content = path.stat(), path.read_bytes()

    # What is not read is not looked at: that shows that the cache was asked.
    with monkeypatch.context() as patched:
        patched.setattr("medpipe.data.scanning.scan.decode_content", pytest.fail)
        patched.setattr("medpipe.data.scanning.scan.read", pytest.fail)
        assert scan(dataset, workers=1) == first

    # Of the same size and written at the same time, as copying programs leave it.
    path.write_bytes(bytes(len(content)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert _error(dataset).startswith("1 of 5 images can't be read:\n")
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scan(dataset, workers=1) == first

    for size, later in ((len(content), 1), (len(content) + 1, 0)):
        path.write_bytes(bytes(size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + later))
        assert _error(dataset).startswith("1 of 5 images can't be read:\n")
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert scan(dataset, workers=1) == first

    Image.fromarray(np.zeros((6, 4), np.uint8)).save(path)
    assert scan(dataset, workers=1).fingerprints["0.png"] != first.fingerprints["0.png"]
    assert len(_caches()) == 1


def _replaced(path: Path, content: bytes, how: str) -> None:
    """Give a file another content of its size and its time, as programs do that copy."""
    status, other = path.stat(), path.with_name("other")
    if how == "written over":  # cp -p
        path.write_bytes(content)
    else:
        other.write_bytes(content)
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        if how == "moved there":  # rsync -t, unzip
            other.replace(path)
        else:
            path.unlink()
            path.hardlink_to(other)
            other.unlink()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("kind", ["file", "channels", "series"])
@pytest.mark.parametrize("how", ["written over", "moved there", "linked there"])
def test_a_file_of_the_same_size_and_time_is_read_again(
    tmp_path: Path, how: str, kind: str
) -> None:
    if kind == "series":
        write_series(tmp_path, np.arange(24, dtype=np.int16).reshape(3, 4, 2))
    else:
        for place in (0, 1):
            Image.fromarray(np.full((4, 5), place, np.uint8)).save(tmp_path / f"{place}.tif")
    files = sorted(map(str, tmp_path.iterdir()))
    images: dict[str, Any] = {
        "file": files[1],
        "channels": tuple(files),
        "series": Series(files=files),
    }
    dataset = Dataset(samples=[Sample(id="x", image=images[kind], label=0)], task=TASK)
    before = scan(dataset, workers=1).fingerprints["x"]
    path = Path(files[1])
    content = path.read_bytes()
    _replaced(path, content[:-1] + bytes([content[-1] ^ 1]), how)
    after = scan(dataset, workers=1).fingerprints["x"]
    assert after.sha256 != before.sha256
    assert after.pixels != before.pixels
    assert after.sha256 == content_digest(dataset.samples[0])


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("told", ["st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"])
def test_all_that_is_known_of_a_file_tells_it_from_another(
    told: str, kind: type[Path | str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"st_size": 1, "st_mtime_ns": 2, "st_ctime_ns": 3, "st_ino": 4}
    samples = [Sample(id="x", image=kind(tmp_path / "x"), label=0)]

    def columns(**changes: int) -> scan_cache.Columns:
        status = types.SimpleNamespace(**{**known, **changes})
        with monkeypatch.context() as patched:
            patched.setattr(os, "stat", lambda _: status)
            return FileStates.of(samples).columns()

    assert columns() == columns()
    assert columns() != columns(**{told: 9})


def test_a_change_within_one_tick_of_the_clock_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are read only when a later change would give them another time."""
    dataset = _folder(tmp_path)
    newest = max(path.stat().st_ctime_ns for path in tmp_path.glob("*.png"))
    done: list[object] = []
    own = scanning.file_bytes

    def noted(path: str) -> bytes:
        done.append("read")
        return own(path)

    monkeypatch.setattr(scanning, "file_bytes", noted)
    monkeypatch.setattr(scan_cache.time, "sleep", done.append)
    monkeypatch.setattr(scan_cache.time, "time_ns", lambda: newest + 1_000_000)
    samples = [attrs.evolve(sample, image=str(sample.image)) for sample in dataset.samples]
    scan(attrs.evolve(dataset, samples=samples), workers=1)
    assert done == [pytest.approx((scan_cache.TICK - 1_000_000) / 1e9), *["read"] * 5]


def test_what_a_clock_that_is_ahead_changed_just_now_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = _folder(tmp_path)
    now = time.time_ns()
    monkeypatch.setattr(scan_cache.time, "time_ns", lambda: now - 3600 * 10**9)
    scan(dataset, workers=1)
    read_again: list[object] = []
    own = scanning.decode_content

    def noted(content: bytes, image: Any, reading: Reading) -> Any:
        read_again.append(image)
        return own(content, image, reading)

    monkeypatch.setattr(scanning, "decode_content", noted)
    scan(dataset, workers=1)
    assert len(read_again) == 5
    monkeypatch.setattr(scan_cache.time, "time_ns", lambda: now + 3600 * 10**9)
    scan(dataset, workers=1)
    assert len(read_again) == 10
    scan(dataset, workers=1)
    assert len(read_again) == 10


def test_a_file_that_is_written_to_while_it_is_read_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"old" * 100)
    real, times = os.read, [1, 0]

    def read_and_write(number: int, count: int) -> bytes:
        content = real(number, count)
        if times[0]:
            times[0] -= 1
            path.write_bytes(b"new" * 100)
            times[1] += 1
            os.utime(path, ns=(1, times[1]))
        return content

    monkeypatch.setattr(os, "read", read_and_write)
    assert file_bytes(path) == b"new" * 100
    times[0] = 99
    with pytest.raises(DataError) as caught:
        file_bytes(path)
    assert str(caught.value) == (
        f"The image {path} is being written to. Wait until the program that writes it has "
        "finished, then start again."
    )


def test_cache_goes_by_the_files_and_not_by_their_places(tmp_path: Path) -> None:
    dataset = _folder(tmp_path)
    first = scan(dataset, workers=1).fingerprints
    samples = dataset.samples

    def again(*some: Sample) -> None:
        found = scan(attrs.evolve(dataset, samples=some), workers=1).fingerprints
        assert list(found) == [sample.id for sample in some]
        assert all(found[sample.id] == first[Path(sample.image).name] for sample in some)  # type: ignore[arg-type]

    again(*samples[::-1])
    again(*[attrs.evolve(sample, id=f"other {sample.id}") for sample in samples])
    again(samples[2], samples[3])
    again(samples[0], attrs.evolve(samples[0], id="twice"), *samples[1:])
    again(*[attrs.evolve(sample, image=str(sample.image)) for sample in samples])
    unusual = f"{tmp_path}/./../{tmp_path.name}//"
    again(*[attrs.evolve(sample, image=f"{unusual}{sample.id}") for sample in samples])
    assert len(_caches()) == 1


@pytest.mark.parametrize("kind", [Path, str])
@pytest.mark.parametrize("way", ["{0}/{1}", "{0}/./{1}", "{0}/../.hidden/{1}", "{0}//{1}"])
def test_a_file_has_one_name_however_it_is_reached(
    tmp_path: Path, way: str, kind: type[Path | str]
) -> None:
    folder = tmp_path / ".hidden"
    folder.mkdir()
    samples = _folder(folder).samples
    reached = [
        attrs.evolve(sample, image=kind(way.format(folder, sample.id))) for sample in samples
    ]
    assert list(FileStates.of(reached).rows()) == list(FileStates.of(samples).rows())
    assert list(FileStates.of(reached).names) == [str(folder / sample.id) for sample in samples]


def test_several_files_are_read_again_when_one_changes(tmp_path: Path) -> None:
    _folder(tmp_path, 3)
    files = (tmp_path / "0.png", tmp_path / "2.png")
    dataset = Dataset(samples=[Sample(id="both", image=files, label=0)], task=TASK)
    first = scan(dataset, workers=1)
    assert scan(dataset, workers=1) == first
    Image.fromarray(np.zeros((6, 4), np.uint8)).save(files[1])
    assert scan(dataset, workers=1) != first


def test_cache_knows_the_reading(tmp_path: Path) -> None:
    dataset = _folder(tmp_path)
    grey = scan(dataset, workers=1)
    rgb = scan(attrs.evolve(dataset, reading=Reading(channels=3)), workers=1)
    assert {f.shape for f in rgb.fingerprints.values()} == {(6, 4), (6, 5)}
    assert {f.channels for f in rgb.fingerprints.values()} == {3}
    assert scan(dataset, workers=1) == grey
    assert len(_caches()) == 2


@pytest.mark.parametrize("what", ["window", "decoders", "format"])
def test_cache_knows_what_else_the_values_depend_on(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = _folder(tmp_path)
    scan(dataset, workers=1)
    if what == "window":
        dataset = attrs.evolve(dataset, reading=Reading(window="voi"))
    elif what == "decoders":
        monkeypatch.setattr(scan_cache, "version_of", lambda _: "0.1")
    else:
        monkeypatch.setattr(scan_cache, "CACHE_FORMAT", 0)
    scan(dataset, workers=1)
    assert len(_caches()) == 2


@pytest.mark.parametrize("damage", ["", "[]", "\xff", "half", "flipped", "foreign", "order"])
def test_damaged_cache_is_ignored(tmp_path: Path, damage: str) -> None:
    dataset = _folder(tmp_path)
    first = scan(dataset, workers=1)
    (cache,) = _caches()
    content = cache.read_bytes()
    damaged = damage.encode("utf-8")
    if damage == "half":
        damaged = content[: len(content) // 2]
    elif damage == "flipped":
        damaged = content.replace(b"png", b"gif")
    elif damage == "foreign":
        damaged = b'{"format": 9}'
    elif damage == "order":  # written by another kind of processor
        other = {"little": b"big", "big": b"little"}[sys.byteorder]
        rest = content.partition(b"\n")[2].replace(sys.byteorder.encode(), other, 1)
        damaged = hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest
    cache.write_bytes(damaged)

    assert scan(dataset, workers=1) == first
    assert cache.read_bytes() == content


def test_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = _folder(tmp_path / "data")
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "medpipe"):
        found = scan(dataset, workers=1)
    assert len(found.fingerprints) == 5
    assert caplog.messages == [
        "Nothing is cached, so later runs read all images again. The cache folder "
        f"{tmp_path / 'file'} can't be written: not a directory. A file stands where a folder is "
        "needed: choose another folder with MEDPIPE_CACHE."
    ]


def test_one_process_at_a_time_reads_ahead(tmp_path: Path) -> None:
    asked = []

    def ahead(some: Any, _: Any) -> None:
        (lease,) = Path(os.environ["MEDPIPE_CACHE"]).rglob("*.lock.*")
        with tried(lease.with_suffix("")) as free:
            assert not free
        asked.append(len(some))

    scan(_folder(tmp_path), workers=1, ahead=ahead)
    assert asked == [5]


def test_where_no_lock_can_be_had_images_are_read_ahead_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(_: Path) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(scanning, "locked", locked)
    asked: list[int] = []
    found = scan(_folder(tmp_path), workers=1, ahead=lambda some, _: asked.append(len(some)))
    assert len(found.fingerprints) == 5
    assert asked == [5]


@pytest.mark.parametrize("tiny", [0, 70, 1 << 30])
def test_what_is_read_ahead_gives_the_same(
    tmp_path: Path, tiny: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = _folder(tmp_path, 40)
    whole = {s.id: scanning.fingerprint(s, dataset.reading) for s in dataset.samples}
    (tmp_path / "empty.png").touch()
    (tmp_path / "damaged.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    monkeypatch.setattr(scanning, "TINY", tiny)
    monkeypatch.setattr(scanning, "CHUNK", 3)
    assert scan(dataset, workers=4).fingerprints == whole
    for content in (tmp_path / "3.png", tmp_path / "empty.png"):
        content.unlink()
    message = _error(attrs.evolve(dataset, samples=(*dataset.samples, *_damaged(tmp_path))))
    assert message.splitlines() == [
        "2 of 41 images can't be read:",
        f"  {tmp_path / '3.png'} is not there.",
        f"  {tmp_path / 'damaged.png'} is damaged: it ends within its IDAT chunk.",
        "Remove or repair them.",
    ]


def _damaged(root: Path) -> list[Sample]:
    return [Sample(id="damaged.png", image=root / "damaged.png", label=0)]


def test_tiny_images_are_decoded_by_one_thread_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = _folder(tmp_path, 30)
    now, most, threads = 0, 0, set()
    real = scanning.decode_content

    def counted(*arguments: Any) -> Any:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        threads.add(threading.get_ident())
        time.sleep(0.001)
        try:
            return real(*arguments)
        finally:
            now -= 1

    monkeypatch.setattr(scanning, "decode_content", counted)
    monkeypatch.setattr(scanning, "CHUNK", 4)
    scan(dataset, workers=4)
    assert most == 1
    assert len(threads) > 1


def test_few_large_images_are_in_memory_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, most = 0, 0
    real = scanning.read

    def counted(*arguments: Any) -> Any:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        time.sleep(0.01)
        try:
            return real(*arguments)
        finally:
            now -= 1

    monkeypatch.setattr(scanning, "read", counted)
    monkeypatch.setattr(scanning, "LARGE", 1)
    monkeypatch.setattr(scanning, "TINY", 0)
    monkeypatch.setattr(scanning, "LARGE_AT_ONCE", 2)
    monkeypatch.setattr(scanning, "CHUNK", 4)
    scan(_folder(tmp_path, 30), workers=8)
    assert most == 2


def test_arrays_are_not_cached() -> None:
    sample = Sample(id="a", image=np.zeros((3, 3)), label=0)
    scan(Dataset(samples=(sample,), task=TASK), workers=1)
    assert _caches() == []
