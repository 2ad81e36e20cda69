"""What can be seen of a text: names that look the same are the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medpipe.system.text import aligned, is_invisible, unseen, visible
from support.signs import SPACES, UNSEEN


@pytest.mark.parametrize("sign", UNSEEN, ids=ascii)
def test_a_sign_that_is_not_drawn_is_left_out_wherever_it_stands(sign: str) -> None:
    assert visible(f"{sign}pat{sign}ient 1{sign}") == "patient 1"
    assert is_invisible(sign)
    assert len(unseen(f"a{sign}b{sign}")) == 1


@pytest.mark.parametrize("sign", SPACES, ids=ascii)
def test_every_space_is_a_plain_one_and_none_stands_around_the_text(sign: str) -> None:
    assert visible(f"{sign}left{sign}lung {sign}") == "left lung"
    assert len(unseen(f"left{sign}lung")) == 1


@pytest.mark.parametrize(
    "text", ["", "a", "left  lung", "Größe", "Ж", "日本", "\u0601\u0661", "😀", "a\udcff", "ǆ"]
)
def test_what_can_be_seen_stays(text: str) -> None:
    assert visible(text) == text
    assert unseen(text) == ()


def test_accents_are_put_together_also_where_a_sign_stood_between() -> None:
    assert visible("Ju\u0308rgen") == visible("Jürgen") == visible("Ju\u200b\u0308rgen") == "Jürgen"
    assert unseen("Ju\u0308rgen") == ()


def test_signs_are_named_by_code_and_name() -> None:
    text = "a\u200b\x00b\u200b\u00a0\x07\t\n\r"
    assert unseen(text) == (
        "U+200B ZERO WIDTH SPACE",
        "U+0000 NUL",
        "U+00A0 NO-BREAK SPACE",
        "U+0007 CONTROL CHARACTER",
        "U+0009 TAB",
        "U+000A LINE FEED",
        "U+000D CARRIAGE RETURN",
    )


@given(st.text())
@example("\u2000a")
@example("a \u200b ")
def test_it_changes_nothing_the_second_time(text: str) -> None:
    seen = visible(text)
    assert visible(seen) == seen
    assert seen == unicodedata.normalize("NFC", seen)
    assert unseen(seen) == ()


@given(st.text(), st.sampled_from(UNSEEN), st.integers(0, 20))
def test_a_sign_that_is_put_in_anywhere_changes_nothing(text: str, sign: str, at: int) -> None:
    assert visible(text[:at] + sign + text[at:]) == visible(text)


def test_columns_stand_below_each_other() -> None:
    assert aligned([["", "A"], ["longer", ""], ["b", "1.0"]]) == [
        "        A",
        "longer",
        "b       1.0",
    ]
    assert aligned([]) == []
