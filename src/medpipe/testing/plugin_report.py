"""`PluginReport`: what became of all checks of a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.testing.check import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@attrs.frozen(kw_only=True)
class Checked:
    """What became of a check, of the plugin or of a step's example.

    Attributes:
        name: Of the check.
        status: ``passed``, ``failed`` or ``skipped``.
        said: Why it failed or was skipped.
        protects: What goes wrong where it fails.
        remedy: What to do then.
        example: The step that was tried; empty for a check of the plugin.
    """

    name: str
    status: Status
    said: str = ""
    protects: str = ""
    remedy: str = ""
    example: str = ""


@attrs.frozen(kw_only=True)
class StepReport:
    """What became of the checks of a step.

    Attributes:
        kind: Of the step.
        name: Of the step.
        checked: The checks, once for each example.
        demanded: How many checks a step of the kind has.
    """

    kind: str
    name: str
    checked: Sequence[Checked]
    demanded: int

    def count(self, status: Status) -> int:
        """How many checks have a status, those of all examples together."""
        return sum(one.status == status for one in self.checked)

    @property
    def lacking(self) -> int:
        """How many checks neither passed nor failed nor say why they were skipped."""
        told = {one.name for one in self.checked if one.status != "skipped" or one.said.strip()}
        return self.demanded - len(told)

    @property
    def passed(self) -> bool:
        """Whether none failed and none is lacking."""
        return not self.count("failed") and not self.lacking and bool(self.count("passed"))


@attrs.frozen(kw_only=True)
class PluginReport:
    """What became of all checks of a plugin.

    Attributes:
        distribution: The plugin.
        version: Its version; empty for a module.
        plugin: The checks of the plugin as a whole.
        steps: Those of its steps.
    """

    distribution: str
    version: str
    plugin: Sequence[Checked]
    steps: Sequence[StepReport]

    @property
    def title(self) -> str:
        """Distribution and version."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and every check has run or says why not."""
        of_plugin = all(one.status != "failed" for one in self.plugin)
        return of_plugin and all(step.passed for step in self.steps)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """The table by step, what failed, and why checks were skipped."""
        yield f"{self.title}: {'passed' if self.passed else 'failed'}"
        yield ""
        rows = [("", "run", "passed", "skipped", "failed")]
        rows.append(("the plugin", *_counts(self.plugin)))
        rows += [(f"{step.kind} {step.name}", *_counts(step.checked)) for step in self.steps]
        widths = [max(len(row[place]) for row in rows) for place in range(5)]
        for first, *numbers in rows:
            cells = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
            yield "  ".join([first.ljust(widths[0]), *cells]).rstrip()
        yield from self._failures()
        yield from self._skips()

    def _failures(self) -> Iterator[str]:
        parts = [("the plugin", self.plugin, 0)]
        parts += [(f"{step.kind} {step.name}", step.checked, step.lacking) for step in self.steps]
        for title, checked, lacking in parts:
            for one in checked:
                if one.status == "failed":
                    yield ""
                    yield f"{title} fails {one.name}: {one.said.rstrip('.')}."
                    yield f"  {one.protects} {one.remedy}"
                    if one.example:
                        yield f"  Tried: {one.example}"
            if lacking:
                yield ""
                yield (
                    f"{title}: {lacking} of its checks neither ran nor say why they were skipped. "
                    "Run all of them: leave --checks out."
                )

    def _skips(self) -> Iterator[str]:
        """The reasons for skips, each with the steps and the checks that it is of."""
        parts = [("the plugin", self.plugin)]
        parts += [(f"{step.kind} {step.name}", step.checked) for step in self.steps]
        reasons: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
        for title, checked in parts:
            for one in checked:
                if one.status == "skipped":
                    titles, names = reasons.setdefault(one.said, ({}, {}))
                    titles[title] = names[one.name] = None
        if reasons:
            yield ""
            yield "Skipped:"
        for reason, (titles, names) in reasons.items():
            yield f"  {', '.join(titles)}: {reason} ({', '.join(names)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "distribution": self.distribution,
            "version": self.version,
            "passed": self.passed,
            "plugin": [attrs.asdict(one) for one in self.plugin],
            "steps": [
                {
                    "kind": step.kind,
                    "name": step.name,
                    "passed": step.passed,
                    "demanded": step.demanded,
                    "lacking": step.lacking,
                    "checks": [attrs.asdict(one) for one in step.checked],
                }
                for step in self.steps
            ],
        }


def _counts(checked: Sequence[Checked]) -> tuple[str, str, str, str]:
    by = {
        name: sum(one.status == name for one in checked) for name in ("passed", "skipped", "failed")
    }
    return (
        str(by["passed"] + by["failed"]),
        str(by["passed"]),
        str(by["skipped"]),
        str(by["failed"]),
    )
