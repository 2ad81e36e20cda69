"""What an earlier release wrote is read by this one, or refused with what to do.

`tests/fixtures/make.py` made the files, once, with the release that their folder is named after.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import medpipe
from fixtures.make import PLUGIN, draw
from medpipe.plugin import TrainerStep
from support.programs import listed
from support.programs import medpipe as command

FIXTURES = Path(__file__).parent / "fixtures"
RELEASES = sorted(path.name for path in FIXTURES.glob("v*"))
IN_A_CLONE = (FIXTURES.parents[1] / ".git").exists()

if not RELEASES and not IN_A_CLONE:
    pytest.skip("the files of earlier releases are in a clone alone", allow_module_level=True)


@pytest.fixture(params=RELEASES)
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a release, to be changed at will; their paths are relative to this folder."""
    folder = Path(shutil.copytree(FIXTURES / request.param, tmp_path / request.param))
    monkeypatch.chdir(folder)
    return folder


def within(old: Any, new: Any) -> bool:
    """Whether all that was said is still said, whatever has been added."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            key in new and within(value, new[key]) for key, value in old.items()
        )
    if isinstance(old, list):
        same = isinstance(new, list) and len(old) == len(new)
        return same and all(map(within, old, new))
    return bool(old == new)


def rows(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a table by their ids."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def images(kept: Path) -> list[Path]:
    return sorted(kept.glob("images/*/*.png"))


def test_there_are_files_of_a_release() -> None:
    assert "v0_1" in RELEASES


def test_the_images_are_those_that_are_drawn(kept: Path, tmp_path: Path) -> None:
    from PIL import Image

    again = tmp_path / "drawn"
    draw(again)
    names = {path.relative_to(kept / "images") for path in images(kept)}
    assert names == {path.relative_to(again) for path in again.glob("*/*.png")}
    for name in names:
        with (
            Image.open(kept / "images" / name) as one,
            Image.open(tmp_path / "drawn" / name) as two,
        ):
            assert np.array_equal(np.asarray(one), np.asarray(two)), name
    suffixes = {path.suffix for path in kept.rglob("*") if path.is_file()}
    assert suffixes == {".png", ".toml", ".json", ".csv", ".safetensors", ".whl"}


def test_no_file_says_on_which_machine_it_was_made(kept: Path) -> None:
    for path in kept.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(start in content for start in (b"/root", b"/home", b"/tmp", b"C:\\")), path


def test_a_configuration_loads_with_every_value_that_it_had(kept: Path) -> None:
    builder = medpipe.PipelineBuilder.load(kept / "pipeline.toml")
    old = tomllib.loads((kept / "pipeline.toml").read_text(encoding="utf-8"))
    assert within(old, tomllib.loads(builder.to_toml()))


def test_its_pipeline_can_run(kept: Path) -> None:
    report = medpipe.PipelineBuilder.load(kept / "pipeline.toml").build().check()
    report.raise_for_problems()


def test_a_split_file_divides_as_it_did(kept: Path) -> None:
    builder = medpipe.PipelineBuilder.from_document(
        {
            **tomllib.loads((kept / "pipeline.toml").read_text(encoding="utf-8")),
            "split": {"file": "splits.csv", "folds": 3, "fold": 1},
        }
    )
    builder.trainer("supervised", max_epochs=1).build().run("again")
    old, new = rows(kept / "splits.csv"), rows(kept / "again" / "splits.csv")
    assert old.keys() == new.keys()
    for sample, row in old.items():
        assert within(row, new[sample]), sample
    assert {row["fold"] for row in old.values()} == {"0", "1", "2"}


@pytest.mark.parametrize("name", ["run", "stopped"])
def test_a_run_is_read(kept: Path, name: str) -> None:
    run = medpipe.Run.load(kept / name)
    assert run.status == {"run": "finished", "stopped": "stopped"}[name]
    assert len(run.history) == {"run": 4, "stopped": 2}[name]
    assert run.data.task.names == ("large", "small")
    assert run.data.spatial_shape == (16, 16)
    assert sorted(run.predictions("validation").ids) == sorted(
        rows(kept / name / "predictions_validation.csv")
    )
    for which in ("best", "last"):
        assert sum(one.numel() for one in run.network(which).parameters()) > 1000
    assert run.summary() or name == "stopped"


def test_what_a_later_release_adds_to_a_record_is_passed_over(kept: Path) -> None:
    path = kept / "run" / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, "site": {"name": "later"}}), encoding="utf-8")
    run = medpipe.Run.load("run")
    assert run.record["site"] == {"name": "later"}
    assert sum(run.predict(images(kept)[:2], device="cpu").scores[0]) == pytest.approx(1)


def test_a_run_predicts_what_it_predicted(kept: Path) -> None:
    run = medpipe.Run.load(kept / "run")
    old = rows(kept / "run" / "predictions_test.csv")
    run.predict([kept / "images" / name for name in old], device="cpu", output="new.csv")
    new = rows(kept / "new.csv")
    assert len(new) == len(old) == 8
    for name, row in old.items():
        (found,) = [one for path, one in new.items() if path.endswith(name)]
        assert found["prediction"] == row["prediction"]
        for column in ("p(large)", "p(small)"):
            assert float(found[column]) == pytest.approx(float(row[column]), abs=1e-4)


def test_a_run_is_evaluated_reported_and_compared(kept: Path) -> None:
    run = medpipe.Run.load(kept / "run")
    dataset = medpipe.PipelineBuilder.load("pipeline.toml").build().configuration.dataset
    done = run.evaluate(dataset, device="cpu", allow_overlap=True, output="external")
    assert done.metrics["images"] == 36
    assert done.metrics["accuracy"] == pytest.approx(0.5, abs=0.5)
    assert "large" in run.report("report.html").read_text(encoding="utf-8")
    assert medpipe.compare(kept / "run", kept / "run").record()


def resumed(kept: Path, name: str, *, allow: Any, **trainer: Any) -> medpipe.Run:
    builder = medpipe.PipelineBuilder.load(kept / "pipeline.toml")
    if trainer:
        document = tomllib.loads(builder.to_toml())
        document["trainer"] |= trainer
        builder = medpipe.PipelineBuilder.from_document(document)
    return builder.build().run(kept / name, resume=True, allow_changed=allow)


def test_a_stopped_run_of_another_version_is_refused_and_resumed_if_that_is_allowed(
    kept: Path,
) -> None:
    path = kept / "stopped" / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["versions"]["medpipe"] = "0.0.9"
    path.write_text(json.dumps(record), encoding="utf-8")
    before = {file: file.read_bytes() for file in (kept / "stopped").rglob("*") if file.is_file()}
    with pytest.raises(medpipe.RunError) as caught:
        resumed(kept, "stopped", allow=False)
    assert "versions.medpipe: '0.0.9' then, '" in str(caught.value)
    assert "Undo these changes, or begin a new run in another output folder." in str(caught.value)
    assert "To resume nevertheless, give" in str(caught.value)
    for file, content in before.items():
        assert file.read_bytes() == content, file
    run = resumed(kept, "stopped", allow=True)
    assert run.status == "finished"
    assert [epoch["epoch"] for epoch in run.history] == [1, 2, 3, 4]
    assert run.metrics["test"]["images"] == 8
    second = run.record["sessions"][1]
    assert second["from_iteration"] == record["sessions"][0]["saved"]
    assert any("versions.medpipe: '0.0.9' then" in line for line in second["changed"])


def test_a_parameter_that_came_later_is_no_change_of_the_configuration(kept: Path) -> None:
    plain = medpipe.Registry.discover()
    now = plain.get(TrainerStep, "supervised")
    field = {"later": attrs.field(default=7, type=int)}
    later: Any = attrs.make_class("Later", field, bases=(now,), frozen=True, kw_only=True)
    registry = medpipe.Registry(
        tuple(
            attrs.evolve(one, steps=tuple(later if cls is now else cls for cls in one.steps))
            for one in plain.plugins
        )
    )
    text = (kept / "pipeline.toml").read_text(encoding="utf-8")
    builder = medpipe.PipelineBuilder.from_toml(text, registry=registry)
    assert "later = 7" in builder.to_toml()
    others = ("packages", "hardware", "threads")
    changed = text.replace('step = "supervised"\n', 'step = "supervised"\nlater = 8\n')
    with pytest.raises(medpipe.RunError) as caught:
        medpipe.PipelineBuilder.from_toml(changed, registry=registry).build().run(
            kept / "stopped", resume=True, allow_changed=others
        )
    assert "trainer.later: 7, now 8" in str(caught.value)
    run = builder.build().run(kept / "stopped", resume=True, allow_changed=others)
    assert run.status == "finished"
    assert not any("configuration" in line for line in run.record["sessions"][1]["changed"])


def test_a_checkpoint_of_another_configuration_is_told(kept: Path) -> None:
    for file in ("stopped/pipeline.toml", "pipeline.toml"):
        path = kept / file
        text = path.read_text(encoding="utf-8")
        assert text.count("nesterov = false\n") == 1
        path.write_text(text.replace("nesterov = false\n", "nesterov = true\n"), encoding="utf-8")
    with pytest.raises(medpipe.RunError) as caught:
        resumed(kept, "stopped", allow=("packages", "hardware", "threads"))
    assert "the checkpoint was made with another configuration" in str(caught.value)
    assert resumed(kept, "stopped", allow=True).status == "finished"


def test_a_finished_run_trains_longer(kept: Path) -> None:
    run = resumed(kept, "run", allow=True, max_epochs=5)
    assert run.status == "finished"
    assert [epoch["epoch"] for epoch in run.history] == [1, 2, 3, 4, 5]


def test_a_run_is_what_another_starts_from(kept: Path) -> None:
    document = tomllib.loads((kept / "pipeline.toml").read_text(encoding="utf-8"))
    document["weights"] = {"run": "run"}
    document["trainer"]["max_epochs"] = 1
    run = medpipe.PipelineBuilder.from_document(document).build().run("tuned")
    assert run.record["weights"]
    assert run.status == "finished"


@pytest.mark.long
def test_an_export_is_verified(kept: Path) -> None:
    done = medpipe.verify_export(kept / "export")
    assert (done.format, done.samples) == ("safetensors", 16)
    assert max(done.difference.values()) < 1e-4


@pytest.fixture
def site(kept: Path) -> Path:
    """A folder in which the plugin's wheel is installed."""
    (wheel,) = kept.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, "site", str(wheel)], check=True, capture_output=True)
    return kept / "site"


