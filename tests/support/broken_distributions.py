"""Distributions that are broken in other ways than by their hooks alone, laid out as installed."""

from __future__ import annotations

from pathlib import Path

import attrs

from support.programs import HEAD, install

OFFER = "@hookimpl\ndef medpipe_networks(): return [Net]\n"
NET = HEAD + OFFER
"""A plugin in which nothing is wrong."""


@attrs.frozen(kw_only=True)
class Broken:
    """A broken distribution.

    Attributes:
        source: Of its module.
        said: What its error or its remark says.
        todo: What to do.
        loads: Whether its step is there all the same.
        requires: What its metadata requires.
        points: The lines of its entry points; empty: its module.
        content: Of its module, where it is no text.
        lacks: A file of its metadata that is not there.
    """

    source: str = NET
    said: str
    todo: str
    loads: bool = False
    requires: str = ""
    points: str = ""
    content: bytes = b""
    lacks: str = ""

    def install(self, site: Path, name: str) -> None:
        """Lay it out."""
        module = name.replace("-", "_")
        source = self.source.replace('"net"', f'"{module}"')
        file = install(site, name, source)
        info = site / f"{module}-1.2.dist-info"
        if self.content:
            file.write_bytes(self.content)
        if self.requires:
            with (info / "METADATA").open("a") as metadata:
                metadata.write(f"Requires-Dist: {self.requires}\n")
        if self.points:
            (info / "entry_points.txt").write_text(self.points.format(module=module))
        if self.lacks:
            (info / self.lacks).unlink()


OWN = "If it is yours, mend this and try: medpipe check-plugin "
QUIET = "If it is yours, do nothing of this when it is imported."

