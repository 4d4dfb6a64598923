"""Frames and files per second of the archives of pickles against a plain loop, one core, files in the page cache.

The plain loop is what notebooks do: `pickle.load` of each file, torch tensors to numpy, the remap of the axes frame by
frame, scipy's PCHIP, `smplx` for the joints of AIST++, and the features of the naive twin.
"""

from __future__ import annotations

import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.body import SMPLX_FRAMES
from bench.features import naive_twin
from mocap_ray.archives import ARCHIVES
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.options import BodyOptions, MotionOptions
from mocap_ray.dataset.process import Plan, process
from mocap_ray.demo.standin import write_standin
from mocap_ray.motion.clip import Clip
from mocap_ray.skeleton import REST_JOINTS
from mocap_ray.storage import place

OUTFITS, FRAMES = 2, 120
"""Recordings of MVHumanNet and frames of each: 24 s. A frame has 252 kB, as published."""
DANCES, LENGTH = 6, 720
"""Sequences of AIST++ and frames of each: 12 s, as the genuine one."""
TURNS = 3


def write_outfits(root: Path) -> None:
    """Frames with the keys, sizes and order of the published ones."""
    import torch

    rng = np.random.default_rng(0)
    rest = np.zeros((45, 3))
    rest[:22] = REST_JOINTS
    faces = np.arange(3 * 13776, dtype=np.uint32).reshape(-1, 3)
    for outfit in range(OUTFITS):
        folder = root / "Part_01" / str(100_001 + outfit) / "smpl_param"
        folder.mkdir(parents=True)
        phase = rng.uniform(0, 6, (45, 3))
        for k in range(FRAMES):
            x, y, z = np.moveaxis(rest + 0.03 * np.sin(k / 5 + phase), -1, 0)
            joints = np.stack([z, -x, -y], axis=-1).astype(np.float32)
            values = {
                "transl": None,
                "global_orient": torch.eye(3)[None, None],
                "body_pose": torch.eye(3).repeat(1, 23, 1, 1),
                "betas": torch.rand(1, 10),
                "vertices": torch.rand(1, 6890, 3),
                "joints": torch.from_numpy(joints)[None],
                "full_pose": torch.eye(3).repeat(1, 24, 1, 1),
                "v_shaped": None,
                "faces": faces,
            }
            (folder / f"{k:06}.pkl").write_bytes(pickle.dumps(values, 4))


def write_dances(root: Path) -> None:
    """Sequences of slow random motion in the layout of AIST++."""
    (root / "motions").mkdir(parents=True)
    for k in range(DANCES):
        rng = np.random.default_rng(k)
        poses = np.cumsum(0.01 * rng.normal(size=(LENGTH, 72)), axis=0)
        values = {
            "smpl_loss": 1.0,
            "smpl_poses": poses.astype(np.float32),
            "smpl_scaling": np.array([93.8], np.float32),
            "smpl_trans": (93.8 * np.cumsum(0.003 * rng.normal(size=(LENGTH, 3)), axis=0)).astype(np.float32),
        }
        path = root / "motions" / f"gBR_sBM_cAll_d{k + 1:02}_mBR0_ch01.pkl"
        path.write_bytes(pickle.dumps(values, 5))


def plain_outfit(folder: Path) -> np.ndarray:
    """Body joints [T, 22, 3] of a folder of frames, as notebooks read them."""
    frames: list[np.ndarray] = []
    for path in sorted(folder.glob("*.pkl")):
        with path.open("rb") as file:
            joints = pickle.load(file)["joints"].numpy()[0, :22]  # files that this benchmark wrote
        x, y, z = joints[:, 0], joints[:, 1], joints[:, 2]
        frames.append(np.stack([-y, -z, x], axis=-1))
    return np.stack(frames) - frames[0][0]


def plain_outfit_features(folder: Path, encode: Callable[..., Any]) -> None:
    """The same, to features at 30 fps."""
    from scipy.interpolate import PchipInterpolator

    joints = plain_outfit(folder)
    times = np.arange((len(joints) - 1) * 6 + 1) / 30
    encode(PchipInterpolator(np.arange(len(joints)) / 5, joints, axis=0)(times), "flowmimic")


