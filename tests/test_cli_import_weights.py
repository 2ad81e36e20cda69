"""`medpipe import-weights`: tensors come through, code does not."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from cyclopts import App
from safetensors.torch import load_file
from torch import nn

from medpipe.cli.import_weights import import_weights
from medpipe.errors import DataError, RunError
from medpipe.settings import WeightsSettings
from medpipe.system.files import sha256_of
from medpipe.training.pickled import import_pickled
from medpipe.training.weights import start_from

SAFELY = (
    "Write it again where its code is trusted, with tensors alone: "
    "torch.save(net.state_dict(), 'weights.pth')."
)


class Hostile:
    """What runs a command when it is unpickled the usual way."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.trace}",)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "w.safetensors"


def put(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def equal(path: Path, state: dict[str, torch.Tensor]) -> bool:
    found = load_file(path)
    return found.keys() == state.keys() and all(torch.equal(found[n], state[n]) for n in state)


def test_a_state_dictionary_becomes_a_safetensors_file(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = net()
    state = module.state_dict()
    assert hasattr(state, "_metadata")
    import_weights(put(tmp_path / "w.pth", state), out=out)
    digest = sha256_of(out.read_bytes())
    assert capsys.readouterr().out == (
        f'7 tensors, 0.0 MB, in {out}\n[weights]\nfile = "{out}"\nsha256 = "{digest}"\n'
    )
    assert equal(out, state)
    target = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert start_from(target, WeightsSettings(file=out, sha256=digest)) is not None
    assert torch.equal(target[0].weight, module[0].weight)  # type: ignore[index]


def test_it_is_a_command(tmp_path: Path, out: Path) -> None:
    app = App()
    app.command(import_weights)
    source = put(tmp_path / "w.pth", {"deep": {"ema": net().state_dict()}})
    arguments = ["import-weights", str(source), "--out", str(out), "--key", "deep.ema"]
    app(arguments, result_action="return_value")
    assert equal(out, net().state_dict())


def test_the_old_format_and_a_raw_module_of_data_parallel(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = nn.DataParallel(net()).state_dict()
    source = put(tmp_path / "w.pth", state, _use_new_zipfile_serialization=False)
    import_weights(source, out=out)
    assert equal(out, state)
    assert capsys.readouterr().out.endswith('strip = ["module."]\n')


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "network", "net"])
def test_usual_keys_are_found_and_what_is_no_tensor_is_left_out(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    module = net()
    optimizer = torch.optim.Adam(module.parameters())
    state = {**module.state_dict(), "epoch": 3, "note": "x", 5: torch.zeros(1)}
    content = {"epoch": 3, key: state, "optimizer": optimizer.state_dict(), "loss": 0.5}
    done = import_pickled(put(tmp_path / "w.pth", content), out)
    assert done.left_out == ("epoch", "note", "5")
    assert equal(out, module.state_dict())
    import_weights(tmp_path / "w.pth", out=out)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith(f"in {out}, which was there already with the same content")
    assert printed[1] == "left out, being no tensors: epoch, note, 5"


def test_tensors_that_share_memory_are_not_contiguous_or_are_parameters(
    tmp_path: Path, out: Path
) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "whole": base,
        "turned": base.T,
        "part": base[1:, ::2],
        "parameter": nn.Parameter(base),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 2),
        "half": base.bfloat16(),
    }
    import_pickled(put(tmp_path / "w.pth", state), out)
    assert equal(out, {name: tensor.detach() for name, tensor in state.items()})


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    state = net().state_dict()
    turned = dict(reversed(list(state.items())))
    digests = [
        import_pickled(put(tmp_path / f"{n}.pth", content), tmp_path / f"{n}.safetensors").sha256
        for n, content in enumerate((state, turned, {"model": state, "epoch": 4}))
    ]
    assert len(set(digests)) == 1


