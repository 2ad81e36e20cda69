"""Uses that a type checker must refuse: each line's error is expected, and its absence is one."""

from __future__ import annotations

import medpipe
from medpipe.plugin import NetworkStep

builder = medpipe.PipelineBuilder()
builder.loader(batch_size="64")  # pyright: ignore[reportArgumentType]
builder.loader(sampling="random")  # pyright: ignore[reportArgumentType]
builder.loader(size=64)  # pyright: ignore[reportCallIssue]
builder.split(validation="a tenth")  # pyright: ignore[reportArgumentType]
builder.network(7)  # pyright: ignore[reportCallIssue, reportArgumentType]
builder.trainer(NetworkStep())  # pyright: ignore[reportCallIssue, reportArgumentType]
medpipe.PipelineBuilder(bad_data="ignore")  # pyright: ignore[reportArgumentType]
builder.seed = 3  # pyright: ignore[reportAttributeAccessIssue]
medpipe.Registry.discover().get("densenet121", NetworkStep)  # pyright: ignore[reportArgumentType]
