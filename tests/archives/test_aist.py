"""AIST++: listing, reading, names, the official lists, and a whole extraction."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mocap_ray.archives import ARCHIVES, aist, named_split, published_lists
from mocap_ray.archives.aist import GENRES, discover, parse_name, read
from mocap_ray.archives.splits import read_lists
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.build import read_ignored
from mocap_ray.dataset.options import BodyOptions, MotionOptions
from mocap_ray.dataset.process import Plan, process
from mocap_ray.demo.standin import write_standin
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Clip, Motion, Reason
from mocap_ray.records import Rejection
from mocap_ray.storage import place
from tests.archives.dances import NAME, SCALING, dance, write
from tests.distributed.conftest import Run

NAMES = tuple(f"gBR_sBM_cAll_d{d:02d}_mBR{c}_ch0{c}" for d in (4, 5, 6) for c in (1, 2))


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SMPL, male."""
    root = tmp_path_factory.mktemp("body")
    write_standin(root, families=("smpl",), genders=("male",))
    return root


def found(root: Path, values: dict[str, Any] | bytes | None = None, **options: float) -> Motion | Rejection:
    where = place(write(root, values=values))
    (recording,) = discover(where)
    return read(where, recording, **options)


def test_a_sequence_is_the_body_at_the_translation_over_the_scaling(tmp_path: Path) -> None:
    values = dance()
    motion = found(tmp_path, values)
    assert isinstance(motion, Motion)
    assert (motion.family, motion.fps, motion.source_fps, motion.gender) == ("smpl", 60.0, 60.0, "male")
    np.testing.assert_array_equal(motion.poses.reshape(-1, 72), values["smpl_poses"])
    np.testing.assert_array_equal(
        motion.trans, values["smpl_trans"].astype(np.float64) / np.float64(np.float32(SCALING))
    )
    np.testing.assert_array_equal(motion.R_yup_source, np.eye(3))
    assert (motion.action, motion.style) == ("dance", "BR")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("scaling", [SCALING, np.float32(SCALING), np.array([[SCALING]])])
def test_every_protocol_and_kind_of_scalar_gives_the_same_motion(
    protocol: int, scaling: object, tmp_path: Path
) -> None:
    values = dance(smpl_scaling=scaling)
    values["smpl_poses"] = values["smpl_poses"].reshape(-1, 24, 3)  # as the site describes it
    motion = found(tmp_path, pickle.dumps(values, protocol))
    assert isinstance(motion, Motion)
    np.testing.assert_allclose(motion.trans, values["smpl_trans"] / SCALING, atol=1e-6)


def test_the_name_says_genre_situation_camera_dancer_music_and_choreography(tmp_path: Path) -> None:
    assert parse_name("gJB_sFM_c03_d08_mJB5_ch21") == aist.Sequence("JB", "FM", "03", "08", "JB5", "21")
    assert list(GENRES) == ["BR", "PO", "LO", "MH", "LH", "HO", "WA", "KR", "JS", "JB"]
    where = place(write(tmp_path, NAME, "gKR_sFM_cAll_d30_mKR2_ch07", "warmup"))
    recordings = discover(where)
    assert [r.name for r in recordings] == [NAME, "gKR_sFM_cAll_d30_mKR2_ch07", "warmup"]
    assert [r.subject for r in recordings] == ["AIST/d04", "AIST/d30", "AIST/warmup"]
    assert {r.dataset for r in recordings} == {"AIST"}
    styles = [getattr(read(where, r), "style", "") for r in recordings]
    assert styles == ["BR", "KR", None]


def test_only_the_folder_motions_is_listed(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "keypoints3d").mkdir()
    (tmp_path / "keypoints3d" / f"{NAME}.pkl").write_bytes(b"")
    (tmp_path / "motions" / "._x.pkl").write_bytes(b"")
    assert [r.source for r in discover(place(tmp_path))] == [f"motions/{NAME}.pkl"]
    assert [r.source for r in discover(place(tmp_path / "motions"))] == [f"{NAME}.pkl"]


