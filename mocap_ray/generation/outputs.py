"""A folder of generated motions: features, joints, and what each was asked to be.

| file | content |
|---|---|
| features/NAME.npy | [T, 263] features, not normalised; contacts between 0 and 1 |
| joints/NAME.npy | [T, 22, 3] metres, Y up |
| motions.jsonl | a line for each motion: name, seed, frames, and what was asked for; itself a file of prompts |
| generated.json | the model and its settings, frame rate and profile |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mocap_ray.dataset.export import npy
from mocap_ray.errors import UserError
from mocap_ray.generation.generator import Generator
from mocap_ray.generation.judging import metrics
from mocap_ray.generation.losses import CONTACTS
from mocap_ray.generation.requests import Request
from mocap_ray.generation.solvers import Progress
from mocap_ray.motion.features import decode
from mocap_ray.storage import place
from mocap_ray.version import __version__

FEATURES, JOINTS = "features", "joints"


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """A generated motion.

    Attributes:
        name: of its files.
        request: what was asked for.
        fps: frames per second.
        features: as generated: not normalised, contacts between 0 and 1.
        joints: metres, Y up, decoded from the features.
    """

    name: str
    request: Request
    fps: float
    features: Float[np.ndarray, "T 263"]
    joints: Float[np.ndarray, "T 22 3"]


def skate_of(joints: Float[np.ndarray, "T 22 3"], features: Float[np.ndarray, "T 263"]) -> float:
    """How far feet slide while in contact, mm per frame; NaN without contacts."""
    mask = np.ones((1, len(joints)), bool)
    total, steps = metrics.foot_skate(joints[None], features[None, :, CONTACTS], mask)
    return float(total[0] / steps[0]) if steps[0] else float("nan")


def speed_of(joints: Float[np.ndarray, "T 22 3"], *, fps: float) -> float:
    """Mean speed of the root over the ground, m/s."""
    steps = np.linalg.norm(np.diff(joints[:, 0, [0, 2]], axis=0), axis=-1)
    return float(steps.mean() * fps) if len(steps) else 0.0


def require_new(out: Path) -> None:
    """Raise UserError unless a folder is empty, or does not exist."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already. Choose another --out, or delete it first.")


def generate_motions(
    generator: Generator, requests: Mapping[str, Request], *, progress: Progress | None = None
) -> list[Generated]:
    """Generate what is asked for.

    Args:
        generator: the model.
        requests: by the place that each comes from; motions without a name are numbered.
        progress: called with the number of steps done, and the total.

    Raises:
        UserError: a request that the model cannot take.
    """
    generator.check(requests)
    digits = max(3, len(str(len(requests) - 1)))
    found = generator.generate(list(requests.values()), progress=progress)
    return [
        Generated(r.name or f"{k:0{digits}d}", r, generator.fps, x, np.asarray(decode(x), np.float32))
        for k, (r, x) in enumerate(zip(requests.values(), found, strict=True))
    ]


def write_motions(out: Path, motions: Sequence[Generated], generator: Generator) -> None:
    """Write the folder. Raises OSError."""
    where = place(out)
    for motion in motions:
        where.write_atomic(npy(motion.features), FEATURES, f"{motion.name}.npy", flush=False)
        where.write_atomic(npy(motion.joints), JOINTS, f"{motion.name}.npy", flush=False)
    lines = [
        json.dumps(
            {
                **motion.request.model_dump(mode="json", exclude_none=True, exclude={"seconds"}),
                "name": motion.name,
                "frames": len(motion.features),
            }
        )
        for motion in motions
    ]
    where.write_atomic("".join(f"{line}\n" for line in lines).encode(), "motions.jsonl")
    about = {
        **asdict(generator.sampling),
        "sha256": generator.sha256,
        "fps": generator.fps,
        "profile": generator.profile,
        "package_version": __version__,
    }
    where.write_atomic((json.dumps(about, indent=1) + "\n").encode(), "generated.json")
    where.flush()
