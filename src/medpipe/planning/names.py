"""What file names tell: patients, and the left or right side."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from medpipe.checks.split_findings import FEWEST, LARGEST, LETTER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PATIENTS = (
    r"(?i)((?:patient|subject|person|participant|case|sub|pat|pid)[-_ ]?[0-9]+)",
    LETTER,
    r"([^/]+)[-_][^-_/]+$",
)
"""Patterns that capture what may be a patient, the surest first: a word with a number; a letter
with a number; all of a name but its last part."""
SIDES = (
    (r"(?i)(?:^|[\W_])left(?:$|[\W_])", r"(?i)(?:^|[\W_])right(?:$|[\W_])"),
    (r"(?:^|[\W_])(?:OS|os)(?:$|[\W_])", r"(?:^|[\W_])(?:OD|od)(?:$|[\W_])"),
    (r"(?:^|[\W_])L(?:$|[\W_])", r"(?:^|[\W_])R(?:$|[\W_])"),
)
"""Words for the left and the right side: in full, of eyes, and as letters."""


def patient_patterns(ids: Sequence[str]) -> tuple[list[str], int] | None:
    """Patterns of which the first that matches captures a suspected patient, and their number.

    Of several that fit, those that find the fewest patients: to keep too many images together does
    no harm. None where they find no groups of a few images each, or nothing in some of the names.
    """
    several = [[pattern] for pattern in PATIENTS]
    several += [[first, second] for first in PATIENTS[:2] for second in PATIENTS[1:]]
    fitting: list[tuple[int, list[str]]] = []
    for patterns in several:
        compiled = list(map(re.compile, dict.fromkeys(patterns)))
        found = [next(filter(None, (c.search(id_) for c in compiled)), None) for id_ in ids]
        groups = Counter(match[1] for match in found if match)
        repeated = len(groups) < len(ids) and len(groups) >= FEWEST
        if all(found) and repeated and max(groups.values()) <= LARGEST * len(ids):
            fitting.append((len(groups), list(dict.fromkeys(patterns))))
    if not fitting:
        return None
    count, patterns = min(fitting, key=lambda pair: (pair[0], len(pair[1])))
    return patterns, count


def sides_in(texts: Iterable[str]) -> tuple[str, str] | None:
    """A text that says left and one that says right; None where not both are there."""
    known = list(texts)
    for left, right in SIDES:
        one = next((text for text in known if re.search(left, text)), None)
        other = next((text for text in known if re.search(right, text)), None)
        if one is not None and other is not None:
            return one, other
    return None
