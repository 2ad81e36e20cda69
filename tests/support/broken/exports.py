"""Exports that each fail one check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from medpipe.plugin import ExportStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from medpipe.plugin import Exported, ExportParts

MARK = b"\n--about--\n"


@attrs.frozen(kw_only=True)
class Sound(ExportStep):
    """An export that fails no check: a program of `torch.export`, and a text."""

    name: ClassVar[str] = "sound_export"
    suffix: ClassVar[str] = "graph"

    def write(self, parts: ExportParts) -> bytes:
        import io

        import torch

        into = io.BytesIO()
        torch.export.save(parts.program(), into)
        return into.getvalue() + MARK + json.dumps(self.kept(parts)).encode()

    def kept(self, parts: ExportParts) -> dict[str, str]:
        """What the file keeps."""
        return dict(parts.about)

    def about(self, content: bytes) -> Mapping[str, str]:
        found: dict[str, str] = json.loads(content.rpartition(MARK)[2])
        return found

    def open(self, content: bytes, rebuilt: Callable[[], Any]) -> Exported:
        import io

        import torch

        graph = torch.export.load(io.BytesIO(content.rpartition(MARK)[0])).module()

        def answer(images: Any) -> dict[str, Any]:
            with torch.no_grad():
                given = graph(torch.from_numpy(images))
            return self.named({name: value.numpy() for name, value in given.items()})

        return answer

    def named(self, given: dict[str, Any]) -> dict[str, Any]:
        """What is given."""
        return given


@attrs.frozen(kw_only=True)
class Weights(Sound):
    """The weights alone."""

    holds_graph: ClassVar[bool] = False

    def write(self, parts: ExportParts) -> bytes:
        from safetensors.torch import save

        state = {name: value.clone() for name, value in parts.network.state_dict().items()}
        return bytes(save(state)) + MARK + json.dumps(self.kept(parts)).encode()

    def open(self, content: bytes, rebuilt: Callable[[], Any]) -> Exported:
        import torch
        from safetensors.torch import load

        graph = rebuilt()
        graph.network.load_state_dict(load(content.rpartition(MARK)[0]))

        def answer(images: Any) -> dict[str, Any]:
            with torch.no_grad():
                given = graph(torch.from_numpy(images))
            return {name: value.numpy() for name, value in given.items()}

        return answer


@attrs.frozen(kw_only=True)
class Lacks(Sound):
    """Needs a package that is not there, and says so."""

    def load(self) -> None:
        raise ImportError("The format needs gone. Install medpipe-gone.")


@attrs.frozen(kw_only=True)
class Dotted(Sound):
    """Has a dot before its suffix."""

    suffix: ClassVar[str] = ".graph"


@attrs.frozen(kw_only=True)
class LacksSilently(Sound):
    """Needs a package that is not there."""

    def load(self) -> None:
        raise ImportError("No module named 'gone'")


@attrs.frozen(kw_only=True)
class GivesText(Sound):
    """Gives a text."""

    def write(self, parts: ExportParts) -> Any:
        return "graph"


@attrs.frozen(kw_only=True)
class Forgets(Sound):
    """Keeps a part of what it is told."""

    def kept(self, parts: ExportParts) -> dict[str, str]:
        return {"run": parts.about["run"]}


@attrs.frozen(kw_only=True)
class Unnamed(Sound):
    """Numbers the outputs."""

    def named(self, given: dict[str, Any]) -> dict[str, Any]:
        return {str(place): value for place, value in enumerate(given.values())}


@attrs.frozen(kw_only=True)
class Rounds(Sound):
    """Rounds the scores."""

    def named(self, given: dict[str, Any]) -> dict[str, Any]:
        return {**given, "scores": np.round(given["scores"], 2)}


@attrs.frozen(kw_only=True)
class SaysGraph(Weights):
    """Says that it holds the graph."""

    holds_graph: ClassVar[bool] = True

    def write(self, parts: ExportParts) -> bytes:
        parts.program()
        return super().write(parts)


@attrs.frozen(kw_only=True)
class Litters(Sound):
    """Leaves a file in the working folder."""

    def write(self, parts: ExportParts) -> bytes:
        Path("graph.tmp").write_bytes(b"graph")
        return super().write(parts)


@attrs.frozen(kw_only=True)
class Overwritten(Sound):
    """Knows how the graph of the check looks, and fails on others."""

    def named(self, given: dict[str, Any]) -> dict[str, Any]:
        return given if given["scores"].shape[1] == 3 else {}


BROKEN: dict[str, Any] = {
    "has_a_suffix": Dotted(),
    "says_what_it_lacks": LacksSilently(),
    "gives_the_content": GivesText(),
    "keeps_what_it_is_told": Forgets(),
    "names_its_outputs": Unnamed(),
    "gives_the_networks_answers": Rounds(),
    "needs_its_file_alone": SaysGraph(),
    "leaves_nothing_behind": Litters(),
    "passes_the_verification": Overwritten(),
}
"""For each check a step that fails it alone."""
SOUND = [Sound(), Weights(), Lacks()]
"""Steps that fail none."""
