"""The mutation test knows every file of its rooms, and counts as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutants.figures import Tried, interval, survivors, table
from mutants.rooms import ROOMS, TOO_LONG


def test_every_file_of_the_rooms_is_changed(repository: Path) -> None:
    folders = {"system": "src/medpipe/system", "splits": "src/medpipe/data/splits"}
    for room, folder in folders.items():
        there = {path for path in (repository / folder).rglob("*.py") if path.stem != "__init__"}
        listed = {repository / file for file in ROOMS[room]}
        assert there <= listed
    assert all((repository / file).is_file() for room in ROOMS.values() for file in room)


def test_the_tests_that_are_to_notice_are_there(repository: Path) -> None:
    named = {test for room in ROOMS.values() for tests in room.values() for test in tests}
    assert {test for test in named if not (repository / "tests" / test).is_file()} == set()
    for test in TOO_LONG:
        file, _, function = test.partition("::")
        assert file in named
        assert f"def {function}(" in (repository / "tests" / file).read_text("utf-8")


def test_the_interval_is_wilsons() -> None:
    # Brown, Cai and DasGupta, Statistical Science 16 (2001): (x + z²/2 ± …) / (n + z²).
    z = 1.959963984540054
    assert interval(0, 10) == pytest.approx((0, z**2 / (10 + z**2)))
    assert interval(95, 100) == pytest.approx((0.888250, 0.978457), abs=1e-5)


def test_a_report_names_shares_and_survivors() -> None:
    file = "src/medpipe/data/ids.py"
    killed = Tried(file, 9, "core/AddNot", 1, "failed", [])
    slow = Tried(file, 10, "core/AddNot", 2, "too long", [])
    left = Tried(file, 11, "core/NumberReplacer", 0, "survived", ["-a = 1", "+a = 2"])
    assert table({"system": 1200, "splits": 300}, [killed, left, slow]).splitlines() == [
        "| room | places | tried | killed | too long | share | 95 % interval |",
        "|---|---|---|---|---|---|---|",
        "| system | 1,200 | 0 | — | — | — | — |",
        "| splits | 300 | 3 | 2 | 1 | 66.7 % | 20.8 % to 93.9 % |",
        "| all | 1,500 | 3 | 2 | 1 | 66.7 % | 20.8 % to 93.9 % |",
    ]
    assert survivors([killed, left, slow]) == (
        f"{file}:11 core/NumberReplacer\n    -a = 1\n    +a = 2"
    )


def test_statements_are_taken_out_and_annotations_let_be(tmp_path: Path) -> None:
    pytest.importorskip("cosmic_ray", reason="needs the extra mutants")
    from cosmic_ray.mutating import mutate_code

    from mutants.places import RemoveStatement, places

    for example in RemoveStatement.examples():
        changed = mutate_code(example.pre_mutation_code, RemoveStatement(), 0)
        assert changed == example.post_mutation_code
    (tmp_path / "a.py").write_text("def f(a: int | None) -> int | None:\n    return a + 1\n")
    found = places({"a.py": ()}, tmp_path)
    assert [{change.start_pos for change in place} for place in found] == [{(2, 13)}, {(2, 15)}]
    assert [len(place) for place in found] == [11, 2]
