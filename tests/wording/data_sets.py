"""What data sets, their exports and pages, and body models say."""

from __future__ import annotations

import os
import pickle
import shutil

import mocap_ray
from tests.wording.scenes import House, scene


@scene
def data_set_that_is_none(house: House) -> str:
    return house.typed("page", house.archive, house.root / "page.html")


@scene
def data_set_that_is_not_there(house: House) -> object:
    return mocap_ray.open(house.root / "nowhere")


@scene
def data_set_unfinished(house: House) -> object:
    shutil.copytree(house.data_set, house.root / "half", dirs_exist_ok=True)
    (house.root / "half" / "manifest.json").unlink()
    return mocap_ray.open(house.root / "half")


@scene
def data_set_of_a_newer_format(house: House) -> object:
    shutil.copytree(house.data_set, house.root / "newer", dirs_exist_ok=True)
    manifest = house.root / "newer" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": ', '"schema_version": 9'))
    return mocap_ray.open(house.root / "newer")


@scene
def data_set_without_that_split(house: House) -> object:
    return list(mocap_ray.open(house.data_set).clips(split="validation"))


@scene
def data_set_without_that_column(house: House) -> object:
    return list(mocap_ray.open(house.data_set).clips(columns=["vertices"]))


@scene
def data_set_without_that_clip(house: House) -> object:
    return mocap_ray.open(house.data_set).clip("CMU/01/01_01")


@scene
def data_set_with_a_shard_that_is_gone(house: House) -> object:
    shutil.copytree(house.flow, house.root / "gone", dirs_exist_ok=True)
    for path in (house.root / "gone" / "clips").rglob("*.parquet"):
        path.write_bytes(b"")
        path.unlink()
    names = [s["path"] for s in mocap_ray.open(house.root / "gone").manifest["shards"]]
    try:
        return list(mocap_ray.open(house.root / "gone").clips())
    except ValueError as error:
        return str(error).replace(names[0], "clips/SHARD.parquet")


@scene
def windows_of_no_rows(house: House) -> object:
    return mocap_ray.open(house.data_set).torch(length=0)


@scene
def export_of_another_profile(house: House) -> str:
    return house.typed("export", "humanml3d", house.flow, house.root / "HumanML3D")


@scene
def export_among_foreign_files(house: House) -> str:
    return house.typed("export", "npy", house.data_set, house.archive)


@scene
def export_into_another_export(house: House) -> str:
    house.typed("export", "npy", house.flow, house.root / "npy_flow")
    return house.typed("export", "npy", house.data_set, house.root / "npy_flow")


@scene
def export_of_npy(house: House) -> str:
    return house.typed("export", "npy", house.data_set, house.root / "npy")


@scene
def export_again_with_one_file_to_write(house: House) -> str:
    house.typed("export", "npy", house.data_set, house.root / "npy_again")
    (house.root / "npy_again" / "mean.npy").unlink()
    return house.typed("export", "npy", house.data_set, house.root / "npy_again")


@scene
def export_of_clips_without_texts(house: House) -> str:
    return house.typed("export", "humanml3d", house.data_set, house.root / "HumanML3D")


@scene
def page_of_a_data_set(house: House) -> str:
    return house.typed("page", house.data_set, house.root / "page.html")


@scene
def body_models_that_are_there(house: House) -> str:
    return house.typed("body", "check", house.bodies, "--family", "smplh", "--gender", "neutral")


@scene
def body_models_of_which_one_is_missing(house: House) -> str:
    return house.typed("body", "check", house.bodies, "--family", "smplh", "--gender", "male")


@scene
def body_model_that_would_run_code(house: House) -> str:
    path = house.root / "SMPL_MALE.pkl"
    path.write_bytes(pickle.dumps({"v_template": os.system}, protocol=2))
    return house.typed("body", "convert", path, house.root / "out.npz")


@scene
def body_model_that_is_no_model(house: House) -> str:
    path = house.written("SMPL_FEMALE.npz", "<html>404 Not Found</html>")
    return house.typed("body", "convert", path, house.root / "out.npz")


@scene
def body_models_in_a_folder_that_is_not_there(house: House) -> str:
    return house.typed("body", "check", house.root / "nowhere", "--family", "smplx", "--gender", "neutral")


@scene
def body_family_that_is_unknown(house: House) -> str:
    return house.typed("body", "check", house.bodies, "--family", "smplz")
