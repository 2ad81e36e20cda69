"""Checks of exports."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import ExportError
from medpipe.steps import ExportParts, ExportStep
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.finished_run import finished_run
from medpipe.testing.handlers import listed, working_in
from medpipe.testing.use import Use, typical

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from torch import nn

    from medpipe.registry.registry import Registry

    Array = np.ndarray[Any, np.dtype[Any]]

ABOUT = {"run": "0123", "contract": "4567", "medpipe": "a text, with \u00fc and 'quotes'"}
"""What a file is told to keep."""
OUTPUTS = ("scores", "prediction")
SIDE = 8


@check(
    ExportStep,
    protects="The file's name is the format's name and this ending.",
    remedy="Give the ending without its dot, such as suffix: ClassVar[str] = 'onnx'.",
)
def has_a_suffix(case: Case) -> None:
    """Its suffix is the end of a file's name, without the dot."""
    suffix = case.step.suffix
    if not isinstance(suffix, str) or not re.fullmatch(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*", suffix):
        raise FailedError(f"its suffix is {suffix!r}")


@check(
    ExportStep,
    protects="Who lacks a package is to read which one, and how to get it.",
    remedy="Import in load what the format needs, and raise ImportError with the command.",
)
def says_what_it_lacks(case: Case) -> None:
    """Its load passes, or raises an ImportError that says how to install what is missing."""
    try:
        case.step.load()
    except ImportError as error:
        if "install" not in str(error).lower():
            raise FailedError(f"its load says {str(error)!r}, not what to install") from error
        raise skip(str(error).rstrip(".")) from error


@check(
    ExportStep,
    protects="The library writes the file, so that it is whole or not there.",
    remedy="Return the content as bytes.",
    needs=[says_what_it_lacks],
)
def gives_the_content(case: Case) -> None:
    """It gives the content of the file."""
    content = _content(case)
    if not isinstance(content, bytes) or not content:
        raise FailedError(f"its write gives {type(content).__name__}, not the file's content")


@check(
    ExportStep,
    protects="A file says of which run and contract it is, so that files can't be mixed up.",
    remedy="Put parts.about into the file's metadata, and read it in about.",
    needs=[gives_the_content],
)
def keeps_what_it_is_told(case: Case) -> None:
    """It reads back what it was told to keep."""
    found = dict(case.step.about(_content(case)))
    lost = [key for key, value in ABOUT.items() if found.get(key) != value]
    if lost:
        raise FailedError(f"it loses what it was told to keep: {', '.join(lost)}")


@check(
    ExportStep,
    protects="An export is used by programs that read outputs by their names.",
    remedy="Name the outputs as parts.outputs does, and give NumPy arrays.",
    needs=[gives_the_content],
)
def names_its_outputs(case: Case) -> None:
    """What it opens gives arrays by the names that it was told."""
    import numpy as np

    given = _opened(case)(_images(2))
    if not set(OUTPUTS) <= set(given):
        raise FailedError(f"it gives {', '.join(map(str, given))}, not {', '.join(OUTPUTS)}")
    for name in OUTPUTS:
        if not isinstance(given[name], np.ndarray):
            raise FailedError(f"its output {name} is a {type(given[name]).__name__}, not an array")


@check(
    ExportStep,
    protects="What leaves medpipe must answer as the run does.",
    remedy="Write the program as it is, in evaluation mode and float32.",
    needs=[names_its_outputs],
)
def gives_the_networks_answers(case: Case) -> None:
    """What it opens gives the network's answers, for one image and for several."""
    import numpy as np
    import torch

    answer, graph = _opened(case), _graph()
    for count in (1, 2, 5):
        images = _images(count)
        given = answer(images)
        with torch.no_grad():
            wanted = graph(torch.from_numpy(images))
        for name in OUTPUTS:
            expected = wanted[name].numpy()
            if given[name].shape != expected.shape:
                raise FailedError(
                    f"for {count} images {name} has the shape {given[name].shape}, not "
                    f"{expected.shape}"
                )
            if not np.allclose(given[name], expected, rtol=1e-3, atol=1e-4):
                far = float(np.abs(given[name] - expected).max())
                raise FailedError(f"for {count} images {name} differs by up to {far:.2g}")


@check(
    ExportStep,
    protects="A file that holds the graph is opened where nobody knows the run.",
    remedy="Read all from the content, or set holds_graph to False.",
    needs=[gives_the_content],
)
def needs_its_file_alone(case: Case) -> None:
    """If it holds the graph, it opens without the network being built."""
    if not case.step.holds_graph:
        raise skip("it holds weights alone")

    def rebuilt() -> nn.Module:
        raise FailedError("it says that it holds the graph, and builds the network to open it")

    case.step.open(_content(case), rebuilt)(_images(1))


@check(
    ExportStep,
    protects="An export that failed is not there, and its reason is told.",
    remedy="Let what parts.program raises pass, and write no files by yourself.",
    needs=[gives_the_content],
)
def leaves_nothing_behind(case: Case) -> None:
    """It writes no files by itself, also where the network can't be traced."""

    def untraceable() -> Any:
        raise ExportError("this network can't be traced")

    _content(case)
    with _own_folders(case.folder) as folders:
        case.step.write(_parts())
        left = [name for folder in folders for name in listed(folder)]
        if not left and case.step.holds_graph:
            try:
                case.step.write(attrs.evolve(_parts(), program=untraceable))
            except ExportError:
                pass
            else:
                raise FailedError("where the network can't be traced, it says nothing")
            left = [name for folder in folders for name in listed(folder)]
    if left:
        raise FailedError(f"it leaves {', '.join(left[:3])} behind")


@check(
    ExportStep,
    protects="'medpipe export' verifies what it wrote, and keeps nothing that differs.",
    remedy="Look at what 'medpipe verify' says of it.",
    needs=[
        has_a_suffix,
        keeps_what_it_is_told,
        gives_the_networks_answers,
        needs_its_file_alone,
        leaves_nothing_behind,
    ],
)
def passes_the_verification(case: Case) -> None:
    """What it writes of a finished run passes the library's own verification."""
    from medpipe.export.verifying import verify_export
    from medpipe.export.writing import write_unverified

    _content(case)
    registry = _with_step(case)
    run, folder = finished_run(), case.folder / "export"
    write_unverified(run.trained("best", registry), run.record, folder, case.step)
    try:
        verify_export(folder, registry=registry)
    except ExportError as error:
        raise FailedError(" ".join(str(error).split()).rstrip(".")) from error


@typical("export", found_by=gives_the_content)
def _use(case: Case) -> Use:
    """Write, open and answer."""
    images, parts = _images(2), _parts()
    try:
        case.step.load()
    except ImportError as error:
        raise skip(str(error).rstrip(".")) from error

    def call() -> object:
        return case.step.open(case.step.write(parts), _graph)(images)

    return Use(given=[images, parts.network.state_dict(), dict(parts.about)], call=call)


def _graph() -> Any:
    """A tiny network with the names of its outputs, as `open` gets it: its weights are drawn."""
    import torch
    from torch import nn

    from medpipe.training.determinism import seeded

    with seeded(0):
        network = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 3),
        )
        network(torch.rand(8, 1, SIDE, SIDE))  # running statistics of its own

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            scores = torch.softmax(self.network(image), dim=1)
            return {"scores": scores, "prediction": scores.argmax(dim=1)}

    return Graph().eval()


