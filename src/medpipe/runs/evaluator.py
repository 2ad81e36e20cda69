"""`Evaluator`: predict a split, measure it, and give all processes of the run what was found.

Heavy libraries are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.assembly import Assembly
from medpipe.checks.check_report import Checked
from medpipe.evaluation.metrics import LOSS
from medpipe.optimization.accumulation import denominator_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from medpipe.data.loading.loader import Loader
    from medpipe.evaluation.predictions import Predictions
    from medpipe.steps import Loss
    from medpipe.training.predict import MeanLoss
    from medpipe.training.stopping import StopRequest
    from medpipe.training.truths import Truths


@attrs.define(kw_only=True, eq=False)
class Evaluator:
    """Evaluates splits during a session of a run.

    Attributes:
        assembly: Builds what is needed.
        checked: What the check found.
        network: The network, as it is at each evaluation.
        loss: The loss of the training.
        stop: Says whether the run is to stop.
    """

    assembly: Assembly
    checked: Checked
    network: torch.nn.Module
    loss: Loss
    stop: StopRequest
    _labels: Truths | None = attrs.field(default=None, init=False)

    def evaluate(
        self,
        loader: Loader,
        description: str,
        chosen: Mapping[str, Any] | None = None,
        *,
        first: bool = False,
    ) -> tuple[Predictions | None, dict[str, Any]]:
        """Predict a split and measure it.

        Args:
            loader: Its batches.
            description: The words in front of the progress bar.
            chosen: What the validation split decided; with it, all there is to say is measured.
            first: See `StopRequest.check`.

        Returns:
            The predictions, in the process that leads, and the metrics, in each.

        Raises:
            Stopped: The run is to stop.
        """
        from medpipe.distributed.wrapping import share_buffers
        from medpipe.evaluation.predictions import joined
        from medpipe.training.predict import MeanLoss
        from medpipe.training.stopping import Stopped

        processes, whole = self.assembly.processes, chosen is not None
        share_buffers(self.network, processes)
        part = None
        try:
            part = self._predict(loader, description, whole=whole, first=first)
        except Stopped:
            if processes.alone:
                raise
        if not processes.alone:
            processes.meet()  # some have more to predict
            self.stop.agree()
            if self.stop.reason is not None:
                raise Stopped
        parts = [part for part in processes.gather(part) if part is not None]
        metrics: dict[str, Any] = {}
        predictions = None
        if processes.leads:
            predictions = joined([some for some, _ in parts])
            loss = MeanLoss.over([loss for _, loss in parts])
            metrics = {LOSS: loss.mean, **self._measure(predictions, chosen)}
        return predictions, processes.share(metrics)

    def _predict(
        self, loader: Loader, description: str, *, whole: bool, first: bool
    ) -> tuple[Predictions, MeanLoss] | None:
        """Predict this process's part of a split; `whole`: with all that metrics may ask for."""
        from medpipe.evaluation.mask_measures import MaskMeasures
        from medpipe.training.predict import predict

        if not len(loader):
            return None
        checked, registry = self.checked, self.assembly.registry
        whole = whole or self._monitors_surfaces()
        asked = self.assembly.metrics(checked.data.task).values() if whole else ()
        return predict(
            self.network,
            loader,
            device=checked.device,
            precision=checked.precision,
            task=checked.data.task,
            samples=checked.prepared.dataset.samples,
            loss=self.loss,
            denominator=denominator_of(self.assembly.loss_step(checked.data), self.loss),
            inferer=self.assembly.inferer(checked.data),
            description=description,
            before_batch=lambda: self.stop.check(first=first),
            truths=self._truths(),
            surfaces=whole,
            measures=MaskMeasures.of(checked.data.task, asked, registry),
        )

    def _measure(
        self, predictions: Predictions, chosen: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        from medpipe.evaluation.frozen import results_of
        from medpipe.evaluation.metrics import compute_metrics
        from medpipe.evaluation.remarks import prior_remarks

        configuration, registry = self.assembly.configuration, self.assembly.registry
        if chosen is None:
            return compute_metrics(predictions, metrics=configuration.metrics, registry=registry)
        return results_of(
            predictions,
            chosen,
            configuration.evaluation,
            metrics=configuration.metrics,
            registry=registry,
            remarks=prior_remarks(configuration, self.checked.data),
        )

    def _monitors_surfaces(self) -> bool:
        """Whether validations may need distances between surfaces, which take long."""
        monitor = self.assembly.configuration.trainer.monitor
        return monitor not in (LOSS, self.checked.data.task.step.monitor)

    def _truths(self) -> Truths:
        """The labels on their files' grids, which evaluations of this session share."""
        from medpipe.training.truths import Truths

        if self._labels is None:
            self._labels = Truths(self.checked.prepared.dataset.reading)
        return self._labels
