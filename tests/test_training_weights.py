"""Weights of a file into a network: what is taken, what is refused, and with which words."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from medpipe.errors import ConfigError, ProblemsError
from medpipe.settings import WeightsSettings
from medpipe.system.files import sha256_of
from medpipe.training.checkpoint import save_checkpoint
from medpipe.training.run_checkpoints import BEST
from medpipe.training.weights import (
    Weights,
    WeightsReport,
    examine_weights,
    fit_weights,
    mean_over_channels,
    read_weights,
    start_from,
)
from support.examples import examples


def network(channels: int = 1, outputs: int = 3, dims: int = 2, seed: int = 0) -> nn.Module:
    from monai.networks.nets import DenseNet

    torch.manual_seed(seed)
    return DenseNet(
        spatial_dims=dims,
        in_channels=channels,
        out_channels=outputs,
        init_features=4,
        growth_rate=4,
        block_config=(1, 1),
    )


def saved(path: Path, source: nn.Module | dict[str, Any], prefix: str = "") -> Path:
    state = source if isinstance(source, dict) else source.state_dict()
    save_file({prefix + k: v.clone() for k, v in state.items()}, path)
    return path


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def refused(module: nn.Module, **given_settings: Any) -> list[str]:
    """The problems; the module is as it was, and the check on meta finds the same."""
    chosen = WeightsSettings(**given_settings)
    before = state_of(module)
    with pytest.raises(ProblemsError) as caught:
        start_from(module, chosen)
    assert same(before, state_of(module))
    with pytest.raises(ProblemsError) as on_meta:
        examine_weights(copy.deepcopy(module).to("meta"), chosen)
    assert str(on_meta.value) == str(caught.value)
    return [str(problem) for problem in caught.value.problems]


HEAD = "class_layers.out"


def test_a_whole_file_is_taken_and_reported(tmp_path: Path) -> None:
    source, target = network(seed=1), network(seed=2)
    file = saved(tmp_path / "w.safetensors", source)
    digest = sha256_of(file.read_bytes())
    chosen = WeightsSettings(file=file, sha256=digest)
    report = start_from(target, chosen)
    assert report is not None
    assert same(state_of(source), state_of(target))
    names = tuple(source.state_dict())
    assert report == WeightsReport(source=file, sha256=digest, matched=names)
    assert str(report) == f"{len(names)} tensors from {file}"
    assert json.loads(json.dumps(report.record())) == {
        "source": str(file),
        "sha256": digest,
        "matched": len(names),
        "fitted": [],
        "skipped": [],
        "missing": [],
        "unused": [],
    }
    assert examine_weights(network().to("meta"), chosen) == report


def test_without_a_source_nothing_is_done() -> None:
    target = network()
    before = state_of(target)
    assert start_from(target, WeightsSettings()) is None
    assert examine_weights(target, WeightsSettings()) is None
    assert same(before, state_of(target))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_new_head_and_a_new_first_layer(tmp_path: Path, dims: int) -> None:
    source = network(channels=3, outputs=7, dims=dims, seed=1).eval()
    target = network(channels=1, outputs=2, dims=dims, seed=2).eval()
    file = saved(tmp_path / "rgb.safetensors", source, prefix="module.backbone.")
    fresh = state_of(target)
    report = start_from(
        target,
        WeightsSettings(
            file=file, strip=["module.", "backbone."], skip=[f"{HEAD}.*"], first_layer="mean"
        ),
    )
    assert report is not None
    assert report.skipped == (f"{HEAD}.weight", f"{HEAD}.bias")
    assert report.fitted == ("features.conv0.weight",)
    assert len(report.matched) == len(fresh) - 3
    assert str(report) == (
        f"{len(fresh) - 2} tensors from {file}; 1 fitted to other channels: "
        f"features.conv0.weight; 2 skipped: {HEAD}.weight, {HEAD}.bias"
    )
    after = state_of(target)
    assert all(torch.equal(after[name], fresh[name]) for name in report.skipped)
    grey = torch.rand(2, 1, *[16] * dims)
    repeated = grey.expand(-1, 3, *[-1] * (dims))
    with torch.no_grad():
        seen = target.features(grey)  # type: ignore[operator]
        expected = source.features(repeated)  # type: ignore[operator]
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=examples(30), deadline=None)
@given(
    given_channels=st.integers(1, 5),
    wanted=st.integers(1, 5),
    dims=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_fitted_filters_keep_the_response_to_equal_channels(
    given_channels: int, wanted: int, dims: int, seed: int
) -> None:
    torch.manual_seed(seed)
    filters = torch.randn(4, given_channels, *[3] * dims, dtype=torch.float64)
    fitted = mean_over_channels(filters, wanted)
    assert fitted.shape == (4, wanted, *[3] * dims)
    torch.testing.assert_close(fitted.sum(1), filters.sum(1))
    assert all(torch.equal(fitted[:, 0], fitted[:, j]) for j in range(wanted))
    torch.testing.assert_close(fitted[:, 0], filters.mean(1) * given_channels / wanted)
    if given_channels == wanted == 1:
        assert torch.equal(fitted, filters)


def test_only_the_first_convolution_is_fitted(tmp_path: Path) -> None:
    def two(middle: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(middle, 4, 3, bias=False))

    file = saved(tmp_path / "w.safetensors", two(4))
    assert refused(two(2), file=file, first_layer="mean") == [
        "weights.file: 1 tensor of other shapes: 1.weight is (4, 2, 3, 3) in the network and "
        '(4, 4, 3, 3) in the file. Set weights.skip = ["1.*"] to keep their fresh values.'
    ]


def test_a_depthwise_first_convolution_is_not_fitted(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.safetensors", nn.Sequential(nn.Conv2d(4, 4, 3)))
    problems = refused(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), file=file, first_layer="mean")
    assert "(4, 2, 3, 3) in the network and (4, 4, 3, 3) in the file" in problems[0]


def test_all_misfits_come_at_once_each_with_the_setting_that_admits_it(tmp_path: Path) -> None:
    state = state_of(network(channels=3, outputs=7))
    del state["features.norm5.bias"]
    file = saved(tmp_path / "w.safetensors", state)
    skip = f'["{HEAD}.*", "features.norm5.*"]'
    assert refused(network(), file=file) == [
        f"weights.file: 2 tensors of other shapes: {HEAD}.weight is (3, 8) in the network and "
        f"(7, 8) in the file, {HEAD}.bias is (3,) in the network and (7,) in the file. "
        f"Set weights.skip = {skip} to keep their fresh values.",
        f"weights.file: {file} lacks 1 of the network's {len(state) + 1} tensors: "
        f"features.norm5.bias. Set weights.skip = {skip} to keep their fresh values.",
        "weights.first_layer: features.conv0.weight takes 1 channels in the network and 3 in the "
        'file. Set weights.first_layer = "mean" to fit it.',
    ]
    chosen = WeightsSettings(file=file, skip=json.loads(skip), first_layer="mean")
    assert start_from(network(), chosen) is not None


def test_the_suggested_pattern_fits_what_it_must_alone(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self, outputs: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(outputs))
            self.out = nn.Linear(2, outputs)
            self.output = nn.Linear(2, 2)

    file = saved(tmp_path / "w.safetensors", Odd(3))
    (problem,) = refused(Odd(2), file=file, skip=["^output.bias"])
    skip = json.loads(re.search(r"skip = (\[.*\])", problem)[1])  # type: ignore[index]
    assert skip == ["^output.bias", "^(scale)$", r"^out\.(weight|bias)$"]
    report = start_from(Odd(2), WeightsSettings(file=file, skip=skip))
    assert report is not None
    assert report.matched == ("output.weight",)


def test_another_networks_file_is_called_so(tmp_path: Path) -> None:
    from monai.networks.nets import DenseNet

    remedy = "The file seems to be another network's: choose the network that it is of."
    file = saved(tmp_path / "w.safetensors", network(dims=3))
    (problem,) = refused(network(dims=2), file=file)
    assert problem.startswith("weights.file: 6 tensors of other shapes: features.conv0.weight is")
    assert problem.endswith(remedy)
    longer = DenseNet(3, 1, 3, init_features=4, growth_rate=4, block_config=(1, 1, 3))
    assert refused(longer, file=file)[-1].endswith(remedy)


@pytest.mark.parametrize(
    ("prefix", "remedy"),
    [
        ("module.", 'Set weights.strip = ["module."].'),
        ("model.encoder.", 'Set weights.strip = ["model.encoder."].'),
        (
            "x",
            "Set weights.strip to what the file's names begin with in excess, or choose the "
            "network that the file is of.",
        ),
    ],
)
def test_a_file_of_which_no_name_matches(tmp_path: Path, prefix: str, remedy: str) -> None:
    module = nn.Linear(2, 2)
    file = saved(tmp_path / "w.safetensors", module, prefix=prefix)
    assert refused(module, file=file) == [
        f"weights.file: no tensor of {file} has the name of one of the network's. "
        f"The file: {prefix}bias, {prefix}weight. The network: weight, bias. {remedy}"
    ]


def test_a_prefix_of_a_part_of_the_names_is_suggested(tmp_path: Path) -> None:
    state = state_of(network())
    head = {name: value for name, value in state.items() if name.startswith(HEAD)}
    rest = {f"encoder.{name}": v for name, v in state.items() if name not in head}
    file = saved(tmp_path / "w.safetensors", head | rest)
    problems = refused(network(), file=file)
    assert len(problems) == 1
    assert problems[0].endswith('Set weights.strip = ["encoder."].')


def test_settings_that_fit_nothing_are_named(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    file = saved(tmp_path / "w.safetensors", module)
    assert refused(module, file=file, strip=["modul."], skip=["wieght"]) == [
        f"weights.strip[0]: no name in {file} begins with 'modul.'. They are such as bias, weight.",
        "weights.skip[0]: 'wieght' fits none of the network's 2 tensors. "
        "They are such as weight, bias.",
    ]
    assert refused(module, file=file, skip=["."]) == [
        "weights.skip: none of the network's 2 tensors is left to be loaded."
    ]
    assert refused(nn.ReLU(), file=file) == [
        "weights.file: none of the network's 0 tensors is left to be loaded."
    ]
    twice = saved(tmp_path / "t.safetensors", {"a.weight": module.weight, "weight": module.weight})
    assert refused(module, file=twice, strip=["a."]) == [
        "weights.strip[0]: leaves one name, weight, of both a.weight and weight. Cut less."
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    module = nn.Linear(2, 2)
    state = state_of(module)
    state["weight"][1, 0] = value
    file = saved(tmp_path / "w.safetensors", state)
    assert refused(module, file=file) == [
        f"weights.file: NaN or infinite values in 1 tensor of {file}: weight. Take another file."
    ]


def test_types_are_cast_to_the_networks_and_kinds_are_kept(tmp_path: Path) -> None:
    module = nn.BatchNorm1d(2)
    state = {name: value.double() for name, value in state_of(module).items()}
    state["num_batches_tracked"] = torch.tensor(7, dtype=torch.int32)
    state["weight"] = torch.tensor([1.5, 2.5], dtype=torch.bfloat16)
    file = saved(tmp_path / "w.safetensors", state)
    assert start_from(module, WeightsSettings(file=file)) is not None
    assert module.weight.tolist() == [1.5, 2.5]
    assert (module.weight.dtype, module.running_mean.dtype) == (torch.float32,) * 2  # type: ignore[union-attr]
    assert module.num_batches_tracked == torch.tensor(7)
    assert module.num_batches_tracked.dtype == torch.int64  # type: ignore[union-attr]
    state["num_batches_tracked"] = torch.tensor(7.0)
    file = saved(tmp_path / "w.safetensors", state)
    assert refused(module, file=file) == [
        "weights.file: num_batches_tracked is torch.int64 in the network and torch.float32 in the "
        'file. Set weights.skip = ["^(num_batches_tracked)$"] to keep their fresh values.'
    ]
    half = nn.Linear(1, 1, dtype=torch.float16)
    big = saved(tmp_path / "big.safetensors", {"weight": torch.tensor([[1e9]]), "bias": half.bias})
    assert "NaN or infinite values in 1 tensor" in refused(half, file=big)[0]


def test_counts_of_batches_may_be_missing_and_more_may_be_there(tmp_path: Path) -> None:
    source, target = network(seed=1), network(seed=2)
    state = {k: v for k, v in state_of(source).items() if not k.endswith("num_batches_tracked")}
    file = saved(tmp_path / "w.safetensors", {**state, "decoder.weight": torch.zeros(2)})
    report = start_from(target, WeightsSettings(file=file))
    assert report is not None
    counts = tuple(n for n in target.state_dict() if n.endswith("num_batches_tracked"))
    assert report.missing == counts
    assert report.unused == ("decoder.weight",)
    assert f"; {len(counts)} missing in the file: {counts[0]}, " in str(report)
    assert str(report).endswith("; 1 not used: decoder.weight")
    assert all(torch.equal(target.state_dict()[name], value) for name, value in state.items())


def test_units_of_a_regression_are_the_networks_own(tmp_path: Path) -> None:
    class Aged(nn.Linear):
        def __init__(self, mean: float) -> None:
            super().__init__(2, 1)
            self.register_buffer("target_mean", torch.tensor([mean]))
            self.register_buffer("target_spread", torch.ones(1))

    source, target = Aged(60.0), Aged(5.0)
    file = saved(tmp_path / "w.safetensors", source)
    report = start_from(target, WeightsSettings(file=file))
    assert report is not None
    assert report.matched == ("weight", "bias")
    assert (report.missing, report.unused) == ((), ())
    assert target.target_mean.tolist() == [5.0]  # type: ignore[operator]
    assert torch.equal(target.weight, source.weight)
    bare = saved(tmp_path / "bare.safetensors", nn.Linear(2, 1))
    assert start_from(target, WeightsSettings(file=bare)) is not None
    assert start_from(nn.Linear(2, 1), WeightsSettings(file=file)) is not None


def test_shared_tensors_need_one_name(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)
            self.two.weight = self.one.weight

    source, target = Tied(), Tied()
    state = state_of(source)
    del state["one.weight"]
    chosen = WeightsSettings(file=saved(tmp_path / "w.safetensors", state))
    with torch.device("meta"):
        on_meta = Tied()
    assert examine_weights(on_meta, chosen) == start_from(target, chosen)
    assert torch.equal(target.one.weight, source.one.weight)
    assert target.two.weight is target.one.weight


def last_tensor(path: Path) -> str:
    """The tensor that lies at the end of a safetensors file."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    header.pop("__metadata__")
    return max(header, key=lambda name: str(header[name]["data_offsets"][1]).zfill(20))


