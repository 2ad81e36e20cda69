"""Run the fault suite and print a report.

Example::

    python -m tests.faults --kills 2000 --power-losses 500 --flips 2000 --failures all

Needs Linux. Everything is written below the folder for temporary files and removed again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import cases, runs, server
from faults.cases import CODES, Outcome, Subject

Cases = list[tuple[str, Callable[[], Outcome]]]

DENSENET = "densenet"
OTHERS = 200
"""Failures of other runs than the plain one, where all of the plain one's are asked for."""
DOUBLE = 0.1
"""The share of the kills of which what goes on is killed again."""


def kills(subjects: Sequence[Subject], count: int, random: Random) -> Cases:
    """Points to kill at, each once before any comes twice; of DenseNet121 100 at most."""
    every = [(given, place) for given in subjects for place in range(len(given.points))]
    heavy = [pair for pair in every if pair[0].name == DENSENET]
    light = [pair for pair in every if pair[0].name != DENSENET]
    chosen = random.sample(heavy, min(len(heavy), 100, count // 20 or 1)) if heavy else []
    while len(chosen) < count:
        chosen += random.sample(light, min(len(light), count - len(chosen)))
    made: Cases = []
    for number, (given, place) in enumerate(chosen):
        twice = number < DOUBLE * count
        second = random.randrange(len(given.points)) if twice else None
        then = "" if second is None else f", then at its point {second}"
        title = f"{given.name}: killed at {place}, {given.points[place]}{then}"
        made.append((title, cases.killed(given, place, second)))
    return made


def failures(subjects: Sequence[Subject], count: int | None, random: Random) -> Cases:
    """Operations with every error, once and lasting: some of all runs, or all of the first.

    The others do the same operations at other times; where all are asked for, theirs are sampled.
    """
    every = [
        (given, place, code, lasting)
        for given in subjects
        for place in range(given.operations)
        for code in CODES
        for lasting in (False, True)
    ]
    if count is None:
        others = [case for case in every if case[0] is not subjects[0]]
        chosen = [case for case in every if case[0] is subjects[0]]
        chosen += random.sample(others, min(OTHERS, len(others)))
    else:
        chosen = random.sample(every, count)
    made: Cases = []
    for given, place, code, lasting in chosen:
        title = f"{given.name}: operation {place} fails with {os.strerror(code)}"
        made.append((title, cases.failed(given, place, code, lasting=lasting)))
    return [*made, *((f"{given.name}: short writes", cases.short(given)) for given in subjects)]


def power_losses(subjects: Sequence[Subject], count: int, random: Random) -> Cases:
    """States of the disk, of all runs in turn."""
    turn = [subjects[number % len(subjects)] for number in range(count)]
    seeds = [random.randrange(1 << 30) for _ in turn]
    return [
        (f"{given.name}: power loss {seed}", cases.without_power(given, seed))
        for given, seed in zip(turn, seeds, strict=True)
    ]


def flips(subjects: Sequence[Subject], count: int, random: Random) -> Cases:
    """Bits of checkpoints, of all runs in turn."""
    turn = [subjects[number % len(subjects)] for number in range(count)]
    seeds = [random.randrange(1 << 30) for _ in turn]
    return [
        (f"{given.name}: flipped bit {seed}", cases.flipped(given, seed))
        for given, seed in zip(turn, seeds, strict=True)
    ]


def report(title: str, given: Cases, processes: int) -> dict[str, Any]:
    """Do cases and count them."""
    started, bad = time.monotonic(), []
    for done, (number, outcome) in enumerate(server.at_once([c for _, c in given], processes), 1):
        if not (isinstance(outcome, dict) and outcome.get("ok")):
            bad.append({"case": given[number][0], "outcome": outcome})
            print(f"{given[number][0]}: {outcome}", file=sys.stderr, flush=True)
        if done % 100 == 0:
            print(f"{title}: {done} of {len(given)}", file=sys.stderr, flush=True)
    return {
        "cases": len(given),
        "survived": len(given) - len(bad),
        "seconds": round(time.monotonic() - started, 1),
        "not_survived": bad,
    }


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--failures", default="40", help="a number, or all: of the plain run")
    parser.add_argument("--power-losses", type=int, default=40)
    parser.add_argument("--flips", type=int, default=40, help="in runs that then go on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--report", type=Path, help="where to write it besides")
    given = parser.parse_args()
    server.prepare()
    from medpipe.system.versions import versions
    from support.folders import image_folder

    random = Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        tempfile.tempdir = folder
        images = image_folder(Path(folder) / "images", samples=60, size=32)
        subjects = [cases.subject(*each) for each in runs.pipelines(images).items()]
        light = [subject for subject in subjects if subject.name != DENSENET]
        some = None if given.failures == "all" else int(given.failures)
        parts = {
            "kills": kills(subjects, given.kills, random),
            "failures": failures(light, some, random),
            "power_losses": power_losses(light, given.power_losses, random),
            "flips": flips(light, given.flips, random),
        }
        found: dict[str, Any] = {
            "versions": versions(),
            "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} processors",
            "seed": given.seed,
            "points": dict(Counter({s.name: len(s.points) for s in subjects})),
        }
        for title, part in parts.items():
            found[title] = report(title, part, given.processes)
    text = json.dumps(found, indent=2)
    print(text)
    if given.report is not None:
        given.report.write_text(text + "\n", encoding="utf-8")
    sys.exit(any(found[title]["not_survived"] for title in parts))


if __name__ == "__main__":
    main()
