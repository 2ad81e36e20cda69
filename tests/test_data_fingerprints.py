"""Fingerprints by column are the fingerprints that were put in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medpipe.data.scanning.fingerprints import Digests, Fingerprint, Fingerprints, FoundFingerprints

HEX = "0123456789abcdef"
SHAPES = st.sampled_from([(4, 5), (5, 4), (4, 5, 6)])


def digests(width: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=2 * width, max_size=2 * width)


@st.composite
def fingerprints(draw: st.DrawFn) -> Fingerprint:
    return Fingerprint(
        sha256=draw(digests(32)),
        pixels=draw(digests(16)),
        shape=draw(SHAPES),
        channels=draw(st.sampled_from([None, 1, 3])),
    )


FOUND = st.dictionaries(st.text(max_size=4), fingerprints(), max_size=8)


@given(st.one_of(st.lists(digests(3)), st.lists(st.text(HEX + "AFg é", max_size=6))), st.data())
def test_digests_are_the_texts(texts: list[str], data: st.DataObject) -> None:
    packed = Digests.of(texts)
    assert list(packed) == texts
    assert len(packed) == len(texts)
    assert [packed[place] for place in range(len(texts))] == texts
    if texts:
        places = data.draw(st.lists(st.integers(0, len(texts) - 1)))
        assert list(packed.at(places)) == [texts[place] for place in places]


@given(st.lists(digests(3), min_size=1), st.integers(0, 2), st.sampled_from(HEX))
def test_digests_that_differ_have_other_bytes(texts: list[str], place: int, digit: str) -> None:
    other = [*texts]
    other[place % len(texts)] = digit + other[place % len(texts)][1:]
    assert (Digests.of(texts).as_bytes() == Digests.of(other).as_bytes()) == (texts == other)


def test_packed_digests_take_half_a_byte_for_a_digit() -> None:
    packed = Digests.of(["00ff", "12ab"])
    assert packed.packed == bytes.fromhex("00ff12ab")
    assert packed.heads(1) == bytes.fromhex("0012")
    assert Digests.of(["00FF", "12ab"]).packed == b""  # capital letters would come back as small


FEW = ["00" * 16, "00" * 8 + "01" * 8, "ff" * 16]
"""Two of them begin alike."""


@given(st.lists(st.sampled_from(FEW) | digests(16)) | st.lists(st.sampled_from(["ab", "cd", "é"])))
def test_copies_are_the_places_of_each_digest_that_occurs_again(texts: list[str]) -> None:
    places = {text: [i for i, other in enumerate(texts) if other == text] for text in texts}
    assert Digests.of(texts).copies() == [same for same in places.values() if len(same) > 1]


@given(FOUND, st.randoms())
def test_by_column_they_are_what_they_were(found: dict[str, Fingerprint], random: object) -> None:
    packed = Fingerprints.of(found)
    assert packed == found
    assert list(packed) == list(found)
    assert all(id_ in packed for id_ in found)
    assert Fingerprints.of(packed) is packed
    wanted = list(found)
    random.shuffle(wanted)  # type: ignore[attr-defined]
    some = packed.of_ids(wanted[: len(wanted) // 2 + 1])
    assert list(some.items()) == [(i, found[i]) for i in wanted[: len(wanted) // 2 + 1]]
    assert [packed.kinds[number] for number in packed.numbers(wanted)] == [
        (found[id_].shape, found[id_].channels) for id_ in wanted
    ]


@given(FOUND, st.randoms())
def test_collected_in_any_order(found: dict[str, Fingerprint], random: object) -> None:
    order = list(found)
    random.shuffle(order)  # type: ignore[attr-defined]
    collected = FoundFingerprints()
    for id_ in order:
        assert id_ not in collected
        collected.add(id_, found[id_])
        assert id_ in collected
    assert len(collected) == len(found)
    assert list(collected.of_ids(found).items()) == list(found.items())


def test_a_sample_that_is_not_there() -> None:
    one = Fingerprint(sha256="0" * 64, pixels="1" * 32, shape=(2, 2))
    packed = Fingerprints.of({"a": one})
    assert "b" not in packed
    with pytest.raises(KeyError):
        packed["b"]
    with pytest.raises(KeyError):
        packed.of_ids(["a", "b"])
