"""What both sides share: their arguments, and how they report."""

from __future__ import annotations

import argparse
import json
import sys

Figures = dict[str, float]


def arguments() -> argparse.Namespace:
    """What the benchmark asks of one side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("row")
    parser.add_argument("--data", required=True)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--precision", default="float32")
    return parser.parse_args()


def report(figures: Figures) -> None:
    """Give the figures to the process that asked."""
    sys.stdout.write("\n" + json.dumps(figures) + "\n")
