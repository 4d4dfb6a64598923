"""Whether rows fit into the memory of this machine, or of a device."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def fits_in_memory(size: int, *, share: float, free: int | None = None) -> bool:
    """Whether `size` bytes are at most the fraction `share` of the free memory.

    Args:
        size: bytes for all processes on this machine.
        share: fraction of the free memory, 0 to 1.
        free: free bytes; by default those of this machine, within the limit of its container.
    """
    return size <= share * (free_memory() if free is None else free)


def free_memory(root: Path = Path("/")) -> int:
    """Free bytes of this machine, within the limit of its container (cgroup v2 or v1); 0 if unknown.

    Args:
        root: folder of `proc` and `sys`; tests use another one.
    """
    free = _free_of_machine(root)
    for folder, limit, used in (
        ("sys/fs/cgroup", "memory.max", "memory.current"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            allowed = int((root / folder / limit).read_text())
            taken = int((root / folder / used).read_text())
        except (OSError, ValueError):  # absent, or `max`: no limit
            continue
        # Cached files count as used, but are evicted when needed.
        left = allowed - taken + _entry(root / folder / "memory.stat", "inactive_file ", unit=1)
        free = min(free, max(left, 0))
    return free


def _entry(path: Path, name: str, *, unit: int) -> int:
    """The number after a name in a table of the kernel, in bytes; 0 if there is none."""
    try:
        lines = path.read_text().splitlines()
        return next(int(x.split()[1]) * unit for x in lines if x.startswith(name))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def _free_of_machine(root: Path) -> int:
    if found := _entry(root / "proc/meminfo", "MemAvailable:", unit=1024):
        return found
    try:  # macOS has no /proc
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (OSError, ValueError):
        return 0


def fits_on_device(size: int, device: torch.device, *, share: float) -> bool:
    """Whether rows of `size` bytes fit into the memory of a device; always true for the CPU, which has them already."""
    if device.type != "cuda":
        return True
    return size <= share * torch.cuda.mem_get_info(device)[0]
