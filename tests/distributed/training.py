"""Trainings by the real command in separate processes, their workers and their files."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from mocap_ray.config import load
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.lockstep import train_locally

COMMAND = [sys.executable, "-m", "mocap_ray.cli"]
EPOCHS = 14


def write_base(path: Path, data_set: Path, **sections: dict[str, Any]) -> Path:
    """A config of a small flow whose epochs take about half a second."""
    config: dict[str, dict[str, Any]] = {
        "model": {"kind": "joint_flow", "hidden": 8, "K": 2},
        "data": {"root": str(data_set), "joints": "body", "batch_size": 32},
        "training": {"max_epochs": EPOCHS, "learning_rate": 1e-3, "patience": None},
        "output": {"root": str(path.with_suffix("")), "tensorboard": False},
        "ray": {"workers": 1, "gpus_per_worker": 0},
    }
    for name, section in sections.items():
        config[name] = {**config.get(name, {}), **section}
    path.write_text(yaml.safe_dump(config))
    return path


def train_here(path: Path) -> Path:
    """The training of a config in this process, without Ray and undisturbed; returns its folder."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    train_locally(load(str(path), TrainConfig, kind="train").setup())
    torch.set_num_threads(before)
    return path.with_suffix("")


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def command(*arguments: str | Path, expect: int = 0, seconds: float = 280) -> str:
    """Run `mocap-ray ...` and return what it printed."""
    process = start(*arguments)
    out, _ = process.communicate(timeout=seconds)
    assert process.returncode == expect, f"exit {process.returncode}, expected {expect}:\n{out}"
    return out


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str], *, seconds: float = 200) -> None:
    """Wait for a condition while the process runs."""
    end = time.monotonic() + seconds
    while not what():
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}:\n{process.communicate()[0]}")
        assert time.monotonic() < end, "does not happen"
        time.sleep(0.02)


def rows(out: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv; empty before the first epoch."""
    path = out / "metrics.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []


def losses(out: Path) -> list[tuple[str, ...]]:
    """Epoch, step and both losses as written: the columns that must be reproducible."""
    return [(r["epoch"], r["step"], r["loss"], r["val_loss"]) for r in rows(out)]


def workers(driver: int) -> list[int]:
    """The worker processes of Ray Train of a driver."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
            names[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:
            continue
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = []
    for pid, name in names.items():
        above = pid
        while above in parents and above != driver:
            above = parents[above]
        if above == driver and "RayTrainWorker" in name:
            found.append(pid)
    return found


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
