"""Build the data, the chain, the loaders, the network, the loss and the trainer of a configuration.

Heavy things are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from medpipe.config import Configuration, decided
from medpipe.data.chain import Chain
from medpipe.data.ids import no_names
from medpipe.data.loading.batch_sampler import EpochBatchSampler
from medpipe.data.loading.loaders import Loaders
from medpipe.data.preparation import PreparedData, Unfit, prepare
from medpipe.data.quality.non_finite import filled_by
from medpipe.data.quality.screening import refusal
from medpipe.data.quality.shape_outliers import unfit_samples
from medpipe.data.quality.step_faults import titled
from medpipe.data.readers.chosen import chosen, with_readers
from medpipe.distributed.processes import ALONE, Processes
from medpipe.errors import Fault, StepError
from medpipe.optimization.accumulation import denominator_of
from medpipe.optimization.deep_supervision import deeply_supervised
from medpipe.registry.failures import failures_named
from medpipe.registry.registry import Registry
from medpipe.settings import WeightsSettings
from medpipe.steps import (
    ChosenReader,
    DataInfo,
    Dataset,
    DatasetStep,
    Inferer,
    InfererStep,
    Loss,
    LossStep,
    MetricStep,
    Split,
    Task,
    Training,
    TrainingParts,
    listing_with,
    resolved,
)
from medpipe.steps.patches import patches_of
from medpipe.system.gc_pause import paused_collector
from medpipe.system.hardware import available_cpus
from medpipe.system.timing import timed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from torch import nn

    from medpipe.data.cache.cached_images import CachedImages
    from medpipe.data.cache.transform_cache import TransformCache
    from medpipe.data.loading.loader import Loader
    from medpipe.system.hardware import Precision

Made = TypeVar("Made")


@attrs.frozen(kw_only=True, eq=False)
class Assembly:
    """Builds the parts of one pipeline.

    Attributes:
        configuration: What to build.
        registry: Who supplied each step.
        left_out: What an earlier session of the run left out because something is wrong with it.
        decided: What stands for ``"auto"``, as plain data by path.
        processes: Those of the run, which its batches are dealt out to.
    """

    configuration: Configuration
    registry: Registry
    left_out: Sequence[Fault] = ()
    decided: Mapping[str, Any] = attrs.field(factory=dict)
    processes: Processes = ALONE

    @property
    def workers(self) -> int:
        """How many worker processes are asked for and worth starting by one process."""
        return min(self.configuration.loader.workers, self.cpus) if self.cpus > 1 else 0

    @property
    def cpus(self) -> int:
        """The cores of this machine, shared out to the run's processes on it."""
        return max(1, available_cpus() // self.processes.here.local_world_size)

    def listed(self) -> Dataset:
        """List the samples of the pipeline's data set, with what is wrong with single ones.

        Raises:
            DataError: The data can't be used as they are.
            StepError: The step failed.
        """
        step = self.configuration.dataset
        return self._listed(step, step.build_with_faults)

    def dataset(self, step: DatasetStep) -> Dataset:
        """List the samples of a data set; one that can't be used is an error.

        Raises:
            BadDataError: Samples can't be used: all of them are listed.
            DataError: The data can't be used as they are.
            StepError: The step failed.
        """
        dataset = self._listed(step, step.build_with_faults)
        if not dataset.faults:
            return dataset
        raise refusal(dataset.faults, dataset, advice="Repair or remove them.")

    def _listed(self, step: DatasetStep, build: Callable[[], Dataset]) -> Dataset:
        readers = self.readers()
        with listing_with(readers):
            dataset = self._built(step, build)
        if not isinstance(dataset, Dataset):
            raise StepError(
                f"{self.registry.title(step)} built {dataset!r}, which is not a Dataset."
            )
        if (wrong := no_names(dataset)) is not None:
            raise StepError(f"{self.registry.title(step)} built a Dataset in which {wrong}")
        return with_readers(dataset, readers, self.registry.title(step))

    def readers(self) -> tuple[ChosenReader, ...]:
        """The readers of the configuration."""
        return chosen(self.configuration.readers, self.registry)

    def prepare_data(self, chain: Chain | None = None, *, caching: bool = False) -> PreparedData:
        """List, scan and split the samples.

        Args:
            chain: Where it could be built: what doesn't leave it as the rest is left out, if that
                is asked for.
            caching: Whether what leaves its cached stage is to be kept: files that must be read
                are then read once for both.

        Raises:
            DataError: The data can't be used as they are.
            StepError: The dataset step failed.
        """
        with paused_collector():
            with timed("listing"):
                dataset = self.listed()
            bad_data = self.configuration.run.bad_data
            transform_cache = (
                self._transform_cache(chain, dataset) if caching and chain is not None else None
            )
            return prepare(
                dataset,
                self.configuration.split,
                workers=available_cpus(),
                ahead=transform_cache.read_ahead
                if transform_cache is not None
                and transform_cache.reads
                and not dataset.task.step.dense
                else None,
                bad_data=bad_data,
                left_out=self.left_out,
                unfit=None if chain is None else self.unfit(chain),
                fills=None if chain is None else filled_by(chain),
                step=titled(self.configuration.dataset, self.registry),
            )

    def resolved(self, data: DataInfo, samples: int) -> Assembly:
        """This assembly without ``"auto"``; see `medpipe.config.decided`."""
        configuration, found = decided(
            self.configuration, data, samples, earlier=self.decided, registry=self.registry
        )
        return attrs.evolve(self, configuration=configuration, decided=found)

    def epoch_samples(self, prepared: PreparedData) -> int:
        """How many samples an epoch of training has; each patch of an image counts as one."""
        return len(prepared.by_split["training"]) * patches_of(self.configuration.transforms)

    def unfit(self, chain: Chain) -> Unfit:
        """What finds the samples that don't leave the chain as nearly all others do."""
        batched = self.configuration.loader.batch_size != 1
        return lambda dataset, found: unfit_samples(chain, dataset, found, batched=batched)

    def chain(self) -> Chain:
        """Build the transforms."""
        steps = [
            (f"transform[{index}], {self.registry.title(step)},", step)
            for index, step in enumerate(self.configuration.transforms)
        ]
        return Chain(steps, seed=self.configuration.run.seed)

    def network(self, data: DataInfo, *, trained: bool = False) -> nn.Module:
        """Build the network, on the CPU; ``trained``: with the weights that its step loads."""
        from torch import nn

        step = self.configuration.network if trained else self.configuration.network.untrained()
        network = self._built(step, lambda: step.build(data))
        if not isinstance(network, nn.Module):
            raise StepError(
                f"{self.registry.title(step)} built {network!r}, which is not an nn.Module."
            )
        return data.task.step.finish(network, data.statistics)

    def started_network(self, data: DataInfo) -> nn.Module:
        """Build the network and load the weights that it starts from, if any.

        Raises:
            ProblemsError: The weights can't be read or don't fit.
        """
        network = self.network(data, trained=True)
        if self.configuration.weights != WeightsSettings():
            from medpipe.training.weights import start_from

            start_from(network, self.configuration.weights)
        return network

    def metrics(self, task: Task) -> dict[str, MetricStep]:
        """The metrics of the task and of the configuration, by name."""
        from medpipe.evaluation.metrics import metrics_of

        return metrics_of(task, self.configuration.metrics, registry=self.registry)

    def inferer(self, data: DataInfo) -> Inferer:
        """How the network is called for evaluation and prediction."""
        step = self.configuration.inferer
        if step is None:
            step = self.registry.create(InfererStep, data.task.step.inferer)
        inferer = self._built(step, lambda: step.build(data))
        if not callable(inferer):
            raise StepError(
                f"{self.registry.title(step)} built {inferer!r}, which can't be called."
            )
        return inferer

    def loss_step(self, data: DataInfo) -> LossStep:
        """The trainer's loss, or the task's."""
        step = self.configuration.trainer.loss
        return self.registry.create(LossStep, data.task.step.loss) if step == "auto" else step

    def loss(self, data: DataInfo, device: torch.device) -> Loss:
        """Build the loss, with its weights on the device where it is a module."""
        from torch import nn

        step = self.loss_step(data)
        loss = self._built(step, lambda: step.build(data))
        if not callable(loss):
            raise StepError(f"{self.registry.title(step)} built {loss!r}, which can't be called.")
        if data.task.step.dense:
            loss = deeply_supervised(loss)
        return loss.to(device) if isinstance(loss, nn.Module) else loss

    def loader(
        self,
        prepared: PreparedData,
        chain: Chain,
        split: Split,
        device: torch.device,
        *,
        cached: CachedImages | None = None,
    ) -> Loader | None:
        """The batches of a split; None where it is empty."""
        import torch

        from medpipe.data.loading.loader import make_loader
        from medpipe.data.loading.sample_batches import SampleBatches

        samples = prepared.by_split[split]
        if not samples:
            return None
        settings, training = self.configuration.loader, split == "training"
        dataset = prepared.dataset
        balanced = training and settings.sampling == "balanced"
        order = EpochBatchSampler(
            count=len(samples),
            # Where labels are images, those that are evaluated may have any size.
            batch_size=resolved(settings.batch_size)
            if training or not dataset.task.step.dense
            else 1,
            drop_last=training and settings.drop_last,
            seed=self.configuration.run.seed if training else None,
            classes=dataset.task.step.classes([sample.label for sample in samples])
            if balanced
            else None,
            patches=chain.patches if training else 1,
            here=self.processes.here,
        )
        batches = SampleBatches(
            samples,
            chain=chain,
            task=dataset.task,
            reading=dataset.reading,
            training=training,
            cached=cached,
        )
        workers = min(self.workers, len(order))
        if batches.looks_up:
            workers = 0  # a batch is one copy from the cache: to send it would cost more
        return make_loader(
            batches,
            order,
            workers=workers,
            device=device,
            ahead=self.cpus > torch.get_num_threads(),
        )

    def loaders(self, prepared: PreparedData, device: torch.device) -> Loaders:
        """The batches of every split."""
        chain = self.chain()
        cached = self.cached_images(prepared, chain)

        def loader(split: Split) -> Loader | None:
            return self.loader(prepared, chain, split, device, cached=cached)

        training = loader("training")
        assert training is not None  # preparing the data refuses an empty training split
        return Loaders(training=training, validation=loader("validation"), test=loader("test"))

    def cached_images(self, prepared: PreparedData, chain: Chain) -> CachedImages | None:
        """The results of the chain's cached stage, where they can be kept."""
        labels = None if prepared.labels is None else prepared.labels.sha256
        transform_cache = self._transform_cache(chain, prepared.dataset, labels)
        if transform_cache is None:
            return None
        with paused_collector():
            return transform_cache.keep(prepared.dataset, prepared.scan.fingerprints)

    def _transform_cache(
        self, chain: Chain, dataset: Dataset, labels: Mapping[str, str] | None = None
    ) -> TransformCache | None:
        """What keeps the results of the chain's cached stage; None where they can't be kept."""
        if self.configuration.loader.cache == "off":
            return None
        from medpipe.data.cache.transform_cache import TransformCache

        return TransformCache.of(
            chain, dataset, self.registry, workers=available_cpus(), labels=labels
        )

    def training(
        self,
        *,
        data: DataInfo,
        loader: Loader,
        device: torch.device,
        precision: Precision,
        fresh: bool = True,
        history: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[Training, Loss]:
        """Build the network, the loss and the trainer around them.

        Args:
            data: What was measured on the data.
            loader: The training batches.
            device: Where to train.
            precision: In what to compute.
            fresh: Whether it starts from trained weights, if any, as no resumed run does.
            history: See `TrainingParts.history`.
        """
        network = self.started_network(data) if fresh else self.network(data)
        loss = self.loss(data, device)
        parts = self.parts(
            network=network.to(device),
            loss=loss,
            loader=loader,
            device=device,
            precision=precision,
            data=data,
            history=history,
        )
        if not self.processes.alone:
            from medpipe.training.sharing import shared_parts

            sync = self.configuration.run.sync_batch_norm
            parts = shared_parts(parts, loader, self.processes, sync_batch_norm=sync)
        return self.trainer(parts), loss

    def parts(self, *, loss: Loss, data: DataInfo, **parts: Any) -> TrainingParts:
        """What the trainer step gets, in one process."""
        return TrainingParts(
            loss=loss,
            data=data,
            max_epochs=resolved(self.configuration.trainer.max_epochs),
            denominator=denominator_of(self.loss_step(data), loss),
            **parts,
        )

    def trainer(self, parts: TrainingParts) -> Training:
        """Build the trainer."""
        step = self.configuration.trainer
        training = self._built(step, lambda: step.build(parts))
        if not isinstance(training, Training):
            raise StepError(
                f"{self.registry.title(step)} built {training!r}, which is not a Training."
            )
        return training

    def _built(self, step: Any, build: Callable[[], Made]) -> Made:
        with failures_named(self.registry.title(step), "failed to build"):
            return build()
