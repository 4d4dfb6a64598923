"""The six doors through which files of strangers come in: what is there, how it is damaged, and what then reads it."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mocap_ray import priors
from mocap_ray.archives import aist, amass, mvhumannet
from mocap_ray.archives.segments import read_segments
from mocap_ray.body.check import check_bodies
from mocap_ray.body.model import load_body
from mocap_ray.config import load
from mocap_ray.dataset.poses import read_poses
from mocap_ray.dataset.reader import open as open_data_set
from mocap_ray.pages.dataset import dataset_page
from mocap_ray.priors.load import load_prior
from mocap_ray.records import Rejection
from mocap_ray.runs.train import TrainConfig
from mocap_ray.searching.results import read_trial, table, write_csv
from mocap_ray.skeleton import SMPL_PARENTS
from mocap_ray.storage import place
from mocap_ray.training import checkpoint
from mocap_ray.training.lockstep import train_locally
from tests.archives import dances, frames, rawzip, takes
from tests.body.original_pickle import original_model
from tests.dataset import made
from tests.fuzz.damage import Rng, bytes_damaged, json_damaged, values_damaged

Damage = Callable[[bytes, Rng], bytes]


class Door(ABC):
    """One kind of files.

    Attributes:
        root: a folder of the door; `sound` is below it, and a case works in a copy.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sound = root / "sound"
        self.sound.mkdir(parents=True)
        self.make()

    @abstractmethod
    def make(self) -> None:
        """Write sound files below `sound`."""

    @abstractmethod
    def enter(self, folder: Path) -> str | None:
        """Read everything in a folder; returns the sentence of a rejection, or None if everything works."""

    @abstractmethod
    def damage(self, folder: Path, rng: Rng) -> str:
        """Damage a file in the folder; returns what was damaged."""

    def case(self, rng: Rng) -> tuple[Path, str]:
        """A damaged copy of the sound files, and what is damaged."""
        folder = self.copy()
        return folder, self.damage(folder, rng)

    def copy(self) -> Path:
        """A copy of the sound files."""
        folder = self.root / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.sound, folder)
        return folder


def _changed(folder: Path, names: list[str], change: Damage, rng: Rng) -> str:
    name = names[int(rng.integers(len(names)))]
    path = folder / name
    path.write_bytes(change(path.read_bytes(), rng))
    return name


class Archives(Door):
    """Recordings of AMASS, and HumanML3D's index of segments."""

    def make(self) -> None:
        folder = self.sound / "CMU" / "01"
        folder.mkdir(parents=True)
        for name, take in (("a", takes.smplh()), ("b", takes.stage_ii(12, markers=5)), ("c", takes.smpl())):
            (folder / f"{name}_poses.npz").write_bytes(rawzip.npz(take))
            (folder / f"{name}d_poses.npz").write_bytes(rawzip.npz(take, deflate=True))
        (self.sound / "index.csv").write_text(
            "source_path,start_frame,end_frame,new_name\n./pose_data/CMU/01/a_poses.npy,0,30,000001.npy\n"
        )

    def damage(self, folder: Path, rng: Rng) -> str:
        names = [f"CMU/01/{n}_poses.npz" for n in ("a", "ad", "b", "bd", "c", "cd")]
        name = _changed(folder, [*names, "index.csv"] if rng.random() < 0.3 else names, bytes_damaged, rng)
        for other in names:
            if other != name:  # one recording is enough to read
                (folder / other).unlink()
        if name == "index.csv":
            shutil.copy(self.sound / names[0], folder / names[0])
        return name

    def enter(self, folder: Path) -> str | None:
        where = place(folder)
        listed = amass.discover(where)
        for recording in listed:
            found = amass.read(where, recording)
            if isinstance(found, Rejection):
                return found.detail
        if (folder / "CMU" / "01" / "a_poses.npz").exists():  # the one that the index names
            read_segments(str(folder / "index.csv"), texts=None).match(listed)
        return None


