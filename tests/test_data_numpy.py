"""NumPy's files: equal to what numpy reads, or refused with the reason; never a pickle."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medpipe.data.readers.formats import NumpyReader
from medpipe.data.readers.reader import decode_content, read_image
from medpipe.errors import ConfigError, DataError
from medpipe.plugin import Reading, UnreadableImageError
from medpipe.registry.registry import Registry

READER = NumpyReader()


def saved(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def packed(**named: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **named)
    return file.getvalue()


REALS = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness="?"),
    arrays.unsigned_integer_dtypes(endianness="?"),
    arrays.floating_dtypes(endianness="?"),
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_values_are_numpys_with_their_axes_in_order(data: Any) -> None:
    axes = data.draw(st.sampled_from(["yx", "xy", "zyx", "yxc", "cyx", "czyx", "xyzc", "cxyz"]))
    shape = data.draw(arrays.array_shapes(min_dims=len(axes), max_dims=len(axes), max_side=4))
    array = data.draw(arrays.arrays(data.draw(REALS), shape))
    if data.draw(st.booleans()):
        array = np.asfortranarray(array)
    content, name = data.draw(
        st.sampled_from([(saved(array), "a.npy"), (packed(image=array), "a.NPZ")])
    )
    assert READER.recognises(content[:512], name.lower())
    found = NumpyReader(axes=axes).decode(content, name, Reading())
    assert found.channels == ("c" in axes)
    order = [axes.index(axis) for axis in "yxzc" if axis in axes]
    np.testing.assert_array_equal(found.values, array.transpose(order))
    assert found.values.dtype == array.dtype.newbyteorder("=")
    assert found.values.flags.writeable
    assert found.spacing is None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_changed_file_is_read_as_numpy_reads_it_or_refused(data: Any) -> None:
    array = np.arange(30, dtype=np.int16).reshape(5, 6)
    whole = data.draw(st.sampled_from([saved(array), packed(image=array)]))
    content = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = NumpyReader().decode(bytes(content), "a.npz", Reading()).values
    except DataError:
        pass
    else:
        theirs = np.load(io.BytesIO(content), allow_pickle=False)
        values = theirs if isinstance(theirs, np.ndarray) else theirs[theirs.files[0]]
        np.testing.assert_array_equal(found, values)
        assert content.startswith(b"\x93NUMPY") or (found == array).all()  # zip has checksums


class Evil:
    def __reduce__(self) -> Any:
        return open, ("ran", "w")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (saved(np.array([[Evil()]], object), allow_pickle=True), "holds pickled objects, which"),
        (packed(a=np.array([[Evil()]], object)), "holds pickled objects, which"),
        (saved(np.zeros((2, 2), complex)), "holds complex numbers, which are not real numbers"),
        (saved(np.zeros((2, 2), "M8[s]")), "holds values of the type datetime64[s]"),
        (saved(np.zeros((2, 2), "U3")), "holds values of the type <U3"),
        (saved(np.zeros((2, 2), [("grau", "f4")])), "holds values of the type [("),
        (saved(np.zeros((2, 2), [("weiß", "f4"), ("黑", "f4")])), "holds records, which"),
        (saved(np.zeros((2, 0))), "has no pixels: its shape is (2, 0)"),
        (saved(np.zeros((2, 2)))[:-1], "is truncated: it should hold 160 bytes, not 159"),
        (saved(np.zeros((2, 2))) + b"\0", "contradicts its header, by which it should hold 160"),
        (saved(np.zeros((2, 2))).replace(b"(2, 2)", b"(9**9,"), "is damaged: "),
        (saved(np.zeros((2, 2))).replace(b"(2, 2)", b"(-2,-2"), "is damaged: "),
        (saved(np.zeros(4)), "has the shape (4,), where an array has two axes"),
        (saved(np.zeros((2, 3, 4))), "has the shape (2, 3, 4), where an array has two axes"),
        (packed(a=np.zeros((2, 2)), b=1), "holds the arrays 'a', 'b', and none is chosen"),
        (
            packed(a=np.zeros((2, 2)), b=1),
            """Name one of them for the reader: --set 'reader=[{step="numpy", key="a"}]', in""",
        ),
        (saved(np.zeros((2, 2, 2))), """--set 'reader=[{step="numpy", axes="zyx"}]', in Python"""),
        (packed(), "holds the arrays none, and none is chosen"),
        (packed(**{f"a{n:02}": 1 for n in range(12)}), "'a09' and 2 more, and none is chosen"),
        (packed(a=np.zeros((2, 2)))[:-9], "is damaged: File is not a zip file"),
    ],
)
def test_what_is_refused(
    content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError) as caught:
        read_image(path)
    assert said in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(a=np.zeros((100, 100)))
    assert len(content) < 1000
    monkeypatch.setattr("medpipe.data.readers.bombs._memory", lambda: 50_000)
    with pytest.raises(UnreadableImageError, match="it should hold 80128 bytes, more than"):
        READER.decode(content, "a.npz", Reading())


def test_one_of_several_arrays() -> None:
    content = packed(image=np.ones((2, 3)), mask=np.zeros((2, 3)))
    assert NumpyReader(key="mask").decode(content, "a.npz", Reading()).values.sum() == 0
    with pytest.raises(UnreadableImageError, match="holds the arrays 'image', 'mask', but not 'i'"):
        NumpyReader(key="i").decode(content, "a.npz", Reading())


def test_other_zip_files_are_no_images() -> None:
    with pytest.raises(UnreadableImageError, match="is not a PNG"):
        decode_content(packed(a=np.zeros((2, 2))), "a.docx", Reading())


@pytest.mark.parametrize("axes", ["", "y", "yz", "yy", "yxx", "yxt", "YX"])
def test_wrong_axes(axes: str) -> None:
    with pytest.raises(ConfigError, match="axes: must be letters of 'yxzc'"):
        Registry.discover().create(READER.__class__, "numpy", {"axes": axes})
