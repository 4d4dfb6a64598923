"""What an extraction of single poses says, and what says that such a data set has no motion."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import mocap_ray
from mocap_ray.cli.extraction_view import print_result
from mocap_ray.dataset.poses import PoseRows
from mocap_ray.dataset.single.build import prepare
from mocap_ray.dataset.single.options import PoseOutputOptions, PoseSourceOptions
from mocap_ray.records import Rejection
from tests.dataset import pose_files
from tests.dataset.pose_files import angles, smplx
from tests.wording.scenes import House, scene


def _single(house: House) -> Path:
    """A data set of ten whole poses for training, and bodies for validation."""
    out = house.root / "single"
    if not out.exists():
        pose_files.plain(house.root / "single_in" / "train_whole.npz", count=10)
        pose_files.plain(house.root / "single_in" / "val_bodies.npz", joints=21, count=10)
        pose_files.extract(house.root / "single_in", out)
    return out


def _left_out(house: House, path: Path, archive: str = "humandata") -> str:
    """Why a file, or the first of its poses, is rejected."""
    source = PoseSourceOptions(archive=archive, root=str(path), split="none")
    build = prepare(source, PoseOutputOptions(root=str(house.root / "unused")))
    (shard,) = build.shards
    found = next(item for item in build.product.process(shard.inputs[0]) if isinstance(item, Rejection))
    return f"{found.reason}: {found.detail}"


def _annotated(house: House, name: str, values: dict[str, Any] | None = None, **more: Any) -> str:
    return _left_out(house, pose_files.humandata(house.root / "annotated" / f"{name}.npz", values, **more))


@scene
def single_poses_tried_without_writing(house: House) -> str:
    pose_files.plain(house.root / "single_dry" / "mine.npz", count=10)
    pose_files.plain(house.root / "single_dry" / "val.npz", count=10)
    roots = f"source.root={house.root}/single_dry", f"output.root={house.root}/never"
    return house.typed("extract", "poses", "--dry-run", "--override", *roots)


@scene
def single_poses_summary(house: House) -> str:
    pose_files.humandata(house.root / "single_summary" / "set.npz", images=["a/1.png"] * 12)
    out = house.root / "single_made"
    done = pose_files.extract(house.root / "single_summary", out, archive="humandata")
    text = io.StringIO()
    print_result(Console(file=text, width=100), done)
    # Speeds and times differ from run to run.
    return "\n".join(line for line in text.getvalue().splitlines() if "in total" not in line)


@scene
def single_poses_inside_their_source(house: House) -> str:
    path = house.written("inside.yaml", "source: {archive: poses, root: DIR}\noutput: {root: DIR/out}\n")
    return house.typed("extract", path)


@scene
def single_poses_with_a_key_of_motion(house: House) -> str:
    return house.typed("extract", "humandata", "--override", "motion.mirror=true", "source.fps=30")


@scene
def single_poses_of_a_folder_without_files(house: House) -> object:
    (house.root / "bare").mkdir(exist_ok=True)
    return pose_files.extract(house.root / "bare", house.root / "never", archive="humandata")


@scene
def single_poses_of_a_file_that_is_none(house: House) -> object:
    path = house.written("poses/poses.txt", "1 2 3")
    return pose_files.extract([path, path], house.root / "never")


@scene
def single_poses_of_files_that_are_gone(house: House) -> object:
    out = house.root / "single_gone"
    for name in ("train_1", "train_2"):
        pose_files.plain(house.root / "gone_in" / f"{name}.npz")
    pose_files.extract(house.root / "gone_in", out)
    (house.root / "gone_in" / "train_2.npz").unlink()
    return pose_files.extract(house.root / "gone_in", out)


@scene
def hand_model_that_is_not_there(house: House) -> object:
    pose_files.plain(house.root / "hands_in" / "train.npz")
    return pose_files.extract(house.root / "hands_in", house.root / "never", hand_model="SMPLX_NEUTRAL.npz")


@scene
def hand_model_without_hands(house: House) -> object:
    pose_files.plain(house.root / "hands_in" / "train.npz")
    np.savez(house.root / "SMPL_NEUTRAL.npz", shapedirs=np.zeros(3))
    model = str(house.root / "SMPL_NEUTRAL.npz")
    return pose_files.extract(house.root / "hands_in", house.root / "never", hand_model=model)


@scene
def hands_of_an_unknown_convention(house: House) -> str:
    return _annotated(house, "unknown_hands", misc={})


@scene
def hands_from_the_mean_hand_without_a_model(house: House) -> str:
    return _annotated(house, "mean_hands", misc={"flat_hand_mean": False})


@scene
def hands_as_principal_components_without_a_model(house: House) -> str:
    return _annotated(house, "components", {**smplx(), "left_hand_pose": angles(12, 6)})


@scene
def annotations_without_a_body(house: House) -> str:
    return _left_out(house, pose_files.plain(house.root / "annotated" / "plain.npz"))


@scene
def annotations_read_as_plain_arrays(house: House) -> str:
    return _left_out(house, pose_files.humandata(house.root / "annotated" / "a.npz"), archive="poses")


@scene
def annotation_of_a_child(house: House) -> str:
    return _annotated(house, "child", {**smplx(), "betas_extra": np.array([0.5] + [0] * 11)})


@scene
def annotation_marked_as_invalid(house: House) -> str:
    return _annotated(house, "invalid", meta={"annot_valid": [False] + [True] * 11})


@scene
def poses_of_another_shape(house: House) -> str:
    return _left_out(house, pose_files.plain(house.root / "annotated" / "b.npz", joints=54), archive="poses")


@scene
def poses_in_degrees(house: House) -> str:
    poses = np.full((3, 165), 30.0)
    return _left_out(
        house, pose_files.plain(house.root / "annotated" / "c.npz", poses=poses), archive="poses"
    )


@scene
def page_of_single_poses(house: House) -> str:
    return house.typed("page", _single(house), house.root / "page.html")


@scene
def view_of_single_poses(house: House) -> str:
    return house.typed("view", _single(house))


@scene
def exclusion_from_single_poses(house: House) -> str:
    return house.typed("dataset", "exclude", _single(house), "single_in/train_whole", "--reason", "odd")


@scene
def clips_opened_as_single_poses(house: House) -> object:
    return mocap_ray.open_poses(house.data_set)


@scene
def single_poses_of_which_none_is_whole(house: House) -> object:
    return PoseRows(str(_single(house)), "val").load()
