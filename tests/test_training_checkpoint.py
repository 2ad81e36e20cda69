"""The file of a checkpoint: what goes in comes out, and what is not what was written is found."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from medpipe import CheckpointError, RunError
from medpipe.training.checkpoint import load_checkpoint, save_checkpoint


@attrs.frozen
class Holding:
    """An object with a state."""

    state: Any

    def state_dict(self) -> Any:
        return self.state


def small(path: Path) -> Path:
    state = {
        "network": Holding({"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}),
        "optimizer": Holding({"state": {0: {"step": 1.5}}, "groups": [{"betas": (0.9, 0.99)}]}),
    }
    save_checkpoint(path, state, about={"epoch": 1, "é": ['"\\', None, True]})
    return path


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    states, about = load_checkpoint(small(tmp_path / "c"))
    assert torch.equal(states["network"]["weight"], torch.arange(6.0).reshape(2, 3))
    assert states["network"]["count"].item() == 3
    assert states["optimizer"] == {"state": {0: {"step": 1.5}}, "groups": [{"betas": (0.9, 0.99)}]}
    assert about == {"epoch": 1, "é": ['"\\', None, True]}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_any_plain_state_comes_back(value: Any) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c"
        save_checkpoint(path, {"some": Holding({"value": value})}, about={})
        states, _ = load_checkpoint(path)
    assert repr(states["some"]["value"]) == repr(value)


def is_found(path: Path, content: bytes) -> bool:
    """Whether a damaged file is refused with a message that names it."""
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        load_checkpoint(path)
    return str(caught.value).startswith(f"{path} is ")


@pytest.mark.long
def test_each_bit_that_turns_round_in_the_header_is_found(tmp_path: Path) -> None:
    content = small(tmp_path / "c").read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for place in range(header):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            assert is_found(tmp_path / "d", bytes(damaged)), (place, bit)


@pytest.mark.long
def test_two_thousand_bits_anywhere_are_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(40, 40), torch.nn.BatchNorm1d(40))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(4, 40)).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "c", {"network": network, "optimizer": optimizer}, about={})
    content, random = (tmp_path / "c").read_bytes(), Random(0)
    for _ in range(2000):
        damaged = bytearray(content)
        damaged[random.randrange(len(content))] ^= 1 << random.randrange(8)
        assert is_found(tmp_path / "d", bytes(damaged))


@given(st.binary(max_size=200), st.integers(0, 1 << 16), st.integers(0, 1 << 16))
def test_whatever_takes_the_place_of_a_part_is_found(new: bytes, start: int, length: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        content = small(Path(folder) / "c").read_bytes()
        start %= len(content)
        length %= len(content) - start + 1
        changed = content[:start] + new + content[start + length :]
        assert changed == content or is_found(Path(folder) / "d", changed)


def test_parts_of_two_checkpoints_make_no_third(tmp_path: Path) -> None:
    small(tmp_path / "c")
    content = (tmp_path / "c").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    tensors = load_file(tmp_path / "c")
    tensors["network.weight"] = tensors["network.weight"] + 1
    (tmp_path / "d").write_bytes(save(tensors, metadata=header))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / "d")
    assert str(caught.value) == (
        f"{tmp_path / 'd'} is damaged: 'network.weight' does not have the SHA-256 that was written."
    )
    # The same bytes in another shape are another tensor.
    tensors["network.weight"] = (tensors["network.weight"] - 1).reshape(3, 2)
    (tmp_path / "d").write_bytes(save(tensors, metadata=header))
    with pytest.raises(CheckpointError, match=r"is damaged: 'network\.weight' does not have"):
        load_checkpoint(tmp_path / "d")


def test_an_older_layout_is_named(tmp_path: Path) -> None:
    header = {"state": "{}", "about": "{}"}
    (tmp_path / "c").write_bytes(save({"x": torch.zeros(1)}, metadata=header))
    with pytest.raises(RunError) as caught:
        load_checkpoint(tmp_path / "c")
    assert str(caught.value) == (
        f"{tmp_path / 'c'} is a checkpoint of version 1, and this medpipe reads version 2. Resume "
        "with the medpipe that wrote it, or begin a new run."
    )


def test_what_json_has_no_form_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        save_checkpoint(tmp_path / "c", {"some": Holding({"hook": print})}, about={})
    assert str(caught.value) == (
        "The checkpoint can't hold some.hook: a builtin_function_or_method is neither a tensor nor "
        "plain data. Leave it out of the trainer's state."
    )
    assert not (tmp_path / "c").exists()
