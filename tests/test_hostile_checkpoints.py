"""Checkpoints that are damaged or lie: each refused with its exact message, nothing changed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import load, save

from medpipe.errors import CheckpointError, RunError
from medpipe.training.checkpoint import _digests, header_of, load_checkpoint, save_checkpoint
from medpipe.training.restoring import _misfits
from medpipe.training.run_checkpoints import BEST, DAMAGED, LAST, PREVIOUS
from support.counted_runs import at, passes, tiny


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped in its second epoch, with a checkpoint before that."""
    at.clear()
    passes["training"].clear()
    # The first pass tries the layout, five make an epoch.
    at["training", 8] = lambda: os.kill(os.getpid(), signal.SIGUSR1)
    path = tmp_path_factory.mktemp("hostile") / "run"
    assert tiny().build().run(path).status == "stopped"
    at.clear()
    assert (path / PREVIOUS).exists()
    return path


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it, without the checkpoint before the last."""
    path = tmp_path / "run"
    shutil.copytree(stopped, path)
    (path / PREVIOUS).unlink()
    return path


@attrs.define
class Parts:
    """What a checkpoint is made of."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]
    about: dict[str, Any]
    header: dict[str, str]


def told(change: Callable[[Parts], object]) -> Callable[[bytes], bytes]:
    """A checkpoint that is changed, and says of itself what it then is."""

    def made(content: bytes) -> bytes:
        header = header_of(content)
        parts = Parts(load(content), json.loads(header["state"]), json.loads(header["about"]), {})
        change(parts)
        header |= {"state": json.dumps(parts.state), "about": json.dumps(parts.about)}
        header["sha256"] = json.dumps(_digests(header, parts.tensors))
        return save(parts.tensors, metadata=header | parts.header)

    return made


def texts(**header: str) -> Callable[[bytes], bytes]:
    """A checkpoint with other texts, which says of itself what it then is."""

    def made(content: bytes) -> bytes:
        tensors, said = load(content), header_of(content) | header
        said["sha256"] = json.dumps(_digests(said, tensors))
        return save(tensors, metadata=said)

    return made


def lied(change: Callable[[Parts], object]) -> Callable[[bytes], bytes]:
    """A checkpoint whose tensors or texts are changed, and not the digests."""

    def made(content: bytes) -> bytes:
        parts = Parts(load(content), {}, {}, header_of(content))
        change(parts)
        return save(parts.tensors, metadata=parts.header or None)

    return made


def without(name: str) -> Callable[[Parts], object]:
    return lambda parts: parts.header.pop(name)


def put(**header: str) -> Callable[[Parts], object]:
    return lambda parts: parts.header.update(header)


def headed(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


def find(state: Any, *keys: Any) -> Any:
    """What is packed below some keys."""
    for key in keys:
        state = next(item for name, item in state["$pairs"] if name == key)
    return state


def renamed(parts: Parts) -> None:
    parts.tensors["network.9.weight"] = parts.tensors.pop("network.0.weight")


def swapped(parts: Parts) -> None:
    parts.tensors["network.4.weight"] = parts.tensors["network.4.weight"].T.contiguous()


def narrowed(parts: Parts) -> None:
    parts.tensors["network.0.weight"] = parts.tensors["network.0.weight"].half()


def reshaped(parts: Parts) -> None:
    parts.tensors["network.4.weight"] = parts.tensors["network.4.weight"].reshape(-1)


def other_numbers(parts: Parts) -> None:
    parts.tensors["network.0.weight"] = parts.tensors["network.0.weight"].view(torch.int32)


def bumped(parts: Parts) -> None:
    parts.tensors["network.0.bias"] += 1


def not_finite(parts: Parts) -> None:
    parts.tensors["network.0.bias"][1] = float("nan")


def another_network(parts: Parts) -> None:
    pairs = parts.state["network"]["$pairs"]
    for pair in pairs:
        pair[0] = pair[0].replace("4.", "5.")


def another_shape(parts: Parts) -> None:
    parts.tensors["network.0.weight"] = torch.zeros(8, 1, 3, 3)


def another_optimizer(parts: Parts) -> None:
    parts.about["classes"]["optimizer"] = "torch.optim.sgd.SGD"


def other_groups(parts: Parts) -> None:
    groups = find(parts.state["optimizer"], "param_groups")
    find(groups[0], "params").pop()


def no_moments(parts: Parts) -> None:
    pairs = parts.state["optimizer"]["$pairs"]
    pairs[:] = [pair for pair in pairs if pair[0] != "state"]


def another_run(parts: Parts) -> None:
    parts.about["provenance_digests"]["data"] = "0" * 64


def a_number(parts: Parts) -> None:
    parts.state["network"] = 0


class Payload:
    """What a pickle would run."""

    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["PAYLOAD"],)


