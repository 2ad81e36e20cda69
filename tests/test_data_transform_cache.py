"""What leaves a chain's cached stage is kept: in one reading, and from what there is already."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from PIL import Image

from medpipe import PipelineBuilder, Registry
from medpipe.assembly import Assembly
from medpipe.data.cache import transform_cache
from medpipe.data.cache.cache import PackedCache
from medpipe.data.cache.folders import PackingError, packed_folders, packed_root
from medpipe.data.cache.transform_cache import TransformCache
from medpipe.data.chain import Chain
from medpipe.data.scanning import scan
from medpipe.data.scanning.fingerprints import FoundFingerprints
from medpipe.errors import CheckFailed, MedpipeError
from medpipe.plugin import DecodedImage, Reading, Sample, TransformStep
from medpipe.steps import Dataset
from support.folders import image_folder


def builder(root: Path) -> PipelineBuilder:
    return (
        PipelineBuilder()
        .dataset("image_folder", root=root, channels=1)
        .network("resnet10", widen_factor=0.125, conv1_t_size=3)
        .trainer("supervised")
        .loader(batch_size=8, workers=0)
    )


def only_cache() -> PackedCache:
    (folder,) = packed_folders()
    return PackedCache(folder.path)


def all_batches(some: PipelineBuilder) -> list[torch.Tensor]:
    loaders = some.build().build_loaders()
    return [batch["image"] for batch in loaders.training]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the samples that are made, from now on."""
    made: list[str] = []
    own = TransformCache.made

    def made_and_noted(self: TransformCache, sample: Sample, image: Any = None) -> Any:
        made.append(sample.id)
        return own(self, sample, image)

    monkeypatch.setattr(TransformCache, "made", made_and_noted)
    return made


@pytest.mark.parametrize("at_once", [1, 1500, transform_cache.AT_ONCE])
def test_one_reading_keeps_what_two_keep(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transform_cache, "AT_ONCE", at_once)
    root = image_folder(tmp_path / "data", samples=48)
    opened: list[str] = []
    own = scan.read_heard

    def heard(file: Any, *rest: Any) -> DecodedImage:
        opened.append(str(file))
        return own(file, *rest)

    monkeypatch.setattr(scan, "read_heard", heard)
    for name in ("once", "twice"):
        monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path / name))
        if name == "twice":
            assert builder(root).build().check().ok  # which keeps nothing
            assert packed_folders() == []
        builder(root).build().build_loaders()
        if name == "once":
            assert sorted(opened) == sorted(str(file) for file in root.rglob("*.png"))
    once, twice = tmp_path / "once" / "packed", tmp_path / "twice" / "packed"
    names = [sorted(p.name for p in folder.iterdir() if p.is_dir()) for folder in (once, twice)]
    assert names[0] == names[1]
    for file in ("values.bin", "index.npz"):
        assert (once / names[0][0] / file).read_bytes() == (twice / names[0][0] / file).read_bytes()
    assert not list(once.glob("new-*")) + list(once.glob(".*"))