def test_a_checkpoint_and_a_run_give_their_network(tmp_path: Path) -> None:
    source = network(seed=1)
    optimizer = torch.optim.Adam(source.parameters())
    path = tmp_path / "run" / BEST
    save_checkpoint(path, {"network": source, "optimizer": optimizer}, about={"epoch": 1})
    for chosen in (WeightsSettings(file=path), WeightsSettings(run=tmp_path / "run")):
        target = network(seed=2)
        report = start_from(target, chosen)
        assert report is not None
        assert report.source == path
        assert report.unused == ()
        assert same(state_of(source), state_of(target))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (problem,) = refused(network(), run=tmp_path / "run")
    assert problem == (
        f"weights.run: {path} is damaged: {last_tensor(path)!r} does not have the "
        "SHA-256 that was written."
    )
    # A plain file whose names begin with "network." is not taken for a checkpoint.
    plain = saved(tmp_path / "plain.safetensors", source, prefix="network.")
    (problem,) = refused(network(), file=plain)
    assert problem.endswith('Set weights.strip = ["network."].')


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    absent = tmp_path / "absent.safetensors"
    assert refused(module, file=absent) == [
        f"weights.file: there is no file {absent}. Write the path from the folder that medpipe "
        "runs in, or from the root."
    ]
    assert refused(module, run=tmp_path) == [
        f"weights.run: there is no file {tmp_path / BEST}. Name the directory of a run that has "
        "finished an epoch."
    ]
    assert refused(module, file=tmp_path) == [
        f"weights.file: {tmp_path} can't be read: is a directory."
    ]
    pickled = tmp_path / "w.pth"
    torch.save(module.state_dict(), pickled)
    (problem,) = refused(module, file=pickled)
    assert problem.startswith(f"weights.file: {pickled} is no safetensors file: ")
    assert problem.endswith(
        f"If torch wrote it: medpipe import-weights {pickled} --out weights.safetensors"
    )
    whole = saved(tmp_path / "w.safetensors", module).read_bytes()
    for length in (0, 4, 8, 40, len(whole) - 1):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(whole[:length])
        (problem,) = refused(module, file=cut)
        assert problem.startswith(f"weights.file: {cut} is no safetensors file: ")


