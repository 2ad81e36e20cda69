"""Plugins whose modules or hooks are wrong, each with its error."""

from __future__ import annotations

from support.programs import HEAD

HOOKS = "medpipe_datasets, medpipe_transforms, medpipe_networks, medpipe_trainers, medpipe_losses, "
HOOKS += (
    "medpipe_optimizers, medpipe_schedules, medpipe_metrics, medpipe_inferers, medpipe_handlers, "
    "medpipe_readers, medpipe_tasks, medpipe_exports"
)

BROKEN: dict[str, tuple[str, str]] = {
    "bad-import": (
        "import no_such_module",
        "importing it raised ModuleNotFoundError: No module named 'no_such_module' "
        "({file}, line 1).",
    ),
    "bad-syntax": (
        "def",
        "importing it raised SyntaxError: invalid syntax (bad_syntax.py, line 1)",
    ),
    "bad-exit": (
        "import sys\nsys.exit('bye')",
        "importing it raised SystemExit: bye ({file}, line 2).",
    ),
    "bad-raise": (
        HEAD + "@hookimpl\ndef medpipe_networks():\n    raise ValueError('no licence')",
        "medpipe_networks raised ValueError: no licence ({file}, line 11).",
    ),
    "bad-none": (
        HEAD + "@hookimpl\ndef medpipe_networks():\n    [Net]",
        "medpipe_networks gave None; return a list of step classes.",
    ),
    "bad-type": (
        HEAD + "@hookimpl\ndef medpipe_networks():\n    return 'net'",
        "medpipe_networks gave 'net'; return a list of step classes.",
    ),
    "bad-object": (
        HEAD + "@hookimpl\ndef medpipe_networks():\n    return [Net()]",
        "medpipe_networks: Net() is not a class.",
    ),
    "bad-kind": (
        HEAD + "@hookimpl\ndef medpipe_losses():\n    return [Net]",
        "medpipe_losses: Net is not a LossStep.",
    ),
    "bad-generator": (
        HEAD + "@hookimpl\ndef medpipe_networks():\n    yield Net\n    raise KeyError('half')",
        "medpipe_networks raised KeyError: 'half' ({file}, line 12).",
    ),
    "bad-hook-name": (
        HEAD + "@hookimpl\ndef medpipe_network():\n    return [Net]",
        f"medpipe_network is not a hook of medpipe; the hooks are {HOOKS}.",
    ),
    "bad-no-decorator": (
        "from typing import ClassVar\nfrom medpipe.plugin import NetworkStep, hookimpl\n"
        "class Net(NetworkStep):\n    name: ClassVar[str] = 'net'\n    width: int = 1\n"
        "    def build(self, data): ...\n@hookimpl\ndef medpipe_networks(): return [Net]",
        "medpipe_networks: Net lacks the decorator @attrs.frozen(kw_only=True).",
    ),
    "bad-no-hookimpl": (
        HEAD + "def medpipe_networks():\n    return [Net]",
        "medpipe_networks is not marked: put @hookimpl of medpipe.plugin above it.",
    ),
    "bad-exit-in-hook": (
        HEAD + "@hookimpl\ndef medpipe_networks():\n    raise SystemExit(3)",
        "medpipe_networks raised SystemExit: 3 ({file}, line 11).",
    ),
    "bad-mutable": (
        HEAD.replace("frozen", "define") + "@hookimpl\ndef medpipe_networks(): return [Net]",
        "medpipe_networks: Net must be decorated with @attrs.frozen(kw_only=True).",
    ),
    "bad-list-parameter": (
        HEAD.replace('"net"\n', '"net"\n    widths: list[int] = attrs.field(factory=list)\n')
        + "@hookimpl\ndef medpipe_networks(): return [Net]",
        "medpipe_networks: Net has a parameter 'widths' of a wrong type: a configuration can't "
        "hold list; use bool, int, float, str, Path, Literal, tuple, Mapping[str, ...], an attrs "
        "class or a step kind.",
    ),
    "bad-optional": (
        HEAD.replace('"net"\n', '"net"\n    width: int | None = 3\n')
        + "@hookimpl\ndef medpipe_networks(): return [Net]",
        "medpipe_networks: Net has a parameter 'width' that may be None but has another default; "
        "TOML has no null, so None must be the default.",
    ),
    "bad-wrapper": (
        HEAD + "@hookimpl(wrapper=True)\ndef medpipe_networks():\n    return (yield)",
        "medpipe_networks is a hook wrapper; a plugin may only offer its own steps.",
    ),
    "bad-twins": (
        HEAD + "@attrs.frozen(kw_only=True)\nclass Two(Net):\n    name: ClassVar[str] = 'net'\n"
        "@hookimpl\ndef medpipe_networks():\n    return [Net, Two]",
        "medpipe_networks offers two: Net and Two are both network steps named 'net'.",
    ),
    "bad-empty": (
        "x = 1",
        f"it implements no hook of medpipe; the hooks are {HOOKS}.",
    ),
}
BROKEN["bad-twins"] = (BROKEN["bad-twins"][0], "Net and Two are both network steps named 'net'.")