def test_a_file_that_cannot_be_read_is_named_as_ever(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data", samples=24)
    broken = sorted(root.rglob("*.png"))[3]
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(CheckFailed) as alone:
        builder(root).build().check().raise_for_problems()
    for cache in packed_root().parent.glob("scans/*"):
        cache.unlink()
    with pytest.raises(CheckFailed) as reading_ahead:
        builder(root).build().build_loaders()
    assert str(alone.value) == str(reading_ahead.value)
    assert str(broken) in str(alone.value)


def test_a_step_that_fails_is_named_as_ever(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data", samples=24)
    some = builder(root).transforms("load_image", "squeeze_dim", "ensure_channel_first")
    problems = some.build().check().problems
    with pytest.raises(CheckFailed) as error:
        some.build().build_loaders()
    assert [str(problem) for problem in problems] == [str(p) for p in error.value.problems]
    assert packed_folders() == []


def test_what_has_not_changed_is_taken_from_an_earlier_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder(tmp_path / "data", samples=48)
    before = sorted(root.rglob("*.png"))
    builder(root).build().build_loaders()
    made = counted(monkeypatch)
    Image.fromarray(255 - np.asarray(Image.open(before[0]))).save(before[0])
    before[1].rename(before[1].with_name("moved.png"))
    before[2].unlink()
    new = all_batches(builder(root))
    assert made == [before[0].relative_to(root).as_posix()]
    monkeypatch.setenv("MEDPIPE_CACHE", str(tmp_path / "fresh"))
    for one, other in zip(new, all_batches(builder(root)), strict=True):
        assert torch.equal(one, other)


def test_a_damaged_earlier_cache_gives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder(tmp_path / "data", samples=24)
    builder(root).build().build_loaders()
    (folder,) = packed_folders()
    (folder.path / "index.npz").write_bytes(b"")
    next(root.rglob("*.png")).unlink()
    made = counted(monkeypatch)
    assert len(all_batches(builder(root))) > 0
    assert len(made) == 23


@pytest.mark.parametrize("reads", [True, False])
def test_a_file_that_changes_after_it_was_looked_through_is_not_kept_as_another(
    reads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its images are handed to the chain, or a step of the chain reads them itself."""
    root = image_folder(tmp_path / "data", samples=24)
    pipeline = builder(root).build()
    monkeypatch.setattr(TransformCache, "reads", property(lambda self: reads))
    assert pipeline.check_data().ok
    changed = sorted(root.rglob("*.png"))[3]

    def donors(self: TransformCache) -> dict[bytes, Any]:
        Image.fromarray(255 - np.asarray(Image.open(changed))).save(changed)
        return {}

    monkeypatch.setattr(TransformCache, "_donors", donors)
    with pytest.raises(MedpipeError) as caught:
        pipeline.build_loaders()
    assert (
        f"The image {changed} was changed after it had been looked through. Start again when "
        "nothing writes to the data any longer." in str(caught.value)
    )
    assert packed_folders() == []


@attrs.frozen(kw_only=True)
class ByLabel(TransformStep):
    """A deterministic step that looks at more than the image."""

    name: ClassVar[str] = "by_label"

    def build(self) -> Any:
        return lambda sample: {**sample, "image": sample["image"] + sample["label"]}


def cache_of(step: type[TransformStep], *, images_alone: bool) -> tuple[TransformCache, Reading]:
    registry = Registry.discover()
    chain = Chain([("a", registry.create(TransformStep, "load_image", {})), ("b", step())], seed=0)
    reading = Reading(channels=1)
    return (
        TransformCache(
            chain=chain, reading=reading, steps=[], images_alone=images_alone, workers=1
        ),
        reading,
    )


def test_a_strangers_step_may_look_at_the_label(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(file)
    some, reading = cache_of(ByLabel, images_alone=False)
    from medpipe.steps import Task

    for label in (0, 1):
        data = Dataset(
            samples=[Sample(id="a", image=file, label=label)],
            task=Task(names=("x", "y")),
            reading=reading,
        )
        kept = some.keep(data, {"a": scan.fingerprint(data.samples[0], reading)})
        assert kept is not None
        assert kept.cache.array("a").tolist() == [[7 + label] * 4] * 4


@attrs.frozen(kw_only=True)
class More(TransformStep):
    """Changes more than the image."""

    name: ClassVar[str] = "more"
    what: str

    def build(self) -> Any:
        def change(sample: Mapping[Any, Any]) -> Mapping[Any, Any]:
            image = torch.zeros(1, 4, 4)
            return {**sample, "image": image.numpy() if self.what == "image" else image} | (
                {} if self.what == "image" else {self.what: "other"}
            )

        return change


@pytest.mark.parametrize("what", ["label", "spacing", "image"])
def test_a_step_that_changes_more_than_the_image_keeps_nothing(what: str) -> None:
    chain = Chain([("more", More(what=what))], seed=0)
    keeps_nothing = TransformCache(
        chain=chain, reading=Reading(), steps=[], images_alone=True, workers=1
    )
    with pytest.raises(PackingError, match="changes more of a sample than its image"):
        keeps_nothing.made(Sample(id="a", image="a.png", label=0))


def test_what_is_kept_is_named_by_all_that_it_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    some, reading = cache_of(ByLabel, images_alone=False)
    names = {some.about()["made_by"]}
    for changes in ({"reading": attrs.evolve(reading, channels=3)}, {"steps": [{"step": "other"}]}):
        names.add(attrs.evolve(some, **changes).about()["made_by"])
    monkeypatch.setattr(transform_cache, "FORMAT", transform_cache.FORMAT + 1)
    names.add(some.about()["made_by"])
    assert len(names) == 4


def test_without_a_first_stretch_nothing_is_kept(tmp_path: Path) -> None:
    some, _ = cache_of(ByLabel, images_alone=False)
    dataset = builder(image_folder(tmp_path / "data", samples=12)).build().configuration.dataset
    assert some.fits(dataset.build())
    assert not attrs.evolve(some, chain=Chain([], seed=0)).fits(dataset.build())


def test_what_can_not_be_read_ahead_is_left_out_and_the_rest_is_kept(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data", samples=24)
    dataset = builder(root).build().configuration.dataset.build()
    broken = dataset.samples[3]
    Path(broken.image).write_bytes(b"")
    some, _ = cache_of(ByLabel, images_alone=False)
    found = FoundFingerprints()
    some.read_ahead(dataset.samples, found)
    assert len(found) == 23
    assert broken.id not in found
    assert len(only_cache()) == 23


def test_the_name_of_the_file_comes_back(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data", samples=24)
    pipeline = builder(root).build()
    pipeline.build_loaders()
    assembly = Assembly(configuration=pipeline.configuration, registry=pipeline.registry)
    prepared = assembly.prepare_data()
    chain = assembly.chain()
    kept = assembly.cached_images(prepared, chain)
    assert kept is not None
    from medpipe.data.chain import sample_dictionary

    for sample in prepared.dataset.samples[:5]:
        given = sample_dictionary(sample, prepared.dataset.reading)
        whole, back = chain.cached_stage(given)["image"], kept.sample(given)["image"]
        assert torch.equal(whole, back)
        assert _plain(whole.meta) == _plain(back.meta)
        assert back.meta["filename_or_obj"] == str(sample.image)


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: repr(value.tolist() if hasattr(value, "tolist") else value)
        for key, value in meta.items()
    }


RUN = """
import sys
from medpipe import PipelineBuilder
loaders = PipelineBuilder.from_toml(sys.argv[1]).build().build_loaders()
print(sum(float(batch["image"].sum()) for batch in loaders.training))
"""


@pytest.mark.long
def test_two_processes_read_once(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data", samples=400)
    command = [sys.executable, "-c", RUN, builder(root).to_toml()]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sums[0] == sums[1]
    assert len(only_cache()) == 400
    about = json.loads((only_cache().path / "about.json").read_text())
    assert about["samples"] == 400


def test_a_full_disk_leaves_the_reading_to_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = image_folder(tmp_path / "data", samples=24)
    monkeypatch.setenv("MEDPIPE_CACHE_LIMIT", "1KB")
    with caplog.at_level(logging.WARNING, "medpipe"):
        assert len(all_batches(builder(root))) > 0
    assert [m for m in caplog.messages if m.startswith("The run has no packed cache")]
    assert packed_folders() == []


def test_collector_is_paused_and_comes_back() -> None:
    import gc

    from medpipe.system.gc_pause import paused_collector

    def fail() -> None:
        with paused_collector():
            assert not gc.isenabled()
            raise KeyError

    assert gc.isenabled()
    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()
