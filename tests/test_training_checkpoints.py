"""`medpipe import-weights` takes the checkpoints that trainings write, and runs nothing of them."""

from __future__ import annotations

import argparse
import datetime
import enum
import functools
import os
import pathlib
import pickle
import pickletools
import zipfile
from collections import OrderedDict, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medpipe.cli.import_weights import import_weights
from medpipe.errors import DataError
from medpipe.training.inert import _ALLOWED
from medpipe.training.pickled import import_pickled


class AttributeDict(dict[str, Any]):
    """As Lightning keeps hyper-parameters."""

    def __getattr__(self, key: str) -> Any:
        return self[key]


class Config:
    """As OmegaConf: an object with a state of its own."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __getstate__(self) -> Any:
        return {"content": self.content}

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("its code ran")


class Callback:
    """As a callback that is pickled whole, with a list and a set of its own classes."""

    def __init__(self) -> None:
        self.best = Path("best.ckpt")
        self.kind = Mode.MIN


class Mode(enum.Enum):
    MIN = "min"


class Names(list[str]):
    """A list of a class of its own."""


class Plans(OrderedDict[str, Any]):
    """A dictionary of a class of its own."""


@attrs.frozen
class Slotted:
    """An object whose state is restored another way."""

    width: int = 3


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def with_prefix(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in net().state_dict().items()}


def optimizer() -> dict[str, Any]:
    module = net()
    made = torch.optim.Adam(module.parameters())
    module(torch.zeros(2, 1, 4, 4)).sum().backward()
    made.step()
    return made.state_dict()


def lightning() -> dict[str, Any]:
    return {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.2.0",
        "state_dict": OrderedDict({**with_prefix("model."), "loss.weight": torch.ones(2)}),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 4}}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'loss'}": {
                "best_model_score": torch.tensor(0.5),
                "best_k_models": {"a.ckpt": torch.tensor(0.5)},
                "dirpath": pathlib.PurePosixPath("/data"),
            },
            Callback: {"wait_count": 0},
        },
        "optimizer_states": [optimizer()],
        "lr_schedulers": [{"last_epoch": 3, "_last_lr": [np.float64(0.1)]}],
        "MixedPrecision": {"scale": 65536.0},
        "hparams_name": "kwargs",
        "hyper_parameters": AttributeDict(lr=0.1, args=argparse.Namespace(depth=3)),
        "datamodule_hyper_parameters": Config({"batch": 4}),
        "when": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        "mode": Mode.MIN,
        "names": Names(["a", "b"]),
        "some": {"a", "b"},
        "activation": functools.partial(torch.add, alpha=2),
        "dtype": torch.float16,
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "slotted": Slotted(),
        "counts": defaultdict(int, {"a": 1}),
        "callback": Callback(),
        "generator": np.random.default_rng(0),
        "array": np.arange(3),
    }


def nnunet() -> dict[str, Any]:
    return {
        "network_weights": with_prefix(""),
        "optimizer_state": optimizer(),
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "dice_per_class": [[np.float32(0.1)]]},
        "_best_ema": np.float64(0.6),
        "current_epoch": 1000,
        "init_args": {"plans": Plans(a=1), "fold": 0, "device": torch.device("cuda")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }


def timm() -> dict[str, Any]:
    return {
        "epoch": 9,
        "arch": "resnet18",
        "state_dict": with_prefix("module."),
        "optimizer": optimizer(),
        "version": 2,
        "args": argparse.Namespace(lr=0.1),
        "amp_scaler": {"scale": 1.0},
        "state_dict_ema": with_prefix("module."),
        "metric": np.float32(0.5),
    }


def monai() -> dict[str, Any]:
    return {"net": net().state_dict(), "opt": optimizer(), "trainer": {"iteration": np.int64(5)}}


CHECKPOINTS = {
    "lightning": (lightning, "state_dict", "model.", ()),
    "nnunet": (nnunet, "network_weights", "", ()),
    "timm": (timm, "state_dict", "module.", ("state_dict_ema",)),
    "monai": (monai, "net", "", ()),
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_gives_its_weights(tmp_path: Path, name: str, old: bool) -> None:
    make, key, prefix, others = CHECKPOINTS[name]
    source = tmp_path / "w.ckpt"
    torch.save(make(), source, _use_new_zipfile_serialization=not old)
    done = import_pickled(source, tmp_path / "w.safetensors")
    assert (done.key, done.others, done.left_out) == (key, others, ())
    found = load_file(tmp_path / "w.safetensors")
    for tensor_name, tensor in net().state_dict().items():
        assert torch.equal(found[prefix + tensor_name], tensor)
    assert done.wrappers == ((prefix,) if prefix else ())
    assert {line.split(" (")[0] for line in done.beside} == {*make()} - {key}


def test_what_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(timm(), tmp_path / "w.pth")
    import_weights(tmp_path / "w.pth", out=tmp_path / "w.safetensors")
    scalar = f"{np._core.multiarray.scalar.__module__}.scalar"
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == [
        f"taken from 'state_dict' in {tmp_path / 'w.pth'}",
        "left out beside it: epoch, arch, optimizer, version, args (argparse.Namespace), "
        "amp_scaler and 2 more",
        "tensors are also at 'state_dict_ema': choose them with --key",
    ]
    assert lines[-1] == 'strip = ["module."]'
    assert (
        f"metric ({scalar})"
        in import_pickled(tmp_path / "w.pth", tmp_path / "w.safetensors").beside
    )


def test_wrappers_within_each_other_are_all_named(tmp_path: Path) -> None:
    torch.save({"state_dict": with_prefix("model.module.")}, tmp_path / "w.pth")
    done = import_pickled(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert done.wrappers == ("model.", "module.")


def test_weights_in_a_dictionary_of_an_unknown_class_are_found(tmp_path: Path) -> None:
    torch.save({"state_dict": Plans(net().state_dict()), "x": Mode.MIN}, tmp_path / "w.pth")
    done = import_pickled(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert load_file(tmp_path / "w.safetensors").keys() == net().state_dict().keys()
    assert done.beside == (f"x ({__name__}.Mode)",)


def test_a_tensor_of_another_kind_is_not_left_out_in_silence(tmp_path: Path) -> None:
    state = {"a": torch.zeros(2), "b": torch.eye(2).to_sparse()}
    torch.save({"state_dict": state, "mode": Mode.MIN}, tmp_path / "w.pth")
    with pytest.raises(DataError) as caught:
        import_pickled(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert str(caught.value).startswith(
        f"{tmp_path / 'w.pth'} has a tensor that is not a plain one: b is made by "
        "torch._utils._rebuild_sparse_tensor. Write it again"
    )


class Running:
    """Runs a function with arguments where it is unpickled the usual way."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