class PickledArchives(Door):
    """A sequence of AIST++, and an outfit of MVHumanNet whose third frame is damaged after two that are alike."""

    def make(self) -> None:
        dances.write(self.sound / "aist", values=dances.dance(12))
        folder = self.sound / "mvh" / "part" / "outfit" / "smpl_param"
        folder.mkdir(parents=True)
        for k, pose in enumerate(frames.motion(4)):
            small = {"vertices": torch.zeros(1, 2, 3), "faces": np.zeros((2, 3), np.uint32)}
            (folder / f"{k:06}.pkl").write_bytes(frames.frame(pose, **small))

    def damage(self, folder: Path, rng: Rng) -> str:
        names = [f"aist/motions/{dances.NAME}.pkl", "mvh/part/outfit/smpl_param/000002.pkl"]
        name = _changed(folder, names, bytes_damaged, rng)
        shutil.rmtree(
            folder / ("mvh" if name.startswith("aist") else "aist")
        )  # one archive is enough to read
        return name

    def enter(self, folder: Path) -> str | None:
        for name, archive in (("aist", aist), ("mvh", mvhumannet)):
            if not (folder / name).exists():
                continue
            where = place(folder / name)
            for recording in archive.discover(where):
                found = archive.read(where, recording)
                if isinstance(found, Rejection):
                    return found.detail
        return None


class Bodies(Door):
    """Body models: an NPZ, a compressed one, and an original PKL."""

    def make(self) -> None:
        rng, count = np.random.default_rng(0), 6890
        arrays: dict[str, Any] = {
            "v_template": rng.normal(size=(count, 3)).astype(np.float32),
            "shapedirs": np.zeros((count, 3, 2), np.float32),
            "J_regressor": np.zeros((24, count), np.float32),
            "kintree_table": np.array([SMPL_PARENTS, range(24)], np.int64),
        }
        (self.sound / "smpl").mkdir()
        np.savez(self.sound / "smpl" / "SMPL_MALE.npz", **arrays)
        np.savez_compressed(self.sound / "smpl" / "SMPL_FEMALE.npz", **arrays)
        pickled = original_model(
            template=arrays["v_template"].astype(float),
            all_directions=np.zeros((count, 3, 2)),
            kept=1,
            pose_directions=np.zeros((2, 3, 2), np.float32),
            weights=np.zeros((2, 24)),
            regressor=(np.ones(count), np.arange(count) % 24, np.arange(count + 1)),
            parents=np.array(SMPL_PARENTS),
            faces=np.zeros((2, 3), np.int64),
        )
        (self.sound / "smpl" / "SMPL_NEUTRAL.pkl").write_bytes(pickled)

    def damage(self, folder: Path, rng: Rng) -> str:
        names = [f"smpl/SMPL_{n}" for n in ("MALE.npz", "FEMALE.npz", "NEUTRAL.pkl", "NEUTRAL.pkl")]
        name = _changed(folder, names, bytes_damaged, rng)
        for other in set(names) - {name}:
            (folder / other).unlink()
        return name

    def enter(self, folder: Path) -> str | None:
        check_bodies(folder, families=["smpl"])
        for path in (folder / "smpl").iterdir():
            load_body(path, family="smpl", gender="male")
        return None


class DataSets(Door):
    """A finished data set: manifest, shards, statistics, rejections."""

    def make(self) -> None:
        made.make(self.sound, clips={("CMU", "train"): 2, ("CMU", "val"): 1})

    def damage(self, folder: Path, rng: Rng) -> str:
        if rng.random() < 0.4:
            return _changed(folder, ["manifest.json"], json_damaged, rng)
        shards = [str(p.relative_to(folder)) for p in sorted(folder.rglob("clips/**/*.parquet"))]
        return _changed(folder, [*shards, *shards, "statistics.npz", "rejected.parquet"], bytes_damaged, rng)

    def enter(self, folder: Path) -> str | None:
        ds = open_data_set(folder)
        repr(ds)
        clips = list(ds)
        if clips:
            ds.clip(clips[-1].clip_id)
        for each in clips:
            ds.joints(each)
        windows = ds.torch(length=20)
        if len(windows):
            windows[len(windows) - 1]
        if "poses" in ds.columns and "train" in ds.splits:
            read_poses(folder, split="train")
        dataset_page(ds)
        return None


