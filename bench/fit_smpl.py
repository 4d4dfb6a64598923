"""Poses of SMPL fitted to joints: frames per second of one core, beside the loop that users of joints write today.

The baseline is SMPLify's idea in its plainest form (Bogo et al., 2016; `joints2smpl` of the text-to-motion projects):
for each clip, Adam on rotation vectors and translation through the same joints, from a standing pose that already faces
the right way, until the joints are as near as `GOAL_MM`. Both fit the same takes of CMU, decoded from features.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mocap_ray.body.bodies import Bodies
from mocap_ray.body.fitting import fit
from mocap_ray.body.fitting.start import _rigid
from mocap_ray.body.model import ShapedBody
from mocap_ray.body.torch_joints import torch_joints
from mocap_ray.demo.standin import write_standin
from mocap_ray.motion.features import decode, encode

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "amass" / "CMU"
FPS, CLIPS, BASELINE = 20.0, 60, 4
"""Clips that are fitted, and of these by the baseline, which needs seconds for each."""
GOAL_MM = 10.0
RATE, MOST = 0.05, 2000
"""Of Adam: the fastest of 0.02, 0.05 and 0.1 here, and its steps at most."""


def measure() -> dict[str, float]:
    """All figures by name."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="mocap-bench-") as folder:
        write_standin(Path(folder), families=("smplh",), genders=("neutral",))
        bodies = Bodies.load(folder, gender="neutral", families=("smplh",))
        body = bodies.choose("smplh", "neutral").model.shaped(np.zeros(0))
    clips = _clips(body)
    fit(clips[:2], [body] * 2, fps=FPS)
    start = time.perf_counter()
    ours = fit(clips, [body] * len(clips), fps=FPS)
    seconds = time.perf_counter() - start
    frames = sum(len(clip) for clip in clips)
    few = clips[:: len(clips) // BASELINE][:BASELINE]
    start = time.perf_counter()
    errors = [_adam(body, clip) for clip in few]
    slow = (time.perf_counter() - start) / sum(len(clip) for clip in few)
    torch.set_num_threads(threads)
    return {
        "frames": float(frames),
        "fit, frames a second": frames / seconds,
        "fit, mean error, mm": float(np.mean([f.error_mm for f in ours])),
        "Adam for each clip, frames a second": 1 / slow,
        "Adam, mean error, mm": float(np.mean(errors)),
        "fit, times Adam": slow * frames / seconds,
    }


def _clips(body: ShapedBody) -> list[np.ndarray]:
    """Decoded takes, or a drawn motion where the takes are absent."""
    paths = sorted(SHARED.rglob("*_poses.npz"))[:CLIPS]
    found = []
    for path in paths:
        with np.load(path) as file:
            every = round(float(file["mocap_framerate"]) / FPS)
            poses = file["poses"][::every, :66].reshape(-1, 22, 3)
            joints = (
                body.joints(poses, file["trans"][::every]) @ np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]).T
            )
        found.append(decode(encode(joints, profile="flowmimic")))
    if not found:
        rng = np.random.default_rng(0)
        for _ in range(CLIPS):
            poses = 0.2 * rng.normal(size=(22, 3)) + 0.02 * rng.normal(size=(200, 22, 3)).cumsum(0)
            found.append(body.joints(poses, np.zeros((200, 3))))
    return found


def _adam(body: ShapedBody, clip: np.ndarray) -> float:
    """The error of a clip, mm, once it is below the goal."""
    import roma

    seen = torch.as_tensor(clip, dtype=torch.float32)
    rest = torch.as_tensor(body.offsets[[1, 2, 3]]).float()
    poses = torch.zeros(len(clip), 22, 3)
    poses[:, 0] = roma.rotmat_to_rotvec(
        _rigid(rest.expand(len(clip), 3, 3), seen[:, [1, 2, 3]] - seen[:, :1])
    )
    poses.requires_grad_()
    trans = (seen[:, 0] - torch.as_tensor(body.rest[0]).float()).clone().requires_grad_()
    optimiser = torch.optim.Adam([poses, trans], lr=RATE)
    error = float("inf")
    for _ in range(MOST):
        optimiser.zero_grad()
        away = torch_joints(body, poses, trans=trans) - seen
        error = 1000 * float(away.detach().norm(dim=-1).mean())
        if error < GOAL_MM:
            break
        torch.autograd.backward(away.square().sum() + 1e-4 * poses[:, 1:].square().sum())
        optimiser.step()
    return error
