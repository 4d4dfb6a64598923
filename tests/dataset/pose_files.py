"""Files of single poses, written with numpy from their published layouts, by nothing that the readers share."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from mocap_ray.dataset.single.build import prepare
from mocap_ray.dataset.single.options import PoseOutputOptions, PoseSourceOptions
from mocap_ray.shards.running import InProcess, NoCallback, RunResult, run
from mocap_ray.storage import place


def angles(count: int, columns: int, *, seed: int = 0) -> np.ndarray:
    """Small rotations, none of them zero."""
    return np.random.default_rng([seed, columns]).normal(scale=0.2, size=(count, columns)).astype(np.float32)


def smplx(count: int = 12, *, seed: int = 0) -> dict[str, Any]:
    """The dictionary of a HumanData file."""
    return {
        "global_orient": angles(count, 3, seed=seed),
        "body_pose": angles(count, 63, seed=seed).reshape(count, 21, 3),
        "betas": angles(count, 10, seed=seed),
        "transl": angles(count, 3, seed=seed + 1),
        "left_hand_pose": angles(count, 45, seed=seed).reshape(count, 15, 3),
        "right_hand_pose": angles(count, 45, seed=seed + 1).reshape(count, 15, 3),
        "expression": angles(count, 10, seed=seed + 2),
        "jaw_pose": angles(count, 3, seed=seed + 3),
        "leye_pose": np.zeros((count, 3), np.float32),
        "reye_pose": np.zeros((count, 3), np.float32),
    }


def humandata(
    path: Path,
    values: dict[str, Any] | None = None,
    *,
    family: str = "smplx",
    meta: dict[str, Any] | None = None,
    misc: dict[str, Any] | None = None,
    images: Sequence[str] | None = None,
) -> Path:
    """A HumanData file, as `HumanData.dump` writes it: numpy.savez with pickled dictionaries."""
    values = smplx() if values is None else values
    count = len(values["body_pose"])
    arrays: dict[str, Any] = {
        "image_path": np.array(images or [f"s{k % 5}/{k:06d}.png" for k in range(count)]),
        "bbox_xywh": np.zeros((count, 5), np.float32),
        "keypoints2d_smplx": np.zeros((count, 144, 3), np.float32),
        family: np.array(values, dtype=object),
        "meta": np.array({"gender": ["f", "male"] * (count // 2)} if meta is None else meta, dtype=object),
        "misc": np.array({"flat_hand_mean": True} if misc is None else misc, dtype=object),
        "__keypoints_compressed__": np.array(False),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def with_pickle(path: Path, key: str, data: bytes) -> Path:
    """The file with the pickle of one member replaced."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members[f"{key}.npy"] = header.getvalue() + data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content)
    return path


def plain(path: Path, joints: int = 53, count: int = 40, *, seed: int = 0, **arrays: Any) -> Path:
    """`poses` [N, 3 J]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{"poses": angles(count, 3 * joints, seed=seed), **arrays})
    return path


def extract(root: Path | Sequence[Path], out: Path, *, archive: str = "poses", **keys: Any) -> RunResult:
    """A run of the product in this process."""
    roots = str(root) if isinstance(root, Path) else tuple(map(str, root))
    flags = {name: keys.pop(name) for name in ("overwrite", "prune", "lists") if name in keys}
    strict, shard_mb = keys.pop("strict", False), keys.pop("shard_mb", 256.0)
    source = PoseSourceOptions(archive=archive, root=roots, **keys)
    output = PoseOutputOptions(root=str(out), shard_mb=shard_mb)
    return run(
        lambda: prepare(source, output, **flags),
        lambda: nullcontext(InProcess()),
        out=place(out),
        callback=NoCallback(),
        strict=strict,
    )
