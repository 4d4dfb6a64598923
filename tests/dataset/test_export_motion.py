"""Motion as files of other programs: our own readers read the same motion again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mocap_ray
from mocap_ray.archives import amass, bvh
from mocap_ray.body.bodies import Bodies
from mocap_ray.body.fitting import onto, own_body
from mocap_ray.body.model import ShapedBody
from mocap_ray.dataset.export_motion import export_amass, export_bvh, export_video
from mocap_ray.dataset.motions import open_motions
from mocap_ray.dataset.views import DataSetError
from mocap_ray.demo import gait
from mocap_ray.demo.archive import write_demo
from mocap_ray.errors import UserError
from mocap_ray.motion.axes import joints_y_up, to_y_up
from mocap_ray.motion.clip import JointMotion, Motion
from mocap_ray.motion.features import decode, encode
from mocap_ray.storage import place
from tests.dataset.made import make
from tests.distributed.conftest import Run

COLUMNS = ["features", "joints", "poses", "trans"]


@pytest.fixture(scope="module")
def body(standins: Path) -> ShapedBody:
    bodies = Bodies.load(standins, gender="neutral", families=("smplh",))
    return bodies.choose("smplh", "neutral").model.shaped(np.zeros(0))


@pytest.fixture(scope="module")
def walk(body: ShapedBody) -> np.ndarray:
    """[100, 22, 3] metres at 20 fps, of a synthetic walk."""
    poses, trans = gait.walk(np.arange(100) / 20.0, gait.Style(1.1, 0.2, 0.9))
    up = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    return body.joints(poses.reshape(100, 52, 3), trans) @ up.T


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    write_demo(root, recordings=2, bad=False)
    return root


def extracted(
    archive: Path, bodies: Path, out: Path, *, columns: list[str], **motion: object
) -> mocap_ray.DataSet:
    extra = {"source": {"split": "none"}, "output": {"columns": columns}, "motion": motion}
    Run(archive, bodies, out, extra=extra).plain()
    return mocap_ray.open(out)


def read(folder: Path, standins: Path) -> dict[str, tuple[Motion, np.ndarray]]:
    """Every AMASS file of a folder, Y up, and its joints on the body that it names."""
    found = {}
    where = place(folder)
    for recording in amass.discover(where):
        motion = amass.read(where, recording)
        assert isinstance(motion, Motion), motion
        bodies = Bodies.load(standins, gender="recorded", families=(motion.family,))
        person = bodies.choose(motion.family, motion.gender).model.shaped(motion.betas)
        motion = to_y_up(motion, person.rest[0])
        found[recording.source] = motion, person.joints(motion.poses, motion.trans)
    return found


# --- AMASS ---


def test_poses_of_a_data_set_come_back_through_our_own_extraction(
    archive: Path, standins: Path, tmp_path: Path
) -> None:
    first = extracted(archive, standins, tmp_path / "first", columns=COLUMNS, mirror=False)
    done = export_amass(tmp_path / "first", tmp_path / "out", body=standins)
    assert (done.stored, done.fitted) == (len(first), 0)
    second = extracted(tmp_path / "out", standins, tmp_path / "second", columns=COLUMNS, mirror=False)
    assert len(second) == len(first)
    again = {amass.take_name(clip.recording): clip for clip in second.clips()}
    for clip in first.clips():
        recording, _, part = clip.clip_id.rpartition("@")
        found = again[f"{amass.take_name(recording)}@{part}"]
        assert (found.gender, found.family, found.fps) == (clip.gender, clip.family, clip.fps)
        np.testing.assert_allclose(found.poses, clip.poses, atol=1e-5)
        np.testing.assert_allclose(found.trans, clip.trans, atol=1e-5)
        np.testing.assert_allclose(found.joints, clip.joints, atol=1e-5)
        np.testing.assert_allclose(found.features, clip.features, atol=1e-3)


@pytest.mark.parametrize("profile", ["humanml3d", "flowmimic"])
def test_a_data_set_of_features_alone_comes_back_by_a_fit(
    archive: Path, standins: Path, tmp_path: Path, profile: str
) -> None:
    first = extracted(archive, standins, tmp_path / "first", columns=["features"], profile=profile)
    done = export_amass(tmp_path / "first", tmp_path / "out", body=standins)
    assert (done.stored, done.fitted) == (0, len(first))
    assert done.worst[1] < 1
    again = read(tmp_path / "out", standins)
    for clip in first.clips():
        recording, _, part = clip.clip_id.rpartition("@")
        motion, joints = again[f"{amass.take_name(recording)}@{part}_poses.npz"]
        bodies = Bodies.load(standins, gender="recorded", families=(clip.family,))
        person = bodies.choose(clip.family, clip.gender).model.shaped(clip.betas.astype(np.float64))
        expected = decode(clip.features)
        expected = expected if profile == "flowmimic" else onto(expected, person)
        assert 1000 * np.linalg.norm(joints - expected, axis=-1).mean() < 1
        assert motion.fps == clip.fps


def test_a_mirrored_twin_is_fitted_beside_an_original_that_is_not(
    archive: Path, standins: Path, tmp_path: Path
) -> None:
    """Its shape is that of the original, so its joints lie on the same bones."""
    first = extracted(archive, standins, tmp_path / "first", columns=COLUMNS, mirror=True)
    done = export_amass(tmp_path / "first", tmp_path / "out", body=standins)
    assert done.stored == done.fitted == len(first) // 2
    assert done.worst[1] < 1
    again = read(tmp_path / "out", standins)
    for clip in first.clips():
        recording, _, part = clip.clip_id.rpartition("@")
        _, joints = again[f"{amass.take_name(recording)}@{part}_poses.npz"]
        assert np.linalg.norm(joints - clip.joints, axis=-1).mean() < 0.001


KEYS = {
    "smpl": {"trans", "gender", "mocap_framerate", "betas", "dmpls", "poses"},
    "smplh": {"trans", "gender", "mocap_framerate", "betas", "dmpls", "poses"},
    "smplx": {
        "gender", "surface_model_type", "mocap_frame_rate", "mocap_time_length", "trans", "poses", "betas", "num_betas",
        "root_orient", "pose_body", "pose_hand", "pose_jaw", "pose_eye",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "columns", "ending"),
    [("smpl", 72, "poses"), ("smplh", 156, "poses"), ("smplx", 165, "stageii")],
)
def test_a_file_has_the_keys_that_amass_publishes(
    walk: np.ndarray, standins: Path, tmp_path: Path, family: str, columns: int, ending: str
) -> None:
    np.save(tmp_path / "walk.npy", walk)
    export_amass(tmp_path / "walk.npy", tmp_path / "out", body=standins, family=family, fps=20.0)
    with np.load(tmp_path / "out" / f"walk_{ending}.npz") as file:
        assert set(file.files) == KEYS[family]
        assert file["poses"].shape == (100, columns)
        assert str(file["gender"]) == "neutral"
        assert file["betas"].shape == (16,)
    ((motion, joints),) = read(tmp_path / "out", standins).values()
    assert (motion.family, motion.fps) == (family, 20.0)
    bodies = Bodies.load(standins, gender="neutral", families=(family,))
    person = bodies.choose(family, "neutral").model.shaped(np.zeros(0))
    assert np.linalg.norm(joints - onto(walk, person), axis=-1).mean() < 0.002


def test_files_of_generators_are_read_in_every_layout(
    walk: np.ndarray, standins: Path, tmp_path: Path
) -> None:
    source = tmp_path / "samples"
    source.mkdir()
    np.save(source / "features.npy", encode(walk))
    np.save(source / "flat.npy", walk.reshape(100, 66))
    np.savez(source / "named.npz", joints=walk[:50], fps=25.0)
    np.save(source / "several.npy", np.stack([walk[:60], walk[40:]]))
    mdm = {
        "motion": np.stack([walk, walk]).transpose(0, 2, 3, 1).astype(np.float32),
        "lengths": np.array([100, 30]),
    }
    np.save(source / "results.npy", mdm | {"text": ["a person walks.", "and again"]}, allow_pickle=True)  # type: ignore[arg-type]
    found = {motion.name: motion for _, motion in open_motions(source).each()}
    assert {name: (len(m.joints), m.fps) for name, m in found.items()} == {
        "features": (99, 20.0),
        "flat": (100, 20.0),
        "named": (50, 25.0),
        "results_000": (100, 20.0),
        "results_001": (30, 20.0),
        "several_000": (60, 20.0),
        "several_001": (60, 20.0),
    }
    np.testing.assert_allclose(found["results_001"].joints, walk[:30], atol=1e-6)
    done = export_amass(source, tmp_path / "out", body=standins)
    assert (done.fitted, done.stored) == (7, 0)
    assert done.worst[1] < 2
    assert {p.name for p in (tmp_path / "out").glob("*.npz")} == {f"{name}_poses.npz" for name in found}


def test_a_body_of_the_persons_own_bones(walk: np.ndarray, standins: Path, tmp_path: Path) -> None:
    model = Bodies.load(standins, gender="neutral", families=("smplh",)).choose("smplh", "neutral").model
    tall = onto(walk, model.shaped(np.array([3.0, 0.0, 1.0])))
    np.save(tmp_path / "tall.npy", tall)
    sizes = {}
    for shape in ("mean", "bones"):
        export_amass(tmp_path / "tall.npy", tmp_path / shape, body=standins, shape=shape)  # type: ignore[arg-type]
        ((_, joints),) = read(tmp_path / shape, standins).values()
        sizes[shape] = np.linalg.norm(joints[:, 4] - joints[:, 1], axis=-1).mean()
    own = np.linalg.norm(tall[:, 4] - tall[:, 1], axis=-1).mean()
    assert sizes["bones"] == pytest.approx(own, abs=0.003)
    assert sizes["mean"] < own - 0.03


def test_an_export_resumes_and_keeps_what_is_there(walk: np.ndarray, standins: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "samples", tmp_path / "out"
    source.mkdir()
    for k in range(3):
        np.save(source / f"{k}.npy", walk[k:])
    assert export_amass(source, out, body=standins).fitted == 3
    with np.load(out / "1_poses.npz") as file:
        before = dict(file)
    (out / "1_poses.npz").unlink()
    again = export_amass(source, out, body=standins)
    assert (again.fitted, again.kept, again.written) == (1, 2, 1)
    with np.load(out / "1_poses.npz") as file:
        np.testing.assert_allclose(file["poses"], before["poses"], atol=1e-3)
    with pytest.raises(DataSetError, match="with other options"):
        export_amass(source, out, body=standins, gender="male")
    np.save(source / "3.npy", walk)
    with pytest.raises(DataSetError, match="another data set, of an earlier state"):
        export_amass(source, out, body=standins)


# --- BVH and video ---


def test_a_bvh_is_read_again_as_the_joints_of_the_clip(tmp_path: Path, walk: np.ndarray) -> None:
    make(tmp_path / "set")
    np.save(tmp_path / "walk.npy", walk)
    for source in (tmp_path / "set", tmp_path / "walk.npy"):
        out = tmp_path / f"{source.stem}_out"
        done = export_bvh(source, out)
        assert done.worst[1] < 1
        names = {motion.name: motion for _, motion in open_motions(source).each()}
        where = place(out)
        found = {r.source: bvh.read(where, r) for r in bvh.discover(where)}
        assert set(found) == {f"{name}.bvh" for name in names}
        for name, motion in names.items():
            read_again = found[f"{name}.bvh"]
            assert isinstance(read_again, JointMotion)
            assert read_again.fps == motion.fps
            joints = joints_y_up(read_again).joints
            assert np.linalg.norm(joints - motion.joints, axis=-1).mean() < 0.001
            assert own_body(motion.joints).rest.shape == (22, 3)


def test_a_video_of_each_motion_as_far_as_asked(tmp_path: Path) -> None:
    make(tmp_path / "set", clips={("CMU", "train"): 3})
    done = export_video(tmp_path / "set", tmp_path / "out", kind="gif", limit=2)
    assert len(list((tmp_path / "out").rglob("*.gif"))) == 2
    assert done.fitted == 0


# --- errors ---


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 24, 3)), r"float64 of shape \(5, 24, 3\)"),
        (np.zeros((0, 22, 3)), r"of shape \(0, 22, 3\)"),
        (np.full((5, 22, 3), np.nan), "frame 0 of bad holds values that are not finite"),
        (np.array({"text": "no motion"}, dtype=object), "pickled objects without an array 'motion'"),
        (np.array(["text"]), "of shape"),
    ],
)
def test_a_file_without_motion_is_named(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        export_bvh(tmp_path / "bad.npy", tmp_path / "out")


def test_what_cannot_be_exported_is_said_before_any_work(
    walk: np.ndarray, standins: Path, tmp_path: Path
) -> None:
    make(tmp_path / "set")
    np.save(tmp_path / "walk.npy", walk)
    with pytest.raises(UserError, match=r"missing\.npy: no such file"):
        export_bvh(tmp_path / "missing.npy", tmp_path / "out")
    with pytest.raises(UserError, match="nothing_here: no such folder"):
        export_bvh(tmp_path / "nothing_here", tmp_path / "out")
    (tmp_path / "take.bvh").write_text("HIERARCHY")
    with pytest.raises(UserError, match=r"take\.bvh: a file of another kind"):
        export_bvh(tmp_path / "take.bvh", tmp_path / "out")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"no data set, and no \.npy or \.npz file"):
        export_bvh(tmp_path / "bare", tmp_path / "out")
    with pytest.raises(UserError, match="a frame rate of its own"):
        export_bvh(tmp_path / "set", tmp_path / "out", fps=30.0)
    with pytest.raises(UserError, match="--family mano: expected one of smpl, smplh, smplx"):
        export_amass(tmp_path / "walk.npy", tmp_path / "out", body=standins, family="mano")
    with pytest.raises(UserError, match="--format mov: expected one of mp4, gif"):
        export_video(tmp_path / "walk.npy", tmp_path / "out", kind="mov")
    (tmp_path / "twice").mkdir()
    np.save(tmp_path / "twice" / "walk.npy", walk)
    np.savez(tmp_path / "twice" / "walk.npz", joints=walk)
    with pytest.raises(UserError, match=r"two motions would become walk\.bvh"):
        export_bvh(tmp_path / "twice", tmp_path / "out3")
    empty = tmp_path / "no_bodies"
    empty.mkdir()
    with pytest.raises(UserError, match="smplh"):
        export_amass(tmp_path / "walk.npy", tmp_path / "out2", body=empty)
