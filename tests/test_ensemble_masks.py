"""The mean of networks for segmentation: of probabilities, before masks are decided."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar

import attrs
import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medpipe import Run, RunError, RunSet
from medpipe.data.chain import sample_dictionary
from medpipe.errors import StepError
from medpipe.plugin import Sample, Segmentation, Task
from medpipe.prediction.ensemble import MeanInferer
from medpipe.prediction.trained import Members
from support.alive import networks_alive
from support.blobs import REGISTRY, blobs, save, write
from support.peak import peak
from support.records import change_record

NAMES = ("shell", "core")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blobs")


@pytest.fixture(scope="module")
def seeds(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of which no two agree: not to be changed."""
    folder = tmp_path_factory.mktemp("seeds") / "seeds"
    blobs(root, epochs=2).build().run_seeds(3, folder)
    return folder


@pytest.fixture
def new(root: Path, tmp_path: Path) -> list[Path]:
    """Volumes of different sizes."""
    write(root, 24)
    return [root / f"b{number}.nii.gz" for number in (20, 21, 22)]


def read(path: Path) -> Any:
    return np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]


def probabilities(run: Run, path: Path) -> tuple[Any, Any]:
    """Those of one network, by hand, and the image as it leaves the chain."""
    trained = run.trained("best", REGISTRY)
    sample = Sample(id="x", image=str(path), label=None)
    image = trained.assembly.chain()(sample_dictionary(sample, trained.reading), training=False)[
        "image"
    ]
    with torch.no_grad():
        outputs = trained.network(image.as_tensor()[None].float())
    return outputs.softmax(1)[0].numpy(), image


@pytest.mark.long
def test_probabilities_are_averaged_before_a_mask_is_decided(
    seeds: Path, new: list[Path], tmp_path: Path
) -> None:
    runs = RunSet.load(seeds)
    inferer = mean_inferer(runs)
    found = runs.predict(new, masks=tmp_path / "masks", registry=REGISTRY)
    apart = 0
    for row, path in enumerate(new):
        each = [probabilities(run, path) for run in runs.runs]
        mean = np.mean([one for one, _ in each], axis=0, dtype=np.float64)
        image = each[0][1]
        with torch.no_grad():
            outputs = inferer(image.as_tensor()[None].float(), inferer.members.holder)
        np.testing.assert_allclose(outputs.softmax(1)[0].numpy(), mean, atol=1e-6, rtol=0)
        mask = on_file(image, mean.argmax(0))
        lead = np.diff(np.sort(mean, axis=0)[-2:], axis=0)[0]
        sure = on_file(image, lead > 1e-6).astype(bool)  # others may be rounded either way
        answer = read(found.masks[str(path)][0])
        assert sure.mean() > 0.99
        np.testing.assert_array_equal(answer[sure], mask[sure])
        volumes = [(answer == place).sum() * voxel(path) for place in (1, 2)]
        np.testing.assert_allclose(found.scores[row], volumes)
        apart += int((mask != on_file(image, each[0][0].argmax(0))).sum())
    assert apart  # one network alone gives another mask


def test_a_mean_is_rounded_alike_whichever_network_is_in_memory(
    seeds: Path, new: list[Path]
) -> None:
    runs = RunSet.load(seeds)
    _, image = probabilities(runs.runs[0], new[0])
    inferer, given_ = mean_inferer(runs), image.as_tensor()[None].float()
    with torch.no_grad():
        first = inferer(given_, inferer.members.holder)
        for place in (1, 0):
            inferer.members.member(place)
            np.testing.assert_array_equal(inferer(given_, inferer.members.holder), first)


def mean_inferer(runs: RunSet, task: Task | None = None) -> MeanInferer:
    members = Members(
        paths=tuple(run.path for run in runs.runs),
        load=lambda number: runs.runs[number].trained("best", REGISTRY),
    )
    known = task or runs.runs[0].data.task
    return MeanInferer(members=members, device=torch.device("cpu"), task=known)


def on_file(image: Any, values: Any) -> Any:
    """Values of voxels as they left the chain, which only moved them, on the file's grid."""
    from medpipe.data.readers.file_grid import FileGrid

    grid = FileGrid.of(image)
    assert grid is not None
    return grid.move(torch.as_tensor(values.astype(np.uint8)[None]))[0].numpy()


def voxel(path: Path) -> float:
    affine = nibabel.load(path).affine  # type: ignore[attr-defined]
    return float(abs(np.linalg.det(affine[:3, :3])))


def test_the_mean_of_one_network_and_itself_is_what_it_gives(
    seeds: Path, new: list[Path], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        shutil.copytree(seeds / "seed-0", tmp_path / "same" / name)
    runs = RunSet.load(tmp_path / "same")
    alone = runs.runs[0].predict(new, masks=tmp_path / "alone", registry=REGISTRY)
    found = runs.predict(new, masks=tmp_path / "both", registry=REGISTRY)
    np.testing.assert_array_equal(found.scores, alone.scores)
    for path in new:
        np.testing.assert_array_equal(
            read(found.masks[str(path)][0]), read(alone.masks[str(path)][0])
        )


@pytest.mark.long
def test_a_mean_is_brought_to_the_files_grid_as_one_network_is(root: Path, tmp_path: Path) -> None:
    made = blobs(root, epochs=1)
    made = made.transform("spacing", pixdim=(2.0, 2.0, 2.0), before="normalize_intensity")
    made = made.inferer("sliding_window", roi_size=(8, 8, 8))
    first = made.build().run(tmp_path / "runs" / "a").path
    shutil.copytree(first, tmp_path / "runs" / "b")
    runs = RunSet.load(tmp_path / "runs")
    paths = [root / "b00.nii.gz", root / "b01.nii.gz"]
    alone = runs.runs[0].predict(paths, registry=REGISTRY)
    found = runs.predict(paths, registry=REGISTRY)
    np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-3)