def test_the_hash_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"\x80\x04not tensors")
    digest = sha256_of(file.read_bytes())
    assert refused(nn.Linear(2, 2), file=file, sha256="0" * 64) == [
        f"weights.sha256: {file} has the hash {digest}, not {'0' * 64}: it is not the file that "
        "was meant, or it was damaged on the way."
    ]


names = st.lists(
    st.text("ab.", min_size=1, max_size=6).filter(lambda n: n.strip(".") == n and ".." not in n),
    min_size=1,
    max_size=6,
    unique=True,
)


class Named(nn.Module):
    """A network whose tensors are called as one likes."""

    def __init__(self, called: list[str], value: float) -> None:
        super().__init__()
        self.tensors = {name: torch.full((2,), value) for name in called}

    def state_dict(self, *_: Any, **__: Any) -> Any:
        return dict(self.tensors)

    def load_state_dict(self, state: Any, *_: Any, **__: Any) -> Any:
        self.tensors = dict(state)


@settings(max_examples=examples(60), deadline=None)
@given(called=names, prefixes=st.lists(st.sampled_from(["module.", "net.", "b."]), max_size=3))
def test_stripping_undoes_putting_in_front(called: list[str], prefixes: list[str]) -> None:
    file = {"".join(prefixes) + name: torch.ones(2) for name in called}
    weights = Weights(source=Path("x"), sha256="", tensors=file)
    target = Named(called, 0.0)
    chosen = WeightsSettings(file=Path("x"), strip=tuple(prefixes))
    report = fit_weights(target, weights, chosen)
    assert set(report.matched) == set(called)
    assert all(value.tolist() == [1.0, 1.0] for value in target.tensors.values())


