"""Readers on inputs that are nearly right, and on noise: a result or an error of medpipe's.

No code is run, nothing is written, nothing takes longer than five seconds. A few hundred inputs for
each reader, always the same, are tried in every run of the tests. ``MEDPIPE_FUZZ=5000`` tries so
many for each reader, and others each time::

    MEDPIPE_FUZZ=5000 pytest -n0 tests/test_fuzz.py

With ``MEDPIPE_FUZZ_REPORT=FILE`` the counts and the seconds are appended to a file.
"""

from __future__ import annotations

import gzip
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medpipe import PipelineBuilder, Registry, config, recipes
from medpipe.cli.source import builder_of
from medpipe.data.readers.reader import decode_content
from medpipe.steps import Reading
from medpipe.training.checkpoint import load_checkpoint, save_checkpoint
from support.drawn_dicom import dicom
from support.examples import examples
from support.folders import phantom
from support.fuzzed import Clock, harmless, mutated

COUNT = int(os.environ.get("MEDPIPE_FUZZ", "0"))
fuzz = settings(
    max_examples=COUNT or examples(150),
    derandomize=not COUNT,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

REGISTRY = Registry.discover()
for some in recipes.names():
    PipelineBuilder.from_recipe(some).build()  # so that what they import is there

# Configurations ----------------------------------------------------------------------------------

RECIPES = [recipes.text(name).encode() for name in recipes.names()]
WORDS = (
    b"nan",
    b"inf",
    b"-1",
    b"1e999",
    b"9" * 400,
    b"9" * 5000,
    b"0x" + b"f" * 5000,
    b"a" + b".a" * 3000 + b" = 1\n",
    b"[[transform]]\n",
    b"[transform]\n",
    b"a.b.c = 1\n",
    b"'os.system'",
    b"'$import os'",
    b"'${HOME}'",
    b"'@torch.load'",
    b'"\\u0000"',
    b"[" * 500,
    b"[" * 5000,
    b"{a=" * 500,
    b"\xef\xbb\xbf",
    b"step = 'phantom'\n",
    b"1979-05-27T07:32:00Z",
    b"true",
    b"[[run]]\n",
)

leaves: st.SearchStrategy[Any] = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.datetimes(),
    st.sampled_from(
        ["phantom", "supervised", "os.system", "__import__('os')", "${x}", "@x", "a\0b"]
    ),
    st.sampled_from([10**400, -(10**400), 2**63, 0, -1]),
)
NAMES = ("step", "name", "build", "dataset", "transform", "network", "trainer", "loss", "loader")
NAMES += (
    "split",
    "run",
    "weights",
    "format",
    "root",
    "prob",
    "max_epochs",
    "optimizer",
    "schedule",
)
NAMES += ("batch_size", "group", "file", "__class__", "splits")
names = st.one_of(st.sampled_from(NAMES), st.text(max_size=4))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)
steps = st.sampled_from(
    [*REGISTRY.datasets, *REGISTRY.transforms, *REGISTRY.networks, *REGISTRY.trainers, "nothing"]
)


def table(kind: str) -> st.SearchStrategy[Any]:
    """A table for a step of a kind, with its parameters and other values."""
    some = list(getattr(REGISTRY, kind).items())

    def of(item: tuple[str, Any]) -> st.SearchStrategy[Any]:
        keys = st.one_of(st.sampled_from([f.name for f in item[1].__attrs_attrs__] or ["x"]), names)
        return st.dictionaries(keys, values, max_size=4).map(lambda t: {"step": item[0], **t})

    return st.one_of(st.sampled_from(some).flatmap(of), values)


documents = st.fixed_dictionaries(
    {"format": st.just(1)},
    optional={
        "dataset": table("datasets"),
        "transform": st.one_of(st.lists(table("transforms"), max_size=3), values),
        "network": table("networks"),
        "trainer": table("trainers"),
        **dict.fromkeys(("loader", "split", "run", "weights", "other"), values),
    },
)


def read_text(content: bytes, folder: Path) -> None:
    path = folder / "given.toml"
    path.write_bytes(content)
    with harmless():
        document = config.parse(config.read_text(path), source="given")
        config.load(document, registry=REGISTRY)


def test_configurations_as_text(tmp_path: Path) -> None:
    clock = Clock("configurations, text")

    @fuzz
    @given(st.one_of(mutated(RECIPES, WORDS), st.binary(max_size=200)))
    def run(content: bytes) -> None:
        clock.inputs += 1
        read_text(content, tmp_path)

    run()
    clock.report()


def test_configurations_as_values() -> None:
    clock = Clock("configurations, values")

    @fuzz
    @given(documents)
    def run(document: dict[str, Any]) -> None:
        clock.inputs += 1
        with harmless():
            config.load(document, registry=REGISTRY)
        try:
            text = tomli_w.dumps(document)
        except (ValueError, TypeError):  # lone surrogates, and keys that TOML can't hold
            return
        with harmless():
            PipelineBuilder.from_toml(text)

    run()
    clock.report()


PATHS = ("trainer.max_epochs", "transform[0].prob", "transform[9]", "dataset.root", "a[0]", "[0]")
PATHS += ("a..b", "a[", "a]", "a[-1]", "trainer.optimizer.name", "format", "a[0][0]", ".", "=", "")
PATHS += (f"transform[{10**30}]", f"transform[{'9' * 5000}]")
paths = st.one_of(
    st.sampled_from(PATHS),
    st.lists(names, max_size=5).map(".".join),
    st.text(max_size=12),
)


