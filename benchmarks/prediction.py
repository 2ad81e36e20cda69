"""Prediction of many files against the bare forward loop: ``python -m benchmarks.prediction``.

A network is trained for an epoch on drawn images, and predicts a folder of PNG files in a process
of its own, as ``medpipe predict --output`` does: listing, reading, transforms, answers kept as they
come, and the table are counted, imports are not. The forward loop has its batches ready in memory,
in the same layout, and does nothing else. Where others use the machine, the other two ratios say
more, which leave the waiting out: by the CPU time of the process itself, and by that of its worker
processes too, as if there were no core for them.

Memory is that of the process and its workers (``Pss`` without pages of files) after each fifth of
the files, and at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.watching import resident

DRAWN = 2_000
"""Images that are drawn; more files are hard links to them."""
READY = 8
"""Batches that the forward loop has in memory."""


def prepare(folder: Path, *, images: int, size: int, network: dict[str, Any], batch: int) -> None:
    """Draw images, link them to as many names as are wanted, and train a network on some."""
    import numpy as np
    from PIL import Image

    import medpipe

    generator = np.random.default_rng(0)
    for number in range(min(DRAWN, images)):
        values = generator.integers(0, 256, (size // 4, size // 4), np.uint8)
        path = folder / "new" / f"{number // 1000:03}" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC).save(path)
    for number in range(DRAWN, images):
        first = number % DRAWN
        path = folder / "new" / f"{number // 1000:03}" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(folder / "new" / f"{first // 1000:03}" / f"{first:06}.png", path)
    for number in range(48):
        path = folder / "known" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = generator.integers(0, 256, (size, size), np.uint8)
        Image.fromarray(values).save(path)
    (
        medpipe.PipelineBuilder(device="auto")
        .dataset("image_folder", root=str(folder / "known"), channels=1)
        .network(network["step"], **{k: v for k, v in network.items() if k != "step"})
        .trainer("supervised", max_epochs=1, epoch_length=1)
        .loader(batch_size=batch)
        .split(validation=0.25, test=0.25)
        .build()
        .run(folder / "run")
    )


def forward_loop(folder: Path, images: int, batch: int) -> dict[str, Any]:
    """The bare loop: batches in memory, the network, and nothing else."""
    import torch

    from medpipe import Run
    from medpipe.training.memory_format import in_channels_last

    run = Run.load(folder / "run")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = run.network().to(device).eval()
    shape = (batch, run.data.channels, *run.data.spatial_shape)
    ready = [torch.rand(*shape, device=device) for _ in range(READY)]  # type: ignore[arg-type]
    precision = torch.bfloat16 if run.record["precision"] == "bfloat16" else torch.float32
    rounds = max(1, images // batch)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16)
    with torch.no_grad(), in_channels_last(network) as called, mixed:
        for values in ready:
            called(values)
        began, started = time.perf_counter(), time.process_time()
        for number in range(rounds):
            outputs = called(ready[number % READY])
        outputs.sum().item()  # on a GPU: wait for it
        seconds, computed = time.perf_counter() - began, time.process_time() - started
    by_cpu = rounds * batch / computed
    return {"rate": rounds * batch / seconds, "by_cpu": by_cpu, "with_workers": by_cpu}


def predicted(folder: Path, images: int, batch: int) -> dict[str, Any]:
    """Prediction of the folder into a file, with the memory on the way."""
    from medpipe import Run
    from medpipe.prediction.parts import KeptAnswers

    held: list[int] = []
    add, answered = KeptAnswers.add, 0

    def watching(self: KeptAnswers, some: Any) -> None:
        nonlocal answered
        add(self, some)
        answered += 1
        if answered % max(1, images // batch // 5) == 0:
            held.append(resident(os.getpid())[1])

    KeptAnswers.add = watching  # type: ignore[assignment, method-assign]
    run, output = Run.load(folder / "run"), folder / "new.csv"
    run.predict(next((folder / "new").rglob("*.png")))  # what is done once is not counted
    began, started, workers = time.perf_counter(), time.process_time(), _ended_workers()
    found = run.predict(folder / "new", output=output)
    seconds, computed = time.perf_counter() - began, time.process_time() - started
    workers = _ended_workers() - workers
    assert len(found) == images
    held.append(resident(os.getpid())[1])
    output.unlink()
    return {
        "rate": images / seconds,
        "by_cpu": images / computed,
        "with_workers": images / (computed + workers),
        "memory": held,
    }


def _ended_workers() -> float:
    """The CPU seconds of child processes that have ended."""
    used = os.times()
    return used.children_user + used.children_system


SIDES = {"loop": forward_loop, "predict": predicted}


def side(name: str, folder: Path, images: int, batch: int) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.prediction", "--side", name]
    command += ["--folder", str(folder), "--images", str(images), "--batch", str(batch)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure pairs and print each, and their median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--loop-images", type=int, default=5_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--network", type=json.loads, default={"step": "densenet121"})
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(SIDES[given.side](given.folder, given.images, given.batch)))
        return
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(
            folder,
            images=given.images,
            size=given.size,
            network=given.network,
            batch=given.batch,
        )
        for _ in range(given.pairs):
            loop = side("loop", folder, min(given.images, given.loop_images), given.batch)
            medpipe = side("predict", folder, given.images, given.batch)
            ratios.append(medpipe["rate"] / loop["rate"])
            memory = ", ".join(f"{held / 2**20:.0f}" for held in medpipe["memory"])
            print(
                f"the loop {loop['rate']:.0f} images/s, medpipe {medpipe['rate']:.0f}: "
                f"{ratios[-1]:.2f}; by the CPU time of the process itself "
                f"{medpipe['by_cpu'] / loop['by_cpu']:.2f}, with its workers "
                f"{medpipe['with_workers'] / loop['with_workers']:.2f}; {memory} MiB",
                flush=True,
            )
    print(
        f"{given.images:,} images: {statistics.median(ratios):.2f} times the forward loop "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
