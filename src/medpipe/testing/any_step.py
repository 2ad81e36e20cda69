"""Checks of steps of every kind."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import pickle
import tomllib
import warnings
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.registry.meanings import meanings
from medpipe.registry.parameters import (
    convert,
    describe_type,
    parameter_types,
    structure,
    unstructure,
    values_of,
)
from medpipe.steps import Step
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.examples import GIVE
from medpipe.testing.importing import SECONDS, imported
from medpipe.testing.use import use_of
from medpipe.testing.watched import (
    difference,
    left_as_it_was,
    random_states,
    settings_of_torch,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@check(
    protects="Without a step to try, no check says anything.",
    remedy=GIVE,
    of_examples=True,
)
def gives_examples(case: Case) -> None:
    """The class makes steps that can be tried."""
    if not case.own:
        raise skip("the step was given")


@check(
    protects="Configurations find steps by a name, in a registry.",
    remedy="Do what the message says; a step is an attrs class with frozen and kw_only.",
)
def can_be_registered(case: Case) -> None:
    """A registry takes the class."""
    from medpipe.registry.loading import step_class_problems
    from medpipe.steps import STEP_KINDS

    cls = type(case.step)
    kind = next(kind for kind in STEP_KINDS if issubclass(cls, kind))
    if problems := step_class_problems(cls, kind):
        raise FailedError("; ".join(problems))


@check(
    protects="Every command of medpipe imports all plugins.",
    remedy="Import torch, monai and ignite inside of the methods that need them.",
)
def imports_nothing_heavy(case: Case) -> None:
    """Importing its module imports neither torch nor monai."""
    module = type(case.step).__module__
    if heavy := imported(module).heavy:
        raise FailedError(f"importing {module} imports {', '.join(heavy)}")


@check(
    protects="Every command of medpipe imports all plugins.",
    remedy="Import what takes long inside of the methods that need it.",
    needs=[imports_nothing_heavy],
)
def imports_quickly(case: Case) -> None:
    """Importing its module takes less than half a second of a CPU."""
    module = type(case.step).__module__
    if (seconds := imported(module).seconds) > SECONDS:
        raise FailedError(f"importing {module} takes {seconds:.2f} s")


@check(
    protects="A pipeline is a value: a step that changes afterwards is not what was checked.",
    remedy="Keep nothing on the step: what is made belongs to what the step builds.",
)
def stays_as_it_is(case: Case) -> None:
    """Using a step changes none of its parameters."""
    before = copy.deepcopy(values_of(case.step))
    use_of(case).call()
    changed = difference(before, values_of(case.step))
    if changed:
        raise FailedError(f"its use changes its parameter {changed}")
    extra = set(getattr(case.step, "__dict__", {})) - {
        f.name for f in attrs.fields(type(case.step))
    }
    if extra:
        raise FailedError(f"its use leaves {', '.join(sorted(extra))} on it")


@check(
    protects="Resuming and comparing runs ask whether two steps are the same.",
    remedy="Leave eq to attrs, and compare arrays in a field with eq=attrs.cmp_using(...).",
)
def equals_its_copy(case: Case) -> None:
    """A step equals another with the same parameters."""
    again = attrs.evolve(case.step)
    if (again == case.step) is not True:
        raise FailedError("it differs from a step with the same parameters")


@check(
    protects="Two steps with other parameters are not the same.",
    remedy="Leave eq to attrs: no field needs eq=False.",
    needs=[equals_its_copy],
)
def differs_by_parameters(case: Case) -> None:
    """Every parameter counts where steps are compared."""
    ignored = [field.name for field in attrs.fields(type(case.step)) if field.init and not field.eq]
    if ignored:
        raise FailedError(f"steps that differ in {', '.join(ignored)} alone are equal")


@check(
    protects="A run keeps its configuration as TOML, and is resumed and repeated from it.",
    remedy="Use parameters of the types that TOML has: numbers, texts, lists, tables, steps.",
    needs=[can_be_registered, equals_its_copy],
)
def comes_back_from_toml(case: Case) -> None:
    """A step that is written as TOML and read again is the same."""
    import tomli_w

    plain = unstructure(case.step, name_of=_name)
    table = tomllib.loads(tomli_w.dumps({key: plain[key] for key in plain if key != "step"}))
    again, problems = _structured(case, table)
    if problems:
        raise FailedError(f"what it writes is refused when it is read: {problems[0]}")
    if again != case.step:
        raise FailedError(f"{case.step!r} comes back as {again!r}")


@check(
    protects="A default that the parameter's own type refuses can't be written down.",
    remedy="Give each parameter a default that its type and its validator allow.",
    needs=[can_be_registered],
)
def has_valid_defaults(case: Case) -> None:
    """Each default may also be given."""
    cls = type(case.step)
    for name, expected in parameter_types(cls).items():
        field = next(
            field for field in attrs.fields(cls) if field.name.rstrip("_") == name.rstrip("_")
        )
        default = field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # attrs has no type for it
            default = default.factory() if not default.takes_self else attrs.NOTHING
        if default is attrs.NOTHING or default is None:
            continue
        _, problems = convert(expected, default, path=name, resolve=_resolver(case))
        if problems:
            raise FailedError(f"its default {name} = {default!r} is refused: {problems[0].message}")


@check(
    protects="'medpipe show', the reference and error messages say what parameters mean.",
    remedy="Name each parameter under 'Attributes:' in the docstring of the class.",
    needs=[can_be_registered],
)
def documents_its_parameters(case: Case) -> None:
    """Each parameter has a meaning in the docstring."""
    known = meanings(type(case.step))
    lacking = [name for name in parameter_types(type(case.step)) if name not in known]
    if lacking:
        raise FailedError(f"its docstring does not say what {', '.join(lacking)} means")


@check(
    protects="'medpipe plugins' and 'medpipe show' tell users what a step does.",
    remedy="Begin the docstring of the class with a sentence.",
)
def documents_itself(case: Case) -> None:
    """The class has a docstring of its own."""
    text = type(case.step).__dict__.get("__doc__") or ""
    if not text.strip() or text.startswith(f"{type(case.step).__name__}("):
        raise FailedError("it has no docstring")


@check(
    protects="A wrong value is refused before training, with the parameter's name.",
    remedy="Give parameters types of their own, and a validator; raise a ValueError elsewhere.",
    needs=[can_be_registered],
)
def refuses_wrong_values(case: Case) -> None:
    """No parameter takes a value of any type, and odd values raise nothing but ValueError."""
    table = unstructure(case.step, name_of=_name)
    table.pop("step")
    for name, expected in parameter_types(type(case.step)).items():
        _, problems = convert(expected, _Strange(), path=name, resolve=_resolver(case))
        if not problems:
            raise FailedError(
                f"its parameter {name} takes anything: it is {describe_type(expected)}"
            )
        for odd in _ODD:
            try:
                _structured(case, {**table, name: odd})
            except Exception as error:
                raise FailedError(
                    f"its parameter {name} = {odd!r} raises {described(error)}, no ValueError"
                ) from error


@check(
    protects="Loaders' worker processes get the steps by pickle.",
    remedy="Give parameters that can be pickled, and define the class in a module, not a function.",
    needs=[equals_its_copy],
)
def can_be_pickled(case: Case) -> None:
    """A step that is pickled and read again is the same."""
    try:
        again = pickle.loads(pickle.dumps(case.step))
    except Exception as error:
        raise FailedError(f"it can't be pickled: {described(error)}") from error
    if again != case.step:
        raise FailedError("it is another after pickle")


@check(
    protects="Runs repeat by their seed: who draws from a global generator shifts all others.",
    remedy="Draw from the generator that the step is given, or let the library seed the sample.",
)
def leaves_random_state(case: Case) -> None:
    """Python's, NumPy's and torch's generators are as before."""
    use = use_of(case)
    before = random_states()
    use.call()
    changed = difference(before, random_states())
    if changed:
        raise FailedError(f"its use changes the global random state of {changed}")


