"""`nsd_by_area`: known areas, MONAI's number, and a run that is asked for it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from medpipe import step
from medpipe.builtin.segmentation.surface_area import AreaWithin
from support.blobs import blobs


def test_equal_masks_agree_and_empty_ones_are_defined() -> None:
    cube, nothing = np.ones((4, 5, 6), bool), np.zeros((4, 5, 6), bool)
    measure = AreaWithin(tolerance=0.0)
    assert measure(cube, cube, (1.0, 1.0, 2.0)) == [1.0]
    assert measure(nothing, cube, (1.0, 1.0, 2.0)) == [0.0]
    assert measure(cube, nothing, (1.0, 1.0, 2.0)) == [0.0]
    assert math.isnan(measure(nothing, nothing, (1.0, 1.0, 2.0))[0])


def test_a_shift_within_the_tolerance_costs_nothing() -> None:
    one, other = (np.zeros((12, 12, 12), bool) for _ in range(2))
    one[2:8, 2:8, 2:8] = other[3:9, 2:8, 2:8] = True
    spacing = (1.5, 1.0, 1.0)
    assert AreaWithin(tolerance=1.5)(one, other, spacing) == [1.0]
    (short,) = AreaWithin(tolerance=1.4)(one, other, spacing)
    # The two faces across the shift are 1.5 mm apart, the other four lie on each other.
    assert 0.6 < short < 0.8


@pytest.mark.long
def test_a_run_measures_it_where_it_is_asked_for(tmp_path: Path) -> None:
    pipeline = blobs(tmp_path, epochs=8).metrics(step("nsd_by_area", tolerance=1.0)).build()
    found = pipeline.run(tmp_path / "run").metrics["test"]
    assert 0 < found["nsd_by_area"] <= 1
    assert found["nsd_by_area"] != found["nsd"]
    assert found["intervals"]["nsd_by_area"] is not None
