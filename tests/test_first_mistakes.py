"""Mistakes of a first project: each is found before training, or named in the run's result.

A catalogue: the name of the mistake, exactly what is said of it, and how it is made. HERE stands
for the project's folder and VERSION for that of medpipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import medpipe
from medpipe import PipelineBuilder
from support.first_projects import (
    Doubled,
    Numbered,
    draw,
    flat_network,
    folder,
    pictures,
    rows,
    said_of,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from medpipe.plugin import DataInfo

CATALOGUE: list[Any] = []
RESULTS: list[Any] = []


def mistake(kind: str, message: str) -> Callable[[Any], Any]:
    """Add a mistake: what is said of it, as a refusal of `build`, or by `check`."""
    return lambda make: CATALOGUE.append(pytest.param(make, kind, message, id=make.__name__))


def result(message: str) -> Callable[[Any], Any]:
    """Add a mistake that only the result of a run shows."""
    return lambda make: RESULTS.append(pytest.param(make, message, id=make.__name__))


# Data: folders


@mistake(
    "problem",
    "dataset: HERE/data holds only one class, 'images'. A classifier needs two or more: "
    "dataset.root must be the folder above the class folders.",
)
def the_folder_above(here: Path) -> PipelineBuilder:
    pictures(here / "data" / "images")
    return folder(here / "data")


@mistake(
    "problem",
    "dataset: HERE/dark holds 60 images that are not in a class folder, '000.png' for one. "
    "Put each into the folder of its class.",
)
def the_folder_of_one_class(here: Path) -> PipelineBuilder:
    return folder(pictures(here) / "dark")


@mistake(
    "problem",
    "dataset: HERE: no images in the class folder 'medium'. Images are files ending in .png, "
    ".jpg, .jpeg, .jpe, .jfif, .jfi, .jif, .tif, .tiff, .bmp, .dib, .nii.gz, .nii, .npy, "
    ".npz, and DICOM files. Remove the folder or add its images.",
)
def an_empty_class_folder(here: Path) -> PipelineBuilder:
    (pictures(here) / "medium").mkdir()
    return folder(here)


@mistake(
    "problem",
    "dataset: 1 of 121 samples can't be used:\n"
    "  The image HERE/dark/broken.png is not a PNG, JPEG, TIFF, BMP, NIfTI, DICOM or NumPy "
    "image.\n"
    'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the '
    "command line --quarantine). medpipe check --data lists all that is wrong.",
)
def a_file_that_is_no_image(here: Path) -> PipelineBuilder:
    (pictures(here) / "dark" / "broken.png").write_text("no image")
    return folder(here)


@mistake(
    "warning",
    "the names tell of 60 patients, such as 'p000', with 120 images, and no group is given: "
    "images of one patient can be in training and in test. Set dataset.group_pattern = "
    "'(?:^|[/_-])([pPsS][0-9]+)(?=[/_.-])'.",
)
def patients_in_the_names_and_no_group(here: Path) -> PipelineBuilder:
    for seed in range(120):
        name = ("dark", "light")[seed % 2]
        draw(here / name / f"p{seed // 2:03}_{seed}.png", seed, light=name == "light")
    return folder(here)


@mistake(
    "problem",
    "dataset: 2 of 121 samples can't be used:\n"
    "  The image HERE/dark/000.png has the label 'dark', and 'light/copy.png', which has the "
    "same pixels, 'light'.\n"
    "  The image HERE/light/copy.png has the label 'light', and 'dark/000.png', which has "
    "the same pixels, 'dark'.\n"
    'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the '
    "command line --quarantine). medpipe check --data lists all that is wrong.\n"
    'Images under two labels are trained on with run.bad_data = "keep".',
)
def one_image_under_two_labels(here: Path) -> PipelineBuilder:
    copy = (pictures(here) / "dark" / "000.png").read_bytes()
    (here / "light" / "copy.png").write_bytes(copy)
    return folder(here)


@mistake(
    "note",
    "1 image is a copy of others, pixel by pixel, such as 'dark/copy.png' of 'dark/000.png'. "
    "Copies stay in one split.",
)
def an_exact_copy(here: Path) -> PipelineBuilder:
    copy = (pictures(here) / "dark" / "000.png").read_bytes()
    (here / "dark" / "copy.png").write_bytes(copy)
    return folder(here)


@mistake(
    "problem",
    "dataset: images have different numbers of channels: (1, 16, 16) of 'dark/000.png' and "
    "(3, 16, 16) of 'dark/colour.png'. Set dataset.channels = 1 or 3 to convert them when "
    "they are read.",
)
def a_grey_and_a_colour_image(here: Path) -> PipelineBuilder:
    draw(pictures(here) / "dark" / "colour.png", 500, light=False, mode="RGB")
    return folder(here)


@mistake(
    "problem",
    "transform: images leave the chain in different sizes, which do not batch: (1, 16, 16) "
    "of 'dark/000.png' and (1, 32, 32) of 'dark/large.png'. Add a step such as 'resize' or "
    "'resize_with_pad_or_crop' with spatial_size, or set loader.batch_size = 1.",
)
def images_of_different_sizes(here: Path) -> PipelineBuilder:
    draw(pictures(here) / "dark" / "large.png", 500, light=False, size=32)
    return folder(here)


@mistake(
    "problem",
    "dataset: there are images and volumes: 'dark/000.png' is 16 x 16 and "
    "'dark/volume.nii.gz' is 8 x 8 x 8. Choose one kind: a network takes either. Slices of a "
    "DICOM series become a volume with dataset.unit = 'series'.",
)
def an_image_among_volumes(here: Path) -> PipelineBuilder:
    import nibabel

    pictures(here)
    random = np.random.default_rng(0)
    for name in ("dark", "light"):
        volume = nibabel.Nifti1Image(random.random((8, 8, 8), np.float32), np.eye(4))
        nibabel.save(volume, here / name / "volume.nii.gz")
    return folder(here)


# Data: tables


@mistake(
    "problem",
    "dataset: HERE/table.csv can't be used:\n"
    "  dataset.label: there is no column 'lable'. Did you mean 'label'?\n"
    "  Its columns are 'image', 'label'.",
)
def a_label_column_that_is_not_there(here: Path) -> PipelineBuilder:
    return table(rows(here, "dark", "light"), label="lable")


@mistake(
    "problem",
    "dataset: HERE/table.csv can't be used:\n"
    "  dataset.image: there is no column 'file'.\n"
    "  Its columns are 'image', 'label'.",
)
def an_image_column_that_is_not_there(here: Path) -> PipelineBuilder:
    return table(rows(here, "dark", "light"), image="{file}")


@mistake(
    "problem",
    "dataset: 1 of 120 samples can't be used:\n"
    "  row 5: there is no file HERE/images/003.png.\n"
    'To leave these rows out, set dataset.missing_files = "drop".\n'
    'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the '
    "command line --quarantine). medpipe check --data lists all that is wrong.",
)
def files_that_are_not_there(here: Path) -> PipelineBuilder:
    file = rows(here, "dark", "light")
    (here / "images" / "003.png").unlink()
    return table(file)


@mistake(
    "problem",
    "dataset: HERE/table.csv holds only one class, 'dark' in column 'label'. A classifier "
    "needs two or more; name another column with dataset.label.",
)
def one_label_everywhere(here: Path) -> PipelineBuilder:
    return table(rows(here, "dark"))


@mistake(
    "note",
    "Column 'label' has classes that differ only in case or in how a number is written: "
    "'Light', 'light'. If they are the same, merge them in dataset.classes.",
)
def labels_that_differ_in_case(here: Path) -> PipelineBuilder:
    return table(rows(here, "dark", "light", "Light"))


@mistake(
    "problem",
    "dataset: 1 of 120 samples can't be used:\n"
    "  row 121: no label in column 'label'.\n"
    'To leave these rows out, set dataset.missing_labels = "drop".\n'
    'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the '
    "command line --quarantine). medpipe check --data lists all that is wrong.",
)
def blank_labels(here: Path) -> PipelineBuilder:
    return table(rows(here, *["dark", "light"] * 59, "dark", ""))


@mistake(
    "problem",
    "dataset: 1 of 120 samples can't be used:\n"
    "  row 121: 'nan' in column 'label' is not a number.\n"
    'Write a number such as 63.5; if a word stands for a blank cell ("NA"), name it in '
    "dataset.missing_values.\n"
    'Repair or remove them, or leave them out: set run.bad_data = "quarantine" (on the '
    "command line --quarantine). medpipe check --data lists all that is wrong.",
)
def a_number_that_is_nan(here: Path) -> PipelineBuilder:
    return table(rows(here, *range(119), "nan"), task="regression")


@mistake(
    "note",
    "Column 'label' holds 12 different numbers, such as '40', '41', '42', and each is taken "
    'for a class. To predict the number set dataset.task = "regression"; if each is a class, '
    'set dataset.task = "multiclass".',
)
def numbers_taken_for_classes(here: Path) -> PipelineBuilder:
    return table(rows(here, *range(40, 52)))


@mistake(
    "note",
    "Column 'label' holds only the numbers 0 and 1. If these are classes, set dataset.task "
    '= "multiclass".',
)
def classes_taken_for_numbers(here: Path) -> PipelineBuilder:
    return table(rows(here, 0, 1), task="regression")


@mistake(
    "note",
    "Column 'label' is -999 in 4 rows and never below 0 elsewhere. If that stands for a "
    "blank cell, set dataset.missing_values = ['-999'].",
)
def a_stand_in_for_a_missing_number(here: Path) -> PipelineBuilder:
    return table(rows(here, *range(40, 69), -999), task="regression")


@mistake(
    "note",
    "Column 'patient_id' seems to name patients, and no group is given: images of one "
    "patient can be in training and in test. If it does, set dataset.group = 'patient_id'.",
)
def a_column_of_patients_and_no_group(here: Path) -> PipelineBuilder:
    return table(rows(here, "dark", "light", patient_id=[place // 2 for place in range(120)]))


@mistake(
    "problem",
    "dataset: The data set's own splits divide groups or duplicate images:\n"
    "  1 group: '0' (training, test).\n"
    'Correct these splits, set dataset.on_leak = "drop_train" to leave the training side out, '
    "or leave the splits out and let medpipe divide the samples.",
)
def a_given_split_with_a_patient_on_both_sides(here: Path) -> PipelineBuilder:
    split = ["train"] * 80 + ["val"] * 20 + ["test"] * 20
    patients = [0, *range(1, 119), 0]
    file = rows(here, "dark", "light", patient=patients, split=split)
    return table(file, group="patient", split="split")


# Splits


@mistake(
    "warning",
    "the class 'medium' has no sample in the test split, whose metrics say nothing of it. "
    "Raise split.test, or add data, or merge classes.",
)
def a_class_of_two_images(here: Path) -> PipelineBuilder:
    pictures(here)
    for seed in (500, 501):
        draw(here / "medium" / f"{seed}.png", seed, light=True)
    return folder(here).loader(batch_size=8, workers=0, sampling="balanced")


@mistake(
    "warning",
    "the class 'dark' has 475 training samples and 'light' 4: to answer 'dark' always is "
    'right in 99% of all. Set loader.sampling = "balanced", or trainer.loss.class_weights = '
    '"balanced".',
)
def ninety_nine_to_one(here: Path) -> PipelineBuilder:
    return folder(pictures(here, dark=594, light=6)).loader(sampling="shuffled")


@mistake(
    "warning",
    "the validation split has 6 samples, and the metrics of fewer than 10 say next to "
    "nothing. Raise split.validation, or add data.",
)
def a_small_validation_split(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).split(validation=0.05)


@mistake(
    "note",
    "There is no test split (split.test = 0): the metrics of the validation, by which the "
    "best network is chosen, are too good for new images.",
)
def no_test_split(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).split(test=0.0)


# Transforms


def forgetful(sample: Any) -> Any:
    sample["image"] = sample["image"] * 2


def image_alone(sample: Any) -> Any:
    return sample["image"]


def other_label(sample: Any) -> Any:
    return {**sample, "label": 1 - sample["label"]}


def not_a_number(sample: Any) -> Any:
    return {**sample, "image": sample["image"] * float("nan")}


def too_dark(sample: Any) -> Any:
    return {**sample, "image": sample["image"].clip(max=0)}


def as_double(sample: Any) -> Any:
    return {**sample, "image": sample["image"].double()}


@mistake(
    "problem",
    "transform[4]: the ready transform forgetful, returned None for the sample "
    "'dark/000.png'. Return the sample, a dictionary.",
)
def a_transform_that_returns_nothing(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform(forgetful)


@mistake(
    "problem",
    "transform[4]: the ready transform image_alone, returned a MetaTensor for the sample "
    "'dark/000.png'. Return the sample, a dictionary.",
)
def a_transform_that_returns_the_image_alone(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform(image_alone)


@mistake(
    "problem",
    "transform[4]: the ready transform other_label changes 'label' of the sample "
    "'dark/000.png' from 0 to 1. Labels and ids are the data set's to give: change the image "
    "alone.",
)
def a_transform_that_changes_the_label(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform(other_label)


@mistake(
    "problem",
    "transform: the image of the sample 'dark/000.png' leaves the chain with NaN or infinite "
    "values. Look at the file and at the steps that scale intensities.",
)
def a_transform_that_makes_nan(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform(not_a_number)


@mistake(
    "problem",
    "transform: the image of the sample 'dark/000.png' leaves the chain with values of the "
    "type float64, and networks compute with float32. End the chain with the step "
    "cast_to_type, or let your own step give image.float().",
)
def a_transform_that_gives_another_type(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform(as_double)


@mistake(
    "warning",
    "each of the 4 training images that were tried leaves the transforms with a single "
    "value, such as 0.",
)
def a_window_that_leaves_one_value(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform(too_dark)


@mistake(
    "problem",
    "transform[4]: the transform step 'doubled' (not registered) gives other images for a "
    "batch than for its samples one at a time: the largest difference is 2. Mend its "
    "apply_batch, or leave it out: then samples are changed one by one.",
)
def a_batch_that_turns_black(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform(Doubled(loses=False))


@mistake(
    "problem",
    "transform[4]: the transform step 'numbered' (not registered) gives other images for a batch "
    "than for its samples one at a time: the largest difference is 3. Mend its changed, which gets "
    "the images of a batch and a draw for each: image i is to depend on itself and on draws[i] "
    "alone. What is random is drawn in values.",
)
def a_drawn_step_that_looks_at_the_batch(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform(Numbered(prob=1.0))


@mistake(
    "problem",
    "transform[4]: the transform step 'doubled' (not registered) loses 'id' of a batch. Mend "
    "its apply_batch, or leave it out: then samples are changed one by one.",
)
def a_batch_that_loses_its_ids(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform(Doubled(loses=True))


@mistake(
    "problem",
    "transform: the chain gives no image tensor for the sample 'dark/000.png'. Begin it with "
    "load_image and end it with to_tensor.",
)
def a_chain_that_loads_nothing(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transforms("to_tensor")


@mistake(
    "problem",
    "transform[4]: the transform step 'load_image' (medpipe-imaging VERSION) loads what "
    "transform[0] has loaded. Leave it out: .transform adds to the default chain, which "
    "loads images, and .transforms replaces it.",
)
def images_loaded_twice(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform("load_image")


@mistake(
    "warning",
    "images leave the transforms with values from 40 to 130 (standard deviation 23), and "
    "networks learn badly from such large values. Scale them once, for example by "
    "'scale_intensity' or 'normalize_intensity'.",
)
def images_that_are_not_scaled(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transforms("load_image", "ensure_channel_first", "to_tensor")


@mistake(
    "warning",
    "images are enlarged, such as from 16 x 16 to 64 x 64: that adds no detail, and a "
    "network takes about 16 times as long. Resize to less.",
)
def images_enlarged_by_the_resize(here: Path) -> PipelineBuilder:
    resized = folder(pictures(here))
    return resized.transform("resize", spatial_size=[64, 64], before="to_tensor")


@mistake(
    "warning",
    "transform[4], the transform step 'rand_flip' (medpipe-imaging VERSION), makes left of "
    "right at random, and the classes tell these apart: 'left', 'right'. Leave it out, or "
    "flip another axis: 0 is left to right.",
)
def a_flip_that_swaps_left_and_right(here: Path) -> PipelineBuilder:
    pictures(here)
    for old, new in (("dark", "left"), ("light", "right")):
        (here / old).rename(here / new)
    return folder(here).transform("rand_flip", spatial_axis=0, prob=0.5)


# Networks and losses


def for_three_channels(data: DataInfo) -> Any:
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, data.outputs))


def of_five_outputs(data: DataInfo) -> Any:
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 5))


NAMED_LINE = 1 + next(
    place
    for place, line in enumerate(Path(__file__).read_text(encoding="utf-8").splitlines())
    if line.endswith("  # the line that is named")
)


def without_a_layer(data: DataInfo) -> Any:
    from torch import nn

    class Net(nn.ModuleDict):
        def forward(self, image: Any) -> Any:
            return self["last"](image)  # the line that is named

    return Net({"first": nn.Linear(16, data.outputs)})


def without_pooling(data: DataInfo) -> Any:
    from torch import nn

    return nn.Conv2d(1, data.outputs, 3, padding=1)


def of_probabilities(data: DataInfo) -> Any:
    from torch import nn

    return nn.Sequential(flat_network(data), nn.Softmax(dim=1))


def frozen(data: DataInfo) -> Any:
    return flat_network(data).requires_grad_(False)


@mistake(
    "problem",
    "network: the ready network for_three_channels fails on a batch of shape (8, 1, 16, 16): "
    "RuntimeError: Invalid channel dimensions. Build it for images of 1 channel and 16 x 16 "
    "(DataInfo.channels, DataInfo.spatial_shape), or change these by transforms such as "
    "'resize'.",
)
def a_network_for_other_channels(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).network(for_three_channels)


@mistake(
    "problem",
    "network: the ready network without_a_layer fails on a batch of shape (8, 1, 16, 16): "
    "KeyError: 'last' (test_first_mistakes.py, line LINE). Mend its forward: this is no matter of "
    "the images' shape.",
)
def a_network_that_raises(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).network(without_a_layer)


@mistake(
    "problem",
    "network: the ready network of_five_outputs gives (8, 5) for a batch of 8; the 2 outputs "
    "(dark, light) need (8, 2). Take the number of outputs from DataInfo.outputs.",
)
def a_network_of_other_outputs(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).network(of_five_outputs)


@mistake(
    "problem",
    "network: the ready network without_pooling gives (8, 2, 16, 16) for a batch of 8; the 2 "
    "outputs (dark, light) need (8, 2). Pool and flatten before the last layer: "
    "nn.AdaptiveAvgPool2d(1), nn.Flatten(), and nn.Linear(..., data.outputs) at the end.",
)
def a_network_that_gives_images(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).network(without_pooling)


@mistake(
    "warning",
    "the ready network of_probabilities ends in Softmax, and the loss and the metrics apply "
    "that to its outputs once more. Leave Softmax out: a network gives logits.",
)
def a_network_that_ends_in_softmax(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).network(of_probabilities)


@mistake(
    "problem",
    "trainer: the ready network frozen has no parameter to train: all 2 are frozen. Leave "
    "requires_grad as it is where the network is built, and freeze some of its parameters by "
    "trainer.parameters.",
)
def a_network_all_frozen(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).network(frozen)


@mistake(
    "problem",
    "trainer.loss: the loss step 'mse' (medpipe-imaging VERSION) is for labels of the form "
    "numbers, but those of a multiclass task are of the form class.",
)
def a_loss_of_another_task(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).trainer("supervised", loss=medpipe.step("mse"))


@mistake(
    "problem",
    "trainer.monitor: 'acuracy' is not a metric of a multiclass task. Did you mean 'accuracy'?",
)
def a_monitor_that_is_no_metric(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).trainer("supervised", monitor="acuracy")


# Training


@mistake(
    "warning",
    "with a learning rate of 1e-08 at most, 240 iterations hardly move a weight. Raise "
    "trainer.learning_rate, or leave it out.",
)
def a_learning_rate_too_small(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).trainer("supervised", max_epochs=20, learning_rate=1e-8)


@mistake(
    "warning",
    "a learning rate of 10 is 10,000 times the usual 0.001, and training rarely survives it. "
    "Lower trainer.learning_rate, or leave it out.",
)
def a_learning_rate_too_large(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).trainer("supervised", max_epochs=20, learning_rate=10.0)


@mistake(
    "warning",
    "the run has 24 iterations in all, and fewer than 100 are seldom enough. Raise "
    "trainer.max_epochs, or lower loader.batch_size.",
)
def too_few_iterations(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).trainer("supervised", max_epochs=2)


@mistake(
    "warning",
    "loader.batch_size = 512 is not below the 96 training samples, so that an epoch is one "
    "iteration. Lower it.",
)
def one_batch_of_all_samples(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).trainer("supervised", max_epochs=200).loader(batch_size=512)


@mistake(
    "problem",
    "loader.drop_last: there is no iteration in an epoch: the training split has 96 samples, "
    "fewer than loader.batch_size = 512, and a last batch that isn't full is left out. Set "
    "it to false, or loader.batch_size to 96 or less.",
)
def drop_last_that_drops_everything(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).loader(batch_size=512, drop_last=True)


@mistake(
    "warning",
    "the schedule step 'milestones' (medpipe-imaging VERSION) leaves the learning rate as it "
    "is in all 20 epochs. Raise trainer.max_epochs, or let its epochs lie in the run.",
)
def milestones_beyond_the_run(here: Path) -> PipelineBuilder:
    schedule = medpipe.step("milestones", epochs=[30, 60])
    return folder(pictures(here)).trainer("supervised", max_epochs=20, schedule=schedule)


@mistake(
    "warning",
    "trainer.patience = 30 is not below the 20 epochs, so that the run never stops early. "
    "Lower it, or leave it out.",
)
def patience_beyond_the_run(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).trainer("supervised", max_epochs=20, patience=30)


# Configuration


@mistake(
    "refusal",
    "The configuration has problems:\n"
    "  trainer.max_epoch: unknown parameter. Did you mean 'max_epochs'?",
)
def a_typo_in_a_key(here: Path) -> PipelineBuilder:
    return PipelineBuilder.from_toml('format = 1\n[trainer]\nstep = "supervised"\nmax_epoch = 3\n')


@mistake(
    "refusal",
    "The configuration has problems:\n  trainr: unknown section. Did you mean 'trainer'?",
)
def a_typo_in_a_section(here: Path) -> PipelineBuilder:
    return PipelineBuilder.from_toml("format = 1\n[trainr]\nmax_epochs = 3\n")


@mistake(
    "refusal",
    "The pipeline has problems:\n"
    "  network.step: There is no network step 'densnet121'. Did you mean 'densenet121'? "
    "'medpipe plugins' lists 27 network steps.",
)
def a_typo_in_a_step(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).network("densnet121")


@mistake(
    "refusal",
    "The pipeline has problems:\n"
    "  network.step: There is no network step 'retina_net_of_my_lab'. "
    "'medpipe plugins' lists 27 network steps.",
)
def a_plugin_that_is_not_installed(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).network("retina_net_of_my_lab")


@mistake(
    "note",
    "training images are augmented by 'rand_flip' in place of the data set's 'augment'. Add that "
    "to the transforms to have both.",
)
def an_augmentation_in_place_of_the_usual_one(here: Path) -> PipelineBuilder:
    return folder(pictures(here)).transform("rand_flip")


@mistake(
    "refusal",
    "The pipeline has problems:\n"
    "  run.device: must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got 'gpu'.",
)
def a_device_that_does_not_exist(here: Path) -> PipelineBuilder:
    return PipelineBuilder(device="gpu").dataset("phantom").network(flat_network)


# Results


def black(sample: Any) -> Any:
    return {**sample, "image": sample["image"] * 0}


@result(
    "the network answers 'dark' for each of the 12 images. Look at the training loss, "
    "trainer.learning_rate and the number of epochs.",
)
def one_class_for_every_image(here: Path) -> PipelineBuilder:
    uneven = folder(pictures(here, dark=80, light=40)).transform(black)
    return uneven.trainer("supervised", max_epochs=4, learning_rate=0.1)


@result(
    "the accuracy, 0.6667 (95 % interval 0.3906 to 0.8619), is not surely above 0.6667, "
    "which 'dark' for each image gives.",
)
def no_better_than_the_most_frequent_class(here: Path) -> PipelineBuilder:
    uneven = folder(pictures(here, dark=80, light=40)).transform(black)
    return uneven.trainer("supervised", max_epochs=4, learning_rate=0.1)


@result(
    "the auc, 0.5000, is not surely above 0.5, which the same answer for each image gives. "
    "Look at the training loss, trainer.learning_rate and the number of epochs.",
)
def findings_no_better_than_chance(here: Path) -> PipelineBuilder:
    findings = table(rows(here, "a", "b", "a|b", "none"), separator="|", negative=["none"])
    return findings.transform(black).trainer("supervised", max_epochs=1)


@result(
    "the r2, -0.0215 (95 % interval -0.9650 to -0.0001), is not surely above 0, which the "
    "mean target for each image gives. Look at the training loss, trainer.learning_rate and "
    "the number of epochs.",
)
def numbers_no_better_than_their_mean(here: Path) -> PipelineBuilder:
    ages = table(rows(here, *range(40)), task="regression").transform(black)
    return ages.trainer("supervised", max_epochs=1, learning_rate=1e-9)


@pytest.mark.parametrize(("make", "kind", "message"), CATALOGUE)
def test_it_is_said_before_training(make: Any, kind: str, message: str, tmp_path: Path) -> None:
    said = said_of(make, tmp_path)
    expected = message.replace("VERSION", medpipe.__version__).replace("LINE", str(NAMED_LINE))
    if kind == "refusal":
        assert said == {"refusal": [expected]}
        return
    # What keeps the pipeline from running is said alone, and so is a warning.
    assert said[kind] == [expected]
    assert kind == "problem" or not said["problem"]


@pytest.mark.parametrize(("make", "message"), RESULTS)
def test_it_is_said_with_the_result(make: Any, message: str, tmp_path: Path) -> None:
    run = make(tmp_path / "data").build().run(tmp_path / "run")
    assert f"  Look at this: {message}" in run.summary().splitlines()


def test_a_project_without_a_mistake(tmp_path: Path) -> None:
    said = said_of(lambda here: folder(pictures(here)), tmp_path)
    assert (said["problem"], said["warning"]) == ([], [])