def _untrained() -> Any:
    """The same network with other weights."""
    import torch

    graph = _graph()
    with torch.no_grad():
        for value in graph.parameters():
            value.zero_()
    return graph


def _parts() -> ExportParts:
    import torch

    from medpipe.export.graph import program_of

    graph = _graph()
    return ExportParts(
        network=graph.network,
        program=lambda: program_of(graph, torch.zeros(2, 1, SIDE, SIDE), free=()),
        outputs=OUTPUTS,
        about=ABOUT,
    )


_LAST: list[tuple[Any, bytes]] = []
"""What the last steps have written, since some formats take seconds."""


def _content(case: Case) -> bytes:
    """What the step writes of the tiny network."""
    try:
        case.step.load()
    except ImportError as error:
        raise skip(str(error).rstrip(".")) from error
    for step, written in _LAST:
        if type(step) is type(case.step) and step == case.step:
            return written
    content: bytes = case.step.write(_parts())
    if isinstance(content, bytes):
        _LAST[:] = [*_LAST[-3:], (case.step, content)]
    return content


def _opened(case: Case) -> Any:
    return case.step.open(_content(case), _untrained)


def _images(count: int) -> Array:
    import numpy as np

    shape = (count, 1, SIDE, SIDE)
    return np.random.default_rng(count).normal(size=shape).astype(np.float32)


def _with_step(case: Case) -> Registry:
    """A registry that knows the step, which may be in no plugin."""
    from medpipe.hookspecs import hookimpl

    if case.registry.plugin_of(case.step) is not None:
        return case.registry
    cls = type(case.step)

    class Plugin:
        @hookimpl
        def medpipe_exports(self) -> list[type[ExportStep]]:
            return [cls]

    return case.registry.with_plugin(Plugin(), name="medpipe-testing-step")


@contextmanager
def _own_folders(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A working folder and a folder for temporary files that are empty."""
    temporary, before = folder / "temporary", tempfile.tempdir
    temporary.mkdir()
    with working_in(folder / "work") as work:
        tempfile.tempdir = str(temporary)
        try:
            yield work, temporary
        finally:
            tempfile.tempdir = before
