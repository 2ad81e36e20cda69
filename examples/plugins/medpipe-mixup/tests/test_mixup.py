"""What the papers say of the trainer and the loss."""

from __future__ import annotations

import torch
from medpipe_mixup.mean_labels import MeanLabelLoss
from medpipe_mixup.trainer import mixed, mixed_loss
from torch.nn.functional import cross_entropy, one_hot


def test_images_and_labels_are_mixed_in_one_proportion() -> None:
    torch.manual_seed(0)
    labels = torch.arange(6)
    images = one_hot(labels).float().reshape(6, 6, 1, 1)  # an image says its own label
    found, (own, other, share) = mixed(images, labels, alpha=1.0)
    assert torch.equal(own, labels)
    assert torch.equal(other.sort().values, labels)
    expected = share * one_hot(own) + (1 - share) * one_hot(other)
    torch.testing.assert_close(found.flatten(1), expected.float())


def test_the_loss_of_both_labels_is_that_of_mixed_labels() -> None:
    torch.manual_seed(1)
    outputs, labels = torch.randn(8, 3), torch.randint(3, (8,))
    _, pairs = mixed(torch.rand(8, 1, 4, 4), labels, alpha=0.2)
    soft = pairs.share * one_hot(pairs.own, 3) + (1 - pairs.share) * one_hot(pairs.other, 3)
    torch.testing.assert_close(
        mixed_loss(cross_entropy)(outputs, pairs), cross_entropy(outputs, soft)
    )


def test_proportions_follow_the_beta_distribution() -> None:
    torch.manual_seed(2)
    image, label = torch.zeros(2, 1, 1, 1), torch.zeros(2)
    shares = torch.tensor([mixed(image, label, alpha=0.2)[1].share for _ in range(2000)])
    assert abs(float(shares.mean()) - 0.5) < 0.03
    assert abs(float(shares.var()) - 1 / (4 * (2 * 0.2 + 1))) < 0.01


def test_labels_move_towards_the_mean_label() -> None:
    outputs, labels = torch.randn(8, 3), torch.randint(3, (8,))
    torch.testing.assert_close(
        MeanLabelLoss((5, 1, 2), share=0.0)(outputs, labels), cross_entropy(outputs, labels)
    )
    torch.testing.assert_close(
        MeanLabelLoss((4, 4, 4), share=0.3)(outputs, labels),
        cross_entropy(outputs, labels, label_smoothing=0.3),
    )
    soft = 0.8 * one_hot(labels, 3) + 0.2 * torch.tensor([5, 1, 2]) / 8
    torch.testing.assert_close(
        MeanLabelLoss((5, 1, 2), share=0.2)(outputs, labels), cross_entropy(outputs, soft)
    )
