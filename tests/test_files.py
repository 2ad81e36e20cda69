"""Files are written whole, on the disk before it is said, and never at the cost of the old ones."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.disks import Failing, Remembering, Short
from faults.power import disk_after, lose_power
from medpipe import RunError
from medpipe.system import file_errors, files, output_folders
from medpipe.system.disk import Disk


def operations(disk: Remembering) -> list[str]:
    return [done.operation for done in disk.log]


def test_a_file_is_synced_before_it_has_its_name_and_then_its_folder(tmp_path: Path) -> None:
    disk = Remembering()
    with files.through(disk):
        files.write_bytes(tmp_path / "new" / "file", b"content")
    assert operations(disk) == [
        "make_directory",
        "sync_directory",
        "create",
        "write",
        "sync",
        "rename",
        "sync_directory",
    ]
    assert (tmp_path / "new" / "file").read_bytes() == b"content"


def test_the_disk_really_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def hear(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        sync(handle)

    monkeypatch.setattr(os, "fsync", hear)
    monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
    files.write_bytes(tmp_path / "file", b"content")
    files.rename(tmp_path / "file", tmp_path / "other")
    files.sync_all()
    assert synced[0].startswith(".file.")
    assert synced[1:] == [tmp_path.name, tmp_path.name, "all"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO, errno.ENOSPC])
def test_a_folder_that_can_not_be_synced(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems that know no such thing are left in peace, and a failure is said."""

    def fsync(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    if code in (errno.EINVAL, errno.ENOTSUP):
        Disk().sync_directory(tmp_path)
    else:
        with pytest.raises(OSError, match=os.strerror(code)):
            Disk().sync_directory(tmp_path)


def test_a_new_file_takes_no_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(FileExistsError), files.new_file(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_is_written_on_and_has_its_name_when_it_is_on_the_disk(tmp_path: Path) -> None:
    part, whole = tmp_path / "file.part", tmp_path / "file"
    part.write_bytes(b"a begin")
    with files.continued_file(part) as file:
        file.write(b"ning")
        file.write(b" and an end")
    synced: list[Path] = []

    class Noting(Disk):
        def sync(self, path: Path, file: int) -> None:
            assert not whole.exists()
            super().sync(path, file)
            synced.append(path)

        def sync_directory(self, path: Path) -> None:
            assert whole.exists()
            super().sync_directory(path)
            synced.append(path)

    with files.through(Noting()):
        files.finish_file(part, whole)
    assert synced == [part, tmp_path]
    assert whole.read_bytes() == b"a beginning and an end"
    with pytest.raises(FileNotFoundError), files.continued_file(part):
        pass
    assert not part.exists()


def test_the_oldest_is_removed_when_the_newest_is_on_the_disk(tmp_path: Path) -> None:
    path, keep = tmp_path / "last", tmp_path / "previous"
    for content in (b"1", b"2"):
        files.write_bytes(path, content, keep=keep)
    disk = Remembering()
    with files.through(disk):
        files.write_bytes(path, b"3", keep=keep)
    named = [(done.operation, done.path.name) for done in disk.log][-4:]
    assert named == [
        ("rename", "last"),
        ("sync_directory", tmp_path.name),
        ("rename", "previous"),
        ("sync_directory", tmp_path.name),
    ]
    assert (path.read_bytes(), keep.read_bytes()) == (b"3", b"2")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["last", "previous"]


def test_where_a_file_can_have_one_name_only_it_is_copied(tmp_path: Path) -> None:
    class NoLinks(Disk):
        def link(self, source: Path, target: Path) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

    path, keep = tmp_path / "last", tmp_path / "previous"
    with files.through(NoLinks()):
        for content in (b"1", b"2", b"3"):
            files.write_bytes(path, content, keep=keep)
    assert (path.read_bytes(), keep.read_bytes()) == (b"3", b"2")


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(0, 200), st.integers())
def test_after_a_power_loss_a_file_is_whole_and_no_older_than_what_was_said(
    contents: list[bytes], moment: int, seed: int
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        base, after = Path(folder) / "before", Path(folder) / "after"
        base.mkdir(), after.mkdir()
        disk, ends = Remembering(), [0]
        with files.through(disk):
            for content in contents:
                files.write_bytes(base / "last", content, keep=base / "previous")
                ends.append(len(disk.log))
        moment %= len(disk.log) + 1
        lose_power(disk_after(disk.log[:moment], base), after, Random(seed))
        said = sum(end <= moment for end in ends[1:])
        left = (after / "last").read_bytes() if (after / "last").exists() else None
        allowed = [contents[said - 1] if said else None, *contents[said : said + 1]]
        assert left in allowed
        if said > 1:
            assert (after / "previous").read_bytes() in contents


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("place", range(8))
def test_a_failure_leaves_the_old_content_or_the_new(tmp_path: Path, place: int, code: int) -> None:
    path, keep = tmp_path / "last", tmp_path / "previous"
    for content in (b"1", b"2"):
        files.write_bytes(path, content, keep=keep)
    with files.through(Failing(place, code)), pytest.raises(RunError) as caught:
        files.write_bytes(path, b"3", keep=keep)
    reason = os.strerror(code).lower()
    assert str(caught.value).startswith(f"{path} can't be written: {reason}. ")
    assert (path.read_bytes(), keep.read_bytes()) in {(b"2", b"1"), (b"3", b"1"), (b"3", b"2")}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["last", "previous"]


@pytest.mark.parametrize("place", range(8))
def test_a_failure_leaves_no_file_open(tmp_path: Path, place: int) -> None:
    path, keep = tmp_path / "last", tmp_path / "previous"
    for content in (b"1", b"2"):
        files.write_bytes(path, content, keep=keep)
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with files.through(Failing(place, errno.EIO)), pytest.raises(RunError):
        files.write_bytes(path, b"3", keep=keep)
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_folder_that_another_process_makes_meanwhile_is_taken(tmp_path: Path) -> None:
    class Late(Disk):
        def make_directory(self, path: Path) -> None:
            path.mkdir()
            super().make_directory(path)

    with files.through(Late()):
        files.make_directories(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_has_no_place_for_folders(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        files.make_directories(tmp_path / "file")


def test_what_json_has_no_number_for_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(tmp_path / "file", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_what_a_disk_takes_in_pieces_is_written_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 99
    with files.through(Short()):
        files.write_bytes(tmp_path / "file", content)
        files.write_bytes(tmp_path / "empty", b"")
    assert (tmp_path / "file").read_bytes() == content
    assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "Make room on that disk, or choose another one with the argument output."),
        (errno.EROFS, "That disk is read-only: choose another one with the argument output."),
        (errno.EACCES, "Choose a folder that you may write to with the argument output."),
        (errno.EMFILE, "The limit of open files is reached: raise it with 'ulimit -n 4096'."),
        (errno.EIO, "The disk itself failed: look at it before you trust it again."),
    ],
)
def test_a_claim_that_fails_says_what_to_change(
    tmp_path: Path, code: int, remedy: str, is_there: bool
) -> None:
    if is_there:
        (tmp_path / "run").mkdir()
    with files.through(Failing(0, code)), pytest.raises(RunError) as caught:
        output_folders.claim_directory(tmp_path / "run", marker="run.json")
    assert str(caught.value) == (
        f"The output {tmp_path / 'run'} can't be written: {os.strerror(code).lower()}. {remedy}"
    )


@pytest.mark.parametrize("left", [".lock", ".lock.0123456789abcdef", ".run.json.0123456789ab.part"])
def test_what_a_killed_process_left_is_no_content(tmp_path: Path, left: str) -> None:
    (tmp_path / left).touch()
    output_folders.claim_directory(tmp_path, marker="run.json")
    assert [entry.name for entry in tmp_path.iterdir()] == [left]  # and nothing more is left
    (tmp_path / "other").touch()
    with pytest.raises(RunError, match="is not empty and holds no run"):
        output_folders.claim_directory(tmp_path, marker="run.json")


def test_a_staged_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    disk = Remembering()
    with files.through(disk), files.staged_directory(tmp_path / "target") as staging:
        files.write_bytes(staging / "file", b"1")
        assert not (tmp_path / "target").exists()
    assert operations(disk)[-4:] == [
        "sync_directory",  # of the file in it
        "sync_directory",
        "rename",
        "sync_directory",
    ]
    with (
        pytest.raises(RunError, match="can't be made: directory not empty"),
        files.staged_directory(tmp_path / "target") as staging,
    ):
        files.write_bytes(staging / "file", b"2")
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]
    assert (tmp_path / "target" / "file").read_bytes() == b"1"


def test_leftovers_are_removed_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for left in (tmp_path / ".a.12.part", tmp_path / "inner" / ".b.34.part"):
        left.write_bytes(b"")
    (tmp_path / ".folder.56.part" / "deep").mkdir(parents=True)
    (tmp_path / "inner" / "kept").write_bytes(b"")
    (tmp_path / ".link.78.part").symlink_to(tmp_path / "inner")  # the link goes, not the folder
    files.remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["inner", "kept"]


def test_what_can_not_be_looked_at_is_not_taken_for_absent(tmp_path: Path) -> None:
    assert not file_errors.mode_of(tmp_path / "nothing")
    (tmp_path / "file").touch()
    assert not file_errors.mode_of(tmp_path / "file" / "inside")
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    said = f"{circle}/new can't be looked at: too many levels of symbolic links."
    for look in (
        file_errors.mode_of,
        lambda path: output_folders.refuse_existing(path, kind="file"),
    ):
        with pytest.raises(RunError) as caught:
            look(circle / "new")
        assert str(caught.value) == said
    with pytest.raises(RunError, match=r"be looked at: .*embedded null"):
        file_errors.mode_of(Path("x\0/f"))
