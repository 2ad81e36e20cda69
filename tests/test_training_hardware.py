"""What a job has, by what the system and torch say: CPUs, memory, device, precision."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medpipe.errors import DeviceError
from medpipe.system import hardware
from medpipe.system.hardware import (
    available_cpus,
    available_memory,
    choose_device,
    choose_precision,
    describe_hardware,
    device_memory,
)

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


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a control group, of which none is there."""
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "count"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 8), ("", 8)],
)
def test_cpus_are_those_of_the_affinity_and_the_quota(
    group: Path, monkeypatch: pytest.MonkeyPatch, quota: str, count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (group / "cpu.max").write_text(f"{quota}\n")
    assert available_cpus() == count


def test_memory_is_what_the_system_and_the_group_leave(
    group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "MemTotal: 9000 kB\nMemAvailable:    5000 kB\n"
    text = hardware._text
    monkeypatch.setattr(
        hardware, "_text", lambda path: said if path == Path("/proc/meminfo") else text(path)
    )
    assert available_memory() == 5000 * 1024
    (group / "memory.max").write_text("3000000\n")
    (group / "memory.current").write_text("1000000\n")
    assert available_memory() == device_memory(CPU) == 2000000
    (group / "memory.max").write_text("max\n")
    assert available_memory() == 5000 * 1024
    said = ""
    assert available_memory() is None
    assert device_memory(torch.device("mps")) is None


def with_devices(monkeypatch: pytest.MonkeyPatch, cuda: int, *, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_auto_takes_the_first_gpu_or_says_what_it_takes(
    group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    with_devices(monkeypatch, 2, mps=True)
    assert choose_device("auto") == (torch.device("cuda", 0), "")
    with_devices(monkeypatch, 0, mps=True)
    told = "There is no CUDA device: the Apple GPU is used."
    assert choose_device("auto") == (torch.device("mps"), told)
    with_devices(monkeypatch, 0)
    assert choose_device("auto") == (CPU, "There is no GPU: 8 CPU cores are used.")


def test_a_device_that_is_asked_for_is_there_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_devices(monkeypatch, 2, mps=True)
    assert choose_device("cuda") == (torch.device("cuda", 0), "")
    assert choose_device("cuda:1") == (torch.device("cuda", 1), "")
    assert choose_device("mps") == (torch.device("mps"), "")
    assert choose_device("cpu") == (CPU, "")
    with pytest.raises(DeviceError) as caught:
        choose_device("cuda:2")
    assert str(caught.value) == (
        "The device 'cuda:2' was asked for, but there are 2 CUDA devices. Set run.device = 'auto' "
        "to take the best there is."
    )
    with_devices(monkeypatch, 0)
    for version, why in (("13.0", ""), (None, "The installed torch is a build without CUDA. ")):
        monkeypatch.setattr(torch.version, "cuda", version)
        with pytest.raises(DeviceError) as caught:
            choose_device("cuda")
        assert str(caught.value) == (
            f"The device 'cuda' was asked for, but there is no CUDA device. {why}Set run.device = "
            "'auto' to take the best there is."
        )
    with pytest.raises(DeviceError) as caught:
        choose_device("mps")
    assert str(caught.value) == (
        "The device 'mps' was asked for, but there is no Apple GPU. Set run.device = 'auto' to "
        "take the best there is."
    )


def test_the_record_names_a_gpu_where_it_is_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    known = describe_hardware(CPU)
    assert known["cpu_cores"] == available_cpus()
    assert known["threads"] == torch.get_num_threads()
    assert not {"gpu", "gpu_memory", "cuda"} & known.keys()
    card = SimpleNamespace(name="A card", total_memory=8 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    described = describe_hardware(torch.device("cuda", 0))
    assert {name: described[name] for name in ("gpu", "gpu_memory", "cuda")} == {
        "gpu": "A card",
        "gpu_memory": 8 << 30,
        "cuda": "13.0",
    }
