"""Where a file can be changed, and how: cosmic-ray's operators, and statements taken out."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.work_item import MutationSpec
from parso.python.tree import Keyword
from parso.tree import NodeOrLeaf

from mutants.rooms import ROOT, Room

Position = tuple[int, int]
Span = tuple[Position, Position]

Place = tuple[MutationSpec, ...]
"""Changes of one kind at one place, such as all operators that can stand for a ``+``."""


class RemoveStatement(Operator):
    """Put ``pass`` in the place of a call, a raise, a deletion, or a change of what is there.

    This takes a sync, a rename or a check away, which cosmic-ray's own operators don't.
    """

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[Span]:
        if node.parent is not None and node.parent.type == "simple_stmt" and _has_effect(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: NodeOrLeaf, index: int) -> Keyword:
        return Keyword("pass", node.start_pos, prefix=node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return (
            Example("sync(file)\n", "pass\n"),
            Example("if a:\n    raise b\n", "if a:\n    pass\n"),
            Example("a += 1\n", "pass\n"),
            Example("a.b = 1\n", "pass\n"),
        )


def _has_effect(node: Any) -> bool:
    """Whether a statement does something that the next ones need not break without."""
    if node.type == "expr_stmt":
        target, sign, *_ = node.children
        return target.type == "atom_expr" or (sign.type == "operator" and sign.value != "=")
    return node.type in ("atom_expr", "power", "raise_stmt", "del_stmt")


cosmic_ray.plugins.OPERATOR_PROVIDERS["medpipe"] = {"RemoveStatement": RemoveStatement}


def places(room: Room, root: Path = ROOT) -> list[Place]:
    """All places of a room's files, in their order."""
    return [place for file in room for place in _places(root / file)]


def drawn(every: Sequence[Place], count: int | None, random: Random) -> list[MutationSpec]:
    """One change at each of so many places, or at all of them."""
    chosen = random.sample(every, len(every) if count is None else min(count, len(every)))
    return [random.choice(place) for place in chosen]


def _places(path: Path) -> Iterator[Place]:
    tree = get_ast_from_path(path)
    unread = list(_unread(ast.parse(path.read_text("utf-8"))))
    found = defaultdict[tuple[Span, str], list[MutationSpec]](list)
    for name in sorted(cosmic_ray.plugins.operator_names()):
        kind = cosmic_ray.plugins.get_operator(name)
        if kind.arguments():  # those need a list of names
            continue
        operator = kind()
        spans = (span for node in ast_nodes(tree) for span in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(spans):
            if any(first <= start and end <= last for first, last in unread):
                continue
            change = MutationSpec(path, name, occurrence, start, end)
            found[(start, end), name.partition("_")[0]].append(change)
    yield from (tuple(found[key]) for key in sorted(found))


def _unread(tree: ast.Module) -> Iterator[Span]:
    """What no interpreter reads: annotations, and what is for type checkers alone."""
    for node in ast.walk(tree):
        hidden: list[ast.expr | ast.stmt | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            hidden = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            hidden = [node.returns]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            hidden = [node]
        for part in hidden:
            if part is not None and part.end_lineno is not None and part.end_col_offset is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)
