"""What the figures of a report are made from: curves, agreement, maps, upright images."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from medpipe import PipelineBuilder, Registry, Task
from medpipe.data.chain import Chain
from medpipe.evaluation.predictions import Predictions
from medpipe.plugin import DecodedImage, Reading, Sample, TransformStep
from medpipe.report import curves
from medpipe.report.chain_view import ChainView, through
from medpipe.report.chosen_cases import hits, mistakes
from medpipe.report.class_figures import confusion_figure, roc_figure
from medpipe.report.comparison_page import difference_figure
from medpipe.report.curves import precision_recall, roc
from medpipe.report.grad_cam import Layer, grad_cam, last_layer, where_it_is
from medpipe.report.history_figure import history_figure
from medpipe.report.pictures import aspect, data_uri, grey, picture, plane
from medpipe.report.regression_figures import agreement

TRANSFORMS: Any = Registry.discover().transforms


def cases(count: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.4
    return truth, np.round(rng.normal(truth * 1.2, 1.0), 1)


@given(st.integers(2, 60), st.integers(0, 1000))
def test_curves_are_those_of_scikit_learn(count: int, seed: int) -> None:
    truth, scores = cases(count, seed)
    found, other = (
        roc(truth, scores, [None] * count),
        precision_recall(truth, scores, [None] * count),
    )
    if truth.all() or not truth.any():
        assert found is None
        assert other is None
        return
    assert found is not None
    assert other is not None
    assert found.area == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert np.trapezoid(found.y, found.x) == pytest.approx(found.area, abs=1e-12)
    assert other.area == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    for curve in (found, other):
        assert (np.diff(curve.x) >= 0).all()
        assert (curve.low <= curve.high + 1e-12).all()
        assert all(0 <= end <= 1 for band in (curve.low, curve.high) for end in band)


@pytest.mark.parametrize("compute", [roc, precision_recall])
def test_a_band_holds_the_curve_and_is_wider_where_patients_have_many_images(compute: Any) -> None:
    truth, scores = cases(60)
    each = compute(truth, scores, [f"p{n}" for n in range(60)])
    inner = slice(10, 90)
    places = np.searchsorted(each.x, each.grid[inner], side="right") - 1
    held = (each.low[inner] - 0.02 <= each.y[places]) & (each.y[places] <= each.high[inner] + 0.02)
    assert held.mean() > 0.9
    # The same cases five times say nothing new: patients give the same width, images a third.
    five = [np.repeat(values, 5) for values in (truth, scores)]
    grouped = compute(*five, [f"p{n // 5}" for n in range(300)])
    ungrouped = compute(*five, [None] * 300)
    width = (each.high - each.low)[inner].mean()
    assert (grouped.high - grouped.low)[inner].mean() == pytest.approx(width, rel=0.15)
    assert (ungrouped.high - ungrouped.low)[inner].mean() < 0.65 * width


def test_a_band_is_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    truth, scores = rng.random(90) < 0.4, rng.random(90)
    whole = roc(truth, scores, [None] * 90)
    monkeypatch.setattr(curves, "NUMBERS_AT_ONCE", 7 * 90)
    parts = roc(truth, scores, [None] * 90)
    assert whole is not None
    assert parts is not None
    assert len(whole.grid) == curves.POINTS
    assert (whole.low == parts.low).all()
    assert (whole.high == parts.high).all()


def test_a_test_of_one_patient_has_no_band() -> None:
    truth, scores = cases(30)
    found = roc(truth, scores, ["p"] * 30)
    assert found is not None
    assert len(found.grid) == 0


def test_of_many_classes_the_lowest_are_drawn_and_absent_ones_are_said() -> None:
    rng = np.random.default_rng(0)
    task = Task(names=[f"c{n}" for n in range(12)])
    scores = rng.dirichlet(np.ones(12), size=200)
    labels = rng.integers(0, 12, 200)
    predictions = Predictions(
        task=task, ids=map(str, range(200)), scores=scores, labels=labels, groups=[None] * 200
    )
    drawn = roc_figure(predictions).axes[0]
    assert drawn.get_title(loc="left") == "The 8 of 12 with the lowest AUC"
    one = predictions.taken(np.flatnonzero(labels == 0))
    assert [t.get_text() for t in roc_figure(one).axes[0].texts] == ["undefined: a class is absent"]
    table = np.bincount(labels * 12, minlength=144).reshape(12, 12)
    assert len(confusion_figure(table.tolist(), task.names).axes[0].patches) == 144 + 12


def test_agreement_is_that_of_bland_and_altman() -> None:
    # Hand-made: differences 1, 2, 3, 4, 5 with mean 3 and variance 2.5.
    truth = np.array([10.0, 20, 30, 40, 50])
    found = agreement(truth, truth + np.array([1.0, 2, 3, 4, 5]))
    assert (found.cases, found.bias) == (5, 3.0)
    assert found.low == pytest.approx(3 - 1.96 * 2.5**0.5)
    assert found.high == pytest.approx(3 + 1.96 * 2.5**0.5)
    one = agreement(np.array([1.0]), np.array([2.0]))
    assert (one.bias, one.low) == (1.0, None)
    assert agreement(np.zeros(0), np.zeros(0)).bias is None


@pytest.mark.parametrize("dims", [2, 3])
def test_grad_cam_is_that_of_monai(dims: int) -> None:
    import torch
    from monai.networks.nets import DenseNet
    from monai.visualize import GradCAM

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"init_features": 8, "growth_rate": 8, "block_config": (2, 2, 2)}
    network = DenseNet(spatial_dims=dims, in_channels=1, out_channels=3, **sizes).eval()
    image = torch.rand(1, 1, *(64,) * dims)
    layer = last_layer(network, image)
    assert layer == Layer(name="class_layers.relu", sides=(4,) * dims)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = [grad_cam(network, image, layer, output) for output in range(3)]
    assert all(bool((before[name] == value).all()) for name, value in network.state_dict().items())
    assert all(value.grad is None for value in network.parameters())
    theirs = GradCAM(network, target_layers=layer.name, postprocessing=torch.nn.Identity())
    for output, ours in enumerate(found):
        expected = theirs(image, class_idx=output)[0, 0].detach().numpy()
        assert ours.shape == image.shape[2:]
        top = expected.max()
        np.testing.assert_allclose(ours, expected / top if top > 0 else expected, atol=1e-5)


def test_a_map_shows_the_half_that_matters() -> None:
    import torch
    from torch import nn

    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten())
    head = nn.Linear(4 * 64, 1)
    with torch.no_grad():
        network[0].weight.fill_(0.1)
        network[0].bias.zero_()
        head.weight.zero_()
        head.weight.view(4, 8, 8)[:, :, :4] = 1.0  # the left half alone counts
    network.append(head)
    image = torch.zeros(1, 1, 8, 8)
    image[..., 1:3, 1:3] = 1.0
    heat = grad_cam(network, image, Layer(name="1", sides=(8, 8)), 0)
    assert heat[:, :4].sum() > 10 * heat[:, 5:].sum()
    assert np.unravel_index(heat.argmax(), heat.shape) in list(itertools.product((1, 2), (1, 2)))


def test_an_image_goes_to_where_the_network_is() -> None:
    """An evaluation leaves the network on its device; the images of a report are on the CPU."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    first = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU()
    network = nn.Sequential(*first, nn.Flatten(), nn.Linear(144, 2)).eval()
    image = torch.rand(1, 1, 8, 8)
    layer = last_layer(network, image)
    assert layer is not None
    heat = grad_cam(network, image, layer, 1)
    network.double()
    assert last_layer(network, image) == layer
    np.testing.assert_allclose(grad_cam(network, image, layer, 1), heat, atol=1e-5)
    # A device without values, on which a forward pass of an image of the CPU fails as on a GPU.
    assert last_layer(network.to("meta"), image) == layer
    assert where_it_is(image, network).device.type == "meta"
    assert where_it_is(image, nn.Flatten()) is image


