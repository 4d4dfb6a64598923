from __future__ import annotations

import json
import os
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from mocap_ray.archives import ARCHIVES, find_archive
from mocap_ray.archives.amass import R_YUP_AMASS, discover, read
from mocap_ray.archives.selection import select
from mocap_ray.dataset.inspect import inspect
from mocap_ray.dataset.options import SourceOptions
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Motion, Reason
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import place
from tests.archives import rawzip, takes


def put(root: Path, source: str, take: dict[str, np.ndarray] | bytes) -> Path:
    path = root / source
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # overwriting it in place would change earlier views of it
    path.write_bytes(take if isinstance(take, bytes) else rawzip.npz(take))
    return path


def one(root: Path, take: dict[str, np.ndarray] | bytes, name: str = "CMU/01/01_01_poses", **options: float):
    put(root, f"{name}.npz", take)
    where = place(root)
    (recording,) = select(discover(where), include=[name], where="")
    return read(where, recording, **options)


def motion(root: Path, take: dict[str, np.ndarray] | bytes, **options: float) -> Motion:
    result = one(root, take, **options)
    assert isinstance(result, Motion), result.detail
    return result


def rejection(root: Path, take: dict[str, np.ndarray] | bytes, **options: float) -> Rejection:
    result = one(root, take, **options)
    assert isinstance(result, Rejection)
    return result


