"""Try the reader on written and on damaged files, and print tables for the docs.

Example::

    python -m tests.formats law --examples 4000
    python -m tests.formats damage
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hypothesis import HealthCheck, Phase, given, settings

from formats.damage import HOWS, damage
from formats.written import Written, decoded, wrong

FORMATS = ("png", "jpeg", "tiff", "bmp", "dicom", "nifti")


def law(name: str, examples: int) -> None:
    """Print how many files of a format were read rightly, were refused, and were read wrongly."""
    counts: Counter[str] = Counter()
    said: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(import_module(f"formats.{name}").EXAMPLES)
    def each(written: Written) -> None:
        why = wrong(written)
        refused = isinstance(decoded(written.content, written.reading), str)
        counts["wrong" if why else "refused" if refused else "equal"] += 1
        if why:
            said[why[:300]] += 1

    each()
    total = sum(counts.values())
    print(f"| {name} | {total} | {counts['equal']} | {counts['refused']} | {counts['wrong']} |")
    for why, count in said.most_common(16):
        print(f"  {count} x {why}")
    sys.stdout.flush()


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["law", "damage"])
    parser.add_argument("formats", nargs="*", default=FORMATS)
    parser.add_argument("--examples", type=int, default=4000, help="for each format")
    arguments = parser.parse_args()
    if arguments.what == "law":
        print("| format | files | equal | refused | wrong |\n|---|---|---|---|---|")
        for name in arguments.formats:
            law(name, arguments.examples)
        return
    print(f"| file | place | bytes | {' | '.join(HOWS)} |\n|---|---|---|{'---|' * len(HOWS)}")
    for name in arguments.formats:
        for title, small in import_module(f"formats.{name}").SMALL.items():
            for place, counted in damage(small).items():
                cells = [
                    f"{counted[how]['silent']} of {sum(counted[how].values())}" for how in HOWS
                ]
                total = sum(counted["cut"].values())
                print(f"| {name}: {title} | {place} | {total} | {' | '.join(cells)} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
