"""Standard streams, homes and names as odd machines have them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medpipe import RunError
from medpipe.cli import main
from medpipe.cli.streams import mend_streams
from medpipe.system import cache_folder
from medpipe.system.progress import bar, track
from medpipe.system.user_name import ASKED, give_user_a_name


class Writer:
    """What scripts put in place of standard error, to write a log too."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


class Terminal(io.TextIOWrapper):
    """A terminal of some encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)

    def isatty(self) -> bool:
        return True


class Broken(Terminal):
    """A terminal that is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Writer(), closed(), object()])
def test_a_bar_needs_no_terminal(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with bar("Reading", 3) as shown:
        shown.advance()
        shown.describe("Größe")
    assert list(track([1, 2], "Reading", 2)) == [1, 2]


@pytest.mark.parametrize("stream", [Terminal("ascii"), Terminal("utf-8"), Broken("utf-8")])
def test_a_bar_never_fails_the_work(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with bar("Größe [/b] \udce9", 3) as shown, bar("one in the other", 2):
        shown.advance()
        shown.describe("ペット [red]")
        shown.advance()


def test_an_error_in_the_block_is_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal("utf-8"))
    with pytest.raises(ZeroDivisionError), bar("Reading", 3):
        raise ZeroDivisionError


COMMAND = [sys.executable, "-m", "medpipe"]


@pytest.mark.parametrize("streams", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_the_command_works_with_streams_closed(tmp_path: Path, streams: str) -> None:
    opens = tmp_path / "opens.py"
    opens.write_text(
        "import os, sys\n"
        "from medpipe.cli import main\n"
        "try:\n"
        "    main(['plugins'])\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code\n"
        "handle = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
        "assert handle > 2, handle\n"
        "sys.stderr.write('what a library says')\n"
    )
    done = subprocess.run(
        f'"{sys.executable}" opens.py {tmp_path / "file"} {streams}',
        shell=True,
        cwd=tmp_path,
        check=False,
        stdout=subprocess.PIPE,
    )
    assert done.returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_names_are_printed_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Terminal("ascii"), Terminal("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    mend_streams()
    sys.stdout.write("Größe \udce9\n")
    assert out.buffer.getvalue() == b"Gr\\xf6\\xdfe \\udce9\n"  # type: ignore[attr-defined]


def test_a_working_folder_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SystemExit) as caught:
        main(["plugins"])
    monkeypatch.chdir(tmp_path)
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "The working folder was removed. Change to a folder that exists.\n"
    )


def test_a_cache_without_a_home_is_the_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platformdirs

    def no_home(_: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("MEDPIPE_CACHE")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    expected = tmp_path / f"medpipe-{os.getuid()}"
    for found in (no_home, lambda _: "~/.cache/medpipe"):  # by version of platformdirs
        monkeypatch.setattr(platformdirs, "user_cache_dir", found)
        assert cache_folder.cache_directory() == expected
    assert expected.stat().st_mode & 0o777 == 0o700
    expected.chmod(0o777)
    with pytest.raises(RunError) as caught:
        cache_folder.cache_directory()
    assert str(caught.value) == (
        f"There is no folder for caches: this user has no home folder, and {expected} in the "
        "temporary folder belongs to another user or is open to others. Name a folder for caches "
        "with the environment variable MEDPIPE_CACHE."
    )
    expected.rmdir()
    (tmp_path / "other").mkdir(mode=0o700)
    expected.symlink_to(tmp_path / "other")
    with pytest.raises(RunError, match="belongs to another user or is open to others"):
        cache_folder.cache_directory()


def test_a_relative_cache_of_the_desktop_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDPIPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder.cache_directory() == tmp_path / ".cache/medpipe"


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import getpass

    for name in ASKED:
        monkeypatch.delenv(name, raising=False)

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr(os, "getuid", lambda: 1234, raising=False)
    give_user_a_name()
    assert os.environ["LOGNAME"] == "user-1234"
    monkeypatch.setenv("LOGNAME", "somebody")
    give_user_a_name()
    assert os.environ["LOGNAME"] == "somebody"
