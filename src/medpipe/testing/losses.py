"""Checks of losses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medpipe.optimization.accumulation import denominator_of
from medpipe.optimization.deep_supervision import deeply_supervised
from medpipe.steps import LossStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.labelled import Labelled, fitting
from medpipe.testing.use import Use, typical

if TYPE_CHECKING:
    import torch

EXTREME = 50.0
CLOSE = 1e-4
COARSE = 0.03
"""How far bfloat16, which has two to three digits, may be off."""
_OTHER_DEVICE = ("two devices", "same device", "different devices", "on the expected device")
"""Words of torch's errors for tensors on several devices."""


@check(
    LossStep,
    protects="The trainer takes the gradient of one number.",
    remedy="Give a tensor without dimensions, of float32, for each form that labels names.",
)
def gives_one_number(case: Case) -> None:
    """It gives a number for outputs and labels of each form that it says it fits."""
    import torch

    for batch in fitting(case):
        value: Any = batch.loss(batch.drawn, batch.labels)
        if not isinstance(value, torch.Tensor) or value.ndim or not value.is_floating_point():
            found = (
                f"{value.dtype} of shape {tuple(value.shape)}"
                if isinstance(value, torch.Tensor)
                else type(value).__name__
            )
            raise FailedError(f"for labels of the form {batch.form!r} it gives {found}")


@check(
    LossStep,
    protects="From NaN no training recovers, and a run that meets it stops.",
    remedy="Work on logits (log_softmax, logsigmoid), not on logarithms of probabilities.",
    needs=[gives_one_number],
)
def is_finite_for_sure_outputs(case: Case) -> None:
    """It is finite for outputs that are sure and right, sure and wrong, and for 50 and -50."""
    for batch in fitting(case):
        for said, outputs in _sure(batch).items():
            value = float(batch.loss(outputs, batch.labels))
            if not math.isfinite(value):
                raise FailedError(f"for {said} it is {value} (labels of the form {batch.form!r})")


@check(
    LossStep,
    protects="What gets no gradient is never trained.",
    remedy="Compute with torch on the outputs themselves: no item(), detach(), argmax or numpy.",
    needs=[gives_one_number],
)
def gives_each_output_a_gradient(case: Case) -> None:
    """Each output of the network gets a gradient, for some sample at least."""
    for batch in fitting(case):
        gradient = _gradient(batch, batch.drawn, batch.labels)
        reached = gradient.abs().transpose(0, 1).flatten(1).sum(1) > 0
        if not bool(reached.all()):
            places = [place for place, some in enumerate(reached.tolist()) if not some]
            raise FailedError(
                f"outputs {places} of {len(reached)} get no gradient (labels of the form "
                f"{batch.form!r})"
            )


@check(
    LossStep,
    protects="One gradient of NaN makes all weights NaN.",
    remedy="Add a small number below roots and divisions; where() hides NaN from values alone.",
    needs=[gives_one_number, is_finite_for_sure_outputs, gives_each_output_a_gradient],
)
def has_finite_gradients(case: Case) -> None:
    """Gradients are finite where outputs are exactly right, wrong, or 50 and -50."""
    for batch in fitting(case):
        for said, outputs in _sure(batch).items():
            if not bool(_gradient(batch, outputs, batch.labels).isfinite().all()):
                raise FailedError(
                    f"for {said} its gradient is not finite (labels of the form {batch.form!r})"
                )


