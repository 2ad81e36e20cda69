"""`Design`: the chain, the network and the batch of a plan, chosen by measuring steps.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe import config
from medpipe.assembly import Assembly
from medpipe.checks.data_info import data_info_of
from medpipe.checks.dice_ceiling import LOW, ceilings
from medpipe.errors import DataError
from medpipe.planning import choices, dense
from medpipe.planning.choice import Choice
from medpipe.planning.timing import seconds_of_step
from medpipe.steps import auto_batch_size
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.data.preparation import PreparedData
    from medpipe.registry.registry import Registry
    from medpipe.steps import DataInfo

NETWORKS: tuple[dict[str, Any], ...] = (
    {"step": "densenet121"},
    {"step": "densenet121", "init_features": 32, "growth_rate": 16},
    {"step": "resnet18"},
    {"step": "resnet10", "widen_factor": 0.5},
    {"step": "resnet10", "widen_factor": 0.25, "conv1_t_size": 3},
)
"""Networks that are tried, the strongest first, until the time is enough."""
ELSE = ("resnet18",)
"""Those that are slower than the ones before them, for images that are too small for these."""


@attrs.frozen(kw_only=True)
class Design:
    """Transforms, network and batches; `seconds` are those of a training step."""

    transforms: list[dense.Step]
    network: dense.Step
    batch: int
    seconds: float
    rate: Choice
    optimizer: Choice = Choice(name="optimizer", value="adamw")
    inferer: tuple[list[Choice], str] | None = None


@attrs.frozen(kw_only=True, eq=False)
class Designer:
    """What a design is made for.

    Attributes:
        document: The configuration so far, of which the data set can be prepared.
        registry: Where steps are looked up.
        prepared: The data, scanned and split.
        images: Their sizes and channels.
        sides: Names that say left and right; None: there are none.
        budget: Seconds that training may take.
        device: Where.
    """

    document: Mapping[str, Any]
    registry: Registry
    prepared: PreparedData
    images: choices.Images
    sides: tuple[str, str] | None
    budget: float
    device: str

    def design(self) -> Design:
        """Choose what fits the images, the task and the time.

        Raises:
            DataError: The transforms fail, or no network takes the images.
        """
        return self._dense() if self.prepared.dataset.task.step.dense else self._whole()

    def _whole(self) -> Design:
        """For a label of a whole image: images of one size, halved where the time is short."""
        sizes_matter = self.prepared.dataset.task.step.label_form == "numbers"
        transforms = choices.transform_choices(self.images, self.sides, sizes_matter=sizes_matter)
        training = len(self.prepared.by_split["training"])
        while True:
            document = self._document(transforms)
            measured = self._measured(document)
            batch = auto_batch_size(measured, training)
            batches = -(-training // batch)
            network, seconds = self._network(
                document, measured, (batch, batches), self.budget, NETWORKS
            )
            smaller = choices.smaller(transforms)
            if smaller is None or choices.is_affordable(batches, seconds, self.budget):
                break
            transforms = smaller
        rate = Choice(name="learning_rate", value=1e-3, reason="AdamW's usual rate")
        return Design(
            transforms=transforms, network=network, batch=batch, seconds=seconds, rate=rate
        )

    def _dense(self) -> Design:
        """For a label of each pixel: whole images or patches, smaller ones if the time is short."""
        images, by_split = self.images, self.prepared.by_split
        oriented = self._assembly(self._document(dense.oriented(images.dims)))
        grid = dense.grid_of(oriented, self.prepared, images)
        spacing = self._spacing(grid)
        sides = dense.Sides.of(self.sides, self.prepared.dataset.task.names)
        side: int | None = dense.PATCH[images.dims]
        training, validation = (len(by_split[name]) for name in ("training", "validation"))
        short = False
        while side is not None:
            found = dense.choices_for(grid, images, sides, side, spacing=spacing, short=short)
            document = self._document(found.transforms)
            measured = self._measured(document)
            batch = found.batch_size(training)
            batches = -(-training // batch)
            more = found.extra(batch, validation, batches)
            wanted = dense.FEWER * self.budget / more
            network, seconds = self._network(
                document, measured, (batch, batches), wanted, found.networks()
            )
            if found.windows is None or choices.is_affordable(batches, seconds, wanted):
                break
            side, short = dense.smaller_side(side, images.dims), True
        rate = Choice(
            name="learning_rate",
            value=dense.RATE,
            reason="small U-Nets with instance norm train well at more than AdamW's usual rate",
        )
        optimizer = Choice(
            name="optimizer",
            value=dense.OPTIMIZER,
            reason="at such a rate it forgets old gradients sooner",
        )
        inferer, reason = dense.inferer_of(found)
        return Design(
            transforms=found.transforms,
            network=network,
            batch=batch,
            seconds=seconds * more,
            rate=rate,
            optimizer=optimizer,
            inferer=([Choice(name=k, value=v) for k, v in inferer.items()], reason),
        )

    def _spacing(self, grid: dense.Grid) -> tuple[tuple[float, ...], str] | None:
        """The coarsest common spacing that loses no structure; None where all have the same."""
        labels = self.prepared.labels
        found = None
        for name, pixdim in grid.common_spacings():
            step = {"step": "spacing", "pixdim": list(pixdim)}
            steps = [*dense.oriented(self.images.dims), (step, "")]
            chain = self._assembly(self._document(steps)).chain()
            counts = {} if labels is None else labels.counts
            some = ceilings(self.prepared.dataset, counts, chain)
            lowest = min((one.mean for one in some if one.by_case), default=1.0)
            said = f"on it a perfect answer reaches a Dice of {lowest:.2f} for each structure"
            found = pixdim, f"{name} becomes that of all, and {said}"
            if lowest >= LOW:
                break
        return found

    def _document(self, transforms: Sequence[dense.Step]) -> dict[str, Any]:
        return {**self.document, "transform": [step for step, _ in transforms]}

    def _assembly(self, document: Mapping[str, object]) -> Assembly:
        configuration = config.load(document, registry=self.registry)
        return Assembly(configuration=configuration, registry=self.registry)

    def _measured(self, document: Mapping[str, object]) -> DataInfo:
        """What leaves the transforms.

        Raises:
            DataError: They fail.
        """
        assembly = self._assembly(document)
        chain = assembly.chain()
        found, problems = data_info_of(assembly, assembly.prepare_data(chain), chain)
        if found is None:
            raise DataError("\n".join(["No plan can be made:", *map(str, problems)]))
        return found

    def _network(
        self,
        document: Mapping[str, object],
        data: DataInfo,
        sizes: tuple[int, int],
        budget: float,
        networks: Sequence[dict[str, Any]],
    ) -> tuple[dense.Step, float]:
        """The strongest network that the time is enough for, why, and the seconds of a step.

        `sizes` are the samples in a batch, and the batches in an epoch.
        """
        batch, batches = sizes
        passed: list[str] = []
        found: tuple[dict[str, Any], float] | None = None
        for network in networks:
            if found is not None and network["step"] in ELSE:
                continue
            assembly = self._assembly({**document, "network": network})
            try:
                seconds = seconds_of_step(assembly, data, batch, self.device)
            except RuntimeError:  # torch's, where the images are too small or too large
                passed.append(f"the images don't fit {_title(network)}")
                continue
            found = network, seconds
            if choices.is_affordable(batches, seconds, budget):
                break
            passed.append(f"{_title(network)} would take too long")
        if found is None:
            shape = " x ".join(map(str, data.spatial_shape))
            raise DataError(
                f"No network of medpipe takes a batch of {counted(batch, 'image')} of {shape}."
            )
        network, seconds = found
        said = "; ".join([f"a step takes {seconds:.2g} s here", *passed[:1]])
        return (network, said), seconds


def _title(network: Mapping[str, Any]) -> str:
    if "channels" in network:
        return f"{network['step']} with {network['channels'][0]} channels at first"
    return str(network["step"])
