"""Real installed distributions, found by their entry points in a fresh interpreter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.broken_hooks import BROKEN
from support.programs import install, listed, medpipe

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '''
from __future__ import annotations
from typing import Any, ClassVar
import attrs
from medpipe.plugin import DataInfo, LossStep, NetworkStep, TransformStep, hookimpl

@attrs.frozen(kw_only=True)
class TinyCNN(NetworkStep):
    """Three-convolution classifier for quick experiments."""

    name: ClassVar[str] = "tiny_cnn"
    width: int = attrs.field(default=8, validator=attrs.validators.ge(1))

    def build(self, data: DataInfo) -> Any:
        from torch import nn
        return nn.Sequential(
            nn.Conv2d(data.channels, self.width, 3, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * self.width, data.outputs),
        )

@attrs.frozen(kw_only=True)
class Invert(TransformStep):
    """Turns dark to light."""

    name: ClassVar[str] = "invert"

    def build(self) -> Any:
        return lambda sample: {**sample, "image": 1 - sample["image"]}

@attrs.frozen(kw_only=True)
class Smooth(LossStep):
    """Cross-entropy with smoothed labels."""

    name: ClassVar[str] = "smooth"
    smoothing: float = 0.1

    def build(self, data: DataInfo) -> Any:
        from torch import nn
        return nn.CrossEntropyLoss(label_smoothing=self.smoothing)

@hookimpl
def medpipe_networks(): return [TinyCNN]
@hookimpl
def medpipe_transforms(): return [Invert]
@hookimpl
def medpipe_losses(): return (cls for cls in [Smooth])
'''


def test_broken_plugins_are_named_and_hurt_nobody(tmp_path: Path) -> None:
    files = {name: install(tmp_path, name, source) for name, (source, _) in BROKEN.items()}
    install(tmp_path, "medpipe-tiny", GOOD)
    plugins = listed(tmp_path)
    assert set(plugins) == {"medpipe-imaging", "medpipe-tiny", *BROKEN}
    for name, (_, error) in BROKEN.items():
        found = plugins[name]
        assert found["version"] == "1.2"
        assert found["steps"] == []
        if name == "bad-syntax":
            assert error in found["error"]
        else:
            assert found["error"] == error.format(file=files[name])
    assert plugins["medpipe-imaging"]["error"] is None
    assert plugins["medpipe-tiny"]["error"] is None
    assert plugins["medpipe-tiny"]["version"] == "1.2"
    assert {(s["kind"], s["name"]) for s in plugins["medpipe-tiny"]["steps"]} == {
        ("network", "tiny_cnn"),
        ("transform", "invert"),
        ("loss", "smooth"),
    }


@pytest.mark.long
def test_a_strangers_steps_train_from_a_configuration(tmp_path: Path) -> None:
    install(tmp_path, "medpipe-tiny", GOOD)
    install(tmp_path, "bad-import", BROKEN["bad-import"][0])
    configuration = tmp_path / "tiny.toml"
    configuration.write_text(
        """
        format = 1
        [dataset]
        step = "phantom"
        samples = 120
        size = 32
        [[transform]]
        step = "load_image"
        [[transform]]
        step = "ensure_channel_first"
        [[transform]]
        step = "scale_intensity"
        [[transform]]
        step = "medpipe-tiny:invert"
        [network]
        step = "tiny_cnn"
        width = 4
        [trainer]
        step = "supervised"
        max_epochs = 1
        [trainer.loss]
        step = "smooth"
        [loader]
        batch_size = 16
        workers = 0
        """
    )
    output = tmp_path / "run"
    done = medpipe(tmp_path, "run", str(configuration), "--output", str(output))
    assert done.returncode == 0, done.stderr
    record = json.loads((output / "run.json").read_text())
    assert {key: value for key, value in record["plugins"][1].items() if key != "steps"} == {
        "distribution": "medpipe-tiny",
        "version": "1.2",
    }
    assert sorted(record["plugins"][1]["steps"]) == [
        "loss:smooth",
        "network:tiny_cnn",
        "transform:invert",
    ]
    assert 'step = "medpipe-tiny:tiny_cnn"' in (output / "pipeline.toml").read_text()


@pytest.mark.parametrize(("limit", "loaded"), [("", set()), ("Medpipe_Tiny", {"medpipe-tiny"})])
def test_the_environment_limits_which_plugins_load(
    tmp_path: Path, limit: str, loaded: set[str]
) -> None:
    install(tmp_path, "medpipe-tiny", GOOD)
    install(tmp_path, "medpipe-other", GOOD)
    assert set(listed(tmp_path, MEDPIPE_PLUGINS=limit)) == {"medpipe-imaging", *loaded}


def test_a_limit_that_names_no_plugin_is_said(tmp_path: Path) -> None:
    plugins = listed(tmp_path, MEDPIPE_PLUGINS="medpipe-tyny")
    assert plugins["medpipe-tyny"]["error"] == (
        "MEDPIPE_PLUGINS names it, but no installed distribution of that name has a plugin."
    )


@pytest.mark.long
def test_conflicts_are_listed_and_never_settled_silently(tmp_path: Path) -> None:
    install(tmp_path, "medpipe-one", GOOD)
    install(tmp_path, "medpipe-two", GOOD)
    install(tmp_path, "medpipe-taker", GOOD.replace('"tiny_cnn"', '"densenet121"'))
    shown = medpipe(tmp_path, "plugins").stdout
    assert (
        "conflict: the network 'densenet121' means medpipe-imaging's; "
        "name medpipe-imaging:densenet121, medpipe-taker:densenet121" in shown
    )
    assert (
        "conflict: the network 'tiny_cnn' is refused; "
        "name medpipe-one:tiny_cnn, medpipe-two:tiny_cnn" in shown
    )
    bare = medpipe(tmp_path, "show", "network", "tiny_cnn")
    assert bare.returncode == 2
    assert bare.stderr.strip() == (
        "2 plugins offer a network step 'tiny_cnn'. "
        "Name one of them: 'medpipe-one:tiny_cnn' or 'medpipe-two:tiny_cnn'."
    )
    assert "from medpipe-imaging 0." in medpipe(tmp_path, "show", "network", "densenet121").stdout
    taken = medpipe(tmp_path, "show", "network", "medpipe-taker:densenet121").stdout
    assert "from medpipe-taker 1.2" in taken


def test_an_unknown_name_suggests_and_names_the_plugins_that_failed(tmp_path: Path) -> None:
    install(tmp_path, "bad-import", BROKEN["bad-import"][0])
    done = medpipe(tmp_path, "show", "network", "densenet12")
    assert done.returncode == 2
    said = done.stderr.strip()
    assert said.startswith(
        "There is no network step 'densenet12'. Did you mean 'densenet121'? 'medpipe plugins' "
        "lists 27 network steps. The plugin bad-import 1.2, which may offer it, could not be "
        "loaded: importing it raised ModuleNotFoundError: No module named 'no_such_module' ("
    )
    assert said.endswith("bad_import.py, line 1).")


def test_a_name_with_a_distribution_tells_the_cause_of_that_one_alone(tmp_path: Path) -> None:
    install(tmp_path, "bad-import", BROKEN["bad-import"][0])
    install(tmp_path, "bad-exit", BROKEN["bad-exit"][0])
    said = medpipe(tmp_path, "show", "network", "bad-exit:densenet121").stderr
    assert "The plugin bad-exit 1.2, which may offer it, could not be loaded: " in said
    assert "SystemExit: bye" in said
    assert "bad-import" not in said


def test_a_plugin_that_was_loaded_in_part_tells_which_step_it_lacks(tmp_path: Path) -> None:
    broken = GOOD.replace("return [Invert]", "raise ImportError('no module cv2')")
    install(tmp_path, "in-part", broken)
    assert "from in-part 1.2" in medpipe(tmp_path, "show", "network", "tiny_cnn").stdout
    said = medpipe(tmp_path, "show", "transform", "invert").stderr
    assert "The plugin in-part 1.2, which may offer it, could not be loaded in full: " in said
    assert "medpipe_transforms raised ImportError: no module cv2" in said
