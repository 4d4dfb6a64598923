"""The house's way of saying no: where, what was found, what was expected, what to do. Pinned word for word.

A sentence that changes here is meant to change: read it as the person whose run it stops. `DIR` stands for the
test's own folder.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mocap_ray
from mocap_ray.archives import amass, find_archive
from mocap_ray.body.model import load_body
from mocap_ray.config import load
from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.export import export_humanml3d, export_npy
from mocap_ray.dataset.inspect import inspect
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.lock import lock
from mocap_ray.records import Rejection
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.shards.running import InProcess, Silent, run
from mocap_ray.storage import place
from tests.archives import rawzip, takes


class House:
    """A small archive, stand-in bodies, and a finished data set, below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_demo(root / "archive", recordings=8)
        write_standin(root / "bodies", families=("smplh",), genders=("neutral",))
        self.make("data_set")
        self.make("flow", motion={"profile": "flowmimic"})

    def config(self, out: str = "data_set", **sections: dict[str, Any]) -> ExtractConfig:
        values: dict[str, dict[str, Any]] = {
            "source": {"root": str(self.root / "archive"), "split": "none"},
            "body": {"root": str(self.root / "bodies")},
            "output": {"root": str(self.root / out)},
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section}
        return ExtractConfig.model_validate(values)

    def prepare(self, out: str = "data_set", **sections: dict[str, Any]) -> Any:
        config = self.config(out, **sections)
        return prepare(config.source, config.body, config.motion, config.output)

    def make(self, out: str, **sections: dict[str, Any]) -> None:
        def prepared() -> Any:
            return self.prepare(out, **sections)

        root = place(self.root / out)
        run(prepared, lambda: nullcontext(InProcess()), out=root, callback=Silent())

    def rejection(self, name: str, data: bytes) -> str:
        path = self.root / name
        path.write_bytes(data)
        found = inspect(path, amass.ARCHIVE)
        assert isinstance(found.rejections[0], Rejection)
        return f"{found.rejections[0].reason}: {found.rejections[0].detail}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


Scene = Callable[[House], object]
SCENES: dict[str, tuple[Scene, str]] = {}


def scene(expected: str) -> Callable[[Scene], Scene]:
    """Register a scene that ends in an error, or returns the text of a rejection."""

    def register(function: Scene) -> Scene:
        SCENES[function.__name__] = (function, expected)
        return function

    return register


def _written(house: House, name: str, text: str) -> Path:
    path = house.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@scene(
    "DIR/my.yaml: 6 problems\n"
    "  --override 'motion.mirror': expected key=value, such as motion.mirror=true\n"
    "  source.root: missing. Set it in the file or with --override source.root=...\n"
    "  source.rot: unknown key. Did you mean 'root'?\n"
    "  body.gender: should be 'recorded', 'neutral' or 'humanml3d' (found 'any')\n"
    "  output: columns without features; choose features and any of joints, poses, trans, "
    "stick, vertices\n"
    "  ray.workers: should be greater than or equal to 1 (found 0)"
)
def config_with_several_problems(house: House) -> None:
    text = "source: {rot: a}\nbody: {root: b, gender: any}\noutput: {root: c, columns: [joints]}\n"
    path = _written(house, "my.yaml", text)
    load(str(path), ExtractConfig, kind="extract", overrides=["motion.mirror", "ray.workers=0"])


@scene(
    "humanml: no such config. Did you mean humanml3d? Expected a path to a YAML file or one of: amass, "
    "flowmimic, humanml3d."
)
def config_that_is_not_there(house: House) -> None:
    load("humanml", ExtractConfig, kind="extract")


@scene(
    "DIR/in.yaml: 1 problem\n"
    "  output.root DIR/out lies in source.root DIR, so the next run would take the data set's own .npz "
    "for recordings; choose a folder beside it"
)
def output_inside_the_archive(house: House) -> None:
    text = "source: {root: DIR}\nbody: {root: b}\noutput: {root: DIR/out}\n"
    path = _written(house, "in.yaml", text)
    load(str(path), ExtractConfig, kind="extract")


@scene("No archive 'amas'. Expected one of amass, or package.module:NAME of an Archive of your own.")
def archive_of_an_unknown_name(house: House) -> None:
    find_archive("amas")


@scene(
    "DIR/nowhere: there is no such folder. Expected the one that holds AMASS sub-datasets; register at "
    "amass.is.tue.mpg.de, download the SMPL+H G (or SMPL-X G) files of the sub-datasets and unpack them"
    " side by side: CMU/01/01_01_poses.npz."
)
def archive_that_is_not_there(house: House) -> None:
    house.prepare(source={"root": str(house.root / "nowhere")})


