"""Parameters with which each transform of the table can be made, for images of side 32."""

from __future__ import annotations

from medpipe.builtin.transforms.monai_transforms import TRANSFORMS
from medpipe.builtin.transforms.transform_examples import parameters
from medpipe.builtin.transforms.transform_table import Transform

STEPS = {step.name: step for step in TRANSFORMS}
ONE_DIMENSION_ONLY = {"rand_2d_elastic": 2, "rand_3d_elastic": 3}


def required(entry: Transform, dims: int) -> dict[str, object]:
    always = {"prob": 1.0} if entry.random and "prob" in entry.parameters else {}
    return {**parameters(entry.name, dims), **always}
