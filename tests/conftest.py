"""What all tests share: a cache of their own, and the real data where they are."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.examples import register_profiles

if TYPE_CHECKING:
    from loopback import Loopback


register_profiles()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--start-method",
        choices=("fork", "forkserver", "spawn"),
        help="How worker processes are started, also by the processes that tests start.",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell lets what it starts in the background ignore Ctrl-C, and so its children.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    method = config.getoption("--start-method")
    if method is not None:
        os.environ["MEDPIPE_START_METHOD"] = method
    # One thread for each of the processes that pytest-xdist starts, and for those that tests
    # start: two times two would wait for each other.
    if os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_finish() -> None:
    # Thousands of tests and their libraries stay to the end: each full collection of the garbage,
    # and a run has several, would look through them all.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """The cache that the user names; what the fixtures of several tests do goes to another."""
    users = os.environ.get("MEDPIPE_CACHE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield users


@pytest.fixture(autouse=True)
def _own_cache(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    _users_cache: str | None,
) -> None:
    """Tests write to a cache of their own, except those of real data, which would repeat hours."""
    if request.node.get_closest_marker("real_data") is None:
        monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path_factory.mktemp("cache")))
    elif _users_cache is None:
        monkeypatch.delenv("MEDPIPE_CACHE")
    else:
        monkeypatch.setenv("MEDPIPE_CACHE", _users_cache)


@pytest.fixture(scope="session", autouse=True)
def _no_reports() -> Iterator[None]:
    """Runs of tests write no report at their end, which would take seconds each; see `reports`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPIPE_REPORT", "0")
        yield


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write their report, as users' do."""
    monkeypatch.delenv("MEDPIPE_REPORT")


@pytest.fixture(autouse=True)
def _marked(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
    if (
        request.node.get_closest_marker("real_data") is not None
        and "MEDPIPE_DATA" not in os.environ
    ):
        pytest.skip("needs MEDPIPE_DATA to name the folder of MedNIST or MedNIST.tar.gz")


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes are forked, whatever the suite was asked for: they inherit what is planted.

    Their number, and what they do, is tested under each start method in `test_start_methods`.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    monkeypatch.setenv("MEDPIPE_START_METHOD", "fork")


@pytest.fixture
def repository() -> Path:
    """The folder of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished folds, a seed more and a longer run: not to be changed."""
    from support.folds import finish

    return finish(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def folds(finished: Path, tmp_path: Path) -> Path:
    """The three folds, to be changed at will."""
    return Path(shutil.copytree(finished / "folds", tmp_path / "runs"))


@pytest.fixture
def _fresh_marks() -> None:
    """Nothing is to happen yet at any call of `support.marked_runs`, and none was counted."""
    from support import marked_runs

    marked_runs.calls.clear()
    marked_runs.at.clear()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for servers of tests on this machine."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program to make a certificate")
    from loopback import make_certificate

    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def loopback(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server that misbehaves; no proxy stands before it."""
    from loopback import serving

    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(certificate) as server:
        yield server