def test_folders_without_sequences_say_what_to_do(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(UserError) as caught:
            discover(place(path))
        return str(caught.value)

    assert "no such folder" in message(tmp_path / "nowhere")
    (tmp_path / "a" / "annotations" / "motions").mkdir(parents=True)
    assert f"Use {tmp_path}/a/annotations as source.root" in message(tmp_path / "a")
    (tmp_path / "motions.zip").write_bytes(b"PK")
    assert "Unpack first: unzip motions.zip" in message(tmp_path)
    assert "is a file" in message(tmp_path / "motions.zip")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.npz").write_bytes(b"")
    assert "no .pkl file (found: .npz). Expected AIST++" in message(tmp_path / "b")


@pytest.mark.parametrize(
    ("values", "reason", "said"),
    [
        (dance(smpl_scaling=None), Reason.MISSING_KEYS, "no 'smpl_scaling'"),
        (dance(smpl_poses=None), Reason.MISSING_KEYS, "no 'smpl_poses' (keys: smpl_loss, smpl_scaling, smpl_trans)"),
        (dance(smpl_trans=None), Reason.MISSING_KEYS, "no 'smpl_trans'"),
        (dance(smpl_scaling=0.0), Reason.BAD_VALUE, "'smpl_scaling' is 0. Expected a number above 0"),
        (dance(smpl_scaling=np.nan), Reason.BAD_VALUE, "'smpl_scaling' is nan"),
        (dance(smpl_scaling=-3), Reason.BAD_VALUE, "'smpl_scaling' is -3"),
        (dance(smpl_scaling=[1.0]), Reason.BAD_SHAPE, "'smpl_scaling' is a list"),
        (dance(smpl_scaling=np.ones(3)), Reason.BAD_VALUE, "'smpl_scaling' is not one number"),
        (dance(smpl_poses=np.zeros((9, 156))), Reason.BAD_SHAPE, "'smpl_poses' is (9, 156)"),
        (dance(smpl_trans=np.zeros((9, 3))), Reason.BAD_SHAPE, "'smpl_trans' is (9, 3). Expected (180, 3)"),
        (dance(smpl_poses=np.array([None])), Reason.BAD_SHAPE, "'smpl_poses' is of type object"),
        (dance(0), Reason.TOO_SHORT, "it has 0 frames"),
        ({"keypoints3d": np.zeros((5, 17, 3))}, Reason.NOT_MOTION, "keypoints, no motion"),
        (pickle.dumps([1, 2]), Reason.MISSING_KEYS, "a pickle of a list. Expected a dictionary"),
        (b"", Reason.UNREADABLE, "not a readable pickle"),
        (pickle.dumps(dance())[:5000], Reason.UNREADABLE, "not a readable pickle"),
    ],
)  # fmt: skip
def test_an_unusable_file_is_rejected_with_its_reason(
    values: dict[str, Any] | bytes, reason: Reason, said: str, tmp_path: Path
) -> None:
    rejection = found(tmp_path, values)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is reason
    assert rejection.detail.startswith(f"motions/{NAME}.pkl: {said}"), rejection.detail
    assert rejection.detail.endswith(".")


def test_the_config_may_give_the_scaling_that_a_file_lacks(tmp_path: Path) -> None:
    motion = found(tmp_path, dance(smpl_scaling=None), scaling=2 * SCALING)
    assert isinstance(motion, Motion)
    np.testing.assert_allclose(motion.trans, dance()["smpl_trans"] / (2 * SCALING))
    own = found(tmp_path, dance(), scaling=2 * SCALING)
    assert isinstance(own, Motion)
    np.testing.assert_allclose(
        own.trans, dance()["smpl_trans"] / SCALING, atol=1e-6
    )  # that of the file counts
    with pytest.raises(UserError, match=r"source\.scaling: the archive amass has no such option"):
        ARCHIVES["amass"].configured(scaling=2.0)


def test_a_file_that_grows_is_an_error_of_the_disk_and_no_rejection(tmp_path: Path) -> None:
    where = place(write(tmp_path))
    (recording,) = discover(where)
    with (tmp_path / "motions" / f"{NAME}.pkl").open("ab") as file:
        file.write(b"more")
    with pytest.raises(OSError, match="were listed"):
        read(where, recording)


def test_a_file_larger_than_any_sequence_is_not_read(tmp_path: Path) -> None:
    where = place(write(tmp_path))
    with (tmp_path / "motions" / f"{NAME}.pkl").open("r+b") as file:
        file.truncate(1 << 40)  # a terabyte of zeros that takes no room on the disk
    (recording,) = discover(where)
    rejection = read(where, recording)
    assert isinstance(rejection, Rejection)
    assert rejection.detail.startswith(f"motions/{NAME}.pkl: it has 1.1 TB. Expected at most")


def official(root: Path) -> Path:
    """The official lists as fullset.zip has them, for `NAMES`."""
    (root / "splits").mkdir(parents=True)
    for kind, shares in (("pose", (3, 1, 2)), ("crossmodal", (4, 1, 1))):
        rest = list(NAMES)
        for split, count in zip(("train", "val", "test"), shares, strict=True):
            (root / "splits" / f"{kind}_{split}.txt").write_text("\n".join(rest[:count]))
            rest = rest[count:]
    return root


def test_the_official_lists_are_found_beside_motions(tmp_path: Path) -> None:
    archive = ARCHIVES["aist"]
    where = place(official(write(tmp_path, *NAMES)))
    pose = {"train": list(NAMES[:3]), "val": [NAMES[3]], "test": list(NAMES[4:])}
    for root in (where, where.folder("motions")):
        for split in ("published", "aist", "pose"):
            assert named_split(archive, split)
            assert published_lists(archive, split, root) == pose
        assert published_lists(archive, "crossmodal", root) == {
            "train": list(NAMES[:4]),
            "val": [NAMES[4]],
            "test": [NAMES[5]],
        }
    assert published_lists(archive, "subject", where) is None
    assert not named_split(ARCHIVES["amass"], "pose")
    shutil.rmtree(tmp_path / "splits")
    with pytest.raises(
        UserError, match=r"splits/pose_train\.txt: no such file.*or use source\.split=subject"
    ):
        published_lists(archive, "pose", where)


def test_the_beginning_of_the_names_chooses_among_the_lists_of_a_folder(tmp_path: Path) -> None:
    official(tmp_path)
    lists = read_lists(str(tmp_path / "splits" / "crossmodal"))
    assert {split: len(names) for split, names in lists.items()} == {"train": 4, "val": 1, "test": 1}
    with pytest.raises(UserError, match="unknown split"):
        read_lists(str(tmp_path / "splits" / "music"))


def test_an_extraction_uses_the_lists_and_accounts_for_every_sequence(tmp_path: Path, body: Path) -> None:
    root = official(write(tmp_path / "aist", *NAMES))
    (root / "ignore_list.txt").write_text(f"{NAMES[0]}\ngBR_sBM_cAll_d99_mBR0_ch01\n")
    run = Run(root, body, tmp_path / "out", source="aist", extra={"source": {"split": "pose"}})
    manifest = run.plain()
    assert {(c["split"], c["clips"]) for c in manifest["counts"]} == {("train", 2), ("val", 1), ("test", 2)}
    (row,) = pq.read_table(run.out / "rejected.parquet").to_pylist()
    assert (row["recording"], row["reason"]) == (NAMES[0], "ignored")
    assert "source.ignore=none" in row["detail"]
    card = (run.out / "README.md").read_text()
    assert "CC BY 4.0" in card
    assert "1 ignored" in card


def test_what_is_ignored_is_the_published_list_none_or_ones_own(tmp_path: Path) -> None:
    archive, where = ARCHIVES["aist"], place(write(tmp_path / "aist", *NAMES))
    assert read_ignored(archive, where, "published") == frozenset()
    listed = tmp_path / "aist" / "ignore_list.txt"
    listed.write_text(f"{NAMES[0]}\n")
    assert read_ignored(archive, where, "published") == {NAMES[0]}
    assert read_ignored(archive, where.folder("motions"), "published") == {NAMES[0]}
    assert read_ignored(archive, where, "none") == frozenset()
    assert read_ignored(ARCHIVES["amass"], where, "published") == frozenset()
    (tmp_path / "mine.txt").write_text(f"# poor\n{NAMES[1]}\n{NAMES[2]}\n")
    assert read_ignored(ARCHIVES["amass"], where, str(tmp_path / "mine.txt")) == {NAMES[1], NAMES[2]}
    with pytest.raises(UserError, match=r"source\.ignore '/nowhere': no such file"):
        read_ignored(archive, where, "/nowhere")


def test_a_real_sequence_stands_upright_and_at_a_dancers_height(shared: Path, body: Path) -> None:
    where = place(shared / "data" / "aist")
    (recording,) = discover(where)
    bodies = Bodies.load(body, gender="recorded")
    motion = MotionOptions(profile="flowmimic", min_frames=1)
    plan = Plan(
        ARCHIVES["aist"],
        where,
        bodies,
        BodyOptions(root=str(body)),
        motion,
        ("features", "joints", "poses"),
    )
    (clip,) = process(recording, plan)
    assert isinstance(clip, Clip)
    theirs = pickle.loads((shared / "data" / "aist" / recording.source).read_bytes())  # genuine
    assert clip.joints.shape == (360, 22, 3)
    assert (clip.style, recording.subject) == ("BR", "AIST/d04")
    # The pelvis moves as the file says, and the head is above it most of the time.
    moved = theirs["smpl_trans"][::2] / theirs["smpl_scaling"]
    np.testing.assert_allclose(clip.joints[:, 0] - clip.joints[0, 0], moved - moved[0], atol=1e-4)
    up = clip.joints[:, 15, 1] - clip.joints[:, 0, 1]
    assert np.median(up) > 0.3
    height = np.ptp(clip.joints[:, :, 1], axis=1)
    assert 1.2 < np.median(height) < 1.9