DISTRIBUTIONS: dict[str, Broken] = {
    "needs-more": Broken(
        source="import no_such_thing",
        requires="no-such-thing>=2",
        said="could not be loaded: importing it raised ModuleNotFoundError: No module named "
        "'no_such_thing'",
        todo='pip install "no-such-thing>=2"',
    ),
    "needs-more-later": Broken(
        requires="no-such-thing==7",
        said="it requires no-such-thing==7, which is not installed.",
        todo='pip install "no-such-thing==7"',
        loads=True,
    ),
    "needs-newer-medpipe": Broken(
        source="from medpipe.plugin import VideoStep",
        requires="medpipe-imaging>=99",
        said="importing it raised ImportError: cannot import name 'VideoStep'",
        todo='pip install "medpipe-imaging>=99". Or take a version of needs-newer-medpipe that is',
    ),
    "of-another-medpipe": Broken(
        source="from medpipe.plugin import OldStep",
        said="importing it raised ImportError: cannot import name 'OldStep' from 'medpipe.plugin'",
        todo="It is for another medpipe. Upgrade it (pip install --upgrade of-another-medpipe), or "
        "the library itself (pip install --upgrade medpipe-imaging)",
    ),
    "relative": Broken(
        source="from . import steps",
        said="importing it raised ImportError: attempted relative import",
        todo=OWN,
    ),
    "in-circles": Broken(
        source="import in_circles_b",
        said="importing it raised ModuleNotFoundError: No module named 'in_circles_b'",
        todo="pip install --force-reinstall in-circles",
    ),
    "null-bytes": Broken(
        content=b"x = 1\x00", said="importing it raised SyntaxError: source code", todo=OWN
    ),
    "latin": Broken(
        content="x = 'ü'".encode("latin-1"),
        said="importing it raised SyntaxError: (unicode error)",
        todo=OWN,
    ),
    "indented": Broken(
        content=b"def f():\nreturn 1",
        said="importing it raised IndentationError: expected an indented block",
        todo=OWN,
    ),
    "group": Broken(
        source="raise BaseExceptionGroup('two', [ValueError('one'), KeyboardInterrupt()])",
        said="importing it raised BaseExceptionGroup: two (2 sub-exceptions)",
        todo=OWN,
    ),
    "no-metadata": Broken(
        lacks="METADATA",
        said="its distribution has no METADATA with a name",
        todo="Install it once more: its METADATA is missing or damaged.",
        loads=True,
    ),
    "no-module-named": Broken(
        points="[medpipe]\nplugin = not a module!\n",
        said="could not be loaded: its entry point plugin = 'not a module!' names no module",
        todo='pyproject.toml a line such as no_module_named = "no_module_named"',
    ),
    "twice": Broken(
        points="[medpipe]\none = {module}\ntwo = {module}\n",
        said="its entry point two is offered beside one; one for a distribution is enough.",
        todo="",
        loads=True,
    ),
    "a-class": Broken(
        points="[medpipe]\nplugin = {module}:Net\n",
        said="could not be loaded: it implements no hook of medpipe",
        todo=OWN,
    ),
    "a-number": Broken(
        source="number = 7",
        points="[medpipe]\nplugin = {module}:number\n",
        said="could not be loaded: it implements no hook of medpipe",
        todo=OWN,
    ),
    "endless": Broken(
        source=HEAD + "import itertools\n@hookimpl\ndef medpipe_networks():\n"
        "    return itertools.repeat(Net)\n",
        said="medpipe_networks gave more than 10000 classes; does it end?",
        todo=OWN,
    ),
    "a-coroutine": Broken(
        source=HEAD + "@hookimpl\nasync def medpipe_networks(): return [Net]\n",
        said="medpipe_networks gave <coroutine object medpipe_networks",
        todo=OWN,
    ),
    "no-words": Broken(
        source=HEAD + "class Odd:\n    def __repr__(self): raise ValueError('no words')\n"
        "@hookimpl\ndef medpipe_networks(): return [Odd()]\n",
        said="ValueError: no words",
        todo=OWN,
    ),
    "shared-default": Broken(
        source=HEAD.replace(
            '"net"\n', '"net"\n    options: Mapping[str, int] = attrs.field(default={})\n'
        ).replace("import attrs", "import attrs\nfrom collections.abc import Mapping")
        + OFFER,
        said="medpipe_networks: Net has a parameter 'options' whose default can be changed by "
        "anybody: give attrs.field(factory=dict) in its place.",
        todo=OWN,
    ),
    "any-type": Broken(
        source=HEAD.replace("ClassVar", "Any, ClassVar", 1).replace(
            '"net"\n', '"net"\n    width: Any = 1\n'
        )
        + OFFER,
        said="medpipe_networks: Net has a parameter 'width' of a wrong type: ",
        todo=OWN,
    ),
    "name-as-parameter": Broken(
        source=HEAD.replace("name: ClassVar[str]", "name: str") + OFFER,
        said="Net has a parameter 'name', a name that medpipe keeps for itself.",
        todo=OWN,
    ),
    "in-part": Broken(
        source=NET + "@hookimpl\ndef medpipe_losses(): raise ImportError('no module cv2')\n",
        said="was not loaded in full: medpipe_losses raised ImportError: no module cv2",
        todo=OWN,
        loads=True,
    ),
    "prints": Broken(
        source="print('hello')\n" + NET,
        said="importing it prints 'hello'.",
        todo=QUIET,
        loads=True,
    ),
    "closes-output": Broken(
        source="import sys\nsys.stdout.close()\n" + NET + "x: Nowhere = 1\n",
        said="importing it raised NameError: name 'Nowhere' is not defined",
        todo=OWN,
    ),
    "starts-a-thread": Broken(
        source="import threading\nthreading.Thread(target=threading.Event().wait, args=(60,), "
        "daemon=True, name='busy').start()\n" + NET,
        said="importing it starts the thread 'busy'.",
        todo=QUIET,
        loads=True,
    ),
    "warns": Broken(
        source="import warnings\nwarnings.warn('old')\n" + NET,
        said="importing it warns: UserWarning: old.",
        todo=QUIET,
        loads=True,
    ),
    "changes-the-path": Broken(
        source="import sys\nsys.path.insert(0, '/nowhere')\n" + NET,
        said="importing it changes sys.path.",
        todo=QUIET,
        loads=True,
    ),
    "changes-the-environment": Broken(
        source="import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '7'\n" + NET,
        said="importing it changes the environment variables.",
        todo=QUIET,
        loads=True,
    ),
    "goes-elsewhere": Broken(
        source="import os\nos.chdir('/')\n" + NET,
        said="importing it changes the working directory.",
        todo=QUIET,
        loads=True,
    ),
    "replaces-medpipe": Broken(
        source=NET + "import sys\nsys.modules['medpipe.plugin'] = None\n",
        said="importing it replaces the module medpipe.plugin.",
        todo=QUIET,
        loads=True,
    ),
    "sets-torch": Broken(
        source="import torch\ntorch.set_default_dtype(torch.float64)\n" + NET,
        said="importing it changes torch's default dtype.",
        todo=QUIET,
        loads=True,
    ),
}
"""By the name of the distribution."""

NO_EQUALS_SIGN = Broken(
    points="[medpipe]\nplugin {module}\n",
    said="could not be loaded: its entry_points.txt can't be read, so that torch can't be "
    "imported: TypeError: ",
    todo="under [project.entry-points.medpipe]",
)
"""Of another's file that is as damaged torch can't be imported either."""
