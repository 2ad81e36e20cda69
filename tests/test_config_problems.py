"""Wrong configurations: each exact message, and all of them at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs
import pytest

import medpipe
from medpipe import ConfigError, PipelineBuilder, config
from medpipe.plugin import NetworkStep, TransformStep
from medpipe.registry.parameters import convert, structure
from medpipe.steps import Step

HEAD = 'format = 1\n[dataset]\nstep = "phantom"\n'
NETWORKS = len(medpipe.Registry.discover().networks)
LOSSES = len(medpipe.Registry.discover().losses)

WRONG: dict[str, tuple[str, str]] = {
    "unknown step": (
        '[network]\nstep = "densnet121"',
        "network.step: There is no network step 'densnet121'. Did you mean 'densenet121'? "
        f"'medpipe plugins' lists {NETWORKS} network steps.",
    ),
    "step of another kind": (
        '[network]\nstep = "rand_flip"',
        "network.step: There is no network step 'rand_flip'. There is a transform step of that "
        f"name. 'medpipe plugins' lists {NETWORKS} network steps.",
    ),
    "no step": ("[network]", "network.step: required: the name of a network step."),
    "step is no text": (
        "[network]\nstep = 7",
        "network.step: must be the name of a network step, got 7.",
    ),
    "unknown parameter": (
        '[trainer]\nstep = "supervised"\nmax_epoch = 3',
        "trainer.max_epoch: unknown parameter. Did you mean 'max_epochs'?",
    ),
    "unknown section": (
        '[netwrok]\nstep = "resnet18"',
        "netwrok: unknown section. Did you mean 'network'?",
    ),
    "wrong type": (
        '[trainer]\nstep = "supervised"\nmax_epochs = "3"',
        "trainer.max_epochs: must be a whole number or 'auto', got '3'.",
    ),
    "bool for int": (
        '[trainer]\nstep = "supervised"\nmax_epochs = true',
        "trainer.max_epochs: must be a whole number or 'auto', got true.",
    ),
    "float for int": (
        '[trainer]\nstep = "supervised"\nmax_epochs = 2.0',
        "trainer.max_epochs: must be a whole number or 'auto', got 2.0.",
    ),
    "text for bool": (
        '[loader]\ndrop_last = "yes"',
        "loader.drop_last: must be true or false, got 'yes'.",
    ),
    "NaN learning rate": (
        '[trainer]\nstep = "supervised"\nlearning_rate = nan',
        "trainer.learning_rate: must be a number or 'auto', got nan.",
    ),
    "infinite learning rate": (
        '[trainer]\nstep = "supervised"\nlearning_rate = inf',
        "trainer.learning_rate: must be a number or 'auto', got inf.",
    ),
    "zero learning rate": (
        '[trainer]\nstep = "supervised"\nlearning_rate = 0',
        "trainer.learning_rate: must be > 0, got 0.0.",
    ),
    "negative epochs": (
        '[trainer]\nstep = "supervised"\nmax_epochs = -1',
        "trainer.max_epochs: must be >= 1, got -1.",
    ),
    "batch 0": ("[loader]\nbatch_size = 0", "loader.batch_size: must be >= 1, got 0."),
    "negative workers": ("[loader]\nworkers = -1", "loader.workers: must be >= 0, got -1."),
    "unknown sampling": (
        '[loader]\nsampling = "balancd"',
        "loader.sampling: must be one of 'shuffled', 'balanced', 'auto', got 'balancd'. "
        "Did you mean 'balanced'?",
    ),
    "fractions exceed one": (
        "[split]\nvalidation = 0.6\ntest = 0.5",
        "split.test: validation (0.6) and test (0.5) must leave something for training: together "
        "they must be below 1.",
    ),
    "negative fraction": (
        "[split]\nvalidation = -0.1",
        "split.validation: must be >= 0, got -0.1.",
    ),
    "validation of everything": (
        "[split]\nvalidation = 1.0",
        "split.validation: must be < 1, got 1.0.",
    ),
    "negative test": ("[split]\ntest = -0.1", "split.test: must be >= 0, got -0.1."),
    "test of everything": ("[split]\ntest = 1.0", "split.test: must be < 1, got 1.0."),
    "negative seed of the split": ("[split]\nseed = -1", "split.seed: must be >= 0, got -1."),
    "negative fold": (
        "[split]\nfolds = 3\nfold = -1",
        "split.fold: must be from 0 to 2, got -1.",
    ),
    "negative seed": ("[run]\nseed = -1", "run.seed: must be >= 0, got -1."),
    "two sources of weights": (
        '[weights]\nfile = "a.safetensors"\nrun = "b"',
        "weights.run: can't be given with weights.file: name one of them.",
    ),
    "a short digest": (
        '[weights]\nfile = "a.safetensors"\nsha256 = "ab"',
        "weights.sha256: must be 64 hexadecimal digits in lower case, got 'ab'.",
    ),
    "a digest in upper case": (
        f'[weights]\nfile = "a.safetensors"\nsha256 = "{"A" * 64}"',
        f"weights.sha256: must be 64 hexadecimal digits in lower case, got '{'A' * 64}'.",
    ),
    "unknown device": (
        '[run]\ndevice = "gpu"',
        "run.device: must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got 'gpu'.",
    ),
    "seed too large": (
        "[run]\nseed = 4294967296",
        "run.seed: must be < 4294967296, got 4294967296.",
    ),
    "unknown optimizer": (
        '[trainer]\nstep = "supervised"\n[trainer.optimizer]\nstep = "adamv"',
        "trainer.optimizer.step: There is no optimizer step 'adamv'. Did you mean 'adam'? "
        "'medpipe plugins' lists 13 optimizer steps.",
    ),
    "optimizer without a name": (
        '[trainer]\nstep = "supervised"\n[trainer.optimizer]\neps = 1e-8',
        "trainer.optimizer.step: required: the name of an optimizer step.",
    ),
    "another optimizer's parameter": (
        '[trainer]\nstep = "supervised"\n[trainer.optimizer]\nstep = "sgd"\neps = 1.0',
        "trainer.optimizer.eps: unknown parameter. "
        "sgd takes momentum, dampening, weight_decay, nesterov.",
    ),
    "pair of the wrong length": (
        '[trainer]\nstep = "supervised"\n[trainer.optimizer]\nstep = "adam"\nbetas = [0.9]',
        "trainer.optimizer.betas: must be a list of 2: a number, a number, got [0.9].",
    ),
    "unknown loss": (
        '[trainer]\nstep = "supervised"\n[trainer.loss]\nstep = "focl"',
        "trainer.loss.step: There is no loss step 'focl'. Did you mean 'focal'? 'medpipe "
        f"plugins' lists {LOSSES} loss steps.",
    ),
    "loss is no table": (
        '[trainer]\nstep = "supervised"\nloss = 3',
        "trainer.loss: must be a loss step or 'auto', got 3.",
    ),
    "probability above one": (
        '[[transform]]\nstep = "load_image"\n[[transform]]\nstep = "rand_flip"\nprob = 1.5',
        "transform[1].prob: must be <= 1, got 1.5.",
    ),
    "required parameter": (
        '[[transform]]\nstep = "resize"',
        "transform[0].spatial_size: required: a whole number or a list, each a whole number.",
    ),
    "transform is no list": (
        '[transform]\nstep = "load_image"',
        "transform: must be a list of tables: write [[transform]] above each step.",
    ),
    "a transform that is numbered": (
        '[transform.0]\nstep = "load_image"',
        "transform: must be a list of tables: write [[transform]] above each step. Set the whole "
        'list: --set \'transform=["default", "NAME"]\'.',
    ),
    "a reader by name": (
        '[[transform]]\nstep = "load_image"\nreader = "os.system"',
        "transform[0].reader: unknown parameter. load_image takes axes.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_configuration_is_refused_with_its_path(case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.from_toml(HEAD + text)
    assert [str(problem) for problem in caught.value.problems] == [message]


def test_every_problem_is_found_at_once() -> None:
    sections = {
        "network": "unknown step",
        "loader": "batch 0",
        "split": "negative fraction",
        "run": "unknown device",
        "trainer": "NaN learning rate",
    }
    text = "\n".join(WRONG[case][0] for case in sections.values())
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.from_toml(HEAD + text)
    found = {str(problem) for problem in caught.value.problems}
    assert found == {WRONG[case][1] for case in sections.values()}


def test_two_problems_in_one_step_are_both_found() -> None:
    text = '[trainer]\nstep = "supervised"\nmax_epochs = -1\nlearning_rate = 0\ngradient_clip = -1'
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.from_toml(HEAD + text)
    assert [problem.path for problem in caught.value.problems] == [
        "trainer.max_epochs",
        "trainer.learning_rate",
        "trainer.gradient_clip",
    ]


def test_a_syntax_error_has_its_line_and_column() -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.from_toml("format = 1\n[dataset\n")
    assert str(caught.value) == (
        "the configuration is not valid TOML:\n  Expected ']' at the end of a table declaration "
        "(at line 2, column 9)."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "format: required. Write format = 1."),
        (
            "format = 2",
            "format: must be 1, got 2. A newer medpipe may know it (pip install --upgrade "
            "medpipe-imaging).",
        ),
        ("format = 0", "format: must be 1, got 0."),
        ('format = "1"', "format: must be 1, got '1'."),
    ],
)
def test_the_format_is_checked(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.from_toml(text)
    assert [str(problem) for problem in caught.value.problems] == [message]


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.from_recipe("mednist_fats")
    assert str(caught.value.problems[0]) == (
        "there is no recipe 'mednist_fats'. Did you mean 'mednist_fast'? "
        "The name of a configuration file ends in .toml."
    )


def test_values_are_set_by_the_paths_of_errors() -> None:
    document = config.parse(HEAD + '[[transform]]\nstep = "rand_flip"\n')
    config.set_value(document, "transform[0].prob", 0.25)
    config.set_value(document, "trainer.step", "supervised")
    config.set_value(document, "trainer.loss.step", "focal")
    assert document["transform"][0]["prob"] == 0.25
    assert document["trainer"] == {"step": "supervised", "loss": {"step": "focal"}}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "transform[3].prob",
            "transform[3].prob: there is no entry 3; entries are numbered 0 to 0.",
        ),
        (
            "metric[0].step",
            "metric[0].step: the configuration has no [[metric]]. Set the whole list: --set "
            "'metric=[\"NAME\"]'.",
        ),
        ("format.x", "format.x: 'x' is not a part of the configuration there."),
        (
            "transform[x]",
            "transform[x]: is not a path; write it like trainer.learning_rate or "
            "transform[1].prob.",
        ),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path: str, message: str) -> None:
    document = config.parse(HEAD + '[[transform]]\nstep = "rand_flip"\n')
    with pytest.raises(ConfigError) as caught:
        config.set_value(document, path, 1)
    assert [str(problem) for problem in caught.value.problems] == [message]


def test_a_parameter_of_a_step_that_is_written_as_its_name_is_set() -> None:
    document = config.parse(
        'format = 1\ntransform = ["default", "rand_flip"]\nnetwork = "resnet10"'
    )
    config.set_value(document, "transform[1].prob", 0.25)
    config.set_value(document, "network.widen_factor", 0.5)
    assert document["transform"] == ["default", {"step": "rand_flip", "prob": 0.25}]
    assert document["network"] == {"step": "resnet10", "widen_factor": 0.5}
    for path, message in {
        "transform[0].prob": "'default' stands for several steps, and takes no parameters. To "
        "change one, write them all: load_image, ensure_channel_first, scale_intensity, to_tensor.",
        "transform[4].prob": "there is no entry 4; entries are numbered 0 to 1, where 'default' "
        "is one.",
    }.items():
        with pytest.raises(ConfigError) as caught:
            config.set_value(document, path, 1)
        assert [str(problem) for problem in caught.value.problems] == [f"{path}: {message}"]


def test_a_misspelt_default_is_asked_for() -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.from_document({"format": 1, "transform": ["defualt", "rand_flp", "xyzzy"]})
    asked = [str(problem).partition("Did you mean ")[2] for problem in caught.value.problems]
    assert [text[:11] for text in asked] == ["'default'?", "'rand_flip'", ""]


@attrs.frozen(kw_only=True)
class Pair:
    """Two numbers, the first of which is the smaller."""

    low: int = attrs.field()
    high: int = attrs.field(default=9)
    choice: Literal[1, "x"] = attrs.field(default=1)
    width: int = attrs.field(init=False, default=0)

    @high.validator
    def _is_higher(self, _: attrs.Attribute[int], high: int) -> None:
        if high <= self.low:
            raise ValueError("must be above low")

    def __attrs_post_init__(self) -> None:
        if self.low == 7:
            raise ValueError("7 is no low number")


@pytest.mark.parametrize(
    ("table", "messages"),
    [
        ({"low": 1}, []),
        ({"low": 1, "high": 1}, ["pair.high: must be above low."]),
        ({"low": "1", "high": 0}, ["pair.low: must be a whole number, got '1'."]),
        ({"low": 7}, ["pair: 7 is no low number."]),
        ({"low": 1, "width": 2}, ["pair.width: unknown parameter. It takes low, high, choice."]),
        ({"low": 1, "choice": True}, ["pair.choice: must be one of 1, 'x', got true."]),
        ({"low": 1, "choice": 1.0}, ["pair.choice: must be one of 1, 'x', got 1.0."]),
    ],
)
def test_what_a_class_says_of_its_values_is_a_problem(
    table: dict[str, object], messages: list[str]
) -> None:
    def resolve(kind: type[Step], name: str) -> type[Step]:
        raise LookupError(name)

    made, problems = structure(Pair, table, path="pair", resolve=resolve)
    assert [str(problem) for problem in problems] == messages
    assert (made is None) is bool(messages)


def test_a_step_of_another_kind_is_refused() -> None:
    registry = medpipe.Registry.discover()
    step = registry.create(TransformStep, "to_tensor")
    made, problems = convert(NetworkStep, step, path="network", resolve=registry.get)
    assert made is None
    assert [str(problem) for problem in problems] == [
        "network: must be a network step, got the transform step 'to_tensor'."
    ]


def test_a_pattern_that_nests_too_deeply_is_refused() -> None:
    pattern = "(" * 5000 + ")" * 5000
    with pytest.raises(ConfigError, match="is not a regular expression: "):
        PipelineBuilder.from_toml(f'{HEAD}[weights]\nfile = "a"\nskip = ["{pattern}"]')


def test_a_path_of_windows_whose_backslashes_toml_reads_as_escapes() -> None:
    with pytest.raises(ConfigError) as caught:
        PipelineBuilder.from_toml(
            'format = 1\n[dataset]\nstep = "image_folder"\nroot = "C:\\temp\\new"'
        )
    assert [str(problem) for problem in caught.value.problems] == [
        r"dataset.root: holds U+0009 TAB, U+000A LINE FEED: 'C:\temp\new'. In double quotes "
        "a backslash begins an escape, as in TOML. Write a Windows path in single quotes "
        r"('C:\data\images'), or with forward slashes."
    ]


def test_a_folder_with_a_tab_in_its_name_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a\tb").mkdir()
    root = str(tmp_path / "a\tb")
    assert convert(Path, root, path="dataset.root", resolve=lambda *_: Step) == (Path(root), [])
