"""The commands to try a new plugin with: those that its README has, and those said next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_RUN = "medpipe run mednist_fast"
_DRAWN = "dataset.step=phantom --set dataset.samples=240"
"""The images of a run that needs no files."""

_FOLDER = "dataset.step=image_folder --set dataset.root=FOLDER"

_INTRODUCTION = "Each command trains on images that are drawn, in a minute or two on a CPU:"

_SETTINGS = {
    "dataset": "dataset.step={step} --set dataset.root=images",
    "transform": """'transform=["default", "{step}"]'""",
    "network": "network.step={step}",
    "trainer": "trainer.step={step} --set trainer.max_epochs=4",
    "loss": "trainer.loss.step={step}",
    "optimizer": "trainer.optimizer.step={step} --set trainer.learning_rate=1e-4",
    "schedule": "trainer.schedule.step={step}",
    "metric": """'metric=["{step}"]' --set trainer.monitor={step}""",
    "inferer": "inferer.step={step}",
    "handler": """'handler=["{step}"]'""",
    "reader": """'reader=["{step}"]' --set dataset.step=image_folder --set dataset.root=pictures""",
    "task": "dataset.step=table --set dataset.file=cases.csv --set dataset.task.step={step}",
}
"""How ``--set`` names a step. The files of three kinds are drawn by `_DRAWINGS`."""

_WITH_PARAMETERS = {
    "transform": """'transform=["default", {{step="{step}", scale=0.2}}]'""",
    "network": "network.step={step} --set network.width=32",
    "loss": "trainer.loss.step={step} --set trainer.loss.smoothing=0.2",
    "task": "dataset.step=table --set dataset.file=cases.csv --set dataset.task.step={step} "
    """--set 'dataset.task.order=["low", "high"]'""",
}
"""The same with a parameter, for the kinds whose parameters are most often set."""

_DRAWINGS = {
    "dataset": """\
The data set's command needs pictures with such names:

```python
from pathlib import Path

import numpy as np
from PIL import Image

random = np.random.default_rng(0)
Path("images").mkdir(exist_ok=True)
for number in range(240):
    positive = number // 2 % 2
    values = random.normal(80, 20, (32, 32))
    values[8:24, 8:24] += 60 * positive
    name = f"{number // 2:03}_{number}_{['negative', 'positive'][positive]}.png"
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(Path("images", name))
```
""",
    "reader": """\
The reader's command needs files of its format, in a folder for each class:

```python
from pathlib import Path

import numpy as np

random = np.random.default_rng(0)
for number in range(240):
    values = random.normal(80, 20, (32, 32))
    values[8:24, 8:24] += 60 * (number % 2)
    path = Path("pictures", ["plain", "square"][number % 2], f"{number:03}.pgm")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"P5\\n32 32\\n255\\n" + values.clip(0, 255).astype(np.uint8).tobytes())
```
""",
    "task": """\
The task's command needs a table:

```python
from pathlib import Path

import numpy as np
from PIL import Image

random = np.random.default_rng(0)
Path("cases").mkdir(exist_ok=True)
rows = ["image,label"]
for number in range(240):
    values = random.normal(80, 20, (32, 32))
    values[8:24, 8:24] += 60 * (number % 2)
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(f"cases/{number:03}.png")
    rows.append(f"cases/{number:03}.png,{['low', 'high'][number % 2]}")
Path("cases.csv").write_text("\\n".join(rows) + "\\n")
```
""",
}
"""What draws the files that the command of a kind needs."""


def commands_of(name: str, folder: str) -> list[str]:
    """The commands that install and test a plugin, from the folder that its own lies in.

    Args:
        name: Its distribution.
        folder: Its own folder.
    """
    inside = [shlex.quote(f"{folder}/{path}") for path in ("pyproject.toml", "src", "tests")]
    return [
        f'pip install -e "{folder}[test]"',
        "medpipe plugins",
        f"pytest {shlex.quote(folder)}",
        f"mypy --config-file {' '.join(inside)}",
        f"medpipe check-plugin {name}",
    ]


def next_commands(name: str, folder: str, step: str, kinds: Sequence[str]) -> list[str]:
    """What to do with a new plugin: `commands_of`, and a training with one of its steps.

    Args:
        name: Its distribution.
        folder: Its own folder.
        step: The plugin's name as part of those of its steps.
        kinds: The kinds of steps that it has; one that needs no files is trained with.
    """
    kind = min(kinds, key=lambda kind: (kind in _DRAWINGS, kind != "network"))
    return [*commands_of(name, folder), *_training(kind, step)]


def training_section(step: str, kinds: Sequence[str]) -> str:
    """The README's section with the training commands of each kind.

    Args:
        step: The plugin's name as part of those of its steps.
        kinds: The kinds of steps that it has.
    """
    lines: list[str] = []
    for kind in kinds:
        lines += _training(kind, step)
        if kind in _WITH_PARAMETERS:
            lines.append(_run(_WITH_PARAMETERS[kind], f"{step}_{kind}", f"{step}_{kind}_2"))
    commands = "\n".join(f"$ {line}" for line in lines)
    drawings = "".join(f"\n{text}" for kind, text in _DRAWINGS.items() if kind in kinds)
    return f"""## Train with each step

{_INTRODUCTION}

```console
{commands}
```

For a folder of your own, with a subfolder for each class, write `{_FOLDER}` in place of `{_DRAWN}`.
{drawings}"""


def _training(kind: str, step: str) -> list[str]:
    """The commands that train with a step, or that train and export."""
    name = f"{step}_{kind}"
    if kind == "export":
        return [_run(_DRAWN, name, name), f"medpipe export runs/{name} --format {name}"]
    return [_run(_SETTINGS[kind], name, name)]


def _run(settings: str, step: str, run: str) -> str:
    settings = settings.format(step=step)
    if "dataset.step" not in settings:
        settings = f"{_DRAWN} --set {settings}"
    return f"{_RUN} --set {settings} --set loader.batch_size=16 --output runs/{run}"