class Trainings(Door):
    """The folder of a training within a search: checkpoints, metrics, the record of a trial."""

    def make(self) -> None:
        made.make(self.root / "data", clips={("CMU", "train"): 2, ("CMU", "val"): 1})
        train_locally(self._setup(self.sound, epochs=1))
        record = {
            "number": 0, "values": {"a": 1}, "history": [
                {"trial": 0, "epoch": 0, "values": {"a": 1}, "left": {}},
                {"trial": 1, "epoch": 1, "values": {"a": 2}, "left": {"row": {"epoch": 1}, "values": {"a": 1}}},
            ],
            "clones": [{"id": "x", "donor": 1, "epoch": 1, "own_epoch": 1, "values": {"a": 2}}],
        }  # fmt: skip
        (self.sound / "trial.json").write_text(json.dumps(record))

    def _setup(self, out: Path, *, epochs: int) -> Any:
        plain = load("joint_flow", TrainConfig, kind="train").plain()
        plain["model"] |= {"hidden": 4, "K": 1}
        plain["data"] |= {"root": str(self.root / "data"), "joints": "body", "batch_size": 200}
        plain["training"] |= {"max_epochs": epochs, "ema": 0.5}
        plain["output"] |= {"root": str(out), "tensorboard": False}
        return TrainConfig.model_validate(plain).setup()

    def damage(self, folder: Path, rng: Rng) -> str:
        kind = rng.random()
        if kind < 0.15:
            return _changed(folder, ["trial.json"], json_damaged, rng)
        if kind < 0.25:
            return _changed(folder, ["metrics.csv"], bytes_damaged, rng)
        names = ["checkpoints/best.pt", "checkpoints/last.pt"]
        return _changed(folder, names, bytes_damaged if kind < 0.5 else _checkpoint_damaged, rng)

    def enter(self, folder: Path) -> str | None:
        trial = read_trial(place(folder), 0)
        table([trial], ["a"], "val_loss", "min")
        write_csv(place(folder), [trial], ["a"], "val_loss", "min")
        load_prior(folder).sample(2)
        train_locally(self._setup(folder, epochs=2), resume=True)
        return None


def _checkpoint_damaged(data: bytes, rng: Rng) -> bytes:
    """A checkpoint whose values are others, in a sound container."""
    wide = torch.zeros(1).expand(10**5, 10**6)  # one number in the file, 400 GB if copied
    tensors = (torch.zeros(()), torch.zeros(3, 4), wide, torch.zeros(2, dtype=torch.int8))
    strange = (*tensors, None, True, -1, 10**18, float("nan"), "x", [], {}, {"x": torch.zeros(2)}, [0])
    saved = values_damaged(torch.load(io.BytesIO(data), weights_only=True), rng, strange=strange)
    sink = io.BytesIO()
    torch.save(saved, sink)
    return sink.getvalue()


class Exports(Door):
    """The exported prior: its tensors and its description."""

    def make(self) -> None:
        poses = 0.3 * torch.randn(50, 55, 3, generator=torch.Generator().manual_seed(0))
        for kind, settings in (
            ("joint_flow", {"hidden": 4, "K": 1}),
            ("global_flow", {"hidden": 4, "K": 1}),
            ("hand_vae", {"hidden": 4, "z_dim": 2, "type": "so3"}),
            ("gaussian_prior", {}),
        ):
            section, build = priors.MODELS[kind]
            config = section.model_validate({"kind": kind, **settings})
            coordinates = priors.fit_coordinates(
                config, poses, joints="hands" if kind == "hand_vae" else "body"
            )
            prior = build(config, coordinates)
            checkpoint.export(
                place(self.sound / kind),
                tensors=prior.state_dict(),
                about=prior.export(),
                description="prior.json",
            )

    def damage(self, folder: Path, rng: Rng) -> str:
        kinds = sorted(p.name for p in folder.iterdir())
        kind = kinds[int(rng.integers(len(kinds)))]
        for other in set(kinds) - {kind}:
            shutil.rmtree(folder / other)
        if rng.random() < 0.7:
            return _changed(folder, [f"{kind}/prior.json"], json_damaged, rng)
        name = _changed(folder, [f"{kind}/model.safetensors"], bytes_damaged, rng)
        path = folder / kind / "prior.json"
        about = json.loads(path.read_text())
        about["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        path.write_text(json.dumps(about))
        return name

    def enter(self, folder: Path) -> str | None:
        for path in folder.iterdir():
            load_prior(path).sample(2)
        return None


DOORS: dict[str, type[Door]] = {
    "archives": Archives,
    "pickled_archives": PickledArchives,
    "bodies": Bodies,
    "data_sets": DataSets,
    "trainings": Trainings,
    "exports": Exports,
}