@check(
    LossStep,
    protects="Labels that are missing, NaN or 255 in masks, must not train the network.",
    remedy="Put zeros where labels are missing, and take the mean over those that are there.",
    needs=[gives_one_number],
)
def leaves_missing_labels_out(case: Case) -> None:
    """Where a label is missing the output changes nothing, and with no label at all it is finite.

    Missing are NaN in labels of findings and numbers, and 255 in masks.
    """
    import torch

    batches = [batch for batch in fitting(case) if batch.form != "class"]
    if not batches:
        raise skip("a class can't be missing")
    for batch in batches:
        form, outputs = f"labels of the form {batch.form!r}", batch.drawn
        value = float(batch.loss(outputs, batch.partly))
        if not math.isfinite(value):
            raise FailedError(f"with missing values in {form} it is {value}")
        changed = torch.where(batch.missing, outputs + 3, outputs)
        if not _close(value, float(batch.loss(changed, batch.partly)), CLOSE):
            raise FailedError(f"outputs whose label is missing change it ({form})")
        gradient = _gradient(batch, outputs, batch.partly)
        if not bool(gradient.isfinite().all()):
            raise FailedError(f"with missing values in {form} its gradient is not finite")
        if bool((gradient[batch.missing].abs() > 1e-8).any()):
            raise FailedError(f"outputs whose label is missing get a gradient ({form})")
        nothing = batch.partly[-1:].expand_as(batch.partly).clone()
        value = float(batch.loss(outputs, nothing))
        if not math.isfinite(value):
            raise FailedError(f"where all {form} are missing it is {value}")
        if not bool(_gradient(batch, outputs, nothing).isfinite().all()):
            raise FailedError(f"where all {form} are missing its gradient is not finite")


@check(
    LossStep,
    protects="Training lowers the loss, whatever that does to the answers.",
    remedy="Look at the sign, and at what the outputs and labels of data.task mean.",
    needs=[gives_one_number],
)
def is_lower_for_right_outputs(case: Case) -> None:
    """Outputs that say what the labels do have a lower loss than others."""
    for batch in fitting(case):
        right, wrong = (
            float(batch.loss(outputs, batch.labels)) for outputs in (batch.right, batch.wrong)
        )
        if not right < wrong:
            raise FailedError(
                f"it is {right:.4g} for right outputs and {wrong:.4g} for wrong ones (labels of "
                f"the form {batch.form!r})"
            )


@check(
    LossStep,
    protects="Uneven batches, accumulation and several processes are weighed by the denominator.",
    remedy="Give the loss a method denominator(labels), or set batchwise: ClassVar[bool] = True.",
    needs=[gives_one_number, leaves_missing_labels_out],
)
def is_a_mean_by_its_denominator(case: Case) -> None:
    """A batch's loss is the mean of those of its parts, weighed by the loss's denominator."""
    if case.step.batchwise:
        raise skip("it is of a batch as a whole (batchwise)")
    for batch in fitting(case):
        for labels in (batch.labels, batch.partly):
            weight = denominator_of(case.step, batch.loss)
            assert weight is not None
            parts = [slice(0, 1), slice(1, None)]
            weights = [weight(labels[part]) for part in parts]
            if any(getattr(one, "ndim", None) != 0 for one in [*weights, weight(labels)]):
                raise FailedError("its denominator gives no tensor without dimensions")
            whole = float(batch.loss(batch.drawn, labels)) * float(weight(labels))
            summed = sum(
                float(batch.loss(batch.drawn[part], labels[part])) * float(one)
                for part, one in zip(parts, weights, strict=True)
            )
            if not _close(whole, summed, CLOSE):
                raise FailedError(
                    f"times its denominator it is {whole:.5g} for a batch and {summed:.5g} for its "
                    f"parts together (labels of the form {batch.form!r})"
                )


@check(
    LossStep,
    protects="The order of a batch's samples is drawn, and means nothing.",
    remedy="Treat all samples of a batch alike.",
    needs=[gives_one_number],
)
def ignores_the_order_of_samples(case: Case) -> None:
    """A batch in the opposite order has the same loss."""
    for batch in fitting(case):
        value = float(batch.loss(batch.drawn, batch.labels))
        other = float(batch.loss(batch.drawn.flip(0), batch.labels.flip(0)))
        if not _close(value, other, CLOSE):
            raise FailedError(f"it is {value:.5g}, and {other:.5g} in the opposite order")


@check(
    LossStep,
    protects="No checkpoint has the state of a loss, so a resumed run would differ.",
    remedy="Keep nothing from one call to the next, and draw nothing.",
    needs=[gives_one_number],
)
def gives_the_same_loss_twice(case: Case) -> None:
    """The same outputs and labels have the same loss, whatever came before."""
    for batch in fitting(case):
        value = float(batch.loss(batch.drawn, batch.labels))
        for _ in range(2):
            batch.loss(batch.wrong, batch.labels)
        again = float(batch.loss(batch.drawn, batch.labels))
        if not _close(value, again, 1e-6):
            raise FailedError(f"it is {value:.6g} at first and {again:.6g} later")


