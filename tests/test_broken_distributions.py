"""Forty broken distributions at once: each is blamed, the others work, the doctor says what to do.

The messages of those whose hooks are wrong are compared whole in `test_discovery_plugins` and
`test_hostile_plugins`.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from support.broken_distributions import DISTRIBUTIONS, NET, NO_EQUALS_SIGN, OWN
from support.broken_hooks import BROKEN, HOSTILE
from support.programs import install, listed, medpipe

BY_HOOKS = {name: source for name, (source, _) in {**BROKEN, **HOSTILE}.items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all of them are installed, and one that is well."""
    site = tmp_path_factory.mktemp("site")
    for name, broken in DISTRIBUTIONS.items():
        broken.install(site, name)
    for name, source in BY_HOOKS.items():
        install(site, name, source)
    install(site, "zz-good", NET.replace('"net"', '"good"'))
    for name in ("one-claim", "other-claim"):
        install(site, name, NET.replace('"net"', '"claimed"'))
    return site


@pytest.fixture(scope="module")
def told(site: Path) -> str:
    """What the doctor says."""
    done = medpipe(site, "doctor")
    assert done.returncode == 1, done.stderr
    return done.stdout


def of(told: str, name: str) -> str:
    """What the doctor says of one of them, with what to do."""
    title = "no_metadata" if name == "no-metadata" else f"{name} 1.2"
    lines = told.splitlines()
    first = next(place for place, line in enumerate(lines) if line.strip().startswith(f"{title} "))
    last = first
    while "What to do" not in lines[last]:
        last += 1
    assert all(line.strip().startswith(f"{title} ") for line in lines[first:last])
    return "\n".join(lines[first : last + 1])


def test_there_are_forty() -> None:
    assert len(DISTRIBUTIONS) + len(BY_HOOKS) + 1 >= 40


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_each_is_blamed_with_its_cause_and_what_to_do(told: str, name: str) -> None:
    broken = DISTRIBUTIONS[name]
    text = of(told, name)
    assert broken.said in text
    assert broken.todo in text.partition("What to do: ")[2]


def test_entry_points_that_nobody_can_read(tmp_path: Path) -> None:
    NO_EQUALS_SIGN.install(tmp_path, "no-equals-sign")
    install(tmp_path, "zz-good", NET.replace('"net"', '"good"'))
    done = medpipe(tmp_path, "doctor")
    assert done.returncode == 1, done.stderr
    text = of(done.stdout, "no-equals-sign")
    assert NO_EQUALS_SIGN.said in text
    assert NO_EQUALS_SIGN.todo in text
    assert "zz-good 1.2" in done.stdout


@pytest.mark.parametrize("name", BY_HOOKS)
def test_those_of_hooks_are_told_too(told: str, name: str) -> None:
    text = of(told, name)
    assert "could not be loaded: " in text
    assert OWN + name in text or "pip install --force-reinstall" in text


def test_the_others_work(site: Path, told: str) -> None:
    plugins = listed(site)
    assert plugins["zz-good"]["steps"] == [{"kind": "network", "name": "good"}]
    assert plugins["zz-good"]["remarks"] == []
    assert plugins["medpipe-imaging"]["error"] is None
    for name, broken in DISTRIBUTIONS.items():
        if broken.loads and name not in ("no-metadata", "twice"):
            module = name.replace("-", "_")
            assert plugins[name]["steps"] == [{"kind": "network", "name": module}], name
    assert "zz-good 1.2 " not in told.replace("zz-good 1.2,", "")


def test_a_name_that_two_claim_is_told(told: str) -> None:
    assert (
        "conflict: the network 'claimed' is refused; name one-claim:claimed, other-claim:claimed"
        in told
    )


def test_a_step_that_is_offered_twice_is_one(site: Path) -> None:
    done = medpipe(site, "show", "network", "twice", MEDPIPE_PLUGINS="twice")
    assert done.returncode == 0, done.stderr
    assert "from twice 1.2" in done.stdout


def test_commands_go_on_where_they_were_called(site: Path, tmp_path: Path) -> None:
    done = medpipe(site, "show", "network", "goes_elsewhere", MEDPIPE_PLUGINS="goes-elsewhere")
    assert done.returncode == 0, done.stderr


def test_what_would_harm_others_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    import medpipe.plugin
    from medpipe.registry.loading import load_plugin

    def load() -> object:
        torch.set_default_dtype(torch.float64)
        os.chdir("/")
        sys.modules["medpipe.plugin"] = sys.modules["attrs"]
        return types.SimpleNamespace()

    monkeypatch.chdir(tmp_path)
    plugin = load_plugin(load, name="odd", distribution="odd", version="1")
    assert torch.get_default_dtype() is torch.float32
    assert Path.cwd() == tmp_path
    assert sys.modules["medpipe.plugin"] is medpipe.plugin
    assert set(plugin.remarks) >= {
        "importing it changes torch's default dtype.",
        "importing it changes the working directory.",
        "importing it replaces the module medpipe.plugin.",
    }
