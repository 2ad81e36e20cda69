"""Errors name the line of a plugin's or a user's code at which they were raised."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from medpipe.errors import DataError, StepError
from medpipe.registry.failures import failures_named
from medpipe.system.raised import described, raised_at
from support.programs import install, python

OWN = """
import functools
import json


def raises():
    raise KeyError("place")


def gives_json():
    return json.loads("{")


def sums():
    return functools.reduce(lambda a, b: a / b, [1, 0])


def wraps():
    try:
        raises()
    except KeyError as error:
        raise ValueError("no place.") from error


def calls(function):
    return function()
"""
FOREIGN = """
def wraps(function):
    try:
        function()
    except Exception as error:
        raise RuntimeError("applying transform") from error


def raises():
    raise KeyError("foreign")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module in a package that is not installed, as one that is edited."""
    package = tmp_path / "raised_package"
    (package / "steps").mkdir(parents=True)
    for name in ("__init__.py", "steps/__init__.py", "steps/inner.py"):
        (package / name).write_text(OWN if "steps" in name else "")
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("raised_package.steps.inner")


def error_of(call: object) -> Exception:
    with pytest.raises(Exception) as caught:  # which one it is, is compared
        call()  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("raises", "KeyError: 'place' ({}, line 7)"),
        ("wraps", "ValueError: no place ({}, line 22)"),
        (
            "sums",
            "ZeroDivisionError: division by zero ({}, line 15)",
        ),
    ],
)
def test_the_line_that_raises_is_named(own: ModuleType, name: str, text: str) -> None:
    assert described(error_of(getattr(own, name))) == text.format("raised_package/steps/inner.py")
    package = importlib.import_module("raised_package.steps")
    found = described(error_of(getattr(package, name)))
    assert found == text.format("raised_package/steps/__init__.py")


def test_of_a_library_the_line_that_called_it_is_named(own: ModuleType) -> None:
    error = error_of(own.gives_json)
    assert described(error).startswith("JSONDecodeError: Expecting property name")
    assert described(error, most=9) == (
        "JSONDecodeError: Expecting (raised_package/steps/inner.py, line 11)"
    )


def test_where_there_is_no_such_line_nothing_is_named() -> None:
    assert described(ValueError("never raised.")) == "ValueError: never raised."
    assert described(ValueError()) == "ValueError: no message"


def test_what_medpipe_says_needs_no_line(own: ModuleType) -> None:
    def refuses() -> None:
        raise DataError("labels.csv has no column 'age'.")

    assert raised_at(error_of(refuses)) == ""
    with pytest.raises(StepError) as caught, failures_named("the step 'x'", "failed to build"):
        own.raises()
    assert str(caught.value) == (
        "the step 'x' failed to build: KeyError: 'place' (raised_package/steps/inner.py, line 7)"
    )
    assert described(caught.value).count("inner.py") == 1


def test_of_what_is_installed_only_plugins_are_named(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    install(site, "medpipe-raised", OWN)
    (site / "foreign.py").write_text(FOREIGN)
    (tmp_path / "script.py").write_text("def reads(where):\n    return where['place']\n")
    (plugin,) = [file for file in site.glob("*.py") if file.name != "foreign.py"]
    code = f"""
        import sys
        sys.path[:0] = [{str(site)!r}, {str(tmp_path)!r}]
        import foreign, script, {plugin.stem} as plugin
        from medpipe.system.raised import described

        for call in (
            plugin.raises,
            foreign.raises,
            lambda: foreign.wraps(plugin.raises),
            lambda: plugin.calls(foreign.raises),
            lambda: script.reads({{}}),
        ):
            try:
                call()
            except Exception as error:
                print(described(error))
    """
    said = python(textwrap.dedent(code)).splitlines()
    assert said == [
        f"KeyError: 'place' ({plugin.name}, line 7)",
        "KeyError: 'foreign'",
        f"RuntimeError: applying transform ({plugin.name}, line 7)",
        f"KeyError: 'foreign' ({plugin.name}, line 26)",
        "KeyError: 'place' (script.py, line 2)",
    ]


def test_of_a_script_and_of_a_notebook_the_line_is_named(tmp_path: Path) -> None:
    code = """
def reads(where):
    return where["place"]


from medpipe.system.raised import described

try:
    reads({})
except Exception as error:
    print(described(error))
"""
    (tmp_path / "reading.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "reading.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "KeyError: 'place' (reading.py, line 3)\n"
    # As ipykernel compiles a cell, in a process whose __main__ is a program in site-packages.
    cell = compile(code, str(tmp_path / "ipykernel_12" / "34.py"), "exec")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(cell, {"__name__": "__main__"})
    assert out.getvalue() == "KeyError: 'place' (a cell of the notebook, line 3)\n"
