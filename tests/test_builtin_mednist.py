"""The MedNIST data set: found, extracted once, or downloaded and checked."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medpipe.builtin.datasets import mednist
from medpipe.builtin.datasets.mednist import CLASSES, MedNIST
from medpipe.fetching import archives
from medpipe.plugin import DataError, Dataset, Reading, cache_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from loopback import Loopback


@pytest.fixture(autouse=True)
def _nothing_around(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("real_data") is None:
        monkeypatch.delenv("MEDPIPE_DATA", raising=False)
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)


def fill(root: Path, *, each: int = 2) -> Path:
    """A MedNIST of empty files, which is all that listing needs."""
    for name in CLASSES:
        (root / "MedNIST" / name).mkdir(parents=True)
        for number in range(each):
            (root / "MedNIST" / name / f"{number:06d}.jpeg").touch()
    return root


Member = tuple[str, bytes | str | None]
"""A name with content; with ``None`` for a folder; or with the name of another tar type."""


def pack(archive: Path, members: list[Member]) -> Path:
    types = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = types[content], "../../outside"
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return archive


def members(*extra: Member, each: int = 2) -> list[Member]:
    found: list[Member] = [("MedNIST", None)]
    for name in CLASSES:
        found += [(f"MedNIST/{name}/{number:06d}.jpeg", b"image") for number in range(each)]
    return [*found, *extra]


def listed(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def ids(dataset: Dataset) -> list[str]:
    return [sample.id for sample in dataset.samples]


def test_a_folder_is_listed_sorted_with_other_files_passed_over(tmp_path: Path) -> None:
    folder = fill(tmp_path) / "MedNIST"
    for other in ("Thumbs.db", "._000000.jpeg", "notes.txt"):
        (folder / "Hand" / other).touch()
    (folder / "README.md").touch()
    (folder / "Hand" / "folder.jpeg").mkdir()
    dataset = MedNIST(root=tmp_path).build()
    assert dataset.task.kind == "multiclass"
    assert dataset.task.names == CLASSES == tuple(sorted(CLASSES))
    assert dataset.reading == Reading(channels=None)
    assert dataset.notes == (
        "1 file of other kinds was passed over, 'Hand/notes.txt'.",
        "2 hidden or system names were passed over, 'Hand/._000000.jpeg' for one.",
        "1 folder in the folders of the classes was passed over, 'Hand/folder.jpeg'.",
    )
    assert ids(dataset) == [f"{name}/{n:06d}.jpeg" for name in CLASSES for n in range(2)]
    assert [sample.label for sample in dataset.samples] == [n // 2 for n in range(12)]
    assert all(Path(str(sample.image)).is_file() for sample in dataset.samples)
    assert not cache_directory().exists() or not any(cache_directory().iterdir())


def test_the_places_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, data, cache = (fill(tmp_path / n) for n in ("root", "data", "cache/datasets"))
    monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDPIPE_DATA", str(data))

    def taken(step: MedNIST) -> Path:
        return Path(str(step.build().samples[0].image)).parents[2]

    assert taken(MedNIST(root=root)) == root
    assert taken(MedNIST(root=root / "MedNIST")) == root
    assert taken(MedNIST()) == data
    shutil.rmtree(root / "MedNIST")
    assert taken(MedNIST(root=root)) == data
    shutil.rmtree(data)
    assert taken(MedNIST(root=root)) == cache


def test_an_archive_is_extracted_once_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    archive = pack(root / "MedNIST.tar.gz", members())
    root.chmod(0o555)
    first = MedNIST(root=root).build()
    assert len(first.samples) == 12
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    folder = cache_directory() / "datasets" / "MedNIST" / digest / "MedNIST"
    assert Path(str(first.samples[0].image)) == folder / "AbdomenCT" / "000000.jpeg"
    assert Path(str(first.samples[0].image)).read_bytes() == b"image"
    assert listed(root) == ["MedNIST.tar.gz"]

    # Known by its path, size and time: not even read again.
    with monkeypatch.context() as patch:
        patch.setattr(mednist, "_digest_of", None)
        assert ids(MedNIST(root=root).build()) == ids(first)
    # A note that was cut, or can't be made, is not missed.
    (note,) = (cache_directory() / "datasets" / "MedNIST" / "notes").iterdir()
    assert note.read_text() == digest
    note.write_text(digest[:9])
    assert ids(MedNIST(root=root).build()) == ids(first)
    assert note.read_text() == digest
    note.unlink()
    note.mkdir()
    assert ids(MedNIST(root=root).build()) == ids(first)
    # The same content elsewhere is read, but not extracted again.
    root.chmod(0o755)
    (tmp_path / "copy").mkdir()
    shutil.copy(archive, tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setattr(archives, "_look_through", None)
        assert MedNIST(root=tmp_path / "copy").build().samples[0].image == first.samples[0].image


def test_another_archive_in_the_same_place_is_not_taken_for_the_first(tmp_path: Path) -> None:
    pack(tmp_path / "MedNIST.tar.gz", members())
    assert len(MedNIST(root=tmp_path).build().samples) == 12
    pack(tmp_path / "MedNIST.tar.gz", members(each=3))
    assert len(MedNIST(root=tmp_path).build().samples) == 18


def test_a_removed_extraction_and_the_rest_of_a_killed_one(tmp_path: Path) -> None:
    archive = pack(tmp_path / "MedNIST.tar.gz", members())
    MedNIST(root=tmp_path).build()
    base = cache_directory() / "datasets" / "MedNIST"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    shutil.rmtree(base / digest / "MedNIST")
    (base / f".{digest}.0123456789ab.part" / "MedNIST").mkdir(parents=True)
    assert len(MedNIST(root=tmp_path).build().samples) == 12
    assert listed(base) == sorted([digest, "notes"])


def test_an_extraction_of_before_there_were_markers_is_made_again(tmp_path: Path) -> None:
    archive = pack(tmp_path / "MedNIST.tar.gz", members())
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    fill(cache_directory() / "datasets" / "MedNIST" / digest, each=1)
    assert len(MedNIST(root=tmp_path).build().samples) == 12


def message(step: MedNIST) -> str:
    with pytest.raises(DataError) as caught:
        step.build()
    return str(caught.value)


def test_a_class_that_is_missing_or_empty(tmp_path: Path) -> None:
    folder = fill(tmp_path) / "MedNIST"
    for image in (folder / "Hand").iterdir():
        image.unlink()
    then = f"Complete it, or remove {folder} so that the archive is used."
    step = MedNIST(root=tmp_path)
    assert message(step) == f"MedNIST in {folder} has no images in Hand. {then}"
    (folder / "Hand").rmdir()
    assert message(step) == f"MedNIST in {folder} has no folder Hand. {then}"


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    link = fill(tmp_path) / "MedNIST" / "Hand" / "lost.jpeg"
    link.symlink_to("moved.jpeg")
    said = f"{link} is a link to a file that is not there."
    step = MedNIST(root=tmp_path)
    assert message(step) == said
    dataset = step.build_with_faults()
    assert len(dataset.samples) == 12
    assert [(f.kind, f.sample, f.message) for f in dataset.faults] == [
        ("missing", "Hand/lost.jpeg", said)
    ]


def test_a_root_that_can_not_be_looked_at(tmp_path: Path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    assert message(MedNIST(root=circle)) == (
        f"{circle} can't be looked at: too many levels of symbolic links."
    )


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    assert message(MedNIST(root=tmp_path / "dta")) == (
        f"dataset.root: there is no folder {tmp_path / 'dta'}. Name the folder that holds "
        "MedNIST/ or MedNIST.tar.gz."
    )


REMEDY = (
    "Set the environment variable MEDPIPE_DATA or dataset.root to the folder that holds one of "
    'them, or use the generated data set: [dataset] step = "phantom".'
)


def test_nothing_found_and_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDPIPE_DATA", str(tmp_path / "elsewhere"))
    places = f"{tmp_path}, {tmp_path / 'elsewhere'}, {cache_directory() / 'datasets'}"
    assert message(MedNIST(root=tmp_path, download=False)) == (
        f"MedNIST was not found: neither MedNIST/ nor MedNIST.tar.gz is in {places}, and "
        f"dataset.download is false. {REMEDY}"
    )


def refused(tmp_path: Path, reason: str) -> str:
    archive = tmp_path / "MedNIST.tar.gz"
    return f"{archive} is refused: {reason}. Nothing was extracted; get it again."


def test_an_unsafe_archive_is_refused_whole(tmp_path: Path) -> None:
    pack(tmp_path / "MedNIST.tar.gz", members(("../outside", b"x")))
    assert message(MedNIST(root=tmp_path)) == refused(
        tmp_path, "its member '../outside' leads out of the folder"
    )
    assert nothing_extracted()
    assert listed(tmp_path) == ["MedNIST.tar.gz"]


def nothing_extracted() -> bool:
    base = cache_directory() / "datasets" / "MedNIST"
    return listed(base) == []


def test_archives_of_something_else(tmp_path: Path) -> None:
    archive = tmp_path / "MedNIST.tar.gz"
    archive.write_bytes(b"<html>Not found</html>")
    assert message(MedNIST(root=tmp_path)) == (
        f"{archive} is damaged or not a .tar.gz: not a gzipped file (b'<h'). Nothing was "
        "extracted; get the archive again."
    )
    pack(archive, [m for m in members() if "Hand" not in m[0]])
    assert message(MedNIST(root=tmp_path)) == (
        f"{archive} is not a MedNIST archive: it has no images in one of its folders "
        "MedNIST/AbdomenCT, MedNIST/BreastMRI, MedNIST/CXR, MedNIST/ChestCT, MedNIST/Hand, "
        "MedNIST/HeadCT. Nothing was kept."
    )
    assert nothing_extracted()


def test_a_cache_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path / "MedNIST.tar.gz", members())
    (tmp_path / "cache").touch()
    monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "MedNIST.tar.gz"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    assert message(MedNIST(root=tmp_path)) == (
        f"{archive} can't be extracted to {tmp_path / 'cache/datasets/MedNIST' / digest}: not a "
        "directory. A file stands where a folder is needed: choose another folder. The "
        "environment variable MEDPIPE_CACHE chooses another cache folder."
    )


@pytest.fixture
def serve(
    tmp_path: Path, loopback: Loopback, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """A real server with TLS that publishes a small MedNIST; gives the url of a path on it."""
    loopback.content = pack(tmp_path / "published.tar.gz", members()).read_bytes()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(mednist, "MD5", hashlib.md5(loopback.content).hexdigest())

    def publish(path: str) -> str:
        monkeypatch.setattr(mednist, "URL", loopback.url(path))
        return loopback.url(path)

    return publish


def test_it_is_downloaded_checked_and_kept(serve: Callable[[str], str]) -> None:
    serve("/moved")
    assert len(MedNIST().build().samples) == 12
    serve("/nothing")  # the second time no server is asked
    assert len(MedNIST().build().samples) == 12


def failed(url: str, reason: str) -> str:
    places = cache_directory() / "datasets"
    return (
        f"MedNIST was not found: neither MedNIST/ nor MedNIST.tar.gz is in {places}. {url} can't "
        f"be downloaded: {reason} {REMEDY}"
    )


def test_a_download_that_fails(
    serve: Callable[[str], str], loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve("/nothing")
    reason = "the server answered 404 Not Found. Check the address."
    assert message(MedNIST()) == failed(url, reason)
    url = serve("/fine")
    size = len(loopback.content)
    with monkeypatch.context() as patch:
        patch.setattr(mednist, "_MOST_DOWNLOADED", 50)
        assert message(MedNIST()) == failed(
            url,
            f"the server announces {size:,} bytes, more than the 50 allowed (most_bytes). Check "
            "the address.",
        )
    real = mednist.MD5
    monkeypatch.setattr(mednist, "MD5", "0" * 32)
    assert message(MedNIST()) == failed(
        url,
        f"the content is not what was published (md5 {real} instead of {'0' * 32}). Nothing was "
        "kept. Try again later; if the content stays the same, the publisher has changed the "
        "file.",
    )
    assert listed(cache_directory() / "datasets") == []


def test_the_published_archive_is_monais() -> None:
    from monai.apps import MedNISTDataset

    assert MedNISTDataset.resource == mednist.URL
    assert MedNISTDataset.md5 == mednist.MD5


@pytest.mark.long
@pytest.mark.real_data
def test_the_real_one() -> None:
    dataset = MedNIST().build()
    assert len(dataset.samples) == len({sample.id for sample in dataset.samples}) == 58_954
    counts = Counter(dataset.task.names[int(sample.label)] for sample in dataset.samples)
    assert counts == {**dict.fromkeys(CLASSES, 10_000), "BreastMRI": 8_954}
    assert dataset.samples[0].id == "AbdomenCT/000000.jpeg"
