"""The step `muon`: singular values made equal, AdamW for the rest, and a state that comes back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medpipe.builtin.muon import Muon
from medpipe.builtin.muon_optimizer import RMS, orthogonalised
from medpipe.optimization.optimizers import make_optimizer


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 8, 3),
        nn.Conv3d(8, 16, 3),
        nn.ConvTranspose3d(16, 8, 3),
        nn.Conv3d(8, 3, 1),
    )


def train(made: Any, optimizer: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        image = torch.randn(2, 1, 7, 6, 6, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        made(image).square().mean().backward()
        optimizer.step()


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 60), seed=st.integers(0, 99))
def test_singular_values_become_about_one_and_vectors_stay(
    rows: int, columns: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=random))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=random))
    least = min(rows, columns)
    values = torch.linspace(0.05, 1, least)
    matrix = left[:, :least] @ torch.diag(values) @ right[:, :least].T

    found = left[:, :least].T @ orthogonalised(matrix, 5) @ right[:, :least]

    assert ((torch.diagonal(found) > 0.6) & (torch.diagonal(found) < 1.25)).all()
    assert (found - torch.diag(torch.diagonal(found))).abs().max() < 1e-3


def test_it_is_torchs_muon_for_a_wide_matrix() -> None:
    first, second = (nn.Parameter(torch.ones(8, 20) / 4) for _ in range(2))
    options: dict[str, Any] = {"momentum": 0.9, "weight_decay": 0.01}
    ours = Muon(**options).build([{"params": [first]}], 0.01)
    theirs = torch.optim.Muon([second], lr=0.01, adjust_lr_fn="match_rms_adamw", **options)
    for seed in range(3):
        gradient = torch.randn(8, 20, generator=torch.Generator().manual_seed(seed))
        first.grad, second.grad = gradient, gradient.clone()
        ours.step()
        theirs.step()
    # Torch's iteration is in bfloat16.
    torch.testing.assert_close(first, second, rtol=0, atol=0.05 * RMS * 0.01 * 3)


def test_a_kernel_and_its_transpose_are_trained_alike() -> None:
    first = nn.Parameter(torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0)))
    second = nn.Parameter(first.detach().transpose(0, 1).contiguous())
    first.grad = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(1))
    second.grad = first.grad.transpose(0, 1).contiguous()
    for parameter in (first, second):
        Muon().build([{"params": [parameter]}], 0.1).step()
    torch.testing.assert_close(first, second.transpose(0, 1))


def test_few_channels_and_vectors_are_trained_by_adamw() -> None:
    made, other = network(), network()
    ours = make_optimizer(Muon(), made, learning_rate=0.01)
    theirs = torch.optim.AdamW(other.parameters(), lr=0.01, betas=(0.9, 0.98), weight_decay=0.01)
    train(made, ours, range(1))
    train(other, theirs, range(1))
    same = {
        name: torch.allclose(a, b, rtol=0, atol=1e-6)
        for (name, a), b in zip(made.named_parameters(), other.parameters(), strict=True)
    }
    assert {name for name, equal in same.items() if not equal} == {"1.weight", "2.weight"}


def test_a_state_comes_back() -> None:
    made = network()
    optimizer = make_optimizer(Muon(), made, learning_rate=0.01)
    train(made, optimizer, range(3))
    twin = network()
    twin.load_state_dict(made.state_dict())
    other = make_optimizer(Muon(), twin, learning_rate=0.01)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(made, optimizer, range(3, 6))
    train(twin, other, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), twin.parameters(), strict=True))


def test_a_kernel_without_a_gradient_stays() -> None:
    parameter = nn.Parameter(torch.ones(8, 8))
    Muon().build([{"params": [parameter]}], 0.1).step()
    assert torch.equal(parameter, torch.ones(8, 8))


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="must be two numbers from 0 to below 1"):
        Muon(betas=(0.9, 1.0))