@scene("DIR/packed: no .npz file, but 1 packed archives. Unpack them there first: tar -xf CMU.tar.bz2")
def archive_still_packed(house: House) -> None:
    _written(house, "packed/CMU.tar.bz2", "")
    house.prepare(source={"root": str(house.root / "packed")})


@scene(
    "DIR/archive: none of the 12 recordings is selected by include ['CMU/*'] and exclude []. Globs "
    "match names such as 'DemoGym/s03/003_run_in_place_poses'."
)
def selection_without_a_recording(house: House) -> None:
    house.prepare(source={"include": ["CMU/*"]})


@scene(
    "No recording falls into split val or test (train 12, val 0, test 0; 12 recordings of 8 subjects in"
    " 3 sub-datasets). Set its fraction to 0 and raise another (source.fractions), set source.split to "
    "none, or to a file or folder with lists."
)
def split_without_a_recording(house: House) -> None:
    house.prepare("new", source={"split": "amass"})


@scene(
    "DIR/none: no neutral model of the family smplh. Register at https://mano.is.tue.mpg.de, download "
    "the extended SMPL+H model used in AMASS (smplh.tar.xz) and put the neutral model at "
    "DIR/none/smplh/neutral/model.npz; then check with `mocap-ray body check DIR/none`. For a trial "
    "without a licence, `mocap-ray body standin FOLDER` writes stand-ins."
)
def body_model_missing(house: House) -> None:
    (house.root / "none").mkdir(exist_ok=True)
    house.prepare("new", body={"root": str(house.root / "none")})


@scene(
    "DIR/bodies: no female model of the family smplh. Register at https://mano.is.tue.mpg.de, download "
    "the extended SMPL+H model used in AMASS (smplh.tar.xz) and put the female model at "
    "DIR/bodies/smplh/female/model.npz; then check with `mocap-ray body check DIR/bodies`. For a trial "
    "without a licence, `mocap-ray body standin FOLDER` writes stand-ins."
)
def body_model_of_another_gender_missing(house: House) -> None:
    house.prepare("new", body={"gender": "humanml3d"})


@scene(
    "DIR/SMPL_MALE.pkl: the pickle names posix.system, which is not on the closed list of data types. "
    "It was not loaded and none of its code was run. If you trust its origin, load it where its library"
    " is installed and save the arrays with numpy.savez."
)
def body_model_that_would_run_code(house: House) -> None:
    path = house.root / "SMPL_MALE.pkl"
    path.write_bytes(pickle.dumps({"v_template": os.system}, protocol=2))
    load_body(path, family="smpl", gender="male")


@scene(
    "DIR/data_set was made by another recipe:\n"
    "  motion.mirror: False there, True now\n"
    "  motion.profile: 'humanml3d' there, 'flowmimic' now\n"
    "Pass --overwrite to replace it, or choose another output.root."
)
def another_recipe(house: House) -> None:
    house.prepare(motion={"mirror": True, "profile": "flowmimic"})


@scene(
    "DIR/thesis holds 1 files that no extraction wrote (first: thesis.tex). Choose an empty or new "
    "folder as output.root."
)
def output_with_foreign_files(house: House) -> None:
    _written(house, "thesis/thesis.tex", "precious")
    house.prepare("thesis")


@scene(
    "DIR/data_set holds 1 recordings that DIR/smaller does not list any more (first: "
    "DemoGym/s03/003_run_in_place_poses). Point source.root to an archive that has them, choose another"
    " output.root, or pass --prune to drop them."
)
def recordings_that_vanished(house: House) -> None:
    shutil.copytree(house.root / "archive", house.root / "smaller", dirs_exist_ok=True)
    (house.root / "smaller" / "DemoGym" / "s03" / "003_run_in_place_poses.npz").unlink()
    house.prepare(source={"root": str(house.root / "smaller")})


@scene("DIR/used: WHO is writing this data set. Wait for it, stop it, or choose another output.root.")
def data_set_in_use(house: House) -> None:
    (house.root / "used").mkdir(exist_ok=True)
    (house.root / "used" / "kept").touch()
    with lock(place(house.root / "used")), lock(place(house.root / "used")):
        pass