def test_a_network_without_places_near_its_end_has_no_layer() -> None:
    import torch
    from torch import nn

    mlp = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), *(nn.Linear(72, 72) for _ in range(5)))
    assert last_layer(mlp.eval(), torch.zeros(1, 1, 8, 8)) is None


@attrs.frozen(kw_only=True)
class Turned(TransformStep):
    """Permutes and mirrors the axes."""

    name: ClassVar[str] = "turned"
    order: tuple[int, ...]
    mirrored: tuple[bool, ...]

    def build(self) -> Any:
        def turn(sample: dict[str, Any]) -> dict[str, Any]:
            image = sample["image"].permute(0, *(1 + axis for axis in self.order))
            flipped = [1 + axis for axis, there in enumerate(self.mirrored) if there]
            return {**sample, "image": image.flip(flipped) if flipped else image}

        return turn


@pytest.mark.parametrize("axes", ["wh", "hw"])
@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
def test_what_leaves_a_chain_is_turned_back(axes: str, dims: int, data: st.DataObject) -> None:
    order = tuple(data.draw(st.permutations(range(dims))))
    mirrored = tuple(data.draw(st.tuples(*[st.booleans()] * dims)))
    steps = [
        TRANSFORMS["load_image"](axes=axes),
        TRANSFORMS["ensure_channel_first"](),
        Turned(order=order, mirrored=mirrored),
        TRANSFORMS["scale_intensity"](),
    ]
    chain = Chain([(step.name, step) for step in steps], seed=0)
    values = np.random.default_rng(0).integers(0, 255, (7, 9, 5)[:dims]).astype(np.uint8)
    image = DecodedImage(values=values)
    view = ChainView.of(chain, image, Reading())
    left = through(chain, Sample(id="a", image=image, label=0), Reading())
    scaled = (values - values.min()) / np.ptp(values)
    np.testing.assert_allclose(view.back(left[0]), scaled, atol=1e-6)