def test_the_wheel_holds_what_the_script_shows(kept: Path) -> None:
    (wheel,) = kept.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("medpipe_kept.py").decode() == PLUGIN


@pytest.mark.long
def test_a_plugin_s_wheel_brings_its_steps_and_a_run_uses_them(kept: Path, site: Path) -> None:
    found = listed(site)["medpipe-kept"]
    assert (found["error"], found["problems"]) == (None, [])
    steps = ["transform:kept_rand_darken", "network:kept_network"]
    assert {f"{step['kind']}:{step['name']}" for step in found["steps"]} == set(steps)
    text = (kept / "pipeline.toml").read_text(encoding="utf-8")
    before, _, after = text.partition("[network]\n")
    step = '[[transform]]\nstep = "kept_rand_darken"\nleast = 0.25\n\n'
    network = '[network]\nstep = "kept_network"\nside = 8\n\n[weights]\n'
    (kept / "with.toml").write_text(
        before + step + network + after.partition("[weights]\n")[2], encoding="utf-8"
    )
    done = command(site, "run", "with.toml", "--output", "with")
    assert done.returncode == 0, done.stderr
    used = medpipe.Run.load(kept / "with").record["plugins"]
    assert {"distribution": "medpipe-kept", "version": "0.1.0", "steps": steps} in used