def plain_dance(path: Path, model: Any, encode: Callable[..., Any]) -> None:
    """A sequence to features at 30 fps."""
    import torch

    with path.open("rb") as file:
        values = pickle.load(file)  # a file that this benchmark wrote
    poses = torch.from_numpy(values["smpl_poses"])
    trans = torch.from_numpy(values["smpl_trans"] / values["smpl_scaling"])
    parts = []
    with torch.no_grad():
        for start in range(0, len(poses), SMPLX_FRAMES):
            some = slice(start, start + SMPLX_FRAMES)
            body, shift = poses[some], trans[some]
            betas = torch.zeros(len(body), 10)
            found = model(betas=betas, global_orient=body[:, :3], body_pose=body[:, 3:], transl=shift)
            parts.append(found.joints[:, :22].numpy())
    encode(np.concatenate(parts)[::2].astype(np.float64), "flowmimic")


def seconds(work: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def turns(ours: Callable[[], object], plain: Callable[[], object]) -> tuple[float, float, float]:
    """Medians of seconds, ours and plain, and of their ratio, side by side."""
    ours()
    found = [(seconds(ours), seconds(plain)) for _ in range(TURNS)]
    return (
        statistics.median(a for a, _ in found),
        statistics.median(b for _, b in found),
        statistics.median(b / a for a, b in found),
    )


def plan_of(archive: str, root: Path, bodies: Path) -> Plan:
    """As the shipped config of the archive makes it, without poses."""
    models = Bodies.load(bodies, gender="recorded", families=("smpl",))
    options = MotionOptions(profile="flowmimic", min_frames=1)
    body = BodyOptions(root=str(bodies))
    return Plan(ARCHIVES[archive], place(root), models, body, options, ("features", "joints"))


def process_all(plan: Plan) -> None:
    """Every recording of an archive to clips, listing included."""
    for recording in plan.archive.discover(plan.place):
        assert all(isinstance(clip, Clip) for clip in process(recording, plan)), recording


def read_all(plan: Plan) -> None:
    """Every recording of an archive read, listing included."""
    for recording in plan.archive.discover(plan.place):
        plan.archive.read(plan.place, recording)


def measure() -> dict[str, float]:
    """Frames of MVHumanNet and files of AIST++ per second and core, and ratios to the plain loop."""
    import smplx
    import torch

    encode = naive_twin().encode
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_outfits(root / "mvh")
            write_dances(root / "aist")
            write_standin(root / "bodies", families=("smpl",), genders=("male",))
            model = smplx.create(str(root / "bodies"), model_type="smpl", gender="male")
            outfits = sorted((root / "mvh").glob("*/*/smpl_param"))
            mvh = plan_of("mvhumannet", root / "mvh", root / "bodies")
            aist = plan_of("aist", root / "aist", root / "bodies")
            read = turns(lambda: read_all(mvh), lambda: [plain_outfit(f) for f in outfits])
            made = turns(
                lambda: process_all(mvh), lambda: [plain_outfit_features(f, encode) for f in outfits]
            )
            dances = sorted((root / "aist" / "motions").glob("*.pkl"))
            danced = turns(lambda: process_all(aist), lambda: [plain_dance(p, model, encode) for p in dances])
    finally:
        torch.set_num_threads(threads)
    frames = OUTFITS * FRAMES
    return {
        "mvhumannet_read_frames_per_s": frames / read[0],
        "mvhumannet_plain_read_frames_per_s": frames / read[1],
        "mvhumannet_read_ratio": read[2],
        "mvhumannet_frames_per_s": frames / made[0],
        "mvhumannet_plain_frames_per_s": frames / made[1],
        "mvhumannet_ratio": made[2],
        "aist_files_per_s": DANCES / danced[0],
        "aist_plain_files_per_s": DANCES / danced[1],
        "aist_ratio": danced[2],
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:40} {value:12,.1f}")
