"""The strata that are no class, finding or bin: those are 0 and above."""

from __future__ import annotations

ALL = -1
"""The stratum of all samples."""
NONE = -2
"""The stratum of samples without a finding."""
UNKNOWN = -3
"""The stratum of samples whose label for the first finding (-4: the second...) is missing."""