def test_a_chain_that_leaves_nothing_of_a_ramp_is_taken_for_transposed() -> None:
    steps = [
        TRANSFORMS["load_image"](),
        TRANSFORMS["ensure_channel_first"](),
        TRANSFORMS["scale_intensity"](minv=0.0, maxv=0.0),
    ]
    chain = Chain([(step.name, step) for step in steps], seed=0)
    image = DecodedImage(values=np.eye(6, dtype=np.uint8))
    assert ChainView.of(chain, image, Reading()).axes == (1, 0)


ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_volumes_are_upright_however_they_are_stored(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """A bright octant at the right, the front and the top of the patient."""
    body = np.zeros((8, 10, 12), np.uint8)  # right, front, top
    body[4:, 5:, 6:] = 255
    stored = np.transpose(body, order)  # column, row, slice
    stored = stored[tuple(slice(None, None, sign) for sign in signs)]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (towards, sign) in enumerate(zip(order, signs, strict=True)):
        affine[towards, axis] = sign
    image = DecodedImage(values=np.swapaxes(stored, 0, 1), affine=affine, spacing=(1.0, 1.0, 1.0))
    depth = int(np.argmax(image.values.sum(axis=(0, 1))))
    shown = plane(image, depth)
    # The top (or, from above, the front) is up; the right (or, from the side, the front) left.
    vertical = max(order[0], order[1])
    across = min(order[0], order[1])
    assert shown.shape == (body.shape[vertical], body.shape[across])
    height, width = shown.shape
    assert (shown[: height // 2, : width // 2] == 255).all()
    assert (shown[height // 2 :] == 0).all()
    assert (shown[:, width // 2 :] == 0).all()


def test_pixels_are_square_in_pictures() -> None:
    import base64
    import io

    from PIL import Image

    affine = np.diag([1.0, 3.0, 1.0, 1.0])
    image = DecodedImage(
        values=np.zeros((20, 30, 4), np.uint8), affine=affine, spacing=(3.0, 1.0, 1.0)
    )
    assert aspect(image) == 3.0
    uri = picture(image)
    opened = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert opened.size == (72, 144)
    assert aspect(attrs.evolve(image, spacing=None)) == 1.0


def test_values_become_grey_by_their_percentiles_and_bytes_stay() -> None:
    assert grey(np.array([[0, 255]], np.uint8)).tolist() == [[0.0, 1.0]]
    wide = np.r_[np.linspace(0, 1, 1000), 1e9][None]
    assert grey(wide).mean() == pytest.approx(0.5, abs=0.02)
    assert grey(np.full((3, 3), np.nan)).tolist() == np.zeros((3, 3)).tolist()
    assert grey(np.full((3, 3), 7.0)).max() == 0
    assert data_uri(grey(np.array([[np.nan, 1.0, 2.0]]))).startswith("data:image/jpeg")


def test_the_most_confident_mistakes_and_the_least_confident_hits_are_chosen() -> None:
    task = Task(names=("a", "b"))
    confidence = [0.9, 0.6, 0.8, 0.7, 0.95, 0.55]
    predictions = Predictions(
        task=task,
        ids=("w1", "w2", "w3", "h1", "h2", "h3"),
        scores=[[c, 1 - c] for c in confidence],
        labels=[1, 1, 1, 0, 0, 0],
        groups=[None] * 6,
    )
    assert [case.id for case in mistakes(predictions, 2)] == ["w1", "w3"]
    assert [case.id for case in hits(predictions, 2)] == ["h3", "h1"]
    assert mistakes(predictions, 1)[0].lines == ("true: b", "predicted: a", "probability 0.900")


def test_findings_and_numbers_have_their_mistakes_too() -> None:
    findings = Predictions(
        task=Task(kind="multilabel", names=("x", "y")),
        ids=("a", "b", "c"),
        scores=[[0.9, 0.4], [0.2, 0.99], [0.1, 0.1]],
        labels=[[1, 1], [0, np.nan], [1, 0]],
        groups=[None] * 3,
    )
    found = mistakes(findings, 9)
    assert [(case.id, case.output) for case in found] == [("c", 0), ("a", 1)]
    assert found[0].lines == ("x", "true: there", "predicted: not there", "probability 0.100")
    assert [case.id for case in hits(findings, 9)] == ["b", "a", "c"]
    numbers = Predictions(
        task=Task(kind="regression", names=("age",), unit="years"),
        ids=("a", "b", "c"),
        scores=[[50.0], [20.0], [70.0]],
        labels=[[52.0], [60.0], [np.nan]],
        groups=[None] * 3,
    )
    assert [case.id for case in mistakes(numbers, 9)] == ["b", "a"]
    assert mistakes(numbers, 1)[0].lines == ("age", "true: 60 years", "predicted: 20 years")
    assert hits(numbers, 9) == []


def test_a_builder_draws_nothing_of_matplotlib() -> None:
    """A configuration is read without what draws."""
    import subprocess
    import sys

    code = (
        "import sys, medpipe\n"
        "from medpipe.report import facts, files, plots\n"
        "medpipe.PipelineBuilder().build()\n"
        "print({'matplotlib', 'jinja2', 'numpy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert PipelineBuilder


def test_differences_of_distances_have_an_axis_of_their_own() -> None:
    def table(**values: float) -> Any:
        return {n: {"value": v, "interval": [v - 0.1, v + 0.1]} for n, v in values.items()}

    both = {
        "metrics": ["dice", "hd95", "nsd"],
        "differences": [table(dice=0.1, hd95=-4.0, nsd=0.2)],
    }
    panels = difference_figure(both).axes
    labels = [[text.get_text() for text in panel.get_yticklabels()] for panel in panels]
    assert labels == [["dice", "nsd"], ["hd95"]]
    assert panels[0].get_xlim()[0] > -0.5
    one = {"metrics": ["auc"], "differences": [{"auc": {"value": None, "interval": None}}]}
    assert len(difference_figure(one).axes) == 1


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
def test_epochs_are_counted_in_whole_numbers(epochs: int) -> None:
    rows = [{"epoch": float(n + 1), "training_loss": 1 / (n + 1)} for n in range(epochs)]
    (plot,) = history_figure(rows, monitor="loss", best=1).axes
    low, high = plot.get_xlim()
    shown = [tick for tick in plot.get_xticks() if low <= tick <= high]
    assert shown
    assert all(float(tick).is_integer() for tick in shown)
