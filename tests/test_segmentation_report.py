"""The report of a segmentation: which cases it shows, and that the outlines are those of masks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Line
from nibabel.orientations import axcodes2ornt, ornt_transform

from medpipe import PipelineBuilder, Registry, Run, step
from medpipe.data.readers.reader import read_sample_image
from medpipe.plugin import DecodedImage, Reading
from medpipe.report.contours import COLOURS, outlines
from medpipe.report.masks import IGNORED_COLOUR, MaskedImage
from medpipe.report.planes import Plane, planes_through
from support.blobs import save, write
from support.marks import long
from support.pages import CHROMIUM, Page, measured

NAMES = ("shell", "core")
ORIENTATIONS = [
    (a, b, c)
    for a in "RLAPSI"
    for b in "RLAPSI"
    for c in "RLAPSI"
    if len({"RL".find(x) >= 0 or 2 * ("AP".find(x) >= 0) for x in (a, b, c)}) == 3
]


def written(root: Path, samples: int = 20) -> Path:
    """Blobs as a folder of images and one of masks."""
    write(root / "flat", samples)
    for kind, letter in (("images", "b"), ("masks", "m")):
        (root / kind).mkdir(parents=True)
        for path in sorted((root / "flat").glob(f"{letter}*.nii.gz")):
            path.rename(root / kind / f"patient{path.name[1:]}")
    return root


def volumes(root: Path, epochs: int, **dataset: Any) -> Any:
    return (
        PipelineBuilder(device="cpu")
        .dataset("image_masks", **{"root": str(root), "labels": {"shell": 2, "core": 5}, **dataset})
        .transforms(
            "load_image",
            "ensure_channel_first",
            "orientation",
            "normalize_intensity",
            step("spatial_pad", spatial_size=(16, 16, 16)),
            "to_tensor",
            step("augment", scale_range=0.1),
        )
        .network("unet", channels=(8, 16), strides=(2,))
        .trainer("supervised", max_epochs=epochs, learning_rate=1e-2)
        .loader(batch_size=4, workers=0)
        .split(validation=0.2, test=0.3)
    )


def pictures(samples: int = 40, **split: Any) -> Any:
    return (
        PipelineBuilder(device="cpu")
        .dataset("phantom_masks", samples=samples, size=32)
        .transforms("load_image", "ensure_channel_first", "normalize_intensity", "to_tensor")
        .transform("augment", translate_range=0.1)
        .network("unet", channels=(8, 16), strides=(2,))
        .trainer("supervised", max_epochs=4, learning_rate=1e-2)
        .loader(batch_size=8, workers=0)
        .split(**(split or {"validation": 0.2, "test": 0.3}))
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    base = tmp_path_factory.mktemp("volumes")
    run: Run = volumes(written(base / "secret"), 12).build().run(base / "run")
    run.report()
    return run


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run: Run = pictures().build().run(tmp_path_factory.mktemp("pictures") / "run")
    run.report()
    return run


def html(run: Run) -> str:
    return (run.path / "report.html").read_text(encoding="utf-8")


def section(content: str, key: str = "cases") -> str:
    found = re.search(rf'<section id="{key}">.*?</section>', content, flags=re.DOTALL)
    assert found is not None, key
    return found[0]


def cards(content: str) -> list[str]:
    return section(content).split('<div class="card">')[1:]


def drawn(card: str) -> list[tuple[str, str]]:
    """The pictures of a card as SVG, with their captions."""
    found = re.findall(r'<img src="data:image/svg\+xml,([^"]*)" alt="([^"]*)"', card)
    return [(unquote(content), alt) for content, alt in found]


def inside(picture: str, colour: str, shape: tuple[int, ...], *, dashed: bool) -> Any:
    """The mask that the outlines of a colour surround, of this shape."""
    (wide, high) = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', picture)[0])
    paths = re.findall(r"<path [^>]*>", picture)
    own = [path for path in paths if f'stroke="{colour}"' in path]
    own = [path for path in own if ("stroke-dasharray" in path) == dashed]
    mask = np.zeros(shape, bool)
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    for path in own:
        for line in re.findall(r"M([^Z]*)Z", path):
            points = np.array([pair.split() for pair in line.split("L")], float)
            points *= (shape[1] / wide, shape[0] / high)
            mask ^= Line(points).contains_points(centres).reshape(shape)
    return mask


def ranked(run: Run) -> list[tuple[float, str]]:
    """Cases by the mean Dice over the structures that the reference has."""
    found = run.predictions("test")
    dice = found.scores.reshape(len(found), len(found.task.names), -1)[:, :, 0]
    dice = np.where(found.labels > 0, dice, np.nan)
    return sorted(zip(np.nanmean(dice, axis=1), found.ids, strict=True))


@given(arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_outlines_surround_what_is_in_the_mask(mask: Any) -> None:
    rows, columns = np.indices(mask.shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    found = np.zeros(mask.size, bool)
    for line in outlines(mask):
        assert np.array_equal(line[0], line[-1])
        found ^= Line(line).contains_points(centres)
    assert np.array_equal(found.reshape(mask.shape), mask)


def test_planes_of_any_orientation_are_turned_as_radiologists_look_at_them() -> None:
    canonical = np.zeros((5, 6, 7), np.uint8)  # to the right, the front and the top
    canonical[3, 4, 5] = 1
    for codes in ORIENTATIONS:
        there = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
        image: Any = nibabel.Nifti1Image(canonical, np.diag([1.0, 2.0, 3.0, 1.0]))  # type: ignore[no-untyped-call]
        turned = image.as_reoriented(there)
        values = np.asarray(turned.dataobj).swapaxes(0, 1)
        spacing = np.linalg.norm(turned.affine[:3, :3], axis=0)[[1, 0, 2]]
        decoded = DecodedImage(values=values, affine=turned.affine, spacing=tuple(spacing))
        profiles = [
            values.sum(axis=tuple(set(range(3)) - {axis})).astype(float) for axis in range(3)
        ]
        planes = planes_through(profiles, decoded)
        shown = {plane.title(decoded).partition(",")[0]: plane for plane in planes}
        assert list(shown) == ["axial", "coronal", "sagittal"]
        where = {
            name: (plane.of(values, decoded).shape, *np.argwhere(plane.of(values, decoded))[0])
            for name, plane in shown.items()
        }
        # The right side to the left; in front, or above, at the top; in sagittal ones the front
        # to the left.
        assert where == {
            "axial": ((6, 5), 1, 1),
            "coronal": ((7, 5), 1, 1),
            "sagittal": ((7, 6), 1, 1),
        }
        ratios = {name: plane.ratio(decoded) for name, plane in shown.items()}
        assert ratios == pytest.approx({"axial": 2, "coronal": 3, "sagittal": 1.5})


def test_a_small_structure_that_is_missed_decides_where_planes_lie() -> None:
    truth = np.zeros((1, 20, 20, 20), np.uint8)
    truth[0, 4:16, 4:16, 2:12] = 1
    truth[0, 6:8, 6:8, 16] = 2
    answer = truth.copy()
    answer[truth == 2] = 0
    answer[0, 4:16, 4:16, 2] = 0  # more voxels than the small structure has
    image = DecodedImage(values=truth[0].astype(np.float32))
    planes, where = MaskedImage(image=image, truth=truth, answer=answer, names=2).planes()
    assert where == "through most of the error"
    assert planes[0] == Plane(axis=2, place=16)
    assert planes[0].title(image) == "across slices, 17 of 20"
    right, where = MaskedImage(image=image, truth=truth, answer=truth, names=2).planes()
    assert where == "through most of the mask"
    assert right[0] == Plane(axis=2, place=16)
    blank = np.full_like(truth, 255)
    nothing, _ = MaskedImage(image=image, truth=blank, answer=answer, names=2).planes()
    assert nothing[0] == Plane(axis=2, place=10)  # what counts nowhere is no error


@pytest.mark.parametrize("kind", ["trained", "flat"])
def test_the_best_the_median_and_the_worst_case_are_shown(
    kind: str, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(kind)
    cases = ranked(run)
    count = len(cases)
    found = cards(html(run))
    assert len(found) == 3
    for card, title, place in zip(
        found, ("Best", "Median", "Worst"), (-1, (count - 1) // 2, 0), strict=True
    ):
        value, id_ = cases[place]
        assert f"{title} of {count}" in card
        assert id_ in card
        assert f"{value:.3f}" in card
        assert len(drawn(card)) == (3 if kind == "trained" else 1)
        assert "Predicted again" not in card
    page = Page(html(run))
    legend = section(html(run)).split("</ul>")[0]
    assert all(name in legend for name in (*run.data.task.names, "reference", "prediction"))
    assert all(COLOURS[place] in legend for place in range(2))
    assert "Grad-CAM" not in page.text
    assert "one answer for all" not in page.text


def test_outlines_of_volumes_are_the_masks_of_the_files(trained: Run, tmp_path: Path) -> None:
    root = trained.path.parent / "secret"
    for card, (_, id_) in zip(cards(html(trained)), _chosen(trained), strict=True):
        path = root / "images" / Path(id_).name
        answered = trained.predict([path], masks=tmp_path / path.name)
        files = root / "masks" / path.name, next(iter(answered.masks.values()))[0]
        values = ((2, 5), (2, 5))
        picture, alt = drawn(card)[0]
        place = int(re.findall(r"axial, (\d+) of", alt)[0]) - 1
        for file, (shell, core), dashed in zip(files, values, (False, True), strict=True):
            found: Any = nibabel.as_closest_canonical(nibabel.load(file))  # type: ignore[attr-defined, no-untyped-call]
            shown = np.asarray(found.dataobj)[::-1, ::-1, place].T
            for colour, value in ((COLOURS[0], shell), (COLOURS[1], core)):
                outlined = inside(picture, colour, shown.shape, dashed=dashed)
                assert np.array_equal(outlined, shown == value), (file, value)
        assert picture.count("<image ") == 1
        assert "data:image/jpeg;base64," in picture


def test_outlines_of_pictures_are_the_masks_that_were_drawn(flat: Run) -> None:
    dataset: Any = Registry.discover().datasets["phantom_masks"]
    samples = {sample.id: sample for sample in dataset(samples=40, size=32).build().samples}
    for card, (_, id_) in zip(cards(html(flat)), _chosen(flat), strict=True):
        mask = read_sample_image(samples[id_].label.image, Reading()).values
        ((picture, _),) = drawn(card)
        for place in range(2):
            found = inside(picture, COLOURS[place], mask.shape, dashed=False)
            assert np.array_equal(found, mask == place + 1)


@pytest.mark.long
def test_structures_that_overlap_and_what_counts_nowhere_are_drawn(tmp_path: Path) -> None:
    root = written(tmp_path / "data")
    for path in (root / "masks").iterdir():
        mask: Any = nibabel.load(path)  # type: ignore[attr-defined]
        values = np.asarray(mask.dataobj).copy()
        values[:, :, :5] = 9
        save(values, mask.affine, path)
    labels = {"shell": [2, 5], "core": 5}
    run = volumes(root, 1, labels=labels, ignore=[9]).build().run(tmp_path / "run")
    text = run.report().read_text(encoding="utf-8")
    assert "counts nowhere" in section(text)
    for card, (_, id_) in zip(cards(text), _chosen(run), strict=True):
        picture, alt = next(one for one in drawn(card) if "axial" in one[1])
        place = int(re.findall(r"axial, (\d+) of", alt)[0]) - 1
        found: Any = nibabel.as_closest_canonical(nibabel.load(root / "masks" / Path(id_).name))  # type: ignore[attr-defined, no-untyped-call]
        shown = np.asarray(found.dataobj)[::-1, ::-1, place].T
        both = inside(picture, COLOURS[0], shown.shape, dashed=False)
        assert np.array_equal(both, np.isin(shown, (2, 5)))
        core = inside(picture, COLOURS[1], shown.shape, dashed=False)
        assert np.array_equal(core, shown == 5)
        side, _ = next(one for one in drawn(card) if "sagittal" in one[1])
        assert IGNORED_COLOUR in side


def _chosen(run: Run) -> list[tuple[float, str]]:
    cases = ranked(run)
    return [cases[-1], cases[(len(cases) - 1) // 2], cases[0]]


def test_examples_and_augmentation_show_masks(trained: Run) -> None:
    data = section(html(trained), "data")
    examples, augmentation = data.split("<h3>Augmentation</h3>")
    for part, least in ((examples, 7), (augmentation, 12)):
        found = [picture for picture, _ in drawn(part)]
        assert len(found) == least
        assert all("fill-opacity" in picture for picture in found)
        assert all(COLOURS[1] in picture for picture in found[:4])
        assert all("stroke-dasharray" not in picture for picture in found)
        assert 'class="legend"' in part


@pytest.mark.long
@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("paths", [True, False])
def test_what_is_private_is_left_out(
    trained: Run, tmp_path: Path, *, images: bool, paths: bool
) -> None:
    path = trained.report(tmp_path / "shared.html", images=images, paths=paths)
    text = path.read_text(encoding="utf-8")
    assert ("data:image" in text) == images
    assert ("patient0" in text) == paths
    assert ('id="cases"' in text) == images
    card = (tmp_path / "model_card.md").read_text(encoding="utf-8")
    assert "pipeline_tag: image-segmentation" in card
    assert "Grad-CAM" not in card
    assert "The worst case, beside the best and the median" in card
    Page(text)


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("kind", ["trained", "flat"])
def test_nothing_is_cut_off_in_a_browser(
    kind: str, width: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    found = measured(html(request.getfixturevalue(kind)), width, tmp_path)
    assert found["scroll"] <= width
    assert found["wide"] == []
    assert found["cut"] == []


def copied(trained: Run, copy: Path) -> tuple[Run, Path]:
    """A copy of a run with its data, and the data's folder."""
    shutil.copytree(trained.path.parent, copy)
    path = copy / "run" / "pipeline.toml"
    text = path.read_text(encoding="utf-8")
    there = str(trained.path.parent / "secret")
    path.write_text(text.replace(there, str(copy / "secret")), encoding="utf-8")
    return Run.load(copy / "run"), copy / "secret"