@check(
    protects="What a step is given may be in the cache, or be used by others.",
    remedy="Work on a copy: no '+=', no methods of torch that end with '_'.",
)
def leaves_what_it_is_given(case: Case) -> None:
    """What a step gets is the same afterwards."""
    use = use_of(case)
    if use.given is None:
        raise skip(f"{case.step.kind} steps are given nothing that could change")
    before = copy.deepcopy(use.given)
    use.call()
    changed = difference(before, use.given)
    if changed:
        raise FailedError(f"its use changes what it is given: {changed}")


@check(
    protects="A step that changes torch's settings changes every other step.",
    remedy="Leave dtypes, threads, gradients and determinism as they are, or put them back.",
)
def leaves_settings(case: Case) -> None:
    """Settings of torch, the working directory and the environment are as before."""
    with left_as_it_was():  # what is imported at the first use may change them too
        use_of(case).call()
    before = settings_of_torch()
    use_of(case).call()
    changed = difference(before, settings_of_torch())
    if changed:
        raise FailedError(f"its use changes {changed}")


@check(
    protects="Progress and results are the library's to print: other lines break theirs.",
    remedy="Use logging.getLogger(__name__) in place of print.",
)
def prints_nothing(case: Case) -> None:
    """Nothing is printed; warnings and the log are no prints."""
    out, err, disabled = io.StringIO(), io.StringIO(), logging.root.manager.disable
    redirected = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    logging.disable()
    try:
        with redirected[0], redirected[1], warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use_of(case).call()
    finally:
        logging.disable(disabled)
    if said := out.getvalue() or err.getvalue():
        raise FailedError(f"it prints {said[:80]!r}")


_ODD: tuple[object, ...] = (0, -1, -0.5, float("nan"), float("inf"), "", "?", [], [0, 0], True)
"""Values that parameters may be given by mistake."""


class _Strange:
    """A value that no parameter is meant for."""


def _structured(case: Case, table: dict[str, Any]) -> tuple[Any, list[Any]]:
    return structure(type(case.step), table, path="", resolve=_resolver(case))


def _resolver(case: Case) -> Callable[[type[Step], str], type[Step]]:
    """Finds the class of a step that is a parameter, also of one that is not registered."""
    own = {
        (type(value).kind, _name(type(value))): type(value)
        for value in values_of(case.step).values()
        if isinstance(value, Step)
    }

    def found(kind: type[Step], name: str) -> type[Step]:
        return own.get((kind.kind, name)) or case.registry.get(kind, name)

    return found


def _name(cls: type[Step]) -> str:
    return cls.name
