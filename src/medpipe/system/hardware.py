"""CPU cores, memory and device of this job.

Imports torch inside functions: `medpipe doctor` and the loader's settings ask it too.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medpipe.errors import DeviceError
from medpipe.system.place import place
from medpipe.system.text import counted

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """How many CPU cores the job may use: its affinity, and its control group's quota."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        count = os.cpu_count() or 1
    quota = _cgroup_text("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        count = min(count, max(1, int(quota[0]) // int(quota[1])))
    return count


def available_memory() -> int | None:
    """How many bytes of main memory the job may still take; None if unknown."""
    lines = _text(Path("/proc/meminfo")).splitlines()
    limits = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    most, used = _cgroup_text("memory.max").strip(), _cgroup_text("memory.current").strip()
    if most.isdigit() and used.isdigit():
        limits.append(int(most) - int(used))
    return min(limits) if limits else None


def device_memory(device: torch.device) -> int | None:
    """How many bytes a device has free; None if unknown."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory() if device.type == "cpu" else None


def choose_device(name: str) -> tuple[torch.device, str]:
    """Find the device that a run's settings ask for.

    Args:
        name: ``auto``, or a device that must be there.

    Returns:
        The device, and a sentence about it for the user; empty if it is just what was asked for.

    Raises:
        DeviceError: The device that was asked for is not there.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", _own_gpu(torch.cuda.device_count())), ""
        if torch.backends.mps.is_available():
            return torch.device("mps"), "There is no CUDA device: the Apple GPU is used."
        count = available_cpus()
        verb = "is" if count == 1 else "are"
        return torch.device("cpu"), f"There is no GPU: {counted(count, 'CPU core')} {verb} used."
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            there = "there is no CUDA device"
            if count:
                verb = "is" if count == 1 else "are"
                there = f"there {verb} {counted(count, 'CUDA device')}"
            raise DeviceError(
                f"The device {name!r} was asked for, but {there}. "
                f"{_why_no_cuda(count)}Set run.device = 'auto' to take the best there is."
            )
        if ":" not in name:
            return torch.device("cuda", _own_gpu(count)), ""
        if not place().alone:
            raise DeviceError(
                f"The device {name!r} was asked for by several processes, which need a GPU each. "
                "Set run.device = 'cuda'."
            )
        return device, ""
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(
            "The device 'mps' was asked for, but there is no Apple GPU. "
            "Set run.device = 'auto' to take the best there is."
        )
    return device, ""


def _own_gpu(count: int) -> int:
    """The GPU of this process: its own number on the machine, or the only one that it sees.

    Raises:
        DeviceError: There are fewer GPUs than processes.
    """
    here = place()
    if count == 1 and here.local_world_size > 1 and os.environ.get("CUDA_VISIBLE_DEVICES"):
        return 0  # a job scheduler shows each process a GPU of its own
    if here.local_rank >= count:
        raise DeviceError(
            f"There are {here.local_world_size} processes on this machine, but only "
            f"{counted(count, 'GPU')}. Start one process for each: torchrun --nproc-per-node "
            f"{count}."
        )
    return here.local_rank


def choose_precision(
    wanted: Literal["float32", "bfloat16", "auto"], device: torch.device
) -> Precision:
    """The precision to train in: ``auto`` is bfloat16 where the hardware is faster in it."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if is_faster_in_bfloat16(device) else "float32"


def is_faster_in_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes faster in bfloat16 than in float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        abilities = torch.cpu.get_capabilities()
        if abilities.get("amx_bf16") or abilities.get("bf16"):
            return True
        # In bfloat16 a step of DenseNet121 took 0.6 of float32's time on AMD, 1.3 on Intel.
        intel = "intel" in str(abilities.get("cpu_name", "")).lower()
        return bool(abilities.get("avx512_bf16")) and not intel
    return False


def describe_hardware(device: torch.device) -> dict[str, Any]:
    """The machine, as a run records it."""
    import torch

    described: dict[str, Any] = {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cpu_cores": available_cpus(),
        "threads": torch.get_num_threads(),
        "memory_available": available_memory(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        described["gpu"] = properties.name
        described["gpu_memory"] = properties.total_memory
        described["cuda"] = torch.version.cuda
    return described


def _why_no_cuda(count: int) -> str:
    import torch

    if count or torch.version.cuda is not None:
        return ""
    return "The installed torch is a build without CUDA. "


def _cpu_name() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _cgroup_text(name: str) -> str:
    return _text(_CGROUP / name)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
