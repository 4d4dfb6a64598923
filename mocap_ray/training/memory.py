"""Whether rows fit into the memory of this machine, or of a device."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def fits_in_memory(size: int, *, share: float, free: int | None = None) -> bool:
    """Whether a data set of `size` bytes may be held: it takes at most `share` of the free memory.

    Args:
        size: bytes that all processes of this machine will hold together.
        share: 0 to 1; the rest is left to everything else.
        free: bytes; this machine's by default, within the limit of its container.
    """
    return size <= share * (free_memory() if free is None else free)


def free_memory(root: Path = Path("/")) -> int:
    """Free bytes of this machine, or what its container's limit (cgroup v2 or v1) leaves; 0 where unknown.

    Args:
        root: where `proc` and `sys` stand; another one in tests.
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
        # Cached files count as used, yet give way.
        left = allowed - taken + _entry(root / folder / "memory.stat", "inactive_file ", unit=1)
        free = min(free, max(left, 0))
    return free


def _entry(path: Path, name: str, *, unit: int) -> int:
    """The number behind a name in one of the kernel's tables, in bytes; 0 where there is none."""
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
    """Whether rows of `size` bytes may be held on a device; always on the CPU, whose memory holds them anyway."""
    if device.type != "cuda":
        return True
    return size <= share * torch.cuda.mem_get_info(device)[0]
