"""Put values in place of ``"auto"``: those of an earlier session, of the data set, of the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import ConfigError, StepError
from medpipe.registry.failures import failures_named
from medpipe.registry.parameters import convert, parameter_types, unstructure, values_of
from medpipe.registry.wrapped import Wrapped
from medpipe.steps import (
    AutoInfo,
    LossStep,
    NetworkStep,
    TrainerStep,
    auto_batch_size,
    auto_sampling,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.config.configuration import Configuration
    from medpipe.registry.registry import Registry
    from medpipe.steps import DataInfo

LATER = frozenset({"trainer.precision"})
"""Parameters of which the machine decides, not the data."""
WEIGHING = ("class_weights", "alpha")
"""Parameters of losses that weigh classes."""


def decided(
    configuration: Configuration,
    data: DataInfo,
    samples: int,
    *,
    earlier: Mapping[str, Any],
    registry: Registry,
) -> tuple[Configuration, dict[str, Any]]:
    """Resolve ``"auto"`` in the loader's settings and the network's and the trainer's parameters.

    Args:
        configuration: The configuration.
        data: What was measured on the data.
        samples: Samples in the training split.
        earlier: What was decided when the run began, by path: that stays.
        registry: Where steps are looked up.

    Returns:
        The configuration without them, and what was decided, as plain data by path.

    Raises:
        StepError: The network's or the trainer's rule failed, or ``"auto"`` was left in place.
        ConfigError: What the data set suggests does not fit.
    """
    wanted = {**configuration.dataset.suggested, **earlier}
    given = with_decided(configuration, wanted, registry=registry)
    loader, trainer = given.loader, given.trainer
    if loader.batch_size == "auto":
        loader = attrs.evolve(loader, batch_size=auto_batch_size(data, samples))
    info = AutoInfo(
        data=data,
        samples=samples,
        batch_size=int(loader.batch_size),
        pretrained=configuration.pretrained,
    )
    if trainer.loss == "auto":
        trainer = attrs.evolve(trainer, loss=registry.create(LossStep, data.task.step.loss))
    if loader.sampling == "auto":
        weighted = any(getattr(trainer.loss, name, None) is not None for name in WEIGHING)
        loader = attrs.evolve(loader, sampling=auto_sampling(data, weighted=weighted))
    title = registry.title(given.network)
    with failures_named(title, 'failed to resolve "auto"'):
        network = given.network.resolve(info)
    if not isinstance(network, NetworkStep):
        raise StepError(f"{title} gives {network!r} in resolve, which is not a network step.")
    title = registry.title(trainer)
    with failures_named(title, 'failed to resolve "auto"'):
        trainer = trainer.resolve(info)
    if not isinstance(trainer, TrainerStep) or trainer.max_epochs == "auto":
        raise StepError(f'{title} leaves max_epochs = "auto" in resolve. Call super().resolve().')
    result = attrs.evolve(given, loader=loader, network=network, trainer=trainer)
    before = _values(configuration)
    found = {
        path: unstructure(value, name_of=registry.saved_name)
        for path, value in _values(result).items()
        if before.get(path) == "auto" and value != "auto"
    }
    return result, found


def with_decided(
    configuration: Configuration, values: Mapping[str, Any], *, registry: Registry
) -> Configuration:
    """Put values in place of ``"auto"`` where they are named; others stay.

    Args:
        configuration: The configuration.
        values: Plain data by path, such as ``loader.batch_size``.
        registry: Where steps are looked up.

    Raises:
        ConfigError: A value does not fit.
    """
    now = _values(configuration)
    changes: dict[str, dict[str, Any]] = {"loader": {}, "network": {}, "trainer": {}}
    for path, plain in values.items():
        section, _, name = path.partition(".")
        if now.get(path) != "auto":
            continue
        expected = parameter_types(type(getattr(configuration, section)))[name]
        value, problems = convert(expected, plain, path=path, resolve=registry.get)
        if problems:
            raise ConfigError('The values chosen for "auto" do not fit', problems)
        changes[section][name] = value
    return attrs.evolve(
        configuration,
        **{
            section: attrs.evolve(getattr(configuration, section), **chosen)
            for section, chosen in changes.items()
            if chosen
        },
    )


def _values(configuration: Configuration) -> dict[str, Any]:
    """The settings that may be ``"auto"`` until the data are known, by path."""
    loader, network, trainer = configuration.loader, configuration.network, configuration.trainer
    parts = {
        "loader": {name: getattr(loader, name) for name in ("batch_size", "sampling")},
        "network": {} if isinstance(network, Wrapped) else values_of(network),
        "trainer": values_of(trainer),
    }
    return {
        path: value
        for section, given in parts.items()
        for name, value in given.items()
        if (path := f"{section}.{name}") not in LATER
    }