def test_settings_of_the_command_line() -> None:
    clock = Clock("--set")
    literal = st.one_of(
        st.sampled_from([word.decode("utf-8", "replace") for word in WORDS]),
        st.text(max_size=30),
        st.sampled_from(["1\nformat = 2", "{step = 'phantom'}", '"""', "[1,", "1 # x", "'a'='b'"]),
    )

    @fuzz
    @given(st.sampled_from(recipes.names()), st.lists(st.tuples(paths, literal), max_size=4))
    def run(recipe: str, given: list[tuple[str, str]]) -> None:
        clock.inputs += 1
        with harmless():
            builder_of(recipe, [f"{path}={value}" for path, value in given]).build()

    run()
    clock.report()


# Checkpoints -------------------------------------------------------------------------------------


class Kept:
    """A state with everything that a checkpoint can hold."""

    def state_dict(self) -> dict[Any, Any]:
        import torch

        return {
            "weight": torch.arange(6.0).reshape(2, 3),
            "count": torch.tensor(3),
            "empty": torch.zeros(0),
            "state": {0: {"step": 1, "betas": (0.9, 0.999)}, 1: [None, True, "text"]},
        }


def test_checkpoints(tmp_path: Path) -> None:
    clock = Clock("checkpoints")
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, {"network": Kept()}, about={"epoch": 1})
    whole = path.read_bytes()
    pieces = [b'"$tensor"', b'"$pairs"', b"[" * 2000, b"9" * 400, b'"F64"', b'{"a":', b"\xff" * 8]
    pieces += [
        (2**63).to_bytes(8, "little"),
        b"\x80\x04\x95",
        b'"__metadata__"',
        b'"2"',
        b"\\u0000",
    ]

    @fuzz
    @given(st.one_of(mutated([whole], pieces), st.binary(max_size=300)))
    def run(content: bytes) -> None:
        clock.inputs += 1
        path.write_bytes(content)
        with harmless():
            load_checkpoint(path)
            assert content == whole, "a changed checkpoint was loaded"

    run()
    clock.report()


# Images ------------------------------------------------------------------------------------------


def pictures(kind: str, **options: Any) -> list[bytes]:
    from PIL import Image

    grey = phantom(12, 24).samples[0].image
    made = []
    for values in (grey, np.stack([grey] * 3, axis=-1), grey.astype(np.uint16) * 200):
        if kind == "JPEG" and values.dtype != np.uint8:
            continue
        file = io.BytesIO()
        Image.fromarray(values).save(file, kind, **options)
        made.append(file.getvalue())
    return made


def dicoms() -> list[bytes]:
    import pydicom.data

    grey = phantom(12, 16).samples[0].image
    made = []
    for dataset in (
        dicom(
            grey.astype(np.int16),
            RescaleSlope=2,
            RescaleIntercept=-1000,
            WindowCenter=40,
            WindowWidth=400,
        ),
        dicom(np.stack([grey] * 3, axis=-1), colours=True),
        dicom(np.stack([grey] * 2)),
    ):
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        made.append(file.getvalue())
    for name in ("MR_small_RLE.dcm", "SC_rgb_small_odd.dcm", "MR_small_bigendian.dcm"):
        found = pydicom.data.get_testdata_file(name)
        assert isinstance(found, str)
        made.append(Path(found).read_bytes())
    return made


def niftis() -> list[bytes]:
    import nibabel

    volume = np.arange(4 * 5 * 3, dtype=np.int16).reshape(4, 5, 3)
    made = []
    for cls, values in (
        (nibabel.Nifti1Image, volume),
        (nibabel.Nifti2Image, volume.astype(np.float32)),
        (nibabel.Nifti1Image, volume[..., None].astype(np.uint8)),
    ):
        made.append(cls(values, np.diag([2.0, 2, 3, 1])).to_bytes())
    return [*made, gzip.compress(made[0])]


SEEDS = {
    "PNG": lambda: pictures("PNG"),
    "JPEG": lambda: [*pictures("JPEG"), *pictures("JPEG", progressive=True)],
    "TIFF": lambda: [*pictures("TIFF"), *pictures("TIFF", compression="tiff_lzw")],
    "DICOM": dicoms,
    "NIfTI": niftis,
}
READINGS = (
    Reading(frames="volume"),
    Reading(channels=1, frames="first"),
    Reading(channels=3, window="voi", frames="volume"),
)


@pytest.mark.parametrize("kind", SEEDS)
def test_images(kind: str) -> None:
    clock = Clock(kind)
    seeds = SEEDS[kind]()
    # What the decoders import is there, also those of other kinds: edits make one of the other.
    for seed in [seed for other in SEEDS.values() for seed in other()]:
        for reading in READINGS:
            decode_content(seed, "seed", reading)
    noise = st.binary(max_size=200).map(lambda some: seeds[0][:140] + some)

    @fuzz
    @given(st.one_of(mutated(seeds), noise, st.binary(max_size=400)), st.sampled_from(READINGS))
    def run(content: bytes, reading: Reading) -> None:
        clock.inputs += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with harmless():
                decode_content(content, "given", reading)

    run()
    clock.report()
