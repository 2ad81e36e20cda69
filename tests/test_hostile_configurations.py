"""Configurations that are wrong on purpose: each refused with its whole message."""

from __future__ import annotations

from pathlib import Path

import pytest

from medpipe import ConfigError, PipelineBuilder, Registry
from medpipe.cli.source import builder_of

HEAD = 'format = 1\n[dataset]\nstep = "phantom"\n'
TRAINER = '[trainer]\nstep = "supervised"\n'
NETWORKS = len(Registry.discover().networks)
SEE = f"'medpipe plugins' lists {NETWORKS} network steps."

HOSTILE: dict[str, tuple[str, str]] = {
    "a number of 400 digits": (
        HEAD + TRAINER + "max_epochs = " + "9" * 400,
        "trainer.max_epochs: must be a whole number or 'auto', got "
        "999999999999999999999999999999999999999999999999999999999....",
    ),
    "a number of 65 bits": (
        HEAD + "[run]\nseed = 18446744073709551616",
        "run.seed: must be a whole number, got 18446744073709551616.",
    ),
    "a number of 65 bits below 0": (
        HEAD + "[run]\nseed = -9223372036854775809",
        "run.seed: must be a whole number, got -9223372036854775809.",
    ),
    "a number of 400 digits for one with a point": (
        HEAD + TRAINER + "learning_rate = " + "9" * 400,
        "trainer.learning_rate: must be a number or 'auto', got "
        "999999999999999999999999999999999999999999999999999999999....",
    ),
    "a number of thousands of digits": (
        HEAD + "[run]\nseed = 0x" + "f" * 5000,
        "run.seed: must be a whole number, got a number of thousands of digits.",
    ),
    "a float beyond all": (
        HEAD + TRAINER + "learning_rate = 1e999",
        "trainer.learning_rate: must be a number or 'auto', got inf.",
    ),
    "a negative size": (HEAD + "samples = -5", "dataset.samples: must be >= 12, got -5."),
    "a size of 0": (HEAD + "size = 0", "dataset.size: must be >= 16, got 0."),
    "NaN for a probability": (
        HEAD + '[[transform]]\nstep = "rand_flip"\nprob = nan',
        "transform[0].prob: must be a number, got nan.",
    ),
    "a table for a number": (
        HEAD + "[loader.batch_size]\nx = 1",
        "loader.batch_size: must be a whole number or 'auto', got {'x': 1}.",
    ),
    "a list for a number": (
        HEAD + "[loader]\nbatch_size = [8]",
        "loader.batch_size: must be a whole number or 'auto', got [8].",
    ),
    "a date for a number": (
        HEAD + "[loader]\nbatch_size = 1979-05-27",
        "loader.batch_size: must be a whole number or 'auto', got datetime.date(1979, 5, 27).",
    ),
    "a date for a section": (
        "format=1\nloader = 1979-05-27\n",
        "loader: must be a table, got datetime.date(1979, 5, 27).",
    ),
    "a section that is a list": (
        HEAD + "[[loader]]\nbatch_size = 8",
        "loader: must be a table, got [{'batch_size': 8}].",
    ),
    "a section that is text": ("format=1\nloader = 'x'\n", "loader: must be a table, got 'x'."),
    "a step that is a list": (
        HEAD + '[network]\nstep = ["densenet121"]',
        "network.step: must be the name of a network step, got ['densenet121'].",
    ),
    "a step like an import": (
        HEAD + '[network]\nstep = "torch.hub:load"',
        "network.step: There is no network step 'torch.hub:load'. There is no distribution "
        "'torch.hub' with steps. " + SEE,
    ),
    "a step like a class": (
        HEAD + '[network]\nstep = "monai.networks.nets.DenseNet121"',
        "network.step: There is no network step 'monai.networks.nets.DenseNet121'. " + SEE,
    ),
    "a step like an expression": (
        HEAD + "[network]\nstep = \"__import__('os').system('true')\"",
        "network.step: There is no network step \"__import__('os').system('true')\". " + SEE,
    ),
    "a step like an interpolation": (
        HEAD + '[network]\nstep = "${oc.env:HOME}"',
        "network.step: There is no network step '${oc.env:HOME}'. There is no distribution "
        "'${oc.env' with steps. " + SEE,
    ),
    "a step like MONAI's bundles": (
        HEAD + '[network]\n_target_ = "os.system"\nstep = "$import os"',
        "network.step: There is no network step '$import os'. " + SEE,
    ),
    "a step of no name": (
        HEAD + '[network]\nstep = ""',
        "network.step: There is no network step ''. " + SEE,
    ),
    "a step of a plugin that is not there": (
        HEAD + '[network]\nstep = "medpipe-none:net"',
        "network.step: There is no network step 'medpipe-none:net'. There is no distribution "
        "'medpipe-none' with steps. " + SEE,
    ),
    "a parameter that is an attribute": (
        HEAD + '[network]\nstep = "densenet121"\n__class__ = "x"',
        "network.__class__: unknown parameter. densenet121 takes init_features, "
        "growth_rate, dropout_prob.",
    ),
    "a parameter that is a method": (
        HEAD + '[network]\nstep = "densenet121"\nbuild = "x"',
        "network.build: unknown parameter. densenet121 takes init_features, growth_rate, "
        "dropout_prob.",
    ),
    "a parameter of no name": (
        HEAD + '[network]\nstep = "densenet121"\n"" = 1',
        "network.: unknown parameter. densenet121 takes init_features, growth_rate, dropout_prob.",
    ),
    "dotted keys": (
        HEAD + TRAINER + "optimizer.step.x = 1",
        "trainer.optimizer.step: must be the name of an optimizer step, got {'x': 1}.",
    ),
    "dotted sections": (
        HEAD + "[split.validation.x]",
        "split.validation: must be a number, got {'x': {}}.",
    ),
    "a path with NUL": (
        HEAD + '[split]\nfile = "a\\u0000b.csv"',
        "split.file: must be a path, got 'a\\x00b.csv'.",
    ),
    "an empty path": (HEAD + '[split]\nfile = ""', "split.file: must be a path, got ''."),
    "a pattern that does not compile": (
        HEAD + '[weights]\nfile = "a.safetensors"\nskip = ["("]',
        "weights.skip[0]: '(' is not a regular expression: missing ), unterminated subpattern at "
        "position 0.",
    ),
    "a pattern that repeats too often": (
        HEAD + '[weights]\nfile = "a.safetensors"\nskip = ["a{99999999999999999999}"]',
        "weights.skip[0]: 'a{99999999999999999999}' is not a regular expression: the repetition "
        "number is too large.",
    ),
    "a device with a number too large": (
        HEAD + '[run]\ndevice = "cuda:-1"',
        "run.device: must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got 'cuda:-1'.",
    ),
    "folds below 2": (HEAD + "[split]\nfolds = 1", "split.folds: must be >= 2, got 1."),
    "a fold beyond": (
        HEAD + "[split]\nfolds = 3\nfold = 3",
        "split.fold: must be from 0 to 2, got 3.",
    ),
    "transforms that are text": (
        "format = 1\ntransform = 'load_image'\n",
        "transform: must be a list of tables: write [[transform]] above each step.",
    ),
    "a transform that is a number": (
        "format = 1\ntransform = [1]\n",
        "transform[0]: must be a transform step, got 1.",
    ),
    "values that nest": (
        HEAD + "[other]\nx = " + "[" * 20 + "]" * 20,
        "Tables or lists are nested more than 16 levels deep.",
    ),
    "tables that nest": (
        HEAD + "[trainer" + ".x" * 30 + "]",
        "Tables or lists are nested more than 16 levels deep.",
    ),
    "a negative fraction of time": (
        HEAD + "[run]\ncheckpoint_minutes = -1.0",
        "run.checkpoint_minutes: must be >= 0, got -1.0.",
    ),
    "a word for a choice": (
        HEAD + '[loader]\ncache = "maybe"',
        "loader.cache: must be one of 'auto', 'off', got 'maybe'.",
    ),
    "zero gradient clip": (
        HEAD + TRAINER + "gradient_clip = 0",
        "trainer.gradient_clip: must be > 0, got 0.0.",
    ),
    "accumulation of 0": (
        HEAD + TRAINER + "accumulation = 0",
        "trainer.accumulation: must be >= 1, got 0.",
    ),
    "a format that is true": ("format = true\n", "format: must be 1, got true."),
    "a format of NaN": ("format = nan\n", "format: must be 1, got nan."),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_configuration_is_refused(case: str) -> None:
    text, message = HOSTILE[case]
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.from_toml(text)
    assert [str(problem) for problem in caught.value.problems] == [message]


FILES: dict[str, tuple[bytes, str]] = {
    "UTF-8 that is none": (
        b"format = 1\n# \xff",
        "The configuration can't be read:\n  FILE: not UTF-8 (byte 13).",
    ),
    "NUL": (
        b"format = 1\n\x00",
        "FILE is not valid TOML:\n  Invalid statement (at line 2, column 1).",
    ),
    "UTF-16": (
        b"\xff\xfef\x00o\x00r\x00m\x00a\x00t\x00 \x00=\x00 \x001\x00",
        "The configuration can't be read:\n  FILE: not UTF-8 (byte 0).",
    ),
    "a key twice": (
        b"format = 1\nformat = 1",
        "FILE is not valid TOML:\n  Cannot overwrite a value (at end of document).",
    ),
    "a section twice": (
        b"[run]\n[run]",
        "FILE is not valid TOML:\n  Cannot declare ('run',) twice (at line 2, column 5).",
    ),
    "a table and a value": (
        b"run.seed = 1\n[run.seed]\n",
        "FILE is not valid TOML:\n  Cannot overwrite a value (at line 2, column 10).",
    ),
    "a number of 5,000 digits": (
        b"format = " + b"9" * 5000,
        "FILE is not valid TOML:\n  Exceeds the limit (4300 digits) for integer string "
        "conversion: value has 5000 digits; use sys.set_int_max_str_digits() to increase the "
        "limit.",
    ),
    "brackets without end": (
        b"x = " + b"[" * 100_000,
        "FILE is not valid TOML:\n  Tables or lists are nested too deeply.",
    ),
    "10 MB of one line": (
        b"# " + b"a" * 10_000_000,
        "The configuration can't be read:\n  FILE: larger than 1,000,000 bytes.",
    ),
    "text without end": (
        b'x = """',
        "FILE is not valid TOML:\n  Unterminated string (at end of document).",
    ),
    "a path of Windows in double quotes": (
        rb'x = "C:\Users\scans"',
        "FILE is not valid TOML:\n  Invalid hex value (at line 1, column 10). In double quotes a "
        "backslash begins an escape, as in TOML. Write a Windows path in single quotes "
        r"('C:\data\images'), or with forward slashes.",
    ),
    "another": (
        rb'x = "C:\data"',
        "FILE is not valid TOML:\n  Unescaped '\\' in a string (at line 1, column 10). In double "
        "quotes a backslash begins an escape, as in TOML. Write a Windows path in single "
        r"quotes ('C:\data\images'), or with forward slashes.",
    ),
    "a control character": (
        b'x = "\x07"',
        "FILE is not valid TOML:\n  Illegal character '\\x07' (at line 1, column 6).",
    ),
    "Windows-1252": (
        b"# \x93x\x94",
        "The configuration can't be read:\n  FILE: not UTF-8 (byte 2).",
    ),
    "tables in each other": (
        b"x = " + b"{a = " * 5000,
        "FILE is not valid TOML:\n  Tables or lists are nested too deeply.",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_hostile_file_is_refused(case: str, tmp_path: Path) -> None:
    content, message = FILES[case]
    file = tmp_path / "given.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.load(file)
    assert str(caught.value).replace(str(file), "FILE") == message


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "given.toml"
    file.write_bytes(b"\xef\xbb\xbfformat = 1\n")
    assert PipelineBuilder.load(file) == PipelineBuilder.from_toml("format = 1")


SETTINGS: dict[str, tuple[str, str]] = {
    "no value": (
        "trainer.max_epochs",
        "A value can't be set:\n  trainer.max_epochs: write PATH=VALUE, such as "
        "trainer.max_epochs=5.",
    ),
    "no path": (
        "=1",
        "A value can't be set:\n  is not a path; write it like trainer.learning_rate or "
        "transform[1].prob.",
    ),
    "empty list place": (
        "transform[].x=1",
        "A value can't be set:\n  transform[].x: is not a path; write it like "
        "trainer.learning_rate or transform[1].prob.",
    ),
    "a place of ²": (
        "transform[²].prob=1",
        "A value can't be set:\n  transform[²].prob: is not a path; write it like "
        "trainer.learning_rate or transform[1].prob.",
    ),
    "a place of 5,000 digits": (
        f"transform[{'9' * 5000}].prob=1",
        "A value can't be set:\n  transform[99999999999999999999999999999999999999999999999999: "
        "is not a path; write it like trainer.learning_rate or transform[1].prob.",
    ),
    "a negative place": (
        "transform[-1].prob=1",
        "A value can't be set:\n  transform[-1].prob: is not a path; write it like "
        "trainer.learning_rate or transform[1].prob.",
    ),
    "two lines": (
        "run.seed=1\nformat = 2",
        "The configuration has problems:\n  run.seed: must be a whole number, got "
        "'1\\nformat = 2'.",
    ),
    "no quotes": (
        "run.device=gpu:1",
        "The configuration has problems:\n  run.device: must be 'auto', 'cpu', 'cuda', 'cuda:N' or "
        "'mps', got 'gpu:1'.",
    ),
    "brackets without end": (
        "run.seed=" + "[" * 100_000,
        f"The configuration has problems:\n  run.seed: must be a whole number, got '{'[' * 56}....",
    ),
    "through a value": (
        "format.x=1",
        "A value can't be set:\n  format.x: 'x' is not a part of the configuration there.",
    ),
    "a section of the command": (
        "trainer.build=1",
        "The configuration has problems:\n  trainer.build: unknown parameter. supervised "
        "takes max_epochs, loss, precision, monitor, patience, epoch_length, "
        "learning_rate, optimizer, schedule, gradient_clip, accumulation, parameters, "
        "compile, recompute.",
    ),
    "spaces": (
        " trainer . max_epochs =1",
        "The configuration has problems:\n  trainer : unknown section. Did you mean 'trainer'?",
    ),
    "a table": (
        "trainer={step='os.system'}",
        "The configuration has problems:\n  trainer.step: There is no trainer step 'os.system'. "
        "'medpipe plugins' lists 1 trainer step.",
    ),
    "quotes": (
        "trainer.'max_epochs'=1",
        "The configuration has problems:\n  trainer.'max_epochs': unknown parameter. Did "
        "you mean 'max_epochs'?",
    ),
    "deep": (
        ".".join("a" * 3000) + "=1",
        "The configuration has problems:\n  Tables or lists are nested more than 16 levels deep.",
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_hostile_setting_is_refused(case: str) -> None:
    setting, message = SETTINGS[case]
    with pytest.raises(ConfigError) as caught:
        builder_of("mednist", [setting]).build()
    assert str(caught.value) == message
