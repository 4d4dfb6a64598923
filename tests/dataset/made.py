"""A tiny finished data set on disk, made from plain numbers, for tests of everything that reads one.

A figure walks along +Z and never turns, so its features can be written down without an encoder: the yaw
velocity is zero, the rest are differences and offsets. The layout is that of `docs/data-format.md`; the
files are written by `schema.to_table` and `schema.to_parquet`, not by the extraction.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.dataset import schema
from mocap_ray.motion.clip import Clip
from mocap_ray.motion.stick import stick
from mocap_ray.records import Recording
from mocap_ray.skeleton import BODY_PARENTS, HUMANML3D_BONES, REST_DIRECTIONS

RECIPE: dict[str, object] = {
    "body": {"gender": "recorded", "betas": None},
    "sources": {
        "amass": {
            "archive": "amass",
            "domain": "amass",
            "split": "subject",
            "models": {"smplh/neutral": {"sha256": "ab" * 32, "standin": False}},
        }
    },
    "motion": {"profile": "humanml3d", "resample": "interpolate", "yaw": "continuous", "mirror": True},
    "recipe_version": 3,
}
Poses = Callable[[int, int], np.ndarray]
"""Number of a clip and its frames -> rotation vectors [frames, 55, 3]."""
ACTIONS = ("walk", "run & <jump>", None, "dance")


def walker(frames: int, *, speed: float = 0.06, phase: float = 0.0) -> np.ndarray:
    """[T, 22, 3] metres: a figure that walks along +Z with swinging arms and legs, facing +Z throughout."""
    t = np.arange(frames)
    swing = 0.5 * np.sin(0.35 * t + phase)
    angle = np.zeros((frames, 22))  # about X: positive swings a downward bone backward
    for joint, amount in ((4, 1.0), (5, -1.0), (18, -0.8), (19, 0.8), (20, -1.0), (21, 1.0)):
        angle[:, joint] = amount * swing
    angle[:, 7] = angle[:, 4] + 0.35 * (1 + np.sin(0.35 * t + phase + 1.5))
    angle[:, 8] = angle[:, 5] + 0.35 * (1 - np.sin(0.35 * t + phase + 1.5))
    bones = np.repeat((HUMANML3D_BONES[:, None] * REST_DIRECTIONS)[None], frames, axis=0)
    for joint in (18, 19, 20, 21):
        bones[:, joint, 0] += 0.02 * (1 if joint % 2 == 0 else -1)
    c, s = np.cos(angle), np.sin(angle)
    y, z = bones[..., 1].copy(), bones[..., 2].copy()
    bones[..., 1], bones[..., 2] = c * y - s * z, s * y + c * z
    joints = np.zeros((frames, 22, 3))
    joints[:, 0, 2] = speed * t
    for joint, parent in enumerate(BODY_PARENTS[1:], start=1):
        joints[:, joint] = joints[:, parent] + bones[:, joint]
    joints[..., 1] -= joints[..., 1].min()
    return joints


def features_of(joints: np.ndarray) -> np.ndarray:
    """[T-1, 263] of a figure that faces +Z throughout: `root_yaw_vel` is 0 and nothing is rotated."""
    step = np.diff(joints, axis=0)
    rows = len(step)
    out = np.zeros((rows, 263), np.float32)
    out[:, 1:3] = step[:, 0, [0, 2]]
    out[:, 3] = joints[:-1, 0, 1]
    local = joints[:-1, 1:] - joints[:-1, :1] * np.array([1, 0, 1])
    out[:, 4:67] = local.reshape(rows, 63)
    out[:, 67:193] = np.tile([1, 0, 0, 0, 1, 0], 21)
    out[:, 193:259] = step.reshape(rows, 66)
    out[:, 259:263] = np.sum(step[:, [7, 10, 8, 11]] ** 2, axis=-1) < 0.002
    return out


def _jitter(number: int, frames: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(frames, 55, 3)).astype(np.float32) * 0.1


def made_clip(
    dataset: str,
    number: int,
    *,
    frames: int,
    mirrored: bool = False,
    texts: tuple[str, ...] = (),
    poses: Poses | None = None,
    fps: float = 20.0,
) -> Clip:
    """Clip `number` of a sub-dataset; its mirrored twin has no poses, as in a real data set."""
    name = f"{dataset}/{number % 3:02d}/{number:02d}_poses"
    recording = Recording(dataset, name, f"{dataset}/{number % 3:02d}", f"{name}.npz", 1, "1")
    joints = walker(frames, speed=0.02 + 0.01 * (number % 5), phase=0.7 * number + 3.0 * mirrored)
    return Clip(
        clip_id=f"{name}@0" + ("~M" if mirrored else ""),
        recording=recording,
        gender="neutral",
        body_gender="neutral",
        family="smplh",
        fps=fps,
        source_fps=120.0,
        betas=np.arange(10) / 10,
        features=features_of(joints),
        joints=joints.astype(np.float32),
        poses=None if mirrored else (poses or _jitter)(number, frames),
        trans=None if mirrored else joints[:, 0].astype(np.float32),
        stick=stick(joints),
        action=ACTIONS[number % 4],
        texts=texts,
        domain="amass",
    )


def make(
    root: Path,
    *,
    profile: str = "humanml3d",
    columns: tuple[str, ...] = ("features", "joints", "poses", "trans"),
    clips: dict[tuple[str, str], int] | None = None,
    frames: int = 41,
    standin: bool = True,
    poses: Poses | None = None,
    fps: float = 20.0,
    domains: dict[str, str] | None = None,
    styles: tuple[str | None, ...] = (None,),
) -> list[Clip]:
    """Write a finished data set below `root` and return its clips in manifest order.

    Args:
        clips: recordings per (dataset, split); each gives a clip and its mirrored twin.
        frames: of the first clip; each further one is 10 longer.
        poses: number of a clip and its frames -> poses; None means a little noise on every axis of every joint.
        fps: of all clips.
        domains: sub-dataset -> the name of its source and domain; None: all are of `amass`.
        styles: of the recordings in turn.
    """
    clips = clips or {("CMU", "train"): 5, ("CMU", "val"): 2, ("BMLrub", "test"): 2}
    everything: list[Clip] = []
    shards, counts, number = [], [], 0
    file_schema = schema.schema(columns, metadata={"schema_version": "1", "profile": profile})
    for (dataset, split), many in sorted(clips.items()):
        rows: list[Clip] = []
        for _ in range(many):
            texts = (f"person {number} walks with the left arm.", "a #2 w/alker") if number % 2 else ()
            for mirrored in (False, True):
                length = frames + 10 * number
                clip = made_clip(
                    dataset, number, frames=length, mirrored=mirrored, texts=texts, poses=poses, fps=fps
                )
                source = (domains or {}).get(dataset, "amass")
                rows.append(replace(clip, domain=source, style=styles[number % len(styles)]))
            number += 1
        half = max(1, len(rows) // 2)
        for part in filter(None, (rows[:half], rows[half:])):
            data = schema.to_parquet(schema.to_table(part, file_schema)).to_pybytes()
            digest = hashlib.sha256(data).hexdigest()
            path = f"clips/dataset={dataset}/split={split}/{digest[:16]}.parquet"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
            total = sum(c.num_frames for c in part)
            entry = {"path": path, "sha256": digest, "rows": len(part), "frames": total, "bytes": len(data)}
            shards.append(entry | ({"source": domains[dataset]} if domains else {}))
            everything += part
        total = sum(c.num_frames for c in rows)
        counts.append(
            {
                "dataset": dataset,
                "split": split,
                "recordings": many + (2 if split == "train" else 0),
                "clips": len(rows),
                "frames": total,
                "seconds": total / 20.0,
                "rejected": {"teleport": 1, "too_short": 1} if split == "train" else {},
            }
        )
    recipe = RECIPE
    if domains:
        one = RECIPE["sources"]["amass"]  # type: ignore[index]
        recipe = {**RECIPE, "sources": {name: {**one, "domain": name} for name in set(domains.values())}}
    _finish(
        root,
        everything,
        shards=shards,
        counts=counts,
        profile=profile,
        columns=columns,
        standin=standin,
        recipe=recipe,
    )
    return everything


def _finish(
    root: Path,
    clips: list[Clip],
    *,
    shards: list[dict[str, object]],
    counts: list[dict[str, object]],
    profile: str,
    columns: tuple[str, ...],
    standin: bool,
    recipe: dict[str, object],
) -> None:
    """Statistics, rejections and, last, the manifest."""
    rows = np.concatenate([c.features for c in clips]).astype(np.float64)
    out = io.BytesIO()
    np.savez(
        out,
        mean=rows.mean(0).astype(np.float32),
        std=(rows.std(0) * (np.arange(263) != 0)).astype(np.float32),
        count=len(rows),
        profile=profile,
        columns=np.array([f"f{k}" for k in range(263)]),
    )
    (root / "statistics.npz").write_bytes(out.getvalue())
    rejected = {
        "dataset": ["CMU", "CMU"],
        "recording": ["CMU/09/09_01_poses", "CMU/09/<b>"],
        "first_frame": pa.array([0, 120], pa.int32()),
        "reason": ["teleport", "too_short"],
        "detail": ["root acceleration 9,120 m/s^2 at frame 31 (limit 1,500)", "12 frames (least 40)"],
    }
    pq.write_table(pa.table(rejected), root / "rejected.parquet")
    (root / "receipts").mkdir(exist_ok=True)
    manifest = {
        "schema_version": schema.SCHEMA_VERSION,
        "package_version": "0.1.0",
        "recipe_hash": "0123456789abcdef" * 4,
        "recipe": recipe,
        "profile": profile,
        "columns": list(columns),
        "shards": shards,
        "counts": counts,
        "totals": {
            **{key: sum(c[key] for c in counts) for key in ("recordings", "clips", "frames", "seconds")},  # type: ignore[misc]
            "rejected": {"teleport": 1, "too_short": 1},
            "notes": {"gender_fallback": 3},
        },
        "standin_body": standin,
    }
    (root / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
