"""HumanML3D rebuilt equals the plain recipe, and says what is missing."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from mocap_ray import config as configs
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset import reader
from mocap_ray.dataset.build import prepare, read_index
from mocap_ray.dataset.rebuild import DATA_SET, SETTINGS, Rebuilt, find_lists, read_lists, rebuild
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.motion.clip import Caption
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.shards.running import InProcess, NoCallback, run
from mocap_ray.storage import place
from tests.dataset import plain_humanml3d as plain
from tests.dataset.test_process import arrays_of, forward

TOLERANCE = 2e-4
TEXTS = {
    "000001": "a person turns left.#a/DET person/NOUN turn/VERB left/ADV#0.0#0.0\n"
    "then stops#then/ADV stop/VERB#1.5#2.0\n",
    "000002": "he waves his right hand#he/PRON wave/VERB his/DET right/ADJ hand/NOUN#nan#nan\n",
    "M000002": "he greets with the left hand#he/PRON greet/VERB#0.0#0.0\n",
    "000009": "of no row that is built#of/ADP#0.0#0.0\n",
}
ROWS = (
    "./pose_data/DemoStroll/s01/001_walk_poses.npy,10,60,000001.npy",
    "./pose_data/MPI_HDM05/s02/002_walk_turn_poses.npy,3,30,000002.npy",
    "./pose_data/humanact12/humanact12/P11G01R02F1812T1847A0402.npy,0,-1,000003.npy",
    "./pose_data/DemoStroll/s01/001_walk_poses.npy,20,9999,000004.npy",
    "./pose_data/DemoStroll/s01/001_walk_poses.npy,8000,9000,000005.npy",
    "./pose_data/KIT/3/kick_poses.npy,0,30,000006.npy",
    "./pose_data/DemoPark/s05/005_cut_poses.npy,0,50,000007.npy",
)


def settings_of(amass: Path, bodies: Path, index: Path, out: Path, **source: object) -> ExtractConfig:
    """The config of `mocap-ray rebuild humanml3d`."""
    keys = {
        "source.root": amass,
        "source.segments": index,
        "body.root": bodies,
        "output.root": out / DATA_SET,
    }
    keys |= {f"source.{name}": Path(str(value)) for name, value in source.items()}
    texts = [*(f"{key}={value}" for key, value in keys.items()), *SETTINGS]
    return configs.load("humanml3d", ExtractConfig, kind="extract", overrides=texts)


def rebuilt(settings: ExtractConfig, out: Path, *, lists: str | None = None) -> Rebuilt:
    """The same as the command, in this process."""
    index = read_index(settings.source)
    run(
        lambda: prepare(settings.source, settings.body, settings.motion, settings.output, index=index),
        lambda: nullcontext(InProcess()),
        out=place(settings.output.root),
        callback=NoCallback(),
    )
    return rebuild(index, out, lists=lists)


def plain_forward(bodies: Path) -> plain.Forward:
    """The naive forward kinematics of the tests on the rest joints of a model."""
    models = Bodies.load(bodies, gender="humanml3d", families=("smplh",)).models

    def joints(gender: str, poses: np.ndarray, trans: np.ndarray, betas: np.ndarray) -> np.ndarray:
        rest = models["smplh", gender].shaped(betas).rest
        return forward(poses.reshape(-1, 52, 3), trans, rest, "smplh")[:, :22]

    return joints


def assert_equal(out: Path, expected: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """The published folder holds exactly these clips."""
    folder = out / "HumanML3D"
    assert {p.stem for p in (folder / "new_joint_vecs").iterdir()} == set(expected)
    for name, (features, joints) in expected.items():
        vectors = np.load(folder / "new_joint_vecs" / f"{name}.npy")
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, features, rtol=0, atol=TOLERANCE, err_msg=name)
        found = np.load(folder / "new_joints" / f"{name}.npy")
        np.testing.assert_allclose(found, joints, rtol=0, atol=TOLERANCE, err_msg=name)
    mean, std = plain.mean_std(features for features, _ in expected.values())
    np.testing.assert_allclose(np.load(folder / "Mean.npy"), mean, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(np.load(folder / "Std.npy"), std, rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rebuild_bodies")
    write_standin(root, families=("smplh",), genders=("male", "female"))
    return root


class Source:
    """A small AMASS with a renamed take, an index, texts.zip, HumanAct12 and lists of splits."""

    def __init__(self, root: Path) -> None:
        self.root, self.amass, self.out = root, root / "amass", root / "out"
        self.index, self.texts, self.act = root / "index.csv", root / "texts.zip", root / "pose_data"
        write_demo(self.amass, recordings=5, bad=False)
        renamed = self.amass / "HDM05" / "s02" / "002_walk_turn_stageii.npz"
        renamed.parent.mkdir(parents=True)
        next(self.amass.rglob("002_walk_turn_poses.npz")).rename(renamed)
        cut = self.amass / "DemoPark" / "s05" / "005_cut_poses.npz"
        cut.parent.mkdir(parents=True, exist_ok=True)
        cut.write_bytes(renamed.read_bytes()[:50_000])
        self.index.write_text("\n".join(["source_path,start_frame,end_frame,new_name", *ROWS, ""]))
        with zipfile.ZipFile(self.texts, "w") as file:
            for name, text in TEXTS.items():
                file.writestr(f"texts/{name}.txt", text)
        (self.act / "humanact12").mkdir(parents=True)
        with np.load(renamed) as data:
            some = forward(data["poses"].reshape(-1, 52, 3)[::6], data["trans"][::6], _rest(), "smplh")
        np.save(self.act / "humanact12" / "P11G01R02F1812T1847A0402.npy", some[:40, :24, [0, 2, 1]])
        for name, lines in (
            ("train", "000001\nM000003\n000006\n"),
            ("val", "M000001\n"),
            ("test", "000002\n"),
        ):
            (root / f"{name}.txt").write_text(lines)

    def settings(self, bodies: Path, **source: object) -> ExtractConfig:
        given = {"texts": self.texts, "humanact12": self.act, **source}
        chosen = {name: value for name, value in given.items() if value is not None}
        return settings_of(self.amass, bodies, self.index, self.out, **chosen)

    def expected(self, bodies: Path, *names: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        paths = {
            "./pose_data/MPI_HDM05/s02/002_walk_turn_poses.npy": "HDM05/s02/002_walk_turn_stageii.npz",
            "./pose_data/DemoStroll/s01/001_walk_poses.npy": "DemoStroll/s01/001_walk_poses.npz",
        }

        def read(path: str) -> np.ndarray:
            if "humanact12" in path:
                return np.asarray(
                    np.load(self.act / path.removeprefix("./pose_data/humanact12/")), np.float64
                )
            return plain.pose_data(self.amass / paths[path], plain_forward(bodies))

        rows = [row for row in plain.read_index(self.index) if row["new_name"].removesuffix(".npy") in names]
        return plain.rebuilt(rows, read)


def _rest() -> np.ndarray:
    """Rest joints of some body, as HumanAct12's joints are of no SMPL model."""
    rng = np.random.default_rng(0)
    return rng.normal(scale=0.1, size=(52, 3)) + np.linspace(0, 1, 52)[:, None]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Source(tmp_path_factory.mktemp("rebuild"))