def hostile(trace: Path) -> list[Any]:
    touch = f"open({str(trace)!r}, 'w').close()"
    command = (os.system, (f"touch {trace}",))
    return [
        Running(*command),
        Running(exec, (touch,)),
        Running(eval, (touch,)),
        {"deep": [({"x": Running(*command)},)]},
        Running(argparse.Namespace, (), {"x": Running(*command)}),
        Running(functools.partial, (os.system, f"touch {trace}")),
        Running(map, (os.system, [f"touch {trace}"])),
        Running(OrderedDict, ([("x", Running(*command))],)),
        Running(torch._utils._rebuild_tensor_v2, (Running(*command), 0, (), (), False, None)),
        Running(torch._tensor._rebuild_from_type_v2, (os.system, int, (f"touch {trace}",), {})),
        Running(torch.storage._load_from_bytes, (pickle.dumps(Running(*command)),)),
        Running(list, (Running(*command),), None, iter([Running(*command)])),
    ]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("number", range(12))
def test_nothing_hostile_runs(tmp_path: Path, number: int, old: bool) -> None:
    trace, source, out = tmp_path / "trace", tmp_path / "w.pth", tmp_path / "w.safetensors"
    content = {"state_dict": net().state_dict(), "x": hostile(trace)[number], "y": Mode.MIN}
    torch.save(content, source, _use_new_zipfile_serialization=not old)
    with suppress(DataError):  # where a tensor would be made of what is no storage
        assert import_pickled(source, out).key == "state_dict"
    assert not trace.exists()


def test_a_name_with_dots_reaches_nothing(tmp_path: Path) -> None:
    """Protocol 4 may ask for ``torch._utils`` ``_rebuild_tensor_v2.__globals__``."""
    trace = tmp_path / "trace"
    code = f"__import__('os').system('touch {trace}')"
    for module, name in [
        ("collections", "OrderedDict.__init__.__class__"),
        ("torch._utils", "torch.os.system"),
        ("torch", "os.system"),
        ("builtins", "eval"),
        ("torch.serialization", "load"),
        ("medpipe.training.inert", "_load"),
    ]:
        inner = b"\x80\x04" + b"\x8c" + bytes([len(module)]) + module.encode()
        inner += b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93"
        inner += b"\x8c" + bytes([len(code)]) + code.encode() + b"\x85R."
        assert list(pickletools.genops(inner))  # it is a whole pickle
        torch.save({"state_dict": net().state_dict()}, tmp_path / "w.pth")
        with (
            zipfile.ZipFile(tmp_path / "w.pth") as before,
            zipfile.ZipFile(tmp_path / "x.pth", "w") as after,
        ):
            for item in before.namelist():
                is_data = item.endswith("data.pkl")
                after.writestr(item, inner if is_data else before.read(item))
        with pytest.raises(DataError, match="holds no tensors by name"):
            import_pickled(tmp_path / "x.pth", tmp_path / "w.safetensors")
        assert not trace.exists()


def test_what_may_be_called_is_little() -> None:
    assert sorted(".".join(name) for name in _ALLOWED) == [
        "collections.OrderedDict",
        "torch.UntypedStorage",
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch.storage.UntypedStorage",
    ]


def test_a_table_that_holds_itself_is_read(tmp_path: Path) -> None:
    content: dict[str, Any] = {"weights": net().state_dict()}
    content["again"] = {"content": content}
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(DataError, match="several places"):
        import_pickled(tmp_path / "w.pth", tmp_path / "w.safetensors")
    done = import_pickled(tmp_path / "w.pth", tmp_path / "w.safetensors", key="weights")
    assert done.names == tuple(net().state_dict())