def test_one_network_is_in_memory(
    seeds: Path, new: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = networks_alive(monkeypatch)
    RunSet.load(seeds).predict(new, registry=REGISTRY)
    assert alive == [1] * (3 * len(new))  # the first is there already


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_five_networks_take_the_memory_of_one_and_two_outputs(root: Path, tmp_path: Path) -> None:
    made = blobs(root, epochs=1)
    first = made.build().run(tmp_path / "runs" / "0").path
    for number in range(1, 5):
        shutil.copytree(first, tmp_path / "runs" / str(number))
    side = 160
    volume = np.random.default_rng(0).normal(size=(side,) * 3).astype(np.float32)
    large = tmp_path / "large.nii.gz"
    save(volume, np.eye(4), large)
    output = 4 * 3 * side**3
    assert peak(tmp_path / "runs", large) - peak(first, large) < 2.5 * output


def test_an_external_set_is_measured(seeds: Path, root: Path, tmp_path: Path) -> None:
    runs = RunSet.load(seeds)
    others = REGISTRY.datasets["blobs"](root=str(tmp_path / "others"), samples=24)
    made = attrs.evolve(others.build(), samples=others.build().samples[20:])
    done = runs.evaluate(made, registry=REGISTRY)
    found = runs.predict(
        [sample.image for sample in made.samples], masks=tmp_path / "masks", registry=REGISTRY
    )
    for row, sample in enumerate(sorted(made.samples, key=lambda one: one.id)):
        answer, truth = read(found.masks[str(sample.image)][0]), read(Path(sample.label.image))
        for place, value in ((1, 2), (2, 5)):
            one, other = answer == place, truth == value
            dice = 2 * (one & other).sum() / (one.sum() + other.sum())
            assert done.predictions.scores[row, 4 * (place - 1)] == pytest.approx(dice, abs=1e-6)
    assert done.metrics["loss"] is None


def test_collect_says_why_dice_is_not_averaged_to_an_ensembles(seeds: Path) -> None:
    runs = RunSet.load(seeds)
    known = tuple(attrs.evolve(run, registry=REGISTRY) for run in runs.runs)
    collection = attrs.evolve(runs, runs=known).collection()
    assert collection["ensemble"] is None
    assert "of the probabilities that would be averaged nothing" in collection["no_ensemble"]
    assert collection["pooled"]["dice"] is not None
    with pytest.raises(RunError, match="medpipe evaluate FOLDER --data"):
        RunSet.load(seeds).ensemble_metrics()


def test_another_chain_is_refused(seeds: Path, new: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(seeds, tmp_path / "seeds"))
    toml = folder / "seed-2" / "pipeline.toml"
    text = toml.read_text()
    assert "spatial_size" in text
    toml.write_text(text.replace("16", "32"))
    with pytest.raises(RunError, match=r"transform\[4\].*now.*Keep each kind in a folder"):
        RunSet.load(folder, allow_mixed=True).predict(new, registry=REGISTRY)
    change_record(folder / "seed-0", status="failed")
    with pytest.raises(RunError, match=r"seed-0 is not finished \(failed\)"):
        RunSet.load(folder, allow_mixed=True).predict(new, registry=REGISTRY)


# Outputs of scores


@given(
    outputs=arrays(np.float32, (2, 3, 2, 2), elements=st.floats(-40, 40, width=32)),
    overlapping=st.booleans(),
)
def test_outputs_of_scores_give_these_scores(outputs: Any, overlapping: bool) -> None:
    task = Segmentation(overlapping=overlapping)
    given_ = torch.as_tensor(outputs)
    scores = task.to_scores(given_)
    back = task.outputs_of(scores)
    np.testing.assert_allclose(task.to_scores(back), scores, atol=1e-6)
    assert bool(back.isfinite().all())


@attrs.frozen(kw_only=True)
class OneSided(Segmentation):
    """A task that makes scores of outputs, and does not know the way back."""

    name: ClassVar[str] = "one_sided"

    def outputs_of(self, scores: torch.Tensor) -> torch.Tensor:
        return scores


def test_a_task_without_a_way_back_is_named(seeds: Path, new: list[Path]) -> None:
    runs = RunSet.load(seeds)
    inferer = mean_inferer(runs, Task(kind=OneSided(), names=NAMES))
    _, image = probabilities(runs.runs[0], new[0])
    with torch.no_grad(), pytest.raises(StepError, match=r"'one_sided' makes scores .*outputs_of"):
        inferer(image.as_tensor()[None].float(), inferer.members.holder)