@check(
    LossStep,
    protects="With deep supervision the loss also gets outputs and labels of smaller sides.",
    remedy="Take the sides of the outputs that come, not those of data.spatial_shape.",
    needs=[gives_one_number],
)
def takes_deep_supervision(case: Case) -> None:
    """A loss of masks takes several outputs as the library gives them, of smaller sides too."""
    batches = [batch for batch in fitting(case) if batch.dense]
    if not batches:
        raise skip("deep supervision is for labels that are images")
    for batch in batches:
        loss: Any = deeply_supervised(batch.loss)
        half: Any = [slice(None, None, 2)] * batch.data.spatial_dims
        smaller = batch.drawn[:, :, *half]
        heads = [one.clone().requires_grad_() for one in (batch.drawn, smaller)]
        try:
            value = loss(heads, batch.labels)
            value.backward()
        except Exception as error:
            raise FailedError(f"with two outputs it raises {described(error, most=300)}") from error
        if not bool(value.isfinite()):
            raise FailedError(f"with two outputs it is {float(value)}")


@check(
    LossStep,
    protects="With trainer.precision = 'bfloat16' outputs have three digits, and sums lose them.",
    remedy="Begin with outputs = outputs.float(), with autocast off where sums are large.",
    needs=[gives_one_number, gives_the_same_loss_twice],
)
def withstands_autocast(case: Case) -> None:
    """Of outputs in bfloat16, within autocast and outside, it is what it is in float32."""
    import torch

    for batch in fitting(case):
        outputs = batch.drawn.bfloat16()
        expected = float(batch.loss(outputs.float(), batch.labels))
        for within in (False, True):
            where = "within autocast" if within else "of outputs in bfloat16"
            try:
                with torch.autocast("cpu", torch.bfloat16, enabled=within):
                    found = float(batch.loss(outputs, batch.labels))
            except Exception as error:
                raise FailedError(f"{where} it raises {described(error, most=300)}") from error
            if not _close(found, expected, COARSE):
                raise FailedError(f"{where} it is {found:.4g}, not {expected:.4g}")


@check(
    LossStep,
    protects="On a GPU a tensor that stayed on the CPU raises an error.",
    remedy="Make the loss a Module, and its tensors buffers: self.register_buffer('weight', ...).",
    needs=[gives_one_number],
)
def moves_to_the_device(case: Case) -> None:
    """Its tensors go along to another device, torch's meta."""
    import torch

    for batch in fitting(case):
        loss: Any = batch.loss
        if isinstance(loss, torch.nn.Module):
            loss = loss.to("meta")
        try:
            loss(batch.drawn.to("meta"), batch.labels.to("meta"))
        except Exception as error:
            said = described(error)
            if any(words in said for words in _OTHER_DEVICE):
                raise FailedError(f"on another device it raises {said[:300]}") from error
            raise skip(f"it looks at values, which meta has not: {said[:200]}") from error


@typical("loss", found_by=gives_one_number)
def _use(case: Case) -> Use:
    batches = fitting(case)

    def call() -> object:
        for batch in batches:
            loss: Any = case.step.build(batch.data)
            _gradient_of(loss, batch.drawn, batch.partly)
        return None

    return Use(given=[[batch.drawn, batch.partly] for batch in batches], call=call)


def _sure(batch: Labelled) -> dict[str, torch.Tensor]:
    return {
        "outputs of 0": batch.drawn * 0,
        "right outputs": batch.right,
        "wrong outputs": batch.wrong,
        "right outputs of 50 and -50": batch.right.sign() * EXTREME,
        "wrong outputs of 50 and -50": batch.wrong.sign() * EXTREME,
    }


def _gradient(batch: Labelled, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return _gradient_of(batch.loss, outputs, labels)


def _gradient_of(loss: Any, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    leaf = outputs.detach().clone().requires_grad_()
    value = loss(leaf, labels)
    if not value.requires_grad:
        raise FailedError("it does not depend on the outputs, as far as torch sees")
    value.backward()
    if leaf.grad is None:
        raise FailedError("no gradient reaches the outputs")
    return leaf.grad


def _close(one: float, other: float, tolerance: float) -> bool:
    return abs(one - other) <= tolerance * max(1.0, abs(one), abs(other))