def test_a_file_is_not_overwritten_unless_asked(tmp_path: Path, out: Path) -> None:
    source = put(tmp_path / "w.pth", net().state_dict())
    assert import_pickled(source, out).written
    assert not import_pickled(source, out).written
    out.write_text("mine")
    with pytest.raises(RunError) as caught:
        import_pickled(source, out)
    assert str(caught.value) == (
        f"{out} holds something else already. Choose another with the argument out, or give "
        "overwrite=True."
    )
    assert out.read_text() == "mine"
    assert import_pickled(source, out, overwrite=True).written
    assert equal(out, net().state_dict())
    with pytest.raises(RunError) as caught:
        import_pickled(source, source, overwrite=True)
    assert (
        str(caught.value)
        == f"{source} is the pickled file itself. Choose another with the argument out."
    )
    with pytest.raises(RunError) as caught:
        import_pickled(source, tmp_path)
    assert str(caught.value) == f"{tmp_path} is a folder. Name a file in it with the argument out."


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("force", [False, True])
def test_a_hostile_file_runs_nothing(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, old: bool, force: bool
) -> None:
    if force:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trace = tmp_path / "trace"
    content = {"state_dict": net().state_dict(), "x": Hostile(trace)}
    source = put(tmp_path / "w.pth", content, _use_new_zipfile_serialization=not old)
    done = import_pickled(source, out)
    assert done.beside == (f"x ({os.system.__module__}.system)",)
    assert equal(out, net().state_dict())
    assert not trace.exists()
    torch.load(source, weights_only=False)  # it would have
    assert trace.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_plain_pickle_runs_nothing(tmp_path: Path, out: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    source = tmp_path / "w.pth"
    source.write_bytes(pickle.dumps({"x": Hostile(trace)}, protocol=protocol))
    with pytest.raises(DataError) as caught:
        import_pickled(source, out)
    assert str(caught.value).endswith(SAFELY)
    assert not trace.exists()
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        ({"args": argparse.Namespace(lr=1), "model": {}}, "argparse.Namespace"),
    ],
)
def test_a_file_of_objects_alone_names_them(
    tmp_path: Path, out: Path, content: Any, wanted: str
) -> None:
    source = put(tmp_path / "w.pth", content)
    with pytest.raises(DataError) as caught:
        import_pickled(source, out)
    assert str(caught.value) == (
        f"{source} holds no tensors by name but objects of {wanted}. {SAFELY}"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_archive_is_refused(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "w.pt"
    torch.jit.script(nn.Linear(1, 1)).save(str(source))
    with pytest.raises(DataError) as caught:
        import_pickled(source, out)
    assert str(caught.value) == (
        f"{source} is refused: it is a TorchScript archive, which holds code. Write its tensors "
        f"alone: torch.save(torch.jit.load('{source}').state_dict(), 'weights.pth')."
    )


@pytest.mark.parametrize(
    "content", [torch.zeros(2), [torch.zeros(2)], {}, {"epoch": 1}, {0: torch.zeros(2)}, None, "x"]
)
def test_a_file_without_tensors_by_name_is_refused(tmp_path: Path, out: Path, content: Any) -> None:
    source = put(tmp_path / "w.pth", content)
    with pytest.raises(DataError) as caught:
        import_pickled(source, out)
    assert str(caught.value) == f"{source} holds no tensors by name. {SAFELY}"


def test_where_the_tensors_are_is_asked_for_when_it_is_not_clear(tmp_path: Path, out: Path) -> None:
    state = net().state_dict()
    several = put(tmp_path / "several.pth", {"model": state, "net": state, "ema": {"now": state}})
    with pytest.raises(DataError) as caught:
        import_pickled(several, out)
    assert str(caught.value) == (
        f"{several} has tensors by name at several places. There are some at 'model', 'net', "
        "'ema.now': choose one with the argument key."
    )
    teachers = put(tmp_path / "teachers.pth", {"student": state, "teacher": state})
    with pytest.raises(DataError) as caught:
        import_pickled(teachers, out)
    assert str(caught.value) == (
        f"{teachers} has tensors by name at several places. There are some at 'student', "
        "'teacher': choose one with the argument key."
    )
    flat = put(tmp_path / "flat.pth", state)
    with pytest.raises(DataError) as caught:
        import_pickled(flat, out, key="model")
    assert str(caught.value) == (
        f"{flat} has no tensors by name at 'model'. There are some at the top, without the "
        "argument key."
    )
    assert not out.exists()
    assert import_pickled(several, out, key="ema.now").names == tuple(state)
    one = {"encoder": state, "scores": {"best": torch.tensor(0.5)}}
    assert import_pickled(put(tmp_path / "one.pth", one), out).key == "encoder"


@pytest.mark.parametrize("old", [False, True])
def test_a_truncated_file_is_refused(tmp_path: Path, out: Path, old: bool) -> None:
    whole = put(tmp_path / "w.pth", net().state_dict(), _use_new_zipfile_serialization=not old)
    content = whole.read_bytes()
    cut = tmp_path / "cut.pth"
    for length in (0, 1, 30, len(content) // 2, len(content) - 1):
        cut.write_bytes(content[:length])
        with pytest.raises(DataError) as caught:
            import_pickled(cut, out)
        assert str(caught.value).startswith(f"{cut} is no whole file of torch.save")
    assert not out.exists()


def test_other_files_are_refused(tmp_path: Path, out: Path) -> None:
    text, plain, archive = tmp_path / "a.txt", tmp_path / "a.json", tmp_path / "a.zip"
    text.write_text("hello world\n")
    plain.write_text(json.dumps({"weight": [1, 2]}))
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.txt", "x")
    for file in (text, plain, archive):
        with pytest.raises(DataError) as caught:
            import_pickled(file, out)
        assert str(caught.value).startswith(f"{file} is no whole file of torch.save")
    import_pickled(put(tmp_path / "w.pth", net().state_dict()), out)
    with pytest.raises(DataError) as caught:
        import_pickled(out, tmp_path / "again.safetensors")
    assert str(caught.value) == (
        f"{out} is a safetensors file already: name it as weights.file, as it is."
    )
    with pytest.raises(DataError) as caught:
        import_pickled(tmp_path / "absent.pth", out)
    assert str(caught.value) == f"There is no file {tmp_path / 'absent.pth'}."
    with pytest.raises(DataError) as caught:
        import_pickled(tmp_path, out)
    assert str(caught.value) == f"{tmp_path} can't be read: is a directory."


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.eye(2).to_sparse(), "sparse_coo"),
        (torch.zeros(2, device="meta"), "on the meta device"),
    ],
)
def test_tensors_that_are_not_plain_are_named(
    tmp_path: Path, out: Path, tensor: torch.Tensor, kind: str
) -> None:
    source = put(tmp_path / "w.pth", {"odd": tensor})
    with pytest.raises(DataError) as caught:
        import_pickled(source, out)
    assert str(caught.value) == (
        f"{source} has a tensor that is not a plain one: odd is {kind}. {SAFELY}"
    )


def test_the_output_is_called_what_it_is(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "net.pth")
    with pytest.raises(RunError) as caught:
        import_pickled(tmp_path / "net.pth", tmp_path / "out.pth")
    assert str(caught.value) == (
        f"{tmp_path / 'out.pth'} would be a safetensors file: let its name end in .safetensors."
    )


def test_the_pickled_file_and_a_folder_are_no_place_for_the_output(tmp_path: Path) -> None:
    source, folder = tmp_path / "net.safetensors", tmp_path / "folder.safetensors"
    torch.save({"weight": torch.zeros(2)}, source)
    before = source.read_bytes()
    folder.mkdir()
    for out, message in (
        (source, f"{source} is the pickled file itself. Choose another with the argument out."),
        (folder, f"{folder} is a folder. Name a file in it with the argument out."),
    ):
        with pytest.raises(RunError) as caught:
            import_pickled(source, out, overwrite=True)
        assert str(caught.value) == message
    assert source.read_bytes() == before