@pytest.fixture(scope="module")
def done(source: Source, bodies: Path) -> Rebuilt:
    return rebuilt(source.settings(bodies), source.out, lists=find_lists(str(source.index)))


def test_a_rebuild_equals_the_plain_recipe(source: Source, bodies: Path, done: Rebuilt) -> None:
    assert_equal(source.out, source.expected(bodies, "000001", "000002", "000003", "000004"))
    assert done.built == 4


def test_every_row_that_differs_is_listed(source: Source, done: Rebuilt) -> None:
    with (source.out / "missing.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    problems = {name: row["problem"] for name, row in rows.items()}
    assert problems == {
        "000004": "short", "000005": "empty", "000006": "no source", "000007": "rejected"
    }  # fmt: skip
    assert rows["000006"]["source_path"] == "./pose_data/KIT/3/kick_poses.npy"
    assert rows["000004"]["expected"] == "9979"
    assert rows["000007"]["detail"].startswith("unreadable: ")
    assert done.renamed == (("MPI_HDM05/s02/002_walk_turn_poses", "HDM05/s02/002_walk_turn_stageii"),)
    summary = json.loads((source.out / "summary.json").read_text())
    assert (summary["rows"], summary["built"], summary["no_source_by_dataset"]) == (7, 4, {"KIT": 1})


def test_captions_keep_their_tokens_and_times(source: Source, done: Rebuilt) -> None:
    folder = source.out / "HumanML3D" / "texts"
    assert (folder / "000001.txt").read_text() == TEXTS["000001"]
    assert (folder / "M000001.txt").read_text() == TEXTS["000001"].replace("left", "right")
    # Its own file counts, not its original's with the sides swapped.
    assert (folder / "M000002.txt").read_text() == TEXTS["M000002"]
    assert (folder / "000003.txt").read_text().startswith("a person moves#")
    assert done.without_texts == 2
    clips = {clip.name: clip for clip in reader.open(source.out / DATA_SET).clips()}
    assert clips["000001"].texts == ("a person turns left.",)
    assert clips["000001"].captions[1] == Caption("then stops", "then/ADV stop/VERB", 1.5, 2.0)
    assert clips["M000001"].captions[0].tokens == "a/DET person/NOUN turn/VERB right/ADV"
    assert clips["M000002"].texts == ("he greets with the left hand",)
    assert clips["000003"].captions == ()
    assert "| `captions` |" in (source.out / DATA_SET / "README.md").read_text()


def test_lists_have_the_clips_that_were_built(source: Source, done: Rebuilt) -> None:
    folder = source.out / "HumanML3D"
    lists = {p.stem: p.read_text().split() for p in folder.glob("*.txt")}
    assert (lists["train"], lists["val"], lists["test"]) == (["000001", "M000003"], ["M000001"], ["000002"])
    assert lists["train_val"] == ["000001", "M000001", "M000003"]
    assert len(lists["all"]) == 8


def test_a_second_rebuild_keeps_everything_and_a_grown_archive_adds_to_it(
    tmp_path: Path, bodies: Path
) -> None:
    source = Source(tmp_path)
    first = rebuilt(source.settings(bodies, humanact12=None), source.out)
    assert (first.built, first.export.kept) == (3, 0)
    assert [g.name for g in first.gaps if "humanact12" in g.source_path] == ["000003"]
    again = rebuilt(source.settings(bodies, humanact12=None), source.out)
    assert (again.built, again.export.written) == (3, 0)
    kick = source.amass / "KIT" / "3" / "kick_poses.npz"
    kick.parent.mkdir(parents=True)
    kick.write_bytes(next(source.amass.rglob("003_*.npz")).read_bytes())
    grown = rebuilt(source.settings(bodies), source.out)
    assert grown.built == 5
    names = {p.stem for p in (source.out / "HumanML3D" / "new_joints").iterdir()}
    assert {"000003", "M000003", "000006"} <= names


def test_without_texts_and_lists_it_says_so(tmp_path: Path, bodies: Path) -> None:
    source = Source(tmp_path)
    result = rebuilt(source.settings(bodies, texts=None), source.out)
    said = " ".join(result.sentences())
    assert "4 rows without captions" in said
    assert "No lists of splits" in said
    assert not any(reader.open(source.out / DATA_SET).index["captions"].to_pylist())


def test_nothing_is_rejected_by_its_speed(tmp_path: Path, bodies: Path) -> None:
    source = Source(tmp_path)
    take = source.amass / "DemoStroll" / "s01" / "001_walk_poses.npz"
    arrays = arrays_of(take)
    arrays["trans"][len(arrays["trans"]) // 3 :] += (2.0, 0.0, 0.0)
    np.savez(take, **cast("dict[str, Any]", arrays))
    rebuilt(source.settings(bodies), source.out)
    assert_equal(source.out, source.expected(bodies, "000001", "000002", "000003", "000004"))


def test_a_take_with_the_rate_of_another_release_is_cut_by_time(tmp_path: Path, bodies: Path) -> None:
    source = Source(tmp_path)
    take = source.amass / "DemoStroll" / "s01" / "001_walk_poses.npz"
    frames = len(arrays_of(take)["trans"])  # 120 fps; the index counts as if it had 60
    path = "./pose_data/DemoStroll/s01/001_walk_poses.npy"
    ends = (-(-frames // 3), 40)
    rows = [f"{path},{start},{end},{k}.npy" for k, (start, end) in enumerate(zip((10, 0), ends, strict=True))]
    source.index.write_text("\n".join(["source_path,start_frame,end_frame,new_name", *rows, ""]))
    result = rebuilt(source.settings(bodies, texts=None), source.out)
    assert (result.retimed, result.count("short")) == (2, 2)
    clips = {clip.name: clip for clip in reader.open(source.out / DATA_SET).clips()}
    assert clips["0"].clip_id.endswith("@30")
    assert clips["0"].num_frames == -(-(frames - 30) // 6) - 1
    assert clips["1"].num_frames == 40 * 3 // 6 - 1
    # The same by a table, where no row reaches the end.
    source.index.write_text("\n".join(["source_path,start_frame,end_frame,new_name", rows[1], ""]))
    rates = tmp_path / "rates.csv"
    rates.write_text("recording,fps,frames\nDemoStroll/s01/001_walk_poses,60,\n")
    source.out = tmp_path / "other"
    result = rebuilt(source.settings(bodies, texts=None, rates=rates), source.out)
    assert (result.retimed, result.count("short")) == (1, 1)
    (clip, _) = reader.open(source.out / DATA_SET).clips()
    np.testing.assert_array_equal(clip.features, clips["1"].features)


def test_lists_that_are_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("000001\n")
    with pytest.raises(ValueError, match=r"val\.txt: no such file.*--splits"):
        read_lists(str(tmp_path))
    assert find_lists(str(tmp_path / "index.csv")) is None


@pytest.mark.slow
def test_the_rows_of_the_real_takes_equal_the_plain_recipe(
    shared: Path, bodies: Path, tmp_path: Path
) -> None:
    amass, index = shared / "data" / "amass", shared / "data" / "humanml3d" / "index.csv"
    result = rebuilt(settings_of(amass, bodies, index, tmp_path), tmp_path, lists=find_lists(str(index)))
    takes = {str(p.relative_to(amass)).removesuffix(".npz"): p for p in amass.rglob("*_poses.npz")}

    def name_of(row: dict[str, str]) -> str:
        return re.sub(r"\./pose_data/(.*)\.npy", r"\1", row["source_path"])

    rows = [row for row in plain.read_index(index) if name_of(row) in takes]
    read: dict[str, np.ndarray] = {}
    for row in rows:
        if row["source_path"] not in read:
            read[row["source_path"]] = plain.pose_data(takes[name_of(row)], plain_forward(bodies))
    expected = plain.rebuilt(rows, read.__getitem__)
    assert (result.built, len(expected)) == (98, 196)
    assert_equal(tmp_path, expected)
    short = {gap.name: gap.frames for gap in result.gaps if gap.problem == "short"}
    assert short == {"004709": 57, "010444": 30}
    assert result.retimed == 2
    test: list[Any] = (tmp_path / "HumanML3D" / "test.txt").read_text().split()
    assert test == [n for n in (index.parent / "test.txt").read_text().split() if n in expected]
