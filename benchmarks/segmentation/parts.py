"""Parts of a segmentation on Task04 by MONAI and by medpipe, in processor time.

``python -m benchmarks.segmentation.parts`` prints a line for each: augmented patches, preparation
of volumes, a second start, prediction of small volumes. Both sides are measured in turn in one
process, and the ratio is the median of the pairs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.segmentation.script import pairs
from medpipe import Pipeline, PipelineBuilder, step

if TYPE_CHECKING:
    from collections.abc import Callable

PATCH = (32, 48, 32)
VOLUMES = 60
KEYS = ["image", "label"]


def pipeline(root: Path, *random: Any, batch: int = 8) -> Pipeline:
    """Task04 with the chain of the script."""
    return (
        PipelineBuilder(device="cpu")
        .dataset("decathlon", root=root, folds="folds.csv", test_fold=0)
        .transforms(
            step("load_image"),
            step("ensure_channel_first"),
            step("orientation"),
            step("normalize_intensity"),
            step("spatial_pad", spatial_size=PATCH),
            step("to_tensor"),
            *random,
        )
        .network("unet")
        .inferer("sliding_window", roi_size=PATCH)
        .trainer("supervised", max_epochs=1)
        .loader(batch_size=batch)
        .split(validation=0.05)
        .build()
    )


def prepared() -> list[Any]:
    """MONAI's deterministic transforms."""
    from monai import transforms as monai

    return [
        monai.LoadImaged(keys=KEYS),
        monai.EnsureChannelFirstd(keys=KEYS),
        monai.Orientationd(keys=KEYS, axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
        monai.NormalizeIntensityd(keys="image"),
        monai.SpatialPadd(keys=KEYS, spatial_size=PATCH),
    ]


def augmented(root: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """An epoch of patches, of volumes that are cached on both sides."""
    from monai import transforms as monai
    from monai.data import CacheDataset, DataLoader

    random = [
        monai.RandCropByPosNegLabeld(
            keys=KEYS, label_key="label", spatial_size=PATCH, pos=1, neg=1, num_samples=2
        ),
        monai.RandAffined(
            keys=KEYS,
            prob=0.75,
            rotate_range=(0.25,) * 3,
            scale_range=(0.15,) * 3,
            mode=("bilinear", "nearest"),
            padding_mode="border",
        ),
        monai.RandFlipd(keys=KEYS, prob=0.5, spatial_axis=0),
        monai.RandGaussianNoised(keys="image", prob=0.3, std=0.1),
        monai.RandAdjustContrastd(keys="image", prob=0.3, gamma=(0.7, 1.5)),
    ]
    cached = CacheDataset(pairs(root)[0], monai.Compose([*prepared(), *random]), progress=False)
    theirs = DataLoader(cached, batch_size=4, shuffle=True)
    chain = pipeline(
        root,
        step("rand_crop_by_pos_neg_label", spatial_size=PATCH, num_samples=2),
        step(
            "rand_affine",
            prob=0.75,
            rotate_range=(0.25,) * 3,
            scale_range=(0.15,) * 3,
            padding_mode="border",
        ),
        step("rand_flip", prob=0.5, spatial_axis=0),
        step("rand_gaussian_noise", prob=0.3, std=0.1),
        step("rand_adjust_contrast", prob=0.3, gamma=(0.7, 1.5)),
    )
    ours = chain.build_loaders().training
    return (lambda: [None for _ in theirs]), (lambda: [None for _ in ours])


def preparation(root: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """The deterministic transforms of some volumes and masks."""
    from monai.transforms import Compose

    from medpipe.data.chain import Chain, sample_dictionary

    chosen = pipeline(root).configuration
    data = chosen.dataset.build()
    chain = Chain([(one.name, one) for one in chosen.transforms], seed=0)
    theirs, files = Compose(prepared()), pairs(root)[0][:VOLUMES]
    return (
        lambda: [theirs(dict(one)) for one in files],
        lambda: [
            chain.cached_stage(sample_dictionary(one, data.reading))
            for one in data.samples[:VOLUMES]
        ],
    )


def second_start(root: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """All volumes prepared, by MONAI once more, by medpipe from the cache of an earlier start."""
    from monai.data import CacheDataset
    from monai.transforms import Compose

    training, test = pairs(root)
    chosen = pipeline(root, batch=1)
    chosen.build_loaders()
    return (
        lambda: CacheDataset([*training, *test], Compose(prepared()), progress=False),
        chosen.build_loaders,
    )


def opened(root: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """As `second_start`, with medpipe's cached stage alone: without listing, checks and splits."""
    from medpipe.checks.pipeline_check import examine

    theirs, build = second_start(root)
    build()
    checked = examine(pipeline(root, batch=1)._assembly(), data_alone=True).checked()
    assembly, data = checked.assembly, checked.prepared
    return theirs, lambda: assembly.cached_images(data, assembly.chain())


def prediction(root: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """The labels of some volumes in memory: in windows by MONAI, whole by medpipe, in float32."""
    import torch
    from monai.inferers import sliding_window_inference
    from monai.networks.nets import UNet
    from monai.transforms import Compose, DivisiblePad

    from medpipe.tasks.segmentation import Segmentation
    from medpipe.training.memory_format import in_channels_last

    decided = Segmentation().decided
    theirs, pad = Compose(prepared()), DivisiblePad(k=8)
    images = [theirs(dict(one))["image"].as_tensor() for one in pairs(root)[1][:VOLUMES]]
    whole = [torch.as_tensor(pad(image)).as_subclass(torch.Tensor)[None] for image in images]
    network = UNet(3, 1, 3, channels=(16, 32, 64, 128), strides=(2, 2, 2), norm="instance").eval()

    @torch.no_grad()
    def by_monai() -> object:
        outputs: list[Any] = [
            sliding_window_inference(image[None], PATCH, 4, network) for image in images
        ]
        return [one.argmax(1) for one in outputs]

    @torch.no_grad()
    def by_medpipe() -> object:
        with in_channels_last(network) as run:
            return [decided(run(image)) for image in whole]

    return by_monai, by_medpipe


def in_bfloat16(root: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """As `prediction`, by medpipe in bfloat16, which ``precision = "auto"`` chooses here."""
    import torch

    theirs, predict = prediction(root)

    def by_medpipe() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return predict()

    return theirs, by_medpipe


PARTS = {
    "augmented patches": augmented,
    "preparation": preparation,
    "second start": second_start,
    "second start, cached stage alone": opened,
    "prediction": prediction,
    "prediction in bfloat16": in_bfloat16,
}


def main() -> None:
    """Measure each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    root = Path(os.environ.get("MEDPIPE_DATA", ".")).expanduser() / "Task04_Hippocampus"
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["MEDPIPE_CACHE"] = temporary
        for name, part in PARTS.items():
            theirs, ours = part(root)
            theirs(), ours()
            times = [(seconds(theirs), seconds(ours)) for _ in range(given.pairs)]
            ratios = sorted(one / other for one, other in times)
            monai, medpipe = (statistics.median(some) for some in zip(*times, strict=True))
            print(
                f"{name}: MONAI {monai:.3f} s, medpipe {medpipe:.3f} s, "
                f"{statistics.median(ratios):.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
