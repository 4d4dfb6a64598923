"""MVHumanNet: folders of frames as recordings, read in order, centred, and resampled."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import fs as pafs
from scipy.interpolate import PchipInterpolator

from mocap_ray.archives import ARCHIVES, mvhumannet
from mocap_ray.archives.mvhumannet import discover, read
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.inspect import inspect
from mocap_ray.dataset.options import BodyOptions, MotionOptions
from mocap_ray.dataset.process import Plan, process
from mocap_ray.dataset.product import CLIPS
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Clip, JointMotion, Reason
from mocap_ray.motion.features import encode
from mocap_ray.records import Rejection
from mocap_ray.shards.cutting import cut
from mocap_ray.storage import Place, place
from tests.archives import frames
from tests.archives.frames import frame, write
from tests.distributed.conftest import Run


def only(root: Path, **options: float) -> JointMotion | Rejection:
    where = place(root)
    (recording,) = discover(where)
    return read(where, recording, **options)


def rejection(root: Path) -> Rejection:
    found = only(root)
    assert isinstance(found, Rejection)
    assert found.detail.endswith(".")
    return found


def replace(root: Path, number: int, data: bytes) -> None:
    """Another file for a frame of the outfit that `write` made."""
    (root / "Part_01/100001/smpl_param" / f"{number:06}.pkl").write_bytes(data)


def test_the_axes_are_a_rotation_that_takes_minus_z_up() -> None:
    R = mvhumannet.R_YUP_SOURCE
    np.testing.assert_array_equal(R @ [1.0, 2.0, 3.0], [-2.0, -3.0, 1.0])
    np.testing.assert_allclose(R @ R.T, np.eye(3))
    assert np.linalg.det(R) == pytest.approx(1)


def test_frames_become_the_body_joints_centred_on_the_first_pelvis(tmp_path: Path) -> None:
    joints = write(tmp_path)
    motion = only(tmp_path)
    assert isinstance(motion, JointMotion)
    assert (motion.fps, motion.source_fps, motion.gender) == (5.0, 5.0, "unknown")
    expected = joints[:, :22].astype(np.float64) - joints[0, 0].astype(np.float64)
    np.testing.assert_array_equal(motion.joints, expected)
    twice = only(tmp_path, fps=10.0)
    assert isinstance(twice, JointMotion)
    assert twice.fps == 10.0


def test_a_clip_is_pchip_of_the_turned_joints_at_30_fps(tmp_path: Path) -> None:
    joints = write(tmp_path)
    where = place(tmp_path)
    options = MotionOptions(profile="flowmimic", min_frames=1)
    none = Bodies("nowhere", "recorded", {}, {})
    plan = Plan(
        ARCHIVES["mvhumannet"], where, none, BodyOptions(root="nowhere"), options, ("features", "joints")
    )
    (clip,) = process(discover(where)[0], plan)
    assert isinstance(clip, Clip)
    x, y, z = np.moveaxis(joints[:, :22].astype(np.float64) - joints[0, 0], -1, 0)
    yup = np.stack([-y, -z, x], axis=-1)
    times = np.arange(11 * 6 + 1) / 30
    expected = PchipInterpolator(np.arange(12) / 5, yup, axis=0)(times)
    np.testing.assert_allclose(clip.joints, expected, atol=1e-6)
    np.testing.assert_allclose(clip.features, encode(expected, profile="flowmimic"), atol=1e-5)
    assert clip.fps == 30.0
    assert clip.joints[0, 15, 1] > clip.joints[0, 0, 1] + 0.3  # the head is above the pelvis


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(1, 45, 3), (45, 3)])
def test_every_protocol_and_shape_gives_the_same_joints(
    protocol: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    joints = write(tmp_path)
    for k, pose in enumerate(joints):
        replace(tmp_path, k, frame(pose, protocol=protocol, joints=torch.from_numpy(pose.reshape(shape))))
    motion = only(tmp_path)
    assert isinstance(motion, JointMotion)
    np.testing.assert_array_equal(motion.joints, joints[:, :22].astype(np.float64) - joints[0, 0])


def test_frames_may_be_numpy_doubles_or_views_and_differ_in_kind(tmp_path: Path) -> None:
    joints = write(tmp_path, frames=6)
    wide = torch.from_numpy(np.concatenate([np.zeros((1, 45, 3), np.float32), joints[1][None]], axis=2))
    replace(tmp_path, 1, frame(joints[1], joints=wide[:, :, 3:]))  # a view: an offset and a stride
    replace(tmp_path, 2, frame(joints[2], joints=joints[2][None]))
    replace(tmp_path, 3, frame(joints[3], joints=joints[3].astype(np.float64)))
    replace(tmp_path, 4, frame(joints[4], joints=np.asfortranarray(joints[4])))
    motion = only(tmp_path)
    assert isinstance(motion, JointMotion)
    np.testing.assert_array_equal(motion.joints, joints[:, :22].astype(np.float64) - joints[0, 0])


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "Part_01/100001/smpl_param"
    folder.mkdir(parents=True)
    joints = frames.motion(12)
    for k, pose in enumerate(joints, 5):
        (folder / f"{k}.pkl").write_bytes(frame(pose))  # 10.pkl sorts before 5.pkl as text
    (folder / "notes.txt").write_text("")
    (folder / "camera.pkl").write_bytes(b"")
    (folder / "._000001.pkl").write_bytes(b"")
    motion = only(tmp_path)
    assert isinstance(motion, JointMotion)
    np.testing.assert_array_equal(motion.joints, joints[:, :22].astype(np.float64) - joints[0, 0])


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        ([3], "1 frame of 12 is missing, between 000002.pkl and 000004.pkl"),
        (
            [3, 4, 7],
            "3 frames of 12 are missing, between 000002.pkl and 000005.pkl and between 000006.pkl and 000008",
        ),
        (range(12), "no frames. Expected files such as 000000.pkl"),
    ],
)
def test_a_gap_rejects_the_recording(removed: Any, said: str, tmp_path: Path) -> None:
    write(tmp_path)
    for number in removed:
        (tmp_path / "Part_01/100001/smpl_param" / f"{number:06}.pkl").unlink()
    found = rejection(tmp_path)
    assert found.reason is (Reason.TOO_SHORT if len(removed) == 12 else Reason.MISSING_FRAMES)
    assert said in found.detail


def test_two_frames_of_one_number_reject_the_recording(tmp_path: Path) -> None:
    joints = write(tmp_path)
    (tmp_path / "Part_01/100001/smpl_param/3.pkl").write_bytes(frame(joints[3]))
    found = rejection(tmp_path)
    assert found.reason is Reason.MISSING_FRAMES
    assert "000003.pkl and 3.pkl have the same number" in found.detail


def test_nan_joints_are_rejected_by_the_checks_of_quality_or_cut_out(tmp_path: Path) -> None:
    joints = write(tmp_path, frames=30)
    joints[4, 20, 1] = np.nan
    joints[0, 0] = np.nan
    for k in (0, 4):
        replace(tmp_path, k, frame(joints[k]))
    where, none = place(tmp_path), Bodies("nowhere", "recorded", {}, {})

    def made(cut: bool) -> list[Any]:
        options = MotionOptions.model_validate(
            {"profile": "flowmimic", "min_frames": 10, "quality": {"cut": cut}}
        )
        plan = Plan(
            ARCHIVES["mvhumannet"], where, none, BodyOptions(root="nowhere"), options, ("features", "joints")
        )
        return process(discover(where)[0], plan)

    (whole,) = made(cut=False)
    assert whole.reason is Reason.NON_FINITE
    clips = [c for c in made(cut=True) if isinstance(c, Clip)]
    assert [c.clip_id for c in clips] == ["Part_01/100001@1", "Part_01/100001@5"]


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b"", Reason.UNREADABLE, "not a readable pickle"),
        (frame(np.zeros((45, 3), np.float32))[:-9], Reason.UNREADABLE, "not a readable pickle"),
        (pickle.dumps([1]), Reason.MISSING_KEYS, "a pickle of a list. Expected a dictionary"),
        (pickle.dumps({"betas": 1}), Reason.MISSING_KEYS, "no 'joints' (keys: betas)"),
        (frame(np.zeros((24, 3), np.float32)), Reason.BAD_SHAPE, "'joints' is (1, 24, 3). Expected (1, 45, 3) or"),
        (pickle.dumps({"joints": [1.0]}), Reason.BAD_SHAPE, "'joints' is a list. Expected float32"),
        (pickle.dumps({"joints": np.zeros((45, 3), int)}), Reason.BAD_SHAPE, "'joints' is of type int64"),
        (pickle.dumps({"joints": None}), Reason.BAD_SHAPE, "'joints' is a NoneType"),
    ],
    ids=range(8),
)  # fmt: skip
def test_an_unusable_frame_rejects_the_recording_and_is_named(
    data: bytes, reason: Reason, said: str, tmp_path: Path
) -> None:
    write(tmp_path)
    replace(tmp_path, 7, data)
    found = rejection(tmp_path)
    assert found.reason is reason
    assert found.detail.startswith(f"Part_01/100001/smpl_param/000007.pkl: {said}"), found.detail


def test_a_frame_in_torchs_zip_format_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path)
    torch.save(
        frames.content(np.zeros((45, 3), np.float32)), tmp_path / "Part_01/100001/smpl_param/000002.pkl"
    )
    found = rejection(tmp_path)
    assert found.reason is Reason.UNREADABLE
    assert "000002.pkl: a zip archive and no pickle, as torch.save writes it" in found.detail


def test_names_subjects_and_sub_datasets_follow_the_folders(tmp_path: Path) -> None:
    root = tmp_path / "MVHumanNet"
    for name in ("Part_01/100001", "Part_01/100002", "Part_02/200001"):
        write(root, name, frames=2)
        (root / name / "images" / "cam1" / "smpl_param").mkdir(parents=True)  # beside smpl_param: not listed
    (root / ".cache" / "smpl_param").mkdir(parents=True)
    found = discover(place(root))
    assert [r.name for r in found] == ["Part_01/100001", "Part_01/100002", "Part_02/200001"]
    assert [r.subject for r in found] == [r.name for r in found]
    assert [r.dataset for r in found] == ["Part_01", "Part_01", "Part_02"]
    assert [r.source for r in found] == [f"{r.name}/smpl_param" for r in found]
    assert [r.size for r in found] == [2 * 4096] * 3  # what is read of two frames
    # The folder of a part or of an outfit gives the same names.
    assert discover(place(root / "Part_01"))[1].name == "Part_01/100002"
    (one,) = discover(place(root / "Part_01" / "100001"))
    assert (one.name, one.source, one.dataset) == ("Part_01/100001", "smpl_param", "Part_01")
    assert isinstance(read(place(root / "Part_01" / "100001"), one), JointMotion)
    assert discover(place(root / "Part_01"), dataset="MV")[0].name == "MV/100001"


def test_folders_without_recordings_say_what_to_do(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(UserError) as caught:
            discover(place(path))
        return str(caught.value)

    assert "no such folder" in message(tmp_path / "nowhere")
    write(tmp_path / "a", frames=1)
    assert "Use the folder above it" in message(tmp_path / "a/Part_01/100001/smpl_param")
    (tmp_path / "b").mkdir()
    assert "no folder smpl_param in it. Expected MVHumanNet" in message(tmp_path / "b")
    (tmp_path / "b" / "Part_01.tar.gz").write_bytes(b"")
    assert "1 packed archive. Unpack first: tar -xf Part_01.tar.gz" in message(tmp_path / "b")
    assert "is a file" in message(tmp_path / "b" / "Part_01.tar.gz")


def test_many_outfits_share_a_shard_and_so_a_task(tmp_path: Path) -> None:
    """By the size of the files on disk, 32 MB would be two outfits."""
    for k in range(30):
        folder = tmp_path / "mvh" / "Part_01" / f"{100_000 + k}" / "smpl_param"
        folder.mkdir(parents=True)
        for number in range(60):
            with (folder / f"{number:06}.pkl").open("wb") as file:
                file.truncate(252_395)  # the published size; takes no room on the disk
    recordings = discover(place(tmp_path / "mvh"))
    groups = {r.name: (r.dataset, "train") for r in recordings}
    assert len(cut(recordings, groups, layout=CLIPS, target=32 << 20)) == 1


def test_a_frame_that_changes_is_seen_in_the_fingerprint(tmp_path: Path) -> None:
    joints = write(tmp_path)
    where = place(tmp_path)
    (before,) = discover(where)
    path = tmp_path / "Part_01/100001/smpl_param/000003.pkl"
    seen = path.stat().st_mtime_ns
    replace(tmp_path, 3, frame(joints[4]))  # the same size
    os.utime(path, ns=(seen + 1_000_000, seen + 1_000_000))
    (after,) = discover(where)
    assert (before.size, before.name) == (after.size, after.name)
    assert before.fingerprint != after.fingerprint
    with pytest.raises(OSError, match="have changed since they were listed"):
        read(where, before)


def test_a_store_gives_the_same_recordings_and_joints_as_a_disk(tmp_path: Path) -> None:
    write(tmp_path)
    remote = Place(
        pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "Part_01", "s3://bucket/Part_01"
    )
    assert remote.local is None  # so its files are read whole, several at a time
    (there,) = discover(remote)
    here = only(tmp_path)
    found = read(remote, there)
    assert isinstance(found, JointMotion)
    assert isinstance(here, JointMotion)
    np.testing.assert_array_equal(found.joints, here.joints)


def test_an_extraction_makes_one_clip_of_each_folder_and_needs_no_body(tmp_path: Path) -> None:
    root = tmp_path / "mvh"
    for k in range(3):
        write(root, f"Part_01/10000{k}", seed=k)
    (root / "Part_01/100002/smpl_param/000004.pkl").unlink()
    (tmp_path / "bodies").mkdir()
    extra = {"source": {"split": "none"}, "motion": {"profile": "flowmimic"}}
    run = Run(root, tmp_path / "bodies", tmp_path / "out", source="mvhumannet", extra=extra)
    totals = run.plain()["totals"]
    assert (totals["clips"], totals["frames"], totals["rejected"]) == (2, 2 * 67, {"missing_frames": 1})
    assert "MVHumanNet Terms of Use" in (run.out / "README.md").read_text()


def test_inspect_takes_the_folder_of_an_outfit(tmp_path: Path) -> None:
    write(tmp_path, frames=30)
    write(tmp_path, "Part_01/100002", frames=2)
    archive = ARCHIVES["mvhumannet"]
    assert inspect(tmp_path / "Part_01/100001", archive).usable
    with pytest.raises(
        UserError, match=r"2 recordings of MVHumanNet, such as 100001/smpl_param\. Expected the folder"
    ):
        inspect(tmp_path / "Part_01", archive)