def test_the_page_on_versions_has_the_formats_of_the_code(repository: Path) -> None:
    from medpipe import config
    from medpipe.export import contract
    from medpipe.prediction import parts
    from medpipe.runs import record
    from medpipe.training import checkpoint

    text = (repository / "docs" / "explanation" / "versions.md").read_text(encoding="utf-8")
    section = text.partition("## What is carried over\n")[2].partition("\n## ")[0]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()]
    said = {cells[0]: cells[1] for cells in table if len(cells) == 4}
    assert said["configuration"] == f"`format = {config.FORMAT}`"
    assert said["run directory"] == f"`format` {record.FORMAT} in `run.json`"
    assert said["checkpoint"] == f"`medpipe` {checkpoint.SCHEMA} in the file's header"
    assert said["export"] == f"`format` {contract.FORMAT} in `contract.json`"
    assert f"`format` {parts.FORMAT}, " in said["a prediction that was stopped"]


def later_record(kept: Path) -> None:
    record = json.loads((kept / "run" / "run.json").read_text(encoding="utf-8"))
    later = {**record, "format": 99, "versions": {"medpipe": "9.0"}}
    (kept / "run" / "run.json").write_text(json.dumps(later), encoding="utf-8")
    medpipe.Run.load("run")


def later_checkpoint(kept: Path) -> None:
    path = kept / "run" / "checkpoints" / "best.safetensors"
    content = path.read_bytes()
    assert content.count(b'"medpipe":"2"') == 1
    path.write_bytes(content.replace(b'"medpipe":"2"', b'"medpipe":"9"'))
    medpipe.Run.load("run").network()


