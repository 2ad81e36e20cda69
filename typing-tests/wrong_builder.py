"""Descriptions of a pipeline that type checkers must refuse, where ``refused`` stands."""

from __future__ import annotations

from typing import Any

import medpipe
from medpipe.plugin import LossStep, NetworkStep, TransformStep


def names_that_are_not_there() -> None:
    medpipe.Trainer()  # refused
    from medpipe import NetworkStep as Network  # refused
    from medpipe.plugin import Pipeline as OtherPipeline  # refused


def first_settings() -> None:
    medpipe.PipelineBuilder(bad_data="ignore")  # refused
    medpipe.PipelineBuilder(seed="0")  # refused
    medpipe.PipelineBuilder(3)  # refused
    medpipe.PipelineBuilder(registry={})  # refused


def steps_of_other_kinds(builder: medpipe.PipelineBuilder) -> None:
    builder.dataset(TransformStep())  # refused
    builder.trainer(NetworkStep())  # refused
    builder.inferer(None)  # refused
    builder.metrics(LossStep())  # refused
    builder.handlers(["csv"])  # refused
    builder.readers(LossStep())  # refused
    builder.metric(LossStep())  # refused
    builder.handler("csv", "tensorboard")  # refused
    builder.reader(None)  # refused


def steps_that_are_none(builder: medpipe.PipelineBuilder) -> None:
    builder.network(7)  # refused
    builder.network(lambda data: data.outputs)  # refused
    builder.transforms("load_image", 3)  # refused
    medpipe.step(gamma=2.0)  # refused


def parameters_beside_an_object(builder: medpipe.PipelineBuilder, step: NetworkStep) -> None:
    builder.network(step, width=16)  # refused
    builder.transform("resize", before=0)  # refused


def transform_of_no_sample(builder: medpipe.PipelineBuilder) -> None:
    def double(image: float) -> float:
        return 2 * image

    builder.transform(double)  # refused


def settings(builder: medpipe.PipelineBuilder) -> None:
    builder.loader(batch_size="64")  # refused
    builder.loader(sampling="random")  # refused
    builder.loader(size=64)  # refused
    builder.split(validation="a tenth")  # refused
    builder.split(0.2)  # refused
    builder.evaluation(unit="patient")  # refused
    builder.settings(strategy="fsdp")  # refused
    builder.weights(first_layer="sum")  # refused
    builder.weights(rename=["^classifier"])  # refused


def changes_in_place(builder: medpipe.PipelineBuilder) -> None:
    builder.seed = 3  # refused
    builder.network = "resnet18"  # refused


def files(builder: medpipe.PipelineBuilder, document: dict[int, Any]) -> None:
    medpipe.PipelineBuilder.load(3)  # refused
    medpipe.PipelineBuilder.from_document(document)  # refused
    builder.save()  # refused
    medpipe.plan("images", minutes="30")  # refused