@pytest.mark.long
def test_a_mask_that_has_changed_is_said(trained: Run, tmp_path: Path) -> None:
    run, root = copied(trained, tmp_path / "copy")
    worst = Path(ranked(run)[0][1]).name
    mask: Any = nibabel.load(root / "masks" / worst)  # type: ignore[attr-defined]
    save(np.roll(np.asarray(mask.dataobj), 4, axis=0), mask.affine, root / "masks" / worst)
    found = cards(run.report().read_text(encoding="utf-8"))
    assert ["Predicted again for this picture" in card for card in found] == [False, False, True]


def test_images_that_are_gone_are_said(trained: Run, tmp_path: Path) -> None:
    run, root = copied(trained, tmp_path / "copy")
    worst = Path(ranked(run)[0][1]).name
    (root / "images" / worst).write_bytes(b"torn")
    text = section(run.report().read_text(encoding="utf-8"))
    assert "The images can't be shown: " in Page(text).text
    assert worst in text
    hidden = run.report(paths=False).read_text(encoding="utf-8")
    assert worst not in hidden
    shutil.rmtree(root)
    gone = Page(run.report().read_text(encoding="utf-8")).text
    assert "The images can't be shown: " in gone
    assert f"{run.metrics['test']['dice']:.4f}" in gone