def later_configuration(kept: Path) -> None:
    text = (kept / "pipeline.toml").read_text(encoding="utf-8")
    (kept / "pipeline.toml").write_text(text.replace("format = 1", "format = 99"), encoding="utf-8")
    medpipe.PipelineBuilder.load("pipeline.toml")


def later_parameter(kept: Path) -> None:
    text = (kept / "pipeline.toml").read_text(encoding="utf-8")
    later = text.replace("conv1_t_size = 3", 'conv1_t_size = 3\nstem = "deep"')
    (kept / "pipeline.toml").write_text(later, encoding="utf-8")
    medpipe.PipelineBuilder.load("pipeline.toml")


def later_split_file(kept: Path) -> None:
    lines = (kept / "splits.csv").read_text(encoding="utf-8").splitlines()
    text = "\n".join(f"{line},{'site' if not i else 'A'}" for i, line in enumerate(lines))
    (kept / "splits.csv").write_text(text, encoding="utf-8")
    document = tomllib.loads((kept / "pipeline.toml").read_text(encoding="utf-8"))
    document["split"] = {"file": "splits.csv"}
    medpipe.PipelineBuilder.from_document(document).build().check().raise_for_problems()


def later_export(kept: Path) -> None:
    path = kept / "export" / "contract.json"
    contract = json.loads(path.read_text(encoding="utf-8"))
    later = {**contract, "format": 99, "versions": {"medpipe": "9.0"}}
    path.write_text(json.dumps(later), encoding="utf-8")
    medpipe.verify_export("export")


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (later_record, "run/run.json has an unknown format. Use the medpipe that wrote it, 9.0."),
        (
            later_checkpoint,
            "best.safetensors is a checkpoint of version 9, and this medpipe reads version 2. "
            "Resume with the medpipe that wrote it, or begin a new run.",
        ),
        (
            later_configuration,
            "format: must be 1, got 99. A newer medpipe may know it (pip install --upgrade "
            "medpipe-imaging).",
        ),
        (later_parameter, "network.stem: unknown parameter."),
        (
            later_split_file,
            "splits.csv, line 1: the column 'site' is unknown. The columns are id, split, fold, "
            "label, group, sha256, pixels. Remove it, or use the medpipe that wrote the file.",
        ),
        (
            later_export,
            "export/contract.json has an unknown format. Use the medpipe that wrote it, 9.0.",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_later_release_wrote_is_refused_with_what_to_do(
    kept: Path, later: Callable[[Path], None], said: str
) -> None:
    with pytest.raises(medpipe.MedpipeError) as caught:
        later(kept)
    assert said in str(caught.value)
