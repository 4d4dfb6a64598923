"""What an extraction says of BVH, ASF/AMC and arrays of joints: maps of rigs, options, and files that it leaves out."""

from __future__ import annotations

import numpy as np

from mocap_ray.archives import bvh, joints
from mocap_ray.archives.archive import Archive
from mocap_ray.dataset.inspect import inspect
from mocap_ray.records import Rejection
from tests.archives import rig_texts
from tests.wording.scenes import House, scene

BVH = rig_texts.bvh(4)


def _left_out(house: House, name: str, text: str | np.ndarray, archive: Archive = bvh.ARCHIVE) -> str:
    """Why a file is rejected."""
    path = house.root / "rigs" / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(text, str):
        path.write_text(text)
    else:
        np.save(path, text)
    found = inspect(path, archive, fps=30.0 if archive is joints.ARCHIVE else None)
    assert isinstance(found.rejections[0], Rejection)
    return f"{found.rejections[0].reason}: {found.rejections[0].detail}"


@scene
def bvh_files_that_are_damaged(house: House) -> str:
    texts = {
        "other.bvh": "a text\n",
        "hierarchy.bvh": BVH[:300],
        "braces.bvh": BVH.replace("}\nMOTION", "MOTION"),
        "cut.bvh": BVH[:-900],
        "channels.bvh": BVH.replace("CHANNELS 3", "CHANNELS 4", 1),
        "comma.bvh": BVH.replace("92.000000", "92,000000", 1),
        "count.bvh": BVH.replace("Frames: 4", "Frames: 3"),
        "frames.bvh": BVH.replace("Frames: 4", "Frames: 4000000000"),
        "time.bvh": BVH.replace("0.0333333", "0"),
        "rate.bvh": BVH.replace("0.0333333", "1e-9"),
        "short.bvh": rig_texts.bvh(1),
    }
    return "\n".join(_left_out(house, name, text) for name, text in texts.items())


@scene
def bvh_of_another_rig(house: House) -> str:
    return _left_out(house, "rig.bvh", BVH.replace("JOINT lShin", "JOINT lCalf"))


@scene
def bvh_of_a_giant(house: House) -> str:
    return _left_out(house, "giant.bvh", rig_texts.bvh(4, scale=100))


@scene
def motion_without_its_skeleton(house: House) -> str:
    return _left_out(house, "a_1.amc", rig_texts.AMC)


@scene
def joints_that_are_not_those_of_a_body(house: House) -> str:
    hands = _left_out(house, "hands.npy", np.zeros((9, 52, 3)), joints.ARCHIVE)
    return f"{hands}\n{_left_out(house, 'points.npy', np.zeros((9, 22, 3)), joints.ARCHIVE)}"


@scene
def joints_without_a_rate(house: House) -> str:
    folder = house.root / "points"
    folder.mkdir(exist_ok=True)
    np.save(folder / "a_1.npy", np.zeros((9, 22, 3)))
    return house.extract("--dry-run", source__archive="joints", source__root=folder)


@scene
def option_that_the_archive_does_not_have(house: House) -> str:
    return house.extract(source__scale=0.01)


@scene
def axes_that_are_none(house: House) -> str:
    return house.extract(source__axes="z up")


@scene
def rig_that_is_unknown(house: House) -> str:
    return house.extract(source__archive="bvh", source__rig="mixamo")


@scene
def rig_that_is_invalid(house: House) -> str:
    text = "metre: -1\njoints: {pelvis: Hips, tail: Tail}\naxes: {Hips: [up, up, left]}\n"
    return house.extract(source__archive="bvh", source__rig=house.written("my_rig.yaml", text))


@scene
def two_files_of_one_name(house: House) -> str:
    house.written("double/Lab/a_1.bvh", BVH)
    house.written("double/Lab/a_1.amc", rig_texts.AMC)
    return house.extract(source__archive="bvh", source__root=house.root / "double")
