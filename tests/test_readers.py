"""Readers as steps: which decodes a file, what is kept of it, and what a bad one is told."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from PIL import Image

import medpipe
from medpipe.data.readers.chosen import chosen
from medpipe.data.readers.formats import NumpyReader
from medpipe.data.readers.reader import read_image
from medpipe.errors import DataError, StepError
from medpipe.plugin import DecodedImage, ReaderStep, Reading, UnreadableImageError, hookimpl
from medpipe.registry.registry import Registry
from support.programs import install, listed
from support.programs import medpipe as program

CALLS: list[str] = []


@attrs.frozen(kw_only=True)
class Plain(ReaderStep):
    """Grey values of 8 bits, 4 in a row, behind a mark."""

    name: ClassVar[str] = "plain"
    factor: int = 1

    def recognises(self, head: bytes, name: str) -> bool:
        return head.startswith(b"PLAIN")

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        CALLS.append(os.path.basename(path))  # noqa: PTH119
        values = np.frombuffer(content[5:], np.uint8).reshape(-1, 4) * np.uint8(self.factor)
        return DecodedImage(values=values)


@attrs.frozen(kw_only=True)
class Stranger(ReaderStep):
    """What a test makes of it."""

    name: ClassVar[str] = "stranger"
    recognised: ClassVar[Any] = True
    decoded: ClassVar[Any] = None

    def recognises(self, head: bytes, name: str) -> bool:
        answer: bool = self.recognised(head) if callable(self.recognised) else self.recognised
        return answer

    def decode(self, content: bytes, path: str, reading: Reading) -> DecodedImage:
        image: DecodedImage = self.decoded(path) if callable(self.decoded) else self.decoded
        return image


@hookimpl
def medpipe_readers() -> list[type[ReaderStep]]:
    """Offer the readers."""
    return [Plain, Stranger]


REGISTRY = Registry.discover().with_plugin(sys.modules[__name__], name="medpipe-tests")


def reading(*steps: ReaderStep, **settings: Any) -> Reading:
    return Reading(readers=chosen(steps, REGISTRY), **settings)


def plain_file(path: Path, *rows: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PLAIN" + b"".join(rows))
    return path


def png(path: Path, values: np.ndarray[Any, Any]) -> Path:
    Image.fromarray(values).save(path)
    return path


def test_the_first_that_recognises_a_file_decodes_it(tmp_path: Path) -> None:
    path = plain_file(tmp_path / "a.png", bytes(range(8)))
    with pytest.raises(UnreadableImageError, match="is not a PNG"):
        read_image(path)
    found = read_image(path, reading(Plain(factor=2), Plain(factor=3)))
    np.testing.assert_array_equal(found.values, 2 * np.arange(8, dtype=np.uint8).reshape(2, 4))
    real = png(tmp_path / "b.png", np.arange(6, dtype=np.uint8).reshape(2, 3))
    np.testing.assert_array_equal(  # medpipe's own come after those that are named
        read_image(real, reading(Plain())).values, read_image(real).values
    )


@pytest.mark.parametrize(
    ("values", "colours", "channels", "shape"),
    [
        (np.zeros((2, 4), np.uint8), False, 3, (2, 4, 3)),
        (np.zeros((2, 4, 3), np.uint8), True, 1, (2, 4)),
        (np.zeros((2, 4, 3), np.uint8), True, "auto", (2, 4, 3)),
        (np.zeros((2, 4, 5, 1), ">f4"), False, 1, (2, 4, 5)),
    ],
)
def test_channels_and_byte_order_are_the_librarys_work(
    values: Any,
    colours: bool,
    channels: Any,
    shape: tuple[int, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = DecodedImage(values=values, channels=values.ndim != 2, colours=colours)
    monkeypatch.setattr(Stranger, "decoded", image)
    path = plain_file(tmp_path / "a.x")
    found = read_image(path, reading(Stranger(), channels=channels))
    assert found.values.shape == shape
    assert found.values.dtype.isnative


def raising(error: BaseException) -> Any:
    def fail(_: object) -> Any:
        raise error

    return fail


NAMED = "the reader step 'stranger' (medpipe-tests"
RAISED = f"(test_readers.py, line {raising.__code__.co_firstlineno + 2})."


@pytest.mark.parametrize(
    ("recognised", "decoded", "kind", "said"),
    [
        (raising(KeyError("x")), None, StepError, "failed to recognise the file 'a.x': KeyError"),
        ("yes", None, StepError, "answered 'yes' in recognises. Return True or False."),
        (True, None, StepError, "to None. Return a DecodedImage with an array."),
        (True, DecodedImage(values=[[1]]), StepError, "Return a DecodedImage with an array."),  # type: ignore[arg-type]
        (True, DecodedImage(values=np.zeros(3)), StepError, "Give (height, width) or"),
        (True, DecodedImage(values=np.zeros((2, 0))), StepError, "has no pixels"),
        (True, DecodedImage(values=np.zeros((2, 2), complex)), StepError, "complex numbers"),
        (
            True,
            raising(IndexError("out of  range.")),
            DataError,
            f"IndexError: out of range {RAISED}",
        ),
        (
            True,
            raising(ValueError()),
            DataError,
            f"ValueError: no message {RAISED}",
        ),
    ],
)
def test_a_reader_that_fails_is_named(
    recognised: Any,
    decoded: Any,
    kind: type[Exception],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        Stranger, "recognised", staticmethod(recognised) if callable(recognised) else recognised
    )
    monkeypatch.setattr(
        Stranger, "decoded", staticmethod(decoded) if callable(decoded) else decoded
    )
    with pytest.raises(kind) as caught:
        read_image(plain_file(tmp_path / "a.x"), reading(Stranger()))
    assert NAMED in str(caught.value)
    assert said in str(caught.value)


def test_what_a_reader_says_of_a_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plain_file(tmp_path / "a.x")
    error = UnreadableImageError(path, "has a lid", "Open it.", kind="unsupported")
    monkeypatch.setattr(Stranger, "decoded", staticmethod(raising(error)))
    with pytest.raises(UnreadableImageError) as caught:
        read_image(path, reading(Stranger()))
    assert caught.value is error


def folder(root: Path) -> Path:
    """Twelve pictures of each of two classes, and what is no picture."""
    random = np.random.default_rng(0)
    for number in range(24):
        rows = random.integers(0, 200, 16, dtype=np.uint8).tobytes()
        plain_file(root / "ab"[number % 2] / f"{number}.plain", rows)
    (root / "a" / "note.txt").write_text("nothing")
    return root


def builder(root: Path) -> medpipe.PipelineBuilder:
    return (
        medpipe.PipelineBuilder(device="cpu", registry=REGISTRY)
        .dataset("image_folder", root=str(root))
        .network("resnet10", widen_factor=0.0625, conv1_t_size=3)
        .trainer("supervised", max_epochs=1)
        .loader(batch_size=8, workers=0)
    )


def test_files_are_found_trained_on_and_predicted(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    with pytest.raises(medpipe.CheckFailed, match="no images in the class folders 'a', 'b'"):
        builder(root).build().run(tmp_path / "none")
    chosen_builder = builder(root).readers("plain")
    text = chosen_builder.to_toml()
    assert '[[reader]]\nstep = "medpipe-tests:plain"\nfactor = 1\n' in text
    assert medpipe.PipelineBuilder.from_toml(text, registry=REGISTRY) == chosen_builder
    run = chosen_builder.build().run(tmp_path / "run")
    assert run.record["data"]["samples"] == 24
    assert "1 file of other kinds was passed over, 'a/note.txt'." in run.record["data"]["notes"]
    again = medpipe.Run.load(tmp_path / "run")
    predicted = again.predict(root / "a", registry=REGISTRY)
    assert len(predicted.ids) == 12
    new = plain_file(tmp_path / "new.bin", bytes(16))
    assert len(again.predict(new, registry=REGISTRY).ids) == 1


def test_a_damaged_file_is_listed_with_its_reader(tmp_path: Path) -> None:
    root = folder(tmp_path)
    plain_file(root / "a" / "cut.plain", b"abc")
    report = builder(root).readers("plain").build().check_data()
    (fault,) = report.faults
    assert (fault.kind, fault.sample) == ("damaged", "a/cut.plain")
    assert "can't be decoded by the reader step 'plain' (medpipe-tests" in fault.message


SOURCE = '''
from typing import ClassVar
import os
import attrs, numpy as np
from medpipe.plugin import DecodedImage, ReaderStep, hookimpl

@attrs.frozen(kw_only=True)
class Plain(ReaderStep):
    """Grey values of 8 bits."""
    name: ClassVar[str] = "plain"
    factor: float = 1.0
    def recognises(self, head, name): return head.startswith(b"PLAIN")
    def decode(self, content, path, reading):
        with open(os.environ["CALLS"], "a") as file: file.write(path + "\\n")
        values = np.frombuffer(content[5:], np.uint8).reshape(-1, 4) * self.factor
        return DecodedImage(values=values)

@hookimpl
def medpipe_readers(): return [Plain]
'''


@pytest.mark.long
@pytest.mark.rare
def test_what_was_read_is_kept_for_one_reader_parameters_and_version(tmp_path: Path) -> None:
    """A reader is asked again when, and only when, it may give something else."""
    site, root, calls = tmp_path / "site", folder(tmp_path / "data"), tmp_path / "calls.txt"
    site.mkdir()
    install(site, "medpipe-plain", SOURCE)
    assert listed(site)["medpipe-plain"]["error"] is None
    (tmp_path / "c.toml").write_text(
        builder(root)
        .readers("plain")
        .to_toml()
        .replace("medpipe-tests:plain", "medpipe-plain:plain")
        .replace("factor = 1", "factor = 1.0")
    )

    def asked(*arguments: str) -> int:
        calls.unlink(missing_ok=True)
        done = program(site, "check", str(tmp_path / "c.toml"), *arguments, CALLS=str(calls))
        assert done.returncode == 0, done.stderr + done.stdout
        return len(set(calls.read_text().split())) if calls.exists() else 0

    assert asked() == 24
    assert asked() < 20  # those that the check sends through the chain
    assert asked("--set", "reader[0].factor=2.0") == 24
    assert asked("--set", "reader[0].factor=2.0") < 20
    metadata = next(site.glob("medpipe_plain*.dist-info")) / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2", "1.3"))
    assert asked() == 24


def test_readers_of_a_script_keep_nothing(tmp_path: Path) -> None:
    pipeline = builder(folder(tmp_path)).readers(Plain()).build()
    for _ in range(2):
        CALLS.clear()
        pipeline.check()
        assert len(set(CALLS)) == 24


def test_readers_travel_to_worker_processes() -> None:
    sent = pickle.loads(pickle.dumps(reading(Plain(factor=2))))
    assert sent == reading(Plain(factor=2))


def arrays_dataset(root: Path, *readers: Any) -> medpipe.Dataset:
    root.mkdir(exist_ok=True)
    samples = []
    for number in range(24):
        path = root / f"{number:02}.npz"
        np.savez(path, image=np.full((8, 8), number), spacing=np.ones(2))
        samples.append(medpipe.Sample(id=path.name, image=str(path), label=number % 2))
    task = medpipe.Task(names=("a", "b"))
    return medpipe.Dataset(samples=samples, task=task, reading=Reading(readers=readers))


def test_readers_of_a_data_set_are_refused_with_the_line_to_write(tmp_path: Path) -> None:
    def problems(dataset: Any, *readers: ReaderStep) -> list[str]:
        some = medpipe.PipelineBuilder(device="cpu").dataset(dataset).readers(*readers)
        checked = some.network("resnet10", widen_factor=0.0625).build().check()
        return [str(problem) for problem in checked.problems]

    own: Any = NumpyReader(key="image")
    line = (
        """--set 'reader=[{step="numpy", key="image"}]', in Python .reader("numpy", key="image")"""
    )
    (said,) = problems(arrays_dataset(tmp_path / "a", own))
    assert said == (
        "dataset: the ready dataset Dataset gives a Dataset whose Reading has readers of its own "
        "(numpy), and those of the configuration decide, for new files too. Leave readers out of "
        f"the Reading, and choose the reader in the configuration: {line}."
    )
    assert problems(arrays_dataset(tmp_path / "a", own), own) == []
    assert problems(arrays_dataset(tmp_path / "a", *chosen([own], REGISTRY)), own) == []
    (said,) = problems(arrays_dataset(tmp_path / "a"))
    assert f"Name one of them for the reader: {line}." in said
