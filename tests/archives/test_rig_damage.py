"""Random damage to BVH, ASF, AMC, arrays and maps of rigs: each file is read or rejected, and nothing else happens."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mocap_ray.archives import bvh, joints
from mocap_ray.archives.archive import Archive
from mocap_ray.archives.rigs.rig import MAPS, find_rig
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import JointMotion, Motion
from mocap_ray.records import Rejection
from mocap_ray.storage import place
from tests.archives import rig_texts

CASES = 150
WORDS = (
    b"nan",
    b"-inf",
    b"1e999",
    b"{",
    b"}",
    b"\0\0",
    b"\xff",
    b"9" * 40,
    b"",
    b"CHANNELS",
    b"-",
    b"\n",
    b"OFFSET",
)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The same bytes with a few cuts, copies, flips or foreign words."""
    for _ in range(int(rng.integers(1, 4))):
        at, to = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        to = min(to, at + 60)
        kind = int(rng.integers(0, 5))
        word = WORDS[int(rng.integers(0, len(WORDS)))]
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + data[to:]
        elif kind == 2:
            data = data[:to] + data[at:]
        elif kind == 3:
            data = data[:at] + word + data[to:]
        elif at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << int(rng.integers(0, 8)))]) + data[at + 1 :]
    return data


def _npy(folder: Path) -> bytes:
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(4, 22, 3)))
    return (folder / "x.npy").read_bytes()


@pytest.mark.parametrize("kind", ["bvh", "amc", "asf", "npy"])
def test_damaged_files_are_read_or_rejected(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    sources = {"bvh": rig_texts.bvh(4), "amc": rig_texts.AMC, "asf": rig_texts.ASF}
    whole = sources[kind].encode() if kind in sources else _npy(tmp_path)
    archive: Archive = joints.ARCHIVE if kind == "npy" else bvh.ARCHIVE
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.asf").write_text(rig_texts.ASF)
    (root / "a_1.amc").write_text(rig_texts.AMC)
    path = root / {"asf": "a.asf", "amc": "a_1.amc"}.get(kind, f"a.{kind}")
    wanted = "a_1.amc" if kind == "asf" else path.name
    seen: Counter[str] = Counter()
    tracemalloc.start()
    for _ in range(CASES):
        path.write_bytes(damaged(whole, rng))
        recording = next(r for r in archive.discover(place(root)) if r.source == wanted)
        found = archive.read(place(root), recording, fps=30.0)
        assert isinstance(found, Motion | JointMotion | Rejection)
        if isinstance(found, Rejection):
            assert found.detail.startswith(f"{wanted}: ")
            assert found.detail.isprintable()
            assert len(found.detail) < 700
            seen[found.reason] += 1
        else:
            seen["taken"] += 1
            assert len(found.root) > 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert len(seen) > 1, seen


def test_damaged_maps_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    whole = (MAPS / "bandai_namco.yaml").read_bytes()
    refused = 0
    for k in range(CASES):
        path = tmp_path / f"{k}.yaml"
        path.write_bytes(damaged(whole, rng))
        try:
            find_rig(str(path))
        except UserError:
            refused += 1
    assert refused > CASES // 2