OFFER = "@hookimpl\ndef medpipe_networks(): return [Net]"


def field(line: str) -> str:
    return HEAD.replace('"net"\n', f'"net"\n    {line}\n') + OFFER


KEPT = "medpipe_networks: Net has a parameter '{}', a name that medpipe keeps for itself."

HOSTILE: dict[str, tuple[str, str]] = {
    "keeps-step": (field("step: int = 1"), KEPT.format("step")),
    "keeps-random": (field("random: int = 1"), KEPT.format("random")),
    "keeps-ready": (field("ready: int = 1"), KEPT.format("ready")),
    "hides": (
        field("_width: int = 1"),
        "medpipe_networks: Net has a parameter '_width' that starts with an underscore; "
        "configurations can't name it.",
    ),
    "untyped": (
        field("width = attrs.field(default=1)"),
        "medpipe_networks: Net has a parameter 'width' without a type.",
    ),
    "type-of-nowhere": (
        field("width: 'Nowhere' = 1"),
        "medpipe_networks: Net has a parameter whose type can't be resolved (name 'Nowhere' is not "
        "defined): import it at run time.",
    ),
    "positional": (
        HEAD.replace("kw_only=True", "") + OFFER,
        "medpipe_networks: Net must be decorated with @attrs.frozen(kw_only=True).",
    ),
    "no-name": (
        HEAD.replace('    name: ClassVar[str] = "net"\n', "") + OFFER,
        'medpipe_networks: Net needs a name: name: ClassVar[str] = "..." of lower case letters, '
        'digits and "_".',
    ),
    "wrong-name": (
        HEAD.replace('"net"', '"My Net:2"') + OFFER,
        'medpipe_networks: Net needs a name: name: ClassVar[str] = "..." of lower case letters, '
        'digits and "_".',
    ),
    "no-build": (
        HEAD.replace("    def build(self, data): ...\n", "") + OFFER,
        "medpipe_networks: Net has no build method.",
    ),
    "class-as-list": (
        HEAD + "@hookimpl\ndef medpipe_networks(): return Net",
        "medpipe_networks gave <class 'class_as_list.Net'>; return a list of step classes.",
    ),
    "gives-number": (
        HEAD + "@hookimpl\ndef medpipe_networks(): return 7",
        "medpipe_networks gave 7; return a list of step classes.",
    ),
    "gives-strings": (
        HEAD + "@hookimpl\ndef medpipe_networks(): return ['net']",
        "medpipe_networks: 'net' is not a class.",
    ),
    "wants-arguments": (
        HEAD + "@hookimpl\ndef medpipe_networks(registry): return [Net]",
        "medpipe_networks is called without arguments, but takes 'registry'.",
    ),
    "own-exception": (
        "class Odd(BaseException): pass\nraise Odd('odd')",
        "importing it raised Odd: odd ({file}, line 2).",
    ),
    "recurses": (
        "def f(): f()\nf()",
        "importing it raised RecursionError: maximum recursion depth exceeded ({file}, line 1).",
    ),
}