def cut(count: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:count]


Change = Callable[[bytes], bytes]
PARSED = "Error while deserializing: invalid JSON in header: "
DEEP = json.dumps({"network": 0}).replace("0", "[" * 50_000 + "]" * 50_000)


def damaged(why: str) -> str:
    return (
        f"No checkpoint of RUN is intact. RUN/checkpoints/last.safetensors is damaged: {why}. "
        "Restore the run directory from a backup, or begin a new run in another output folder."
    )


def lacking(names: str) -> str:
    return (
        f"RUN/checkpoints/last.safetensors is intact, but lacks {names}: it was written "
        "by another version of medpipe, or changed since. Resume with the medpipe that wrote it, "
        "or begin a new run in another output folder."
    )


def foreign(why: str) -> str:
    return (
        f"The checkpoint to resume from is of another form: {why}. It was written by another "
        "version of medpipe, or changed since. Begin a new run in another output folder."
    )


def misfit(why: str) -> str:
    return f"The checkpoint to resume from doesn't fit: {why}"


REFUSED: dict[str, tuple[Change, str]] = {
    "empty": (lambda _: b"", damaged("Error while deserializing: header too small")),
    "one byte": (cut(1), damaged("Error while deserializing: header too small")),
    "seven bytes": (cut(7), damaged("Error while deserializing: header too small")),
    "the length alone": (cut(8), damaged("Error while deserializing: invalid header length")),
    "a header that is cut": (cut(300), damaged("Error while deserializing: invalid header length")),
    "tensors that are cut": (
        lambda c: c[:-1],
        damaged("Error while deserializing: incomplete metadata, file not fully covered"),
    ),
    "a byte too many": (
        lambda c: c + b"\0",
        damaged("Error while deserializing: incomplete metadata, file not fully covered"),
    ),
    "a header of 2 to the 63rd": (
        lambda c: (2**63).to_bytes(8, "little") + c[8:],
        damaged("Error while deserializing: header too large"),
    ),
    "a header of 200 MB": (
        lambda c: (200_000_000).to_bytes(8, "little") + c[8:],
        damaged("Error while deserializing: header too large"),
    ),
    "a header that is no JSON": (
        lambda _: headed(b"{'a': 1}"),
        damaged(PARSED + "key must be a string at line 1 column 2"),
    ),
    "a header that is no table": (
        lambda _: headed(b"[]"),
        damaged(PARSED + "invalid type: sequence, expected struct HashMetadata at line 1 column 0"),
    ),
    "a header that is not UTF-8": (
        lambda _: headed(b'{"\xff": 1}'),
        damaged(
            "Error while deserializing: invalid UTF-8 in header: "
            "invalid utf-8 sequence of 1 bytes from index 2"
        ),
    ),
    "a header that nests": (
        lambda _: headed(b"[" * 50_000),
        damaged(PARSED + "invalid type: sequence, expected struct HashMetadata at line 1 column 0"),
    ),
    "noise": (
        lambda c: Random(0).randbytes(len(c)),
        damaged("Error while deserializing: header too large"),
    ),
    "no metadata": (
        lied(lambda parts: parts.header.clear()),
        damaged("").replace(
            "is damaged: ", "is not a checkpoint of medpipe, or its header is damaged"
        ),
    ),
    "a checkpoint of version 1": (
        lied(without("medpipe")),
        "RUN/checkpoints/last.safetensors is a checkpoint of version 1, and this medpipe "
        "reads version 2. Resume with the medpipe that wrote it, or begin a new run.",
    ),
    "a checkpoint of another version": (
        lied(put(medpipe="3")),
        "RUN/checkpoints/last.safetensors is a checkpoint of version 3, and this medpipe "
        "reads version 2. Resume with the medpipe that wrote it, or begin a new run.",
    ),
    "no digests": (
        lied(without("sha256")),
        damaged("its header is not as medpipe writes it (KeyError: 'sha256')"),
    ),
    "digests that are no table": (
        lied(put(sha256="[]")),
        damaged(
            "its header is not as medpipe writes it (AttributeError: 'list' object has "
            "no attribute 'get')"
        ),
    ),
    "no state": (
        lied(without("state")),
        damaged("its header is not as medpipe writes it (KeyError: 'state')"),
    ),
    "a state that is another": (
        lied(put(state="{}")),
        damaged("'$state' does not have the SHA-256 that was written"),
    ),
    "another tensor": (
        lied(bumped),
        damaged("'network.0.bias' does not have the SHA-256 that was written"),
    ),
    "a renamed tensor": (
        lied(renamed),
        damaged("'network.0.weight' and 1 more does not have the SHA-256 that was written"),
    ),
    "a tensor that is not there": (
        lied(lambda p: p.tensors.pop("network.0.bias")),
        damaged("'network.0.bias' does not have the SHA-256 that was written"),
    ),
    "a tensor too many": (
        lied(lambda p: p.tensors.update(more=torch.zeros(1))),
        damaged("'more' does not have the SHA-256 that was written"),
    ),
    "sides that are swapped": (
        lied(swapped),
        damaged("'network.4.weight' does not have the SHA-256 that was written"),
    ),
    "another number type": (
        lied(narrowed),
        damaged("'network.0.weight' does not have the SHA-256 that was written"),
    ),
    "the same bytes in another shape": (
        lied(reshaped),
        damaged("'network.4.weight' does not have the SHA-256 that was written"),
    ),
    "the same bytes as other numbers": (
        lied(other_numbers),
        damaged("'network.0.weight' does not have the SHA-256 that was written"),
    ),
    "a weight that is no number": (
        told(not_finite),
        misfit("The checkpoint's '0.bias' is not finite."),
    ),
    "another network": (
        told(another_network),
        misfit(
            "The checkpoint's network has no '4.weight'. The checkpoint's network has no "
            "'4.bias'. The run's "
            "network has no '5.weight'. And 1 more."
        ),
    ),
    "a weight of another shape": (
        told(another_shape),
        misfit("The checkpoint's '0.weight' has the shape (8, 1, 3, 3), the run's (4, 1, 3, 3)."),
    ),
    "another optimizer": (
        told(another_optimizer),
        misfit(
            "The checkpoint's 'optimizer' is a torch.optim.sgd.SGD, the run's a "
            "torch.optim.adam.Adam."
        ),
    ),
    "groups of other sizes": (
        told(other_groups),
        misfit("The checkpoint's 'optimizer' has groups of [3] parameters, the run's of [4]."),
    ),
    "no generators": (
        told(lambda p: p.state.pop("$generators")),
        misfit("The checkpoint has no state of the random generators."),
    ),
    "generators that are none": (
        told(lambda p: p.state.update({"$generators": [1]})),
        foreign("TypeError: list indices must be integers or slices, not str"),
    ),
    "generators of another torch": (
        told(lambda p: p.tensors.update({"$generators.torch": torch.zeros(3, dtype=torch.uint8)})),
        foreign(
            "RuntimeError: Expected a CPUGeneratorImplState of size 5056 but found the input RNG "
            "state size to be 3"
        ),
    ),
    "a network that is a list": (
        told(lambda p: p.state.update(network=[])),
        foreign("AttributeError: 'list' object has no attribute 'get'"),
    ),
    "an optimizer without a state": (told(no_moments), foreign("KeyError: 'state'")),
    "no network": (
        told(lambda p: p.state.pop("network")),
        misfit("The checkpoint has no state of 'network'."),
    ),
    "no progress": (told(lambda p: p.about.pop("progress")), lacking("progress")),
    "progress of other words": (
        told(lambda p: p.about["progress"].update(x=1)),
        foreign("TypeError: Progress.__init__() got an unexpected keyword argument 'x'"),
    ),
    "no history": (told(lambda p: p.about.pop("history")), lacking("history")),
    "nothing about it": (
        told(lambda p: p.about.clear()),
        lacking(
            "epoch, best_epoch, metrics, history, provenance_digests, progress, position, classes"
        ),
    ),
    "about it a list": (
        texts(about="[]"),
        lacking(
            "epoch, best_epoch, metrics, history, provenance_digests, progress, position, classes"
        ),
    ),
    "about it a number": (
        texts(about="7"),
        lacking(
            "epoch, best_epoch, metrics, history, provenance_digests, progress, position, classes"
        ),
    ),
    "progress that is a number": (told(lambda p: p.about.update(progress=1)), lacking("progress")),
    "progress without an iteration": (
        told(lambda p: p.about.update(progress={})),
        lacking("progress"),
    ),
    "a position that is none": (
        told(lambda p: p.about.update(position=[1])),
        foreign("ValueError: not enough values to unpack (expected 2, got 1)"),
    ),
    "the checkpoint of another run": (
        told(another_run),
        "The run RUN can't be resumed: this has changed since it was started:\n  the "
        "checkpoint was made with another data set\nUndo these changes, or begin a new "
        'run in another output folder. To resume nevertheless, give allow_changed="data": the '
        "results will differ from those of a run that was not stopped, and the changes are "
        "recorded.",
    ),
    "a state that is a number": (
        told(a_number),
        foreign("TypeError: argument of type 'int' is not iterable"),
    ),
    "a tensor that is only named": (
        told(lambda p: p.state.update(network={"$tensor": "nowhere"})),
        damaged("its header is not as medpipe writes it (KeyError: 'nowhere')"),
    ),
    "pairs that are none": (
        told(lambda p: p.state.update(network={"$pairs": [1]})),
        damaged(
            "its header is not as medpipe writes it (TypeError: cannot unpack "
            "non-iterable int object)"
        ),
    ),
    "pairs that are a number": (
        told(lambda p: p.state.update(network={"$pairs": 1})),
        damaged("its header is not as medpipe writes it (TypeError: 'int' object is not iterable)"),
    ),
    "a table of no kind": (
        told(lambda p: p.state.update(network={"other": 1})),
        damaged("its header is not as medpipe writes it (KeyError: '$pairs')"),
    ),
    "a state that nests": (texts(state=DEEP), damaged("its header is nested too deeply")),
    "a state that is no JSON": (
        texts(state="{"),
        damaged(
            "its header is not as medpipe writes it (JSONDecodeError: Expecting property "
            "name enclosed in double quotes: line 1 column 2 (char 1))"
        ),
    ),
    "a pickle": (
        lambda _: pickle.dumps(Payload()),
        damaged("Error while deserializing: header too large"),
    ),
    "what torch.save writes": (
        lambda _: b"PK\x03\x04" + bytes(100),
        damaged("Error while deserializing: invalid header length"),
    ),
}


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("case", REFUSED)
def test_a_checkpoint_that_can_not_be_gone_on_from_is_refused(
    case: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, message = REFUSED[case]
    monkeypatch.setenv("PAYLOAD", str(tmp_path / "payload"))
    file = run / LAST
    file.write_bytes(change(file.read_bytes()))
    before = contents(run)
    with pytest.raises(RunError) as caught:
        tiny().build().run(run, resume=True)
    assert str(caught.value).replace(str(run), "RUN") == message
    assert contents(run) == before
    assert not (tmp_path / "payload").exists()


def test_a_folder_in_its_place(run: Path) -> None:
    (run / LAST).unlink()
    (run / LAST).mkdir()
    before = contents(run)
    with pytest.raises(RunError) as caught:
        tiny().build().run(run, resume=True)
    assert str(caught.value) == f"{run / LAST} can't be read: is a directory."
    assert contents(run) == before


def test_two_that_are_damaged(stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    for name in (LAST, PREVIOUS):
        (run / name).write_bytes((run / name).read_bytes()[:-1])
    before = contents(run)
    with pytest.raises(CheckpointError) as caught:
        tiny().build().run(run, resume=True)
    why = "is damaged: Error while deserializing: incomplete metadata, file not fully covered."
    assert str(caught.value) == (
        f"No checkpoint of {run} is intact. {run / LAST} {why} {run / PREVIOUS} {why} Restore the "
        "run directory from a backup, or begin a new run in another output folder."
    )
    assert contents(run) == before


def test_the_one_before_a_damaged_one_is_taken(
    stopped: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    broken = (run / LAST).read_bytes()[:-1]
    (run / LAST).write_bytes(broken)
    with caplog.at_level(logging.WARNING, "medpipe"):
        assert tiny().build().run(run, resume=True).status == "finished"
    assert (
        f"{run / LAST} is damaged: Error while deserializing: incomplete metadata, file not fully "
        "covered. The run is resumed from the previous checkpoint, of iteration 5."
    ) in caplog.messages
    assert (run / DAMAGED).read_bytes() == broken


def test_the_best_network_is_made_again(
    stopped: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    whole = (run / BEST).read_bytes()
    (run / BEST).write_bytes(whole[:9])
    at["training", 2] = lambda: os.kill(os.getpid(), signal.SIGUSR1)  # the first tries the layout
    passes["training"].clear()
    with caplog.at_level(logging.WARNING, "medpipe"):
        tiny().build().run(run, resume=True)
    assert (
        f"{run / BEST} is damaged: Error while deserializing: invalid header length. The best "
        "network is restored from the checkpoint."
    ) in caplog.messages
    states, _ = load_checkpoint(run / BEST)
    (run / BEST).write_bytes(whole)
    before, _ = load_checkpoint(run / BEST)
    for name, value in before["network"].items():
        assert torch.equal(states["network"][name], value)


class Small:
    def state_dict(self) -> dict[Any, Any]:
        return {"weight": torch.arange(600.0), 0: {"step": 1, "betas": (0.9, 0.999)}}


@pytest.mark.long
def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """All of the header, and 2,000 of the rest."""
    file = tmp_path / "small.safetensors"
    save_checkpoint(file, {"network": Small()}, about={"epoch": 1})
    whole = file.read_bytes()
    header = 8 * (8 + int.from_bytes(whole[:8], "little"))
    rest = Random(0).sample(range(header, 8 * len(whole)), 2000)
    for bit in (*range(header), *rest):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        with pytest.raises(RunError):
            load_checkpoint(file)


@pytest.mark.long
def test_a_checkpoint_cut_anywhere_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "small.safetensors"
    save_checkpoint(file, {"network": Small()}, about={"epoch": 1})
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            load_checkpoint(file)


def test_what_is_infinite_by_design_may_be_so_in_a_checkpoint() -> None:
    mask, weight = torch.tensor([0.0, -torch.inf]), torch.zeros(2)
    assert _misfits({"mask": mask}, {"mask": mask}) == []
    assert _misfits({"weight": mask}, {"weight": weight}) == [
        "The checkpoint's 'weight' is not finite."
    ]
