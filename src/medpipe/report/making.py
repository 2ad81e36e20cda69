"""How a run was made: the chain, where the time went, provenance, how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.splits.split_file import SPLITS_FILE
from medpipe.registry.wrapped import Wrapped
from medpipe.report.blocks import Bars, Block, Code, Flow, Section, Shown, Table, Text

if TYPE_CHECKING:
    from medpipe.assembly import Assembly
    from medpipe.report.facts import ReportFacts
    from medpipe.steps import Step

CONFIGURATION = "pipeline.toml"
WORDS = {
    "imports": "importing libraries",
    "listing": "listing the samples",
    "scanning": "reading images for their hashes",
    "splitting": "dividing the samples",
    "checking": "the rest of the check",
    "packing": "making or opening the packed cache",
    "building": "building the network and the trainer",
    "first_batch": "the first batch",
    "first_step": "the first step",
    "training": "training and validation",
    "test": "the test",
}
"""What each of a run's timings is of; `check`, `start_up`, `compile` and `total` overlap these."""


def chain_section(facts: ReportFacts, shown: Shown) -> Section | None:
    """The steps from the data set to the network, each with its plugin and its parameters."""
    assembly = facts.assembly
    if assembly is None:
        return None
    configuration = assembly.configuration
    boxes = []
    for path, step in configuration.steps():
        kind = path.partition("[")[0].replace(".", " ")
        title, whose = _titled(assembly, step)
        boxes.append((kind, title, whose, _parameters(step, shown)))
    settings = [Flow(boxes=boxes)]
    return Section(key="chain", title="The pipeline", blocks=settings)


def _titled(assembly: Assembly, step: Step) -> tuple[str, str]:
    plugin = assembly.registry.plugin_of(step)
    if plugin is None:
        return step.name, "a ready-made object"
    return step.name, f"{plugin.distribution} {plugin.version}"


def _parameters(step: Step, shown: Shown) -> list[str]:
    """The parameters that are not at their defaults."""
    if isinstance(step, Wrapped):
        return []
    lines = []
    for field in attrs.fields(type(step)):  # type: ignore[arg-type]  # every step is one
        value = getattr(step, field.name)
        if _is_step(value) or value == field.default:
            continue
        if not shown.paths and (step.kind == "dataset" or _may_name(value)):
            if isinstance(value, (bool, int, float)):
                lines.append(f"{field.name} = {value}")
            continue
        text = str(value) if isinstance(value, (str, Path)) else f"{value!r}"
        lines.append(f"{field.name} = {text[:77]}{'...' if len(text) > 77 else ''}")
    return lines


def _is_step(value: Any) -> bool:
    items = value if isinstance(value, tuple) and value else (value,)
    return all(hasattr(item, "kind") and attrs.has(type(item)) for item in items)


def _may_name(value: Any) -> bool:
    """Whether a value may hold a path."""
    if isinstance(value, Path):
        return True
    if isinstance(value, str):
        return "/" in value or "\\" in value
    if isinstance(value, (tuple, list)):
        return any(_may_name(item) for item in value)
    if isinstance(value, Mapping):
        return any(_may_name(item) for pair in value.items() for item in pair)
    return False


def time_section(record: Mapping[str, Any]) -> Section | None:
    """Where the time went."""
    timings = record.get("timings", {})
    known = {WORDS[name]: float(timings[name]) for name in WORDS if name in timings}
    if not known:
        return None
    longest = max(known.values()) or 1.0
    rows = [(name, value / longest, _seconds(value)) for name, value in known.items()]
    blocks: list[Block] = [Bars(rows=rows)]
    if "total" in timings:
        blocks.append(Text(text=f"In all {_seconds(float(timings['total']))}."))
    return Section(key="time", title="Where the time went", blocks=blocks)


def _seconds(value: float) -> str:
    if value < 100:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def provenance(facts: ReportFacts, shown: Shown) -> Section:
    """Versions, hardware, seeds and digests, and the command that repeats the run."""
    rows = list(_provenance_rows(facts, shown))
    blocks: list[Block] = [Table(columns=["", ""], rows=rows)]
    command = repeating_command(facts, shown)
    if command is None:
        why = "; ".join(facts.record.get("not_repeatable_because", ()))
        said = f" ({why})" if why and shown.paths else ""
        blocks.append(Text(text=f"The run can't be repeated from its configuration{said}."))
    else:
        blocks.append(Code(text=command, caption="This repeats the run:"))
    if shown.paths:
        text = _configuration(facts)
        if text:
            blocks.append(Code(text=text, caption=CONFIGURATION, folded=True))
    return Section(key="provenance", title="Provenance", blocks=blocks)


def _provenance_rows(facts: ReportFacts, shown: Shown) -> Iterator[tuple[str, str]]:
    record = facts.record
    if shown.paths:
        yield "run", str(record["name"])
        yield "command", shlex.join(map(str, record.get("command", ())))
    yield "started", str(record["started"])
    yield "finished", str(record["finished"])
    yield "seeds", ", ".join(f"{name} {seed}" for name, seed in record["seeds"].items())
    split = record.get("split", {})
    if split.get("folds"):
        yield "fold", f"{split['fold']} of {split['folds']}"
    yield "digest of the data", str(record["data"]["digest"])
    yield "digest of the split", str(split.get("digest", ""))
    yield "device", f"{record['device']}, {record['precision']}"
    hardware = record.get("hardware", {})
    yield (
        "hardware",
        ", ".join(str(hardware[name]) for name in ("gpu", "cpu", "system") if hardware.get(name)),
    )
    yield "versions", ", ".join(f"{name} {v}" for name, v in record.get("versions", {}).items())
    for plugin in record.get("plugins", ()):
        yield f"plugin {plugin['distribution']}", str(plugin["version"])
    git = record.get("git")
    if git:
        yield "git commit", git["commit"] + (" with changes" if git["changed"] else "")
    weights = record.get("weights")
    if weights and shown.paths:
        yield "weights", str(weights)
    sessions = record.get("sessions", ())
    if len(sessions) > 1:
        yield "sessions", f"{len(sessions)}: it was resumed {len(sessions) - 1} times"


def repeating_command(facts: ReportFacts, shown: Shown) -> str | None:
    """The command that repeats a run; None where it can't be repeated."""
    if not facts.record.get("repeatable", False):
        return None
    folder = facts.path if shown.paths else Path()
    return shlex.join(
        [
            "medpipe",
            "run",
            str(folder / CONFIGURATION),
            "--set",
            f"split.file={folder / SPLITS_FILE}",
        ]
    )


def _configuration(facts: ReportFacts) -> str:
    try:
        return (facts.path / CONFIGURATION).read_text(encoding="utf-8")
    except OSError:
        return ""
