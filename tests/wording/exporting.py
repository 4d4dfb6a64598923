"""What the exports of motion say: AMASS files, BVH and video."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.dataset.made import walker
from tests.wording.scenes import House, scene


def _sample(house: House, name: str, array: np.ndarray) -> Path:
    path = house.root / "samples" / name
    path.parent.mkdir(exist_ok=True)
    np.save(path, array, allow_pickle=True)
    return path


@scene
def export_of_poses_stored_and_fitted(house: House) -> str:
    return house.typed("export", "amass", house.data_set, house.root / "back", "--body", house.bodies)


@scene
def export_of_fitted_joints_as_bvh(house: House) -> str:
    path = _sample(house, "walk.npy", walker(30))
    return house.typed("export", "bvh", path, house.root / "bvh_out")


@scene
def export_with_a_prior(house: House) -> str:
    path = _sample(house, "walk.npy", walker(30))
    return house.typed("export", "bvh", path, house.root / "bvh_prior", "--prior", house.training)


@scene
def export_with_a_prior_that_is_missing(house: House) -> str:
    path = _sample(house, "walk.npy", walker(30))
    return house.typed("export", "bvh", path, house.root / "bvh_none", "--prior", house.root / "no_prior")


@scene
def export_of_joints_of_another_layout(house: House) -> str:
    path = _sample(house, "many.npy", np.zeros((5, 24, 3)))
    return house.typed("export", "bvh", path, house.root / "bvh_many")


@scene
def export_of_joints_that_are_not_finite(house: House) -> str:
    path = _sample(house, "broken.npy", np.full((5, 22, 3), np.nan))
    return house.typed("export", "bvh", path, house.root / "bvh_broken")


@scene
def export_of_pickled_objects_without_motion(house: House) -> str:
    path = _sample(house, "objects.npy", np.array({"text": "a person walks"}, dtype=object))
    return house.typed("export", "bvh", path, house.root / "bvh_objects")


@scene
def export_of_a_missing_file(house: House) -> str:
    return house.typed("export", "bvh", house.root / "missing.npy", house.root / "bvh_missing")


@scene
def export_of_a_folder_without_motion(house: House) -> str:
    (house.root / "no_motion").mkdir(exist_ok=True)
    return house.typed("export", "video", house.root / "no_motion", house.root / "video_out")


@scene
def export_of_a_data_set_at_another_rate(house: House) -> str:
    return house.typed("export", "bvh", house.data_set, house.root / "bvh_rate", "--fps", 30)


@scene
def export_of_two_files_of_one_name(house: House) -> str:
    folder = house.root / "twice"
    folder.mkdir(exist_ok=True)
    np.save(folder / "walk.npy", walker(5))
    np.savez(folder / "walk.npz", joints=walker(5))
    return house.typed("export", "bvh", folder, house.root / "bvh_twice")


@scene
def export_for_an_unknown_family(house: House) -> str:
    out = house.root / "family"
    return house.typed("export", "amass", house.data_set, out, "--body", house.bodies, "--family", "mano")


@scene
def export_of_an_unknown_shape(house: House) -> str:
    out = house.root / "shape"
    return house.typed("export", "amass", house.data_set, out, "--body", house.bodies, "--shape", "tall")


@scene
def export_of_an_unknown_gender(house: House) -> str:
    out = house.root / "gender"
    return house.typed("export", "amass", house.data_set, out, "--body", house.bodies, "--gender", "any")


@scene
def export_without_the_body_model(house: House) -> str:
    (house.root / "no_bodies").mkdir(exist_ok=True)
    out = house.root / "bodiless"
    return house.typed("export", "amass", house.data_set, out, "--body", house.root / "no_bodies")


@scene
def export_of_a_video_of_another_kind(house: House) -> str:
    return house.typed("export", "video", house.data_set, house.root / "mov", "--format", "mov")
