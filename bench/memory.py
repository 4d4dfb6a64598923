"""Memory against the number of recordings: the command over 2,000 and over 20,000 small ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin

COUNTS = (2_000, 20_000)
FRAMES = 150
"""Length of a small recording: 2.5 s at 60 fps, 190 kB."""


def measure() -> dict[str, float]:
    """Peak memory in MB of driver and largest worker, for each count."""
    folder = Path(tempfile.mkdtemp(prefix="mocap-bench-"))
    try:
        bodies = folder / "bodies"
        write_standin(bodies, families=("smplh",))
        small = small_takes(folder)
        figures: dict[str, float] = {}
        for count in COUNTS:
            root = folder / f"archive{count}"
            for k in range(count):
                link = root / "CMU" / f"{k // 50:04}" / f"{k:06}_poses.npz"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(small[k % len(small)])
            figures |= _run(root, bodies, folder / f"out{count}", count)
        return figures
    finally:
        shutil.rmtree(folder)


def small_takes(folder: Path) -> list[Path]:
    """The first frames of 20 synthetic takes, as files."""
    found = []
    for k, file in enumerate(write_demo(folder / "made", recordings=20, bad=False)):
        with np.load(file) as source:
            arrays = {name: source[name] for name in source.files}
        for name in ("poses", "trans", "dmpls"):
            if name in arrays:
                arrays[name] = arrays[name][:FRAMES]
        found.append(folder / f"small{k}.npz")
        np.savez(found[-1], **arrays)
    return found


def _run(root: Path, bodies: Path, out: Path, count: int) -> dict[str, float]:
    texts = [f"source.root={root}", f"body.root={bodies}", f"output.root={out}", "ray.workers=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mocap_ray.cli", "extract", "amass", "--override", *texts],
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"the extraction of {count} recordings failed"
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["totals"]["recordings"] == manifest["totals"]["clips"] == count, (
        "every recording is a clip"
    )
    run = json.loads(next((out / "_runs").glob("*/run.json")).read_text())
    return {
        f"{count:,} recordings: driver MB": usage.ru_maxrss / 1024,
        f"{count:,} recordings: worker MB": max(s["peak_mb"] for s in run["shards"]),
        f"{count:,} recordings: seconds": run["run_s"],
    }
