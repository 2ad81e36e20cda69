"""Train the MONAI tutorial's classifier on MedNIST and report its test accuracy.

With a CUDA device: the tutorial's set-up on the full set. Without one: the recipe
``mednist_fast``, which takes about a minute and a half on two CPU cores. Without MedNIST and
without a network to download it: images that medpipe draws itself.
"""

from __future__ import annotations

import argparse
import sys

import medpipe


def choose(full: bool) -> medpipe.PipelineBuilder:
    """Choose the pipeline for this machine, and say why."""
    import torch

    if full or torch.cuda.is_available():
        print("The tutorial's set-up: three epochs of 47,000 images with batches of 512.")
        builder = medpipe.PipelineBuilder()
    else:
        print("There is no CUDA device: the recipe 'mednist_fast' is trained on the CPU.")
        print("(--full uses the tutorial's set-up, about 40 minutes on two cores.)")
        builder = medpipe.PipelineBuilder.from_recipe("mednist_fast")
    try:
        medpipe.Registry.discover().datasets["mednist"]().build()
    except medpipe.DownloadError as error:
        print(f"{error}\nMedNIST was not found, so 'phantom' is used: images drawn by medpipe.")
        return builder.dataset("phantom")
    return builder


def main() -> None:
    """Choose, train, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the tutorial's set-up on any device")
    parser.add_argument("--output", help="the run directory; by default runs/<data set>-<time>")
    parser.add_argument("--resume", action="store_true", help="resume the run in --output")
    arguments = parser.parse_args()
    pipeline = choose(arguments.full).build()
    run = pipeline.run(arguments.output, resume=arguments.resume)
    if run.status != "finished":  # by SIGTERM, as schedulers send it
        sys.exit(f"The run is not finished. Resume it with --output {run.path} --resume")

    test = run.metrics["test"]
    interval = test["intervals"]["accuracy"]
    spread = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    images = f"{test['images']} images of {pipeline.configuration.dataset.name}"
    print(f"Test accuracy {test['accuracy']:.4f} on {images}{spread}")
    print(f"The run is in {run.path}")
    print("Next: medpipe show network densenet121, or change a step: docs/tutorial.md")


if __name__ == "__main__":
    main()
