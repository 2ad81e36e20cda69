"""The README and the LICENSE of a MONAI bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.plugin import WholeRun

LICENSE = """\
No license has been chosen for this bundle. Whoever publishes it puts the license of its weights
here. The terms of the data that they were trained on may restrict it.
"""

_README = """\
# {name}

{description}

A MONAI bundle, written by medpipe, which it does not need. In this folder:

```console
$ pip install monai {packages}
$ python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES \\
      --output_dir OUTPUT
```

It takes the files below IMAGES whose names end with {suffixes} (all
where this is empty), and writes {answers}

Before it got its name, MONAI ran it on the images in `samples/`, and its answers were those of
the run; `contract.json` and `verified.json` tell more. MONAI does not notice what it reads in
another way than the run did: {caution}

`python -m monai.bundle verify_net_in_out network_def --meta_file configs/metadata.json
--config_file configs/inference.json` checks the network's input and output{size}.
"""


def readme(described: Mapping[str, Any], whole: WholeRun) -> str:
    """What the bundle is, how to run it, and what it writes."""
    task = whole.data.task
    names = ", ".join(task.names)
    answers = "`predictions.csv`: for each file its path and then "
    if task.step.dense:
        values = task.step.written_values(task.names)
        labels = ["background", *task.names]
        meaning = ", ".join(f"{v} {name}" for v, name in zip(values, labels, strict=True))
        answers = f"a mask for each, on the file's own grid: {meaning}."
    elif task.step.answer_form == "numbers":
        answers += f"{names}{f' in {task.unit}' if task.unit else ''}. It has no header."
    else:
        answers += f"the probabilities of {names}. It has no header."
    cautions = ["colours of 16 bits (Pillow gives 8)"]
    if "dicom" in whole.files.formats:
        cautions.append("DICOM files that store white as 0, or pixels that are no measurement")
    cautions.append("volumes whose files don't say how large a voxel is (MONAI takes 1 mm)")
    shape = described["network_data_format"]["inputs"]["image"]["spatial_shape"]
    return _README.format(
        name=described["name"],
        description=described["description"],
        packages=" ".join(described["required_packages_version"]),
        suffixes=", ".join(f"`{suffix}`" for suffix in whole.files.suffixes),
        answers=answers,
        caution="; ".join(cautions) + ".",
        size="; `--any N` gives the length of a side of any length" if "*" in shape else "",
    )