@scene(
    "missing_keys: a_poses.npz: no 'mocap_framerate' (keys: betas, dmpls, gender, poses, trans). "
    "Expected an AMASS SMPL+H file; pass source.fps in the config to override."
)
def recording_without_a_frame_rate(house: House) -> str:
    take = takes.smplh(300)
    del take["mocap_framerate"]
    return house.rejection("a_poses.npz", rawzip.npz(take))


@scene(
    "unreadable: b_poses.npz: 100000 bytes, a zip archive without its end, cut short. Expected an .npz "
    "file; copy or download it again."
)
def recording_cut_short(house: House) -> str:
    return house.rejection("b_poses.npz", rawzip.npz(takes.smplh(300))[:100_000])


@scene(
    "unreadable: c_poses.npz: 26 bytes, not a zip archive. Expected an .npz file; copy or download it again."
)
def recording_that_is_no_archive(house: House) -> str:
    return house.rejection("c_poses.npz", b"<html>404 Not Found</html>")


@scene(
    "teleport: d_poses.npz: frame 149: the root accelerates by 14,400.0 m/s^2 where at most 1,500.0 were expected; 2"
    " of 300 frames are broken. Leave it out, keep its good stretches with motion.quality.cut, or raise"
    " motion.quality.multiplier."
)
def recording_that_teleports(house: House) -> str:
    take = takes.smplh(300)
    take["trans"] = np.zeros((300, 3))
    take["trans"][150:] = (1.0, 0.0, 0.0)
    return house.rejection("d_poses.npz", rawzip.npz(take))


@scene(
    "too_short: e_poses.npz: 100 good frames at 120 fps, fewer than the 121 that motion.min_frames asks for. "
    "Lower it to keep them."
)
def recording_that_is_too_short(house: House) -> str:
    return house.rejection("e_poses.npz", rawzip.npz(takes.smplh(100)))


@scene(
    "DIR/archive: not a data set: no manifest.json (found DemoGym, DemoPark, DemoStroll). Expected the "
    "folder named as output.root of a `mocap-ray extract` run."
)
def data_set_that_is_none(house: House) -> None:
    mocap_ray.open(house.root / "archive")


@scene(
    "DIR/half: no manifest.json, so the run that writes this data set has not finished. Run the same "
    "extract command again: finished shards are kept, and the manifest comes last."
)
def data_set_unfinished(house: House) -> None:
    shutil.copytree(house.root / "data_set", house.root / "half", dirs_exist_ok=True)
    (house.root / "half" / "manifest.json").unlink()
    mocap_ray.open(house.root / "half")


@scene("DIR/data_set: no split 'val' here. There is train.")
def data_set_without_that_split(house: House) -> None:
    list(mocap_ray.open(house.root / "data_set").clips(split="val"))


@scene(
    "DIR/flow: the profile is flowmimic, but HumanML3D trainers need humanml3d (20 fps, its target "
    "skeleton and statistics). Extract again into another root with --override "
    "motion.profile=humanml3d, or use `mocap-ray export npy`, which takes any profile."
)
def export_of_another_profile(house: House) -> None:
    export_humanml3d(house.root / "flow", house.root / "HumanML3D")


@scene(
    "DIR/archive: holds files that no export wrote (DemoGym/s03/003_run_in_place_poses.npz, "
    "DemoGym/s06/006_walk_fast_poses.npz, DemoPark/s02/002_walk_turn_poses.npz). Name a new or an empty"
    " folder."
)
def export_among_foreign_files(house: House) -> None:
    export_npy(house.root / "data_set", house.root / "archive")


@scene(
    "ftp://data/amass: Unrecognized filesystem type in URI: ftp://data/amass. Expected a local path or "
    "an address such as s3://bucket/folder or gs://bucket/folder."
)
def address_of_an_unknown_kind(house: House) -> None:
    place("ftp://data/amass")


@scene(
    "DIR/archive/DemoStroll/s01/shape.npz: a file. Expected the folder that holds AMASS sub-datasets "
    "(source.root)."
)
def address_of_one_file(house: House) -> None:
    house.prepare(source={"root": str(house.root / "archive" / "DemoStroll" / "s01" / "shape.npz")})


@pytest.mark.parametrize("name", SCENES)
def test_the_wording_is_as_it_was_decided(name: str, house: House) -> None:
    act, expected = SCENES[name]
    try:
        said = act(house)
    except (ValueError, RuntimeError) as error:
        said = str(error)
    assert said is not None, "nothing was refused"
    text = (
        str(said)
        .replace(str(house.root), "DIR")
        .replace(f"pid {os.getpid()} on {os.uname().nodename}", "WHO")
    )
    assert text == expected