def without(take: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {k: v for k, v in take.items() if k not in names}


# --- formats, each against what numpy reads from the same bytes ---


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize(
    ("make", "family", "joints"),
    [(takes.smplh, "smplh", 52), (takes.stage_ii, "smplx", 55), (takes.smpl, "smpl", 24)],
)
def test_each_format_gives_the_values_that_numpy_gives(
    make, family, joints, deflate: bool, tmp_path: Path
) -> None:
    found = motion(tmp_path, rawzip.npz(make(), deflate=deflate))
    with np.load(tmp_path / "CMU/01/01_01_poses.npz") as oracle:
        assert found.family == family
        assert found.poses.shape == (takes.FRAMES, joints, 3)
        assert found.poses.dtype == oracle["poses"].dtype
        assert np.array_equal(found.poses.reshape(takes.FRAMES, -1), oracle["poses"])
        assert np.array_equal(found.trans, oracle["trans"])
        assert np.array_equal(found.betas, oracle["betas"].reshape(-1))
    assert not found.poses.flags.writeable


def test_stored_poses_are_not_copied(tmp_path: Path) -> None:
    assert not motion(tmp_path, takes.smplh()).poses.flags.owndata


def test_stage_ii_columns_are_the_parts_with_jaw_and_eyes_before_the_hands(tmp_path: Path) -> None:
    take = takes.stage_ii()
    whole = motion(tmp_path, take)
    parts = motion(tmp_path, without(take, "poses"))
    assert np.array_equal(whole.poses, parts.poses)
    for joints, name in (
        ((0, 1), "root_orient"),
        ((1, 22), "pose_body"),
        ((22, 23), "pose_jaw"),
        ((25, 55), "pose_hand"),
    ):
        assert np.array_equal(whole.poses[:, slice(*joints)].reshape(takes.FRAMES, -1), take[name])
    assert whole.fps == whole.source_fps == 120.0
    assert whole.gender == "neutral"


def test_missing_parts_stay_at_rest(tmp_path: Path) -> None:
    take = without(takes.stage_ii(), "poses", "pose_jaw", "pose_eye", "pose_hand")
    found = motion(tmp_path, take)
    assert found.family == "smplx"
    assert np.array_equal(found.poses[:, 1:22].reshape(-1, 63), take["pose_body"])
    assert not found.poses[:, 22:].any()
    assert motion(tmp_path, {**take, "surface_model_type": np.array("smplh")}).poses.shape[1] == 52


def test_of_162_columns_only_the_body_is_used(tmp_path: Path) -> None:
    take = takes.smplx_54()
    found = motion(tmp_path, take)
    assert found.family == "smplx"
    assert found.poses.shape == (takes.FRAMES, 55, 3)
    assert np.array_equal(found.poses[:, :22].reshape(-1, 66), take["poses"][:, :66])
    assert not found.poses[:, 22:].any()
    full = takes.stage_ii()
    both = motion(tmp_path, {**full, "poses": take["poses"]})
    assert np.array_equal(both.poses.reshape(-1, 165), full["poses"])  # the separate arrays are used


def test_formats_are_recognised_by_content_not_by_folder(tmp_path: Path) -> None:
    assert one(tmp_path, takes.smpl(), "SMPLX_N/s1/a_stageii").family == "smpl"
    assert one(tmp_path, takes.stage_ii(), "SMPLH/s1/a_poses").family == "smplx"


def test_poses_with_an_axis_for_the_joints_are_the_same(tmp_path: Path) -> None:
    take = takes.smplh()
    found = motion(tmp_path, {**take, "poses": take["poses"].reshape(-1, 52, 3)})
    assert np.array_equal(found.poses.reshape(-1, 156), take["poses"])


@pytest.mark.parametrize("dtype", [">f8", ">f4", "<f4", "<f2", "<f8"])
def test_numbers_become_native_float32_or_float64_of_the_same_value(dtype: str, tmp_path: Path) -> None:
    take = takes.smplh()
    take["poses"] = take["poses"].astype(dtype)
    take["trans"] = np.round(take["trans"] * 100).astype("<i4")
    found = motion(tmp_path, take)
    assert found.poses.dtype in (np.float32, np.float64)
    assert found.poses.dtype.isnative
    assert np.array_equal(found.poses.reshape(-1, 156), take["poses"])
    assert np.array_equal(found.trans, take["trans"])


def test_the_axes_turn_z_up_into_y_up() -> None:
    assert np.array_equal(R_YUP_AMASS @ (1, 2, 3), (-1, 3, 2))
    assert np.linalg.det(R_YUP_AMASS) == 1


def test_non_finite_numbers_are_left_to_the_quality_checks(tmp_path: Path) -> None:
    take = takes.smplh()
    take["poses"][3, 3] = np.nan
    assert np.isnan(motion(tmp_path, take).poses[3, 1, 0])


# --- the small members ---


@pytest.mark.parametrize(
    ("stored", "fps"),
    [(120.0000458, 120.0), (np.float32(59.94), 59.94), (29.97, 29.97), (60, 60.0), ([100.0], 100.0), (119.88, 119.88),
     (23.976, 23.976), (250, 250.0), (1.5, 1.5)],
)  # fmt: skip
@pytest.mark.parametrize("key", ["mocap_framerate", "mocap_frame_rate", "fps"])
def test_nearly_whole_frame_rates_are_rounded(key: str, stored, fps: float, tmp_path: Path) -> None:
    take = without(takes.smplh(), "mocap_framerate")
    assert motion(tmp_path, {**take, key: np.array(stored)}).fps == pytest.approx(
        fps, rel=1e-6 if fps % 1 else 0
    )


def test_the_frame_rate_of_the_config_takes_precedence(tmp_path: Path) -> None:
    for take in (
        takes.smplh(),
        without(takes.smplh(), "mocap_framerate"),
        {**takes.smplh(), "mocap_framerate": np.array(0)},
    ):
        found = motion(tmp_path, take, fps=50.0)
        assert found.fps == found.source_fps == 50.0
    for fps in (-1.0, 0.0, 1e-9, 1e9):
        with pytest.raises(UserError, match=r"source\.fps .*: expected 1 to 10,000 frames per second"):
            one(tmp_path, takes.smplh(), fps=fps)
        with pytest.raises(ValidationError, match="fps"):
            SourceOptions(root="archive", fps=fps)


@pytest.mark.parametrize("stored", [1e-9, 0.99, 10_001.0, -5.0, np.nan])
def test_frame_rates_out_of_bounds_are_a_bad_value(stored: float, tmp_path: Path) -> None:
    # 1e-9 fps asked for 340 GiB, because the number of frames to make follows from it.
    found = rejection(tmp_path, {**takes.smplh(), "mocap_framerate": np.array(stored)})
    assert found.reason == Reason.BAD_VALUE
    assert (
        "Expected 1 to 10,000 frames per second; pass source.fps in the config to override." in found.detail
    )


def _peak(root: Path, take: dict[str, np.ndarray]) -> tuple[Rejection, int]:
    """The rejection of a compressed file, and the memory that it took, bytes."""
    data = rawzip.npz(take, deflate=True)
    tracemalloc.start()
    try:
        return rejection(root, data), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_not_taken_for_frames_whose_poses_are_not_there(tmp_path: Path) -> None:
    take = without(takes.stage_ii(), "poses")
    found, peak = _peak(tmp_path, {**take, "trans": np.zeros((2_000_000, 3), np.int8)})
    assert found.reason == Reason.BAD_SHAPE
    assert "'root_orient' is (40, 3). Expected (2000000, 3)." in found.detail
    assert peak < 200e6  # the poses of 2 million frames take 2.6 GB


def test_memory_is_not_taken_for_numbers_that_grow_beyond_a_gigabyte(tmp_path: Path) -> None:
    found, peak = _peak(tmp_path, {**takes.smplh(), "trans": np.zeros((45_000_000, 3), np.int8)})
    assert found.reason == Reason.BAD_SHAPE
    assert "'trans' of (45000000, 3): more than 1 GiB as float64." in found.detail
    assert peak < 400e6  # 135 MB in the file


# --- pickles ---


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize(
    ("names", "what"),
    [
        (
            ("smpl_loss", "smpl_poses", "smpl_scaling", "smpl_trans"),
            "as AIST++ distributes them. It is not damaged",
        ),
        (("fullpose", "trans", "betas"), "as MoSh writes them. It is not damaged"),
        (("pose_est_fullposes", "pose_est_trans"), "as MoSh writes them. It is not damaged"),
        (("poses", "trans", "betas"), "a pickle of parameters of the SMPL family. It is not damaged"),
        (("v_template", "shapedirs"), "a pickle of a body model, no motion. It belongs below body.root"),
        (("a", "b"), "a pickle, and no motion of the SMPL family is found in it. Expected an .npz file"),
    ],
)
def test_a_pickle_is_called_what_it_is(
    names: tuple[str, ...], what: str, protocol: int, tmp_path: Path
) -> None:
    data = pickle.dumps({name: np.zeros((4, 72)).tolist() for name in names}, protocol=protocol)
    found = rejection(tmp_path, data)
    assert found.reason == Reason.UNREADABLE
    assert what in found.detail
    assert found.detail.endswith(".")
    assert "zip" not in found.detail
    assert "download" not in found.detail


def test_the_real_file_of_aist_is_called_what_it_is(shared: Path, tmp_path: Path) -> None:
    (path,) = (shared / "data" / "aist").glob("*.pkl")
    found = inspect(path, ARCHIVES["amass"]).rejections[0]
    assert "a pickle of SMPL parameters as AIST++ distributes them" in found.detail
    assert "Use the config aist, as in `mocap-ray extract aist`" in found.detail
    (tmp_path / "aist").mkdir()
    (tmp_path / "aist" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"no .npz file, but 1 pickle\. .*as AIST\+\+ distributes them"):
        discover(place(tmp_path / "aist"))


@pytest.mark.parametrize(
    ("stored", "gender"),
    [("male", "male"), (b"female", "female"), (["neutral"], "neutral"), ([[b"Male"]], "male"), ("b'female'", "female"),
     ("FEMALE ", "female"), ("f", "female"), ("", "unknown"), ("other", "unknown"), (1, "unknown"),
     (b"\xff", "unknown"),
     (["male", "female"], "unknown"), ("x" * 1000, "unknown")],
)  # fmt: skip
def test_gender_is_read_in_every_spelling(stored, gender: str, tmp_path: Path) -> None:
    assert motion(tmp_path, {**takes.smplh(), "gender": np.array(stored)}).gender == gender


def test_a_missing_or_pickled_gender_is_unknown_and_not_a_rejection(tmp_path: Path) -> None:
    assert motion(tmp_path, without(takes.smplh(), "gender")).gender == "unknown"
    text = "{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    pickled = rawzip.npy(np.zeros(0), text=text, payload=pickle.dumps("male"))
    parts = {k: rawzip.npy(v) for k, v in takes.smplh().items()} | {"gender": pickled}
    assert (
        motion(tmp_path, rawzip.archive(rawzip.Part(f"{k}.npy", v) for k, v in parts.items())).gender
        == "unknown"
    )
    parts["betas"] = pickled
    found = rejection(tmp_path, rawzip.archive(rawzip.Part(f"{k}.npy", v) for k, v in parts.items()))
    assert found.reason == Reason.UNSAFE
    assert "'betas' holds pickled objects" in found.detail


@pytest.mark.parametrize(
    ("make", "stored", "num_betas", "kept"),
    [(takes.smplh, 10, None, 10), (takes.smplh, 16, None, 16), (takes.smplh, 20, None, 20),
     (takes.smplh, 300, None, 300),
     (takes.stage_ii, 10, None, 10), (takes.stage_ii, 16, None, 16), (takes.stage_ii, 20, None, 10),
     (takes.stage_ii, 20, 20, 20), (takes.stage_ii, 300, None, 300), (takes.stage_ii, 400, None, 300),
     (takes.stage_ii, 400, 16, 16), (takes.stage_ii, 16, 99, 16), (takes.stage_ii, 16, 0, 16),
     (takes.smpl, 10, None, 10)],
)  # fmt: skip
@pytest.mark.parametrize("rows", [False, True])
def test_only_shape_coefficients_are_kept(
    make, stored: int, num_betas: int | None, kept: int, rows: bool, tmp_path: Path
) -> None:
    take = without(make(), "num_betas")
    betas = np.random.default_rng(0).normal(size=stored)
    take["betas"] = np.tile(betas, (3, 1)) if rows else betas
    if num_betas is not None:
        take["num_betas"] = np.array(num_betas)
    assert np.array_equal(motion(tmp_path, take).betas, betas[:kept])


def test_a_file_without_betas_has_the_mean_shape(tmp_path: Path) -> None:
    assert motion(tmp_path, without(takes.smplh(), "betas")).betas.shape == (0,)


# --- files without motion ---


def test_a_missing_key_is_rejected_and_the_existing_keys_are_listed(tmp_path: Path) -> None:
    take = {k: takes.smplh()[k] for k in ("poses", "trans", "betas")}
    found = rejection(tmp_path, take)
    assert found.reason == Reason.MISSING_KEYS
    assert found.detail == (
        "CMU/01/01_01_poses.npz: no 'mocap_framerate' (keys: betas, poses, trans). Expected an AMASS SMPL+H file; "
        "pass source.fps in the config to override."
    )
    found = rejection(tmp_path, without(takes.smplh(), "poses"))
    assert found.detail == (
        "CMU/01/01_01_poses.npz: no 'poses' (keys: betas, dmpls, gender, mocap_framerate, trans). Expected an AMASS "
        "SMPL+H, SMPL-X or SMPL file."
    )


@pytest.mark.parametrize(
    "keys",
    [
        ("dmpls",),
        ("dmpls", "gender", "mocap_framerate"),
        ("betas", "gender"),
        ("betas", "markers_latent", "num_betas"),
    ],
)
def test_files_of_other_kinds_are_recognised_by_their_keys(keys: tuple[str, ...], tmp_path: Path) -> None:
    take = {**takes.smplh(), **takes.stage_ii()}
    assert rejection(tmp_path, {k: take[k] for k in keys}).reason == Reason.NOT_MOTION


def test_shape_and_stage_i_files_are_recognised_by_their_names(tmp_path: Path) -> None:
    for name in ("CMU/01/shape", "CNRS/283/neutral_stagei"):
        assert one(tmp_path, b"never opened", name).reason == Reason.NOT_MOTION


def test_no_frames_are_too_short_and_different_lengths_are_a_bad_shape(tmp_path: Path) -> None:
    take = takes.smplh()
    assert (
        rejection(tmp_path, {**take, "poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}).reason
        == Reason.TOO_SHORT
    )
    found = rejection(tmp_path, {**take, "trans": take["trans"][1:]})
    assert found.reason == Reason.BAD_SHAPE
    assert "'trans' is (39, 3) where the poses have 40 frames. Expected (40, 3)." in found.detail
    assert motion(tmp_path, takes.smplh(1)).poses.shape == (1, 52, 3)


def test_an_io_error_is_never_a_rejection(tmp_path: Path) -> None:
    put(tmp_path, "CMU/01/a_poses.npz", takes.smplh())
    (recording,) = discover(place(tmp_path))
    with pytest.raises(FileNotFoundError):
        read(place(tmp_path), replace(recording, source="CMU/01/gone.npz"))
    with pytest.raises(OSError, match="Run again"):
        read(place(tmp_path), replace(recording, size=recording.size + 1))


# --- listing ---


def test_discovery_lists_every_npz_sorted_with_its_names(tmp_path: Path) -> None:
    for source in ("KIT/3/b_poses.npz", "CMU/01/a b_poses.npz", "CMU/01/deep/er/x.npz", "SFU/0005_walk_poses.npz",
                   "CMU/01/notes.txt", "CMU/.cache/x.npz", "CMU/01/._a_poses.npz",
                   "ACCAD/Female1Walking_c3d/B3_poses.npz",
                   "ACCAD/Female1General_c3d/A1_poses.npz"):  # fmt: skip
        put(tmp_path, source, b"never opened")
    found = discover(place(tmp_path))
    assert [(r.dataset, r.name, r.subject) for r in found] == [
        ("ACCAD", "ACCAD/Female1General_c3d/A1_poses", "ACCAD/Female1"),
        ("ACCAD", "ACCAD/Female1Walking_c3d/B3_poses", "ACCAD/Female1"),
        ("CMU", "CMU/01/a b_poses", "CMU/01"),
        ("CMU", "CMU/01/deep/er/x", "CMU/01"),
        ("KIT", "KIT/3/b_poses", "KIT/3"),
        ("SFU", "SFU/0005_walk_poses", "SFU/0005"),
    ]
    assert all(r.source == f"{r.name}.npz" and r.size == 12 for r in found)


def test_the_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = put(tmp_path, "CMU/01/a_poses.npz", b"x")
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    assert discover(place(tmp_path))[0].fingerprint == "1700000000123456789"
    os.utime(path, ns=(1, 1_700_000_000_123_456_790))
    assert discover(place(tmp_path))[0].fingerprint == "1700000000123456790"


def test_the_folder_of_one_sub_dataset_gives_the_same_names_as_the_archive(tmp_path: Path) -> None:
    put(tmp_path, "CMU/01/01_01_poses.npz", takes.smplh())
    (whole,) = discover(place(tmp_path))
    (part,) = discover(place(tmp_path / "CMU"), dataset="CMU")
    assert (part.dataset, part.name, part.subject) == (whole.dataset, whole.name, whole.subject)
    assert isinstance(read(place(tmp_path / "CMU"), part), Motion)
    (flat,) = discover(place(tmp_path / "CMU" / "01"))
    assert flat.name == "01/01_01_poses"
    with pytest.raises(ValueError, match="plain name of a sub-dataset"):
        discover(place(tmp_path), dataset="a/b")


def test_a_root_without_recordings_says_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        discover(place(tmp_path / "none"))
    with pytest.raises(ValueError, match="it is empty"):
        discover(place(tmp_path))
    (tmp_path / "a.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no .npz file, but 1 pickle. a.pkl: not a pickle either"):
        discover(place(tmp_path))
    (tmp_path / "a.pkl").rename(tmp_path / "a.bvh")
    with pytest.raises(ValueError, match=r"no .npz file \(1 .bvh\). Expected AMASS files; register at amass"):
        discover(place(tmp_path))
    with pytest.raises(ValueError, match=r"is a file\. Expected the folder"):
        discover(place(tmp_path / "a.bvh"))
    (tmp_path / "CMU.tar.bz2").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 packed archive. Unpack first: tar -xf CMU.tar.bz2"):
        discover(place(tmp_path))


# --- the table, and real takes ---


@pytest.mark.parametrize("archive", ARCHIVES.values(), ids=ARCHIVES)
def test_every_archive_of_the_table_is_complete_and_can_be_sent_to_workers(archive) -> None:
    assert find_archive(archive.name) is archive
    assert pickle.loads(pickle.dumps(archive)) == archive
    assert all((archive.title, archive.licence, archive.citation, archive.register))
    assert archive.url.startswith("https://")


def test_the_error_for_an_unknown_archive_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="Expected one of amass"):
        find_archive("amas")
    assert find_archive("mocap_ray.archives.amass:ARCHIVE") is ARCHIVES["amass"]
    with pytest.raises(ValueError, match="importable"):
        find_archive("mocap_ray.archives.amass:NONE")
    with pytest.raises(
        ValueError, match=r"is of type function\. Expected a mocap_ray\.archives\.archive\.Archive"
    ):
        find_archive("mocap_ray.archives.amass:read")


def test_the_real_takes_have_the_values_that_numpy_reads(shared: Path) -> None:
    counts = []
    for folder in ("amass", "amass_suspect"):
        root = shared / "data" / folder
        recordings = discover(place(root))
        counts.append(len(recordings))
        for recording in recordings:
            assert isinstance(recording, Recording)
            found = read(place(root), recording)
            assert isinstance(found, Motion)
            with np.load(root / recording.source) as oracle:
                assert np.array_equal(found.poses.reshape(len(found.poses), -1), oracle["poses"])
                assert np.array_equal(found.trans, oracle["trans"])
                assert np.array_equal(found.betas, oracle["betas"])
                assert found.fps == float(oracle["mocap_framerate"])
                assert found.gender == str(oracle["gender"])
    assert counts == [93, 2]
    listed = json.loads((shared / "data" / "amass" / "clips.json").read_text())
    assert {r["file"] for r in listed} == {r.source for r in discover(place(shared / "data" / "amass"))}
