"""Ways to describe a pipeline, which type checkers accept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import medpipe
from medpipe.plugin import (
    DataInfo,
    Dataset,
    MetricStep,
    NetworkStep,
    Sample,
    Task,
    TransformStep,
)

if TYPE_CHECKING:
    from torch import nn


def defaults() -> medpipe.PipelineBuilder:
    return medpipe.PipelineBuilder()


def seed_device_and_registry(registry: medpipe.Registry) -> medpipe.PipelineBuilder:
    return medpipe.PipelineBuilder(
        seed=1, device="cuda:0", threads=4, bad_data="quarantine", registry=registry
    )


def dataset_by_name(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    return builder.dataset("image_folder", root="images")


def dataset_in_memory(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    samples = [Sample(id="a", image="a.png", label=0), Sample(id="b", image="b.png", label=1)]
    return builder.dataset(Dataset(samples=samples, task=Task(names=("healthy", "ill"))))


def transforms_by_name_and_reference(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    return builder.transforms("load_image", medpipe.step("resize", spatial_size=64))


def transform_step_before_another(
    builder: medpipe.PipelineBuilder, step: TransformStep
) -> medpipe.PipelineBuilder:
    return builder.transform(step, before="to_tensor")


def transform_function(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    def inverted(sample: dict[str, Any]) -> dict[str, Any]:
        return {**sample, "image": 1 - sample["image"]}

    return builder.transform(inverted)


def transform_of_monai(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    from monai.transforms.compose import Compose
    from monai.transforms.spatial.dictionary import RandFlipd

    return builder.transform(Compose([RandFlipd(keys=["image"], prob=0.5)]))


def network_by_name(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    return builder.network("resnet18", widen_factor=0.5)


def network_step(builder: medpipe.PipelineBuilder, step: NetworkStep) -> medpipe.PipelineBuilder:
    return builder.network(step)


def network_module(builder: medpipe.PipelineBuilder, module: nn.Module) -> medpipe.PipelineBuilder:
    return builder.network(module)


def network_function(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    def made(data: DataInfo) -> nn.Module:
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.LazyLinear(data.outputs))

    return builder.network(made)


def trainer_with_a_loss(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    return builder.trainer("supervised", max_epochs=3, loss=medpipe.step("focal", gamma=2.0))


def metrics_and_handlers(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    return builder.metrics("f1").handlers("csv", medpipe.step("tensorboard", every=5))


def steps_of_lists_one_by_one(
    builder: medpipe.PipelineBuilder, metric: MetricStep
) -> medpipe.PipelineBuilder:
    return builder.handler("tensorboard", every=5).metric(metric).reader("numpy", axes="zyx")


def inferer_by_name(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    return builder.inferer("sliding_window", roi_size=[64, 64])


def loader_and_split(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    made = builder.loader(batch_size=32, workers=0, sampling="balanced", cache="off")
    return made.split(validation=0.2, folds=5, fold=0).split(file=Path("splits.csv"))


def operating_point_by_group(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    point = {"class": "ill", "sensitivity": 0.95}
    return builder.evaluation(operating_point=point, unit="group", group_scores="highest")


def several_processes(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    return builder.settings(strategy="ddp", sync_batch_norm=True, timeout=60.0)


def trained_weights(builder: medpipe.PipelineBuilder) -> medpipe.PipelineBuilder:
    rename = [("^classifier", "class_layers.out")]
    return builder.weights(file="weights.safetensors", rename=rename, first_layer="mean")


def saved_and_loaded(builder: medpipe.PipelineBuilder, path: Path) -> medpipe.PipelineBuilder:
    builder.save(path)
    return medpipe.PipelineBuilder.load(path)


def recipe_as_text() -> str:
    return medpipe.PipelineBuilder.from_recipe("mednist_fast").to_toml()


def plain_data() -> medpipe.PipelineBuilder:
    return medpipe.PipelineBuilder.from_document({"format": 1, "dataset": {"step": "phantom"}})


def planned(folder: Path) -> tuple[str, ...]:
    plan: medpipe.Plan = medpipe.plan(folder, minutes=30, label="ill")
    plan.save("pipeline.toml")
    return plan.questions