@settings(max_examples=examples(60), deadline=None)
@given(called=names, data=st.data())
def test_what_is_skipped_stays_and_all_else_is_taken(
    called: list[str], data: st.DataObject
) -> None:
    skipped = data.draw(st.lists(st.sampled_from(called), unique=True, max_size=len(called) - 1))
    file = {name: torch.ones(2) for name in called}
    weights = Weights(source=Path("x"), sha256="", tensors=file)
    target = Named(called, 0.0)
    skip = tuple(f"^{re.escape(name)}$" for name in skipped)
    report = fit_weights(target, weights, WeightsSettings(file=Path("x"), skip=skip))
    assert set(report.skipped) == set(skipped)
    assert set(report.matched) | set(report.skipped) == set(called)
    for name, value in target.tensors.items():
        assert value.tolist() == ([0.0, 0.0] if name in skipped else [1.0, 1.0])


def test_reading_gives_the_tensors_as_they_are(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.safetensors", network())
    weights = read_weights(WeightsSettings(file=file))
    assert same(dict(weights.tensors), load_file(file))
    assert repr(weights.tensors) not in repr(weights)


def test_settings_say_what_they_need() -> None:
    import medpipe

    builder = medpipe.PipelineBuilder().weights(skip=["head"])
    with pytest.raises(ConfigError) as caught:
        builder.build()
    assert str(caught.value) == (
        "The pipeline has problems:\n  weights.skip: needs weights.file or weights.run: name one."
    )
    assert builder.weights(file="w.safetensors").build().configuration.weights.skip == ("head",)
    with pytest.raises(ConfigError) as caught:
        medpipe.PipelineBuilder().weights(file="w.safetensors", skip=["a", "["]).build()
    assert str(caught.value) == (
        "The pipeline has problems:\n  weights.skip[1]: '[' is not a regular expression: "
        "unterminated character set at position 0."
    )