@pytest.mark.long
def test_a_network_that_is_gone_costs_the_prediction_alone(flat: Run, tmp_path: Path) -> None:
    shutil.copytree(flat.path, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.safetensors").unlink()
    text = Run.load(tmp_path / "run").report().read_text(encoding="utf-8")
    found = cards(text)
    assert len(found) == 3
    assert all("stroke-dasharray" not in picture for card in found for picture, _ in drawn(card))
    assert "No prediction is drawn: " in section(text)
    assert "<li>prediction" not in section(text)


@pytest.mark.usefixtures("reports")
def test_an_evaluation_shows_its_own_cases(trained: Run, tmp_path: Path) -> None:
    written(tmp_path / "other", 10)
    dataset: Any = Registry.discover().datasets["image_masks"]
    data = dataset(root=str(tmp_path / "other"), labels={"shell": 2, "core": 5})
    trained.evaluate(data, output=tmp_path / "evaluation", allow_overlap=True)
    text = (tmp_path / "evaluation" / "report.html").read_text(encoding="utf-8")
    found = cards(text)
    assert ["Best of 10" in found[0], "Worst of 10" in found[2]] == [True, True]
    assert all(len(drawn(card)) == 3 for card in found)


@pytest.mark.parametrize("folds", [long(2)])
def test_the_report_of_folds_draws_references(folds: int, tmp_path: Path) -> None:
    done = pictures(24, folds=folds).build().run_folds(tmp_path / "folds")
    text = done.report().read_text(encoding="utf-8")
    assert "No prediction is drawn: These predictions are those of several networks." in text
    assert "Best of 24" in cards(text)[0]


def test_the_preview_outlines_masks(tmp_path: Path) -> None:
    figure = volumes(written(tmp_path / "data"), 1).build().preview(2, epochs=1)
    assert len(figure.axes) == 4
    for axes in figure.axes:
        colours = {line.get_color() for line in axes.lines}
        assert colours == set(COLOURS[:2])
        height, width = np.asarray(axes.images[0].get_array()).shape[:2]
        for line in axes.lines:
            assert -0.5 <= np.min(line.get_xdata()) <= np.max(line.get_xdata()) <= width - 0.5
            assert -0.5 <= np.min(line.get_ydata()) <= np.max(line.get_ydata()) <= height - 0.5
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(NAMES)
