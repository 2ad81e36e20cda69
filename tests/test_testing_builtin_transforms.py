"""Every built-in transform passes every check for plugins."""

from __future__ import annotations

import warnings

import pytest

from medpipe.builtin.segmentation.patches import PATCHES
from medpipe.builtin.transforms.monai_transforms import TRANSFORMS
from medpipe.plugin import TransformStep
from support.checked import outcomes

pytestmark = pytest.mark.long


@pytest.mark.parametrize("step", [*TRANSFORMS, *PATCHES], ids=lambda step: step.name)
def test_a_built_in_transform_passes_every_check(step: type[TransformStep]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = outcomes(step)
    assert [str(outcome) for outcome in found if outcome.status == "failed"] == []
    skipped = {outcome.check.name for outcome in found if outcome.status == "skipped"}
    assert not {"takes_samples", "repeats_for_a_seed", "stays_as_it_is"} & skipped
