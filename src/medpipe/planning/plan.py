"""`Plan` and `plan`: from data to a configuration with a reason for each choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe import config
from medpipe.assembly import Assembly
from medpipe.config.writing import toml_text
from medpipe.errors import BadDataError, ConfigError, DataError
from medpipe.planning import choices
from medpipe.planning.choice import Choice
from medpipe.planning.design import Designer
from medpipe.planning.layout import layout_of
from medpipe.registry.registry import Registry
from medpipe.system import files
from medpipe.system.hardware import choose_device
from medpipe.system.html import preformatted
from medpipe.system.text import counted

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from medpipe.data.preparation import PreparedData

SHARES = (None, 0.15, 0.2, 0.25)
"""Fractions of validation and test that are tried; None: the usual."""
MINUTES = 30.0
"""How long a run may take where nothing is said."""


@attrs.frozen(kw_only=True)
class Plan:
    """A configuration, and what a person should look at.

    Attributes:
        text: The configuration as TOML, each choice with its reason in a comment.
        questions: What was decided on the safe side, and only a person knows.
    """

    text: str
    questions: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the configuration, whole or not at all."""
        files.write_text(Path(path), self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Plan({counted(len(self.questions), 'question')}; print it to see all)"

    def _repr_html_(self) -> str:
        return preformatted(self.text)


def plan(
    data: str | os.PathLike[str],
    *,
    minutes: float = MINUTES,
    label: str | None = None,
    registry: Registry | None = None,
) -> Plan:
    """Look at data and write the configuration that an expert would begin with.

    Every image is read once. Doubts are decided on the safe side: what may be a patient is
    grouped, and where names tell left from right nothing is flipped.

    Args:
        data: A folder with a folder of images for each class (below folders of splits, where it
            has them), or a CSV or TSV table that names images, or a folder with one. For a
            segmentation: a folder with ``dataset.json`` of the decathlon or of nnU-Net, with
            folders ``images`` and ``masks``, or in BIDS with derivatives; or a table with a column
            of masks.
        minutes: How long training may take on this machine.
        label: The column of a table to learn, where several may be.
        registry: Where steps are looked up; by default every installed plugin's.

    Raises:
        DataError: The data have no such layout, or can't be read.
    """
    registry = Registry.discover() if registry is None else registry
    layout = layout_of(Path(data), label)
    document: dict[str, Any] = {"format": config.FORMAT, "dataset": layout.table}
    dataset, run = list(layout.choices), []
    prepared, faults = _prepared(document, registry)
    if faults:
        reason = f"{counted(faults, 'faulty sample')}, listed in quarantine.csv"
        run.append(Choice(name="bad_data", value="quarantine", reason=reason))
    split = [
        Choice(name=name, value=value, reason="there are few patients" * (name == "validation"))
        for name, value in document.get("split", {}).items()
    ]
    images = choices.images_of(prepared)
    channels = choices.channel_choice(images)
    if channels is not None:
        dataset.append(channels)
        document["dataset"][channels.name] = channels.value
    training = len(prepared.by_split["training"])
    device = str(choose_device("auto")[0])
    budget = minutes * 60
    design = Designer(
        document=document,
        registry=registry,
        prepared=prepared,
        images=images,
        sides=layout.sides,
        budget=budget,
        device=device,
    ).design()
    batch, batches, seconds = design.batch, -(-training // design.batch), design.seconds
    epochs = choices.epochs_for(batches, seconds, budget)
    took = choices.epoch_seconds(batches, seconds) * epochs / 60
    loader = [Choice(name="batch_size", value=batch, reason=counted(training, "training sample"))]
    sampling = choices.sampling_choice(prepared)
    loader += [sampling] if sampling is not None else []
    trainer = [
        Choice(name="step", value="supervised"),
        Choice(
            name="max_epochs",
            value=epochs,
            reason=f"{counted(batches * epochs, 'iteration')}, about {_time(took)} on {device}; "
            f"the limit is {_time(minutes)}",
        ),
        design.rate,
        design.optimizer,
        Choice(
            name="schedule", value="one_cycle", reason="the rate rises, then falls, over the run"
        ),
    ]
    if device != "cpu" or prepared.dataset.task.step.dense:
        reason = "bfloat16 if the hardware is faster in it"
        trainer.append(Choice(name="precision", value="auto", reason=reason))
    chosen, why = design.network
    sections = [
        _section("[dataset]", dataset),
        *(
            _section("[[transform]]", [Choice(name=k, value=v) for k, v in step.items()], reason)
            for step, reason in design.transforms
        ),
        _section("[network]", [Choice(name=k, value=v) for k, v in chosen.items()], why),
        *([_section("[inferer]", *design.inferer)] if design.inferer else []),
        _section("[trainer]", trainer),
        _section("[loader]", loader),
        *([_section("[split]", split)] if split else []),
        *([_section("[run]", run)] if run else []),
    ]
    head = [f"# What medpipe plan found in {data}: {_found(prepared, images)}."]
    head += [f"# Look at this: {question}" for question in layout.questions]
    text = "\n".join(head) + "\n" + f"format = {config.FORMAT}\n\n" + "\n".join(sections)
    config.load(config.parse(text), registry=registry)  # what is written can be read
    return Plan(text=text, questions=layout.questions)


def _assembly(document: Mapping[str, object], registry: Registry) -> Assembly:
    return Assembly(configuration=config.load(document, registry=registry), registry=registry)


def _prepared(document: dict[str, Any], registry: Registry) -> tuple[PreparedData, int]:
    """The data, scanned and split, and how many of them had to be left out.

    The document gets ``run.bad_data`` and the fractions of its splits, where they are needed.
    """
    try:
        return _split(document, registry), 0
    except BadDataError:
        document["run"] = {"bad_data": "quarantine"}
        prepared = _split(document, registry)
        return prepared, len(prepared.quarantine)
    except ConfigError as error:
        raise DataError(f"No plan can be made: {error}") from error


def _split(document: dict[str, Any], registry: Registry) -> PreparedData:
    """Divide the data, by larger fractions where there are too few patients for the usual."""
    for fraction in SHARES:
        if fraction is not None:
            document["split"] = {"validation": fraction, "test": fraction}
        try:
            return _assembly(document, registry).prepare_data()
        except BadDataError:
            raise
        except DataError as error:
            if fraction == SHARES[-1] or "is empty" not in str(error):
                raise
    raise AssertionError("the last fraction returns or raises")


def _time(minutes: float) -> str:
    if minutes < 1.5:
        return counted(max(1, round(60 * minutes)), "second")
    if minutes < 120:
        return counted(round(minutes), "minute")
    return counted(round(minutes / 60), "hour")


def _found(prepared: PreparedData, images: choices.Images) -> str:
    task = prepared.dataset.task
    count = sum(images.sizes.values())
    names = ", ".join(task.names[:8]) + (", ..." if len(task.names) > 8 else "")
    kind = "volume" if images.dims == 3 else "image"
    return f"{counted(count, kind)}, {task.kind}: {names}"


def _section(title: str, some: Sequence[Choice], reason: str = "") -> str:
    lines = [f"# {reason[:1].upper()}{reason[1:]}."] if reason else []
    lines.append(title)
    for choice in some:
        if choice.reason:
            lines.append(f"# {choice.reason[:1].upper()}{choice.reason[1:]}.")
        lines.append(f"{choice.name} = {toml_text(choice.value)}")
    return "\n".join(lines) + "\n"
