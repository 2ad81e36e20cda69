"""Which precision `auto` is, by what a processor says of itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medpipe.system.hardware import choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("abilities", "chosen"),
    [
        ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, "bfloat16"),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, "float32"),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "AMD EPYC 9R14"}, "bfloat16"),
        ({"amx_bf16": False, "avx512_bf16": False, "cpu_name": "AMD EPYC 7R13"}, "float32"),
        ({"bf16": True}, "bfloat16"),
        ({}, "float32"),
    ],
)
def test_auto_is_what_is_faster(
    abilities: dict[str, Any], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert choose_precision("auto", CPU) == chosen
    assert choose_precision("bfloat16", CPU) == "bfloat16"
    assert choose_precision("float32", CPU) == "float32"
