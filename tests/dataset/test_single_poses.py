"""Data sets of single poses: from the two layouts of files to rows, rejections, and a run that resumes."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mocap_ray
from mocap_ray.archives.splits import split_of
from mocap_ray.dataset.poses import PoseRows, read_poses
from mocap_ray.dataset.views import DataSetError
from mocap_ray.errors import UserError
from mocap_ray.shards.running import RunFailed
from tests.dataset import made
from tests.dataset.pose_files import angles, extract, humandata, plain, smplx, with_pickle
from tests.test_pickles import BOMBS, CODE, MALICIOUS

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


def rows(out: Path) -> pa.Table:
    return pa.concat_tables(mocap_ray.open_poses(out).tables())


def poses_of(table: pa.Table) -> np.ndarray:
    return np.asarray(table["poses"].combine_chunks().flatten()).reshape(-1, 55, 3)


def rejected(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "rejected.parquet").to_pylist()
    return found


def only(out: Path) -> tuple[str, str]:
    (row,) = rejected(out)
    return row["reason"], row["detail"]


def files(out: Path) -> dict[str, str]:
    return {
        str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.relative_to(out).parts[0] not in ("_runs", ".lock")
    }


def a_good_one_beside(root: Path, name: str = "train_good.npz") -> None:
    """A run in which every file is rejected fails."""
    humandata(root / name)


# Plain arrays.


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    ("joints", "filled", "family"),
    [
        (55, [*range(55)], "smplx"),
        (53, [*range(23), *range(25, 55)], "smplx"),
        (52, [*range(22), *range(25, 55)], "smplh"),
        (22, [*range(22)], "unknown"),
        (21, [*range(1, 22)], "unknown"),
    ],
)
def test_an_array_of_poses_lands_in_the_55_joints(
    tmp_path: Path, joints: int, filled: list[int], family: str, flat: bool
) -> None:
    written = angles(7, 3 * joints)
    shaped = written if flat else written.reshape(7, joints, 3)
    np.savez(tmp_path / "train_poses.npz", anything=shaped)  # the only array needs no name
    extract(tmp_path / "train_poses.npz", tmp_path / "out")
    table = rows(tmp_path / "out")
    expected = np.zeros((7, 55, 3), np.float32)
    expected[:, filled] = written.reshape(7, joints, 3)
    np.testing.assert_array_equal(poses_of(table), expected)
    assert table["row"].to_pylist() == [*range(7)]
    assert set(table["family"].to_pylist()) == {family}
    for part, joint in (("root", 0), ("jaw", 22), ("eyes", 23), ("left_hand", 25), ("right_hand", 40)):
        assert table[f"has_{part}"].to_pylist() == [joint in filled] * 7


@pytest.mark.parametrize("hands", [("lhand_pose", "rhand_pose"), ("left_hand_pose", "right_hand_pose")])
def test_parts_as_arrays_of_their_own(tmp_path: Path, hands: tuple[str, str]) -> None:
    parts: dict[str, Any] = {
        "global_orient": angles(5, 3),
        "body_pose": angles(5, 63).reshape(5, 21, 3),
        "jaw_pose": angles(5, 3, seed=1),
        hands[0]: angles(5, 45),
        hands[1]: angles(5, 45, seed=1).reshape(5, 15, 3),
    }
    np.savez(tmp_path / "val_poses.npz", gender="f", betas=np.arange(10.0), **parts)
    extract(tmp_path, tmp_path.parent / f"{tmp_path.name}_out")
    table = rows(tmp_path.parent / f"{tmp_path.name}_out")
    found = poses_of(table)
    for key, joints in zip(parts, ([0], range(1, 22), [22], range(25, 40), range(40, 55)), strict=True):
        np.testing.assert_array_equal(found[:, list(joints)], parts[key].reshape(5, -1, 3))
    assert not found[:, 23:25].any()
    assert set(table["gender"].to_pylist()) == {"female"}
    assert table["betas"].to_pylist() == [[float(k) for k in range(10)]] * 5


def test_names_of_files_say_the_split_and_several_files_may_be_given(tmp_path: Path) -> None:
    paths = [plain(tmp_path / name / f"{name}_poses.npz", seed=k) for k, name in enumerate(("train", "val"))]
    extract(paths, tmp_path / "out")
    source = mocap_ray.open_poses(tmp_path / "out")
    assert source.splits == ("train", "val")
    assert source.datasets == ("train", "val")
    assert len(source) == 80
    assert read_poses(tmp_path / "out", split="val").clip_ids == ["val/val_poses"]
    index = source.index
    assert (index["split"].to_pylist(), index["row"].to_pylist()) == (
        ["train"] * 40 + ["val"] * 40,
        [*range(40), *range(40)],
    )
    assert index.num_rows == 80
    assert not {"poses", "betas"} & set(index.column_names)


def test_a_file_that_says_nothing_is_for_training_with_a_note(tmp_path: Path) -> None:
    from mocap_ray.dataset.single.build import prepare
    from mocap_ray.dataset.single.options import PoseOutputOptions, PoseSourceOptions

    plain(tmp_path / "in" / "poses.npz")
    source = PoseSourceOptions(root=str(tmp_path / "in"))
    build = prepare(source, PoseOutputOptions(root=str(tmp_path / "out")))
    assert [s.group for s in build.shards] == [("in", "train")]
    assert "neither the name nor the content says a split" in build.notes[0]


def test_lists_give_files_their_splits_and_leave_others_out(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        plain(tmp_path / "in" / f"{name}.npz")
    lists = {"train": ["in/a"], "val": ["in/b.npz"]}
    made = extract(tmp_path / "in", tmp_path / "out", split="lists.yaml", lists=lists)
    assert {(c["split"], c["files"]) for c in made.manifest["counts"]} == {("train", 1), ("val", 1)}


def test_subjects_of_a_plain_file_divide_it_by_their_hash(tmp_path: Path) -> None:
    who = [f"p{k % 30}" for k in range(300)]
    plain(tmp_path / "in" / "all.npz", count=300, subject=np.array(who))
    extract(tmp_path / "in", tmp_path / "out")
    source = mocap_ray.open_poses(tmp_path / "out")
    seen = []
    for split in source.splits:
        for table in source.tables(split=split):
            for row, subject in zip(table["row"].to_pylist(), table["subject"].to_pylist(), strict=True):
                assert subject == f"in/{who[row]}"
                assert split == split_of(subject, FRACTIONS)
                seen.append(row)
    assert sorted(seen) == [*range(300)]
    assert set(source.splits) == {"train", "val", "test"}
    # Frames of a subject are alike: they count as one where clips of motion would.
    assert len(read_poses(tmp_path / "out", split="train").clip_ids) < 30


@pytest.mark.parametrize(
    ("arrays", "reason", "said"),
    [
        ({"poses": np.zeros((4, 54, 3))}, "bad_shape", r"\(4, 54, 3\).*J of 55, 53, 52, 22, 21"),
        ({"poses": np.zeros((0, 165))}, "bad_shape", "Expected"),
        ({"poses": np.zeros((4, 55, 3, 3))}, "bad_shape", "axis-angle in rad"),
        ({"poses": np.array(["x"] * 4)}, "bad_shape", "float32"),
        ({"a": np.zeros((4, 165)), "b": np.zeros(3)}, "missing_keys", "no 'poses' and no 'body_pose'"),
        ({"body_pose": np.zeros((4, 69))}, "bad_shape", "'body_pose' is .4, 69."),
        ({"body_pose": np.ones((4, 63)), "jaw_pose": np.ones((3, 3))}, "bad_shape", "'jaw_pose'"),
        ({"body_pose": np.ones((4, 63)), "lhand_pose": np.ones((4, 12))}, "hand_convention", "12 principal"),
        ({"poses": np.ones((4, 165)), "subject": np.array(["a"])}, "bad_shape", "'subject'.*4 texts"),
        ({"poses": np.array([{}], dtype=object)}, "unsafe", "pickled objects"),
        ({"smplx": np.array({}, dtype=object), "poses_": np.ones(3)}, "missing_keys", "extract humandata"),
        ({"poses": np.full((4, 165), np.nan)}, "not_finite", "all its 4 poses"),
        ({"poses": np.full((4, 165), 90.0)}, "bad_value", "turns by 156 rad"),
    ],
)
def test_plain_files_that_cannot_be_used(
    tmp_path: Path, arrays: dict[str, Any], reason: str, said: str
) -> None:
    plain(tmp_path / "in" / "train_good.npz")
    np.savez(tmp_path / "in" / "train_bad.npz", **arrays)
    extract(tmp_path / "in", tmp_path / "out")
    import re

    found, detail = only(tmp_path / "out")
    assert found == reason
    assert re.search(said, detail), detail
    assert detail.startswith("train_bad.npz: ")


def test_rows_that_cannot_be_used_are_rejected_by_number(tmp_path: Path) -> None:
    poses = angles(6, 165)
    poses[2, 5] = np.nan
    poses[4, 3:6] = (0, 90, 0)
    plain(tmp_path / "in" / "train.npz", poses=poses)
    made = extract(tmp_path / "in", tmp_path / "out")
    assert [(r["row"], r["reason"]) for r in rejected(tmp_path / "out")] == [
        (2, "not_finite"),
        (4, "bad_value"),
    ]
    assert made.manifest["totals"]["rejected"] == {"bad_value": 1, "not_finite": 1}
    assert rows(tmp_path / "out")["row"].to_pylist() == [0, 1, 3, 5]
    assert "left_hip turns by 90 rad" in rejected(tmp_path / "out")[1]["detail"]


# HumanData.


def test_a_humandata_file_becomes_rows(tmp_path: Path) -> None:
    values = smplx()
    humandata(tmp_path / "in" / "synhand_train_2024.npz", values)
    extract(tmp_path / "in", tmp_path / "out", archive="humandata")
    table = rows(tmp_path / "out")
    expected = np.zeros((12, 55, 3), np.float32)
    for joints, key in (
        (slice(0, 1), "global_orient"),
        (slice(1, 22), "body_pose"),
        (slice(22, 23), "jaw_pose"),
        (slice(25, 40), "left_hand_pose"),
        (slice(40, 55), "right_hand_pose"),
    ):
        expected[:, joints] = values[key].reshape(12, -1, 3)
    np.testing.assert_array_equal(poses_of(table), expected)
    assert table["gender"].to_pylist() == ["female", "male"] * 6
    assert table["subject"].to_pylist() == [f"in/s{k % 5}" for k in range(12)]
    np.testing.assert_array_equal(np.array(table["betas"].to_pylist(), np.float32), values["betas"])
    assert set(table["family"].to_pylist()) == {"smplx"}
    assert not any(table["has_eyes"].to_pylist())  # zeros
    assert all(table["has_jaw"].to_pylist())
    assert table.schema.field("poses").type == pa.list_(pa.float32(), 165)


def test_sequences_divide_a_file_whose_name_says_no_split(tmp_path: Path) -> None:
    images = [f"seq{k % 40}/{k}.png" for k in range(400)]
    humandata(tmp_path / "in" / "ubody.npz", smplx(400), images=images)
    made = extract(tmp_path / "in", tmp_path / "out", archive="humandata")
    totals = made.manifest["totals"]
    assert (totals["poses"], totals["files"]) == (400, 3)  # a part in each split
    source = mocap_ray.open_poses(tmp_path / "out")
    for split in source.splits:
        for table in source.tables(split=split):
            assert {split_of(s, FRACTIONS) for s in table["subject"].to_pylist()} == {split}
    by_split = {
        s: {w for t in source.tables(split=s) for w in t["subject"].to_pylist()} for s in source.splits
    }
    assert sum(map(len, by_split.values())) == 40


def test_a_split_without_a_sequence_is_no_loss(tmp_path: Path) -> None:
    humandata(tmp_path / "in" / "one.npz", images=["a/x.png"] * 12)
    made = extract(tmp_path / "in", tmp_path / "out", archive="humandata", strict=True)
    assert made.manifest["totals"]["poses"] == 12
    assert made.manifest["totals"]["rejected"] == {"other_split": 2}


def test_parts_that_are_zero_or_none_are_not_given(tmp_path: Path) -> None:
    values = smplx()
    values["left_hand_pose"][3] = 0
    values["right_hand_pose"] = None
    values["expression"] = None
    humandata(tmp_path / "in" / "train.npz", values)
    made = extract(tmp_path / "in", tmp_path / "out", archive="humandata")
    table = rows(tmp_path / "out")
    assert [k for k, has in enumerate(table["has_left_hand"].to_pylist()) if not has] == [3]
    assert not any(table["has_right_hand"].to_pylist())
    assert not any(table["has_jaw"].to_pylist())
    assert not poses_of(table)[:, 22].any()
    counts = {name: made.manifest["totals"][name] for name in ("root", "jaw", "left_hand", "right_hand")}
    assert counts == {"root": 12, "jaw": 0, "left_hand": 11, "right_hand": 0}


def test_smpl_has_no_hands_and_its_own_two_joints_are_left_out(tmp_path: Path) -> None:
    values = {"global_orient": angles(12, 3), "body_pose": angles(12, 69), "betas": angles(12, 10)}
    humandata(tmp_path / "in" / "train.npz", values, family="smpl", misc={})
    extract(tmp_path / "in", tmp_path / "out", archive="humandata")
    table = rows(tmp_path / "out")
    np.testing.assert_array_equal(poses_of(table)[:, 1:22], values["body_pose"][:, :63].reshape(12, 21, 3))
    assert not poses_of(table)[:, 22:].any()
    assert set(table["family"].to_pylist()) == {"smpl"}


def hand_model(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A file with the hands of a body model; returns the mean and the components of the left one."""
    mean, components = angles(1, 45, seed=8)[0].astype(np.float64), np.linalg.qr(angles(45, 45, seed=9))[0]
    np.savez(
        path, hands_meanl=mean, hands_meanr=-mean, hands_componentsl=components, hands_componentsr=-components
    )
    return mean, components.astype(np.float64)


def test_hands_that_count_from_the_mean_hand_are_brought_to_the_flat_one(tmp_path: Path) -> None:
    mean, _ = hand_model(tmp_path / "SMPLX_NEUTRAL.npz")
    values = smplx()
    values["left_hand_pose"][5] = 0  # the mean hand: not given
    humandata(tmp_path / "in" / "train.npz", values, misc={"flat_hand_mean": False})
    model = str(tmp_path / "SMPLX_NEUTRAL.npz")
    extract(tmp_path / "in", tmp_path / "out", archive="humandata", hand_model=model)
    found = poses_of(rows(tmp_path / "out")).reshape(12, 165)
    stored = values["left_hand_pose"].reshape(12, 45)
    np.testing.assert_allclose(found[0, 75:120], stored[0] + mean, atol=1e-6)
    np.testing.assert_allclose(found[0, 120:], values["right_hand_pose"].reshape(12, 45)[0] - mean, atol=1e-6)
    assert not found[5, 75:120].any()
    assert rows(tmp_path / "out")["has_left_hand"].to_pylist().count(False) == 1


def test_a_flat_hand_that_equals_the_mean_hand_is_not_given(tmp_path: Path) -> None:
    mean, _ = hand_model(tmp_path / "m.npz")
    values = smplx()
    values["left_hand_pose"][7] = mean.reshape(15, 3)
    humandata(tmp_path / "in" / "train.npz", values)
    extract(tmp_path / "in", tmp_path / "out", archive="humandata", hand_model=str(tmp_path / "m.npz"))
    given = rows(tmp_path / "out")["has_left_hand"].to_pylist()
    assert [k for k, has in enumerate(given) if not has] == [7]


def test_principal_components_are_expanded_by_the_model(tmp_path: Path) -> None:
    mean, components = hand_model(tmp_path / "m.npz")
    values = smplx()
    values["left_hand_pose"] = values["right_hand_pose"] = angles(12, 6)
    humandata(tmp_path / "in" / "train.npz", values, misc={"flat_hand_mean": False})
    extract(tmp_path / "in", tmp_path / "out", archive="humandata", hand_model=str(tmp_path / "m.npz"))
    found = poses_of(rows(tmp_path / "out")).reshape(12, 165)
    expected = np.stack([mean + sum(c * components[k] for k, c in enumerate(row)) for row in angles(12, 6)])
    np.testing.assert_allclose(found[:, 75:120], expected, atol=1e-6)
    np.testing.assert_allclose(found[:, 120:], -expected, atol=1e-6)


@pytest.mark.parametrize(
    ("misc", "columns", "said"),
    [
        ({}, 45, "misc.flat_hand_mean"),
        ({"flat_hand_mean": False}, 45, "Set source.hand_model"),
        ({"flat_hand_mean": True}, 12, "12 principal components"),
    ],
)
def test_hands_of_unknown_convention_are_rejected_and_not_guessed(
    tmp_path: Path, misc: dict[str, Any], columns: int, said: str
) -> None:
    values = smplx()
    values["left_hand_pose"] = angles(12, columns)
    humandata(tmp_path / "in" / "train_bad.npz", values, misc=misc)
    a_good_one_beside(tmp_path / "in")
    extract(tmp_path / "in", tmp_path / "out", archive="humandata")
    reason, detail = only(tmp_path / "out")
    assert reason == "hand_convention"
    assert said in detail


def test_the_config_says_what_a_file_does_not(tmp_path: Path) -> None:
    humandata(tmp_path / "in" / "train.npz", misc={})
    made = extract(tmp_path / "in", tmp_path / "out", archive="humandata", flat_hand_mean=True)
    assert made.manifest["totals"]["left_hand"] == 12


def test_instances_that_the_file_marks_and_children_are_left_out(tmp_path: Path) -> None:
    values = smplx()
    values["betas_extra"] = np.zeros((12, 1), np.float32)
    values["betas_extra"][1] = 0.4
    values["betas_neutral"] = angles(12, 11, seed=3)
    meta = {
        "annot_valid": [True] * 3 + [False] + [True] * 8,
        "valid_label": np.array([2] * 5 + [0] + [1] * 6),
        "iscrowd": [False] * 7 + [True] + [False] * 4,
        "num_keypoints": [17] * 9 + [0, 17, 17],
    }
    humandata(tmp_path / "in" / "train.npz", values, meta=meta)
    made = extract(tmp_path / "in", tmp_path / "out", archive="humandata", strict=True)  # they are no faults
    assert [(r["row"], r["reason"]) for r in rejected(tmp_path / "out")] == [
        (1, "child"),
        (3, "annotation"),
        (5, "annotation"),
        (7, "annotation"),
        (9, "annotation"),
    ]
    assert made.manifest["totals"]["rejected"] == {"annotation": 4, "child": 1}
    table = rows(tmp_path / "out")
    np.testing.assert_array_equal(table["betas"][0].as_py(), values["betas_neutral"][0])
    assert set(table["gender"].to_pylist()) == {"unknown"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.pop("body_pose"), "no 'body_pose'"),
        (lambda v: v.update(body_pose=np.zeros((12, 21, 3, 3))), "'body_pose' is"),
        (lambda v: v.update(body_pose=np.zeros((0, 63))), "'body_pose' is|0 instances"),
        (lambda v: v.update(jaw_pose=np.zeros((11, 3))), "'jaw_pose' is"),
        (lambda v: v.update(betas=np.zeros(10)), "'betas' is"),
        (lambda v: v.update(betas_extra=["x"] * 12), "'betas_extra'"),
        (lambda v: v.update(left_hand_pose=np.zeros((12, 15, 3, 3)) + 1), "'left_hand_pose' is"),
        (lambda v: v.update(left_hand_pose=np.ones((5, 45))), "Expected 12 rows"),
        (lambda v: v.update(global_orient="up"), "'global_orient' is a str"),
    ],
)
def test_dictionaries_that_cannot_be_used(tmp_path: Path, change: Any, said: str) -> None:
    import re

    values = smplx()
    path = humandata(tmp_path / "in" / "train_bad.npz", values)
    change(values)
    with_pickle(path, "smplx", pickle.dumps(np.array(values, dtype=object)))
    a_good_one_beside(tmp_path / "in")
    extract(tmp_path / "in", tmp_path / "out", archive="humandata")
    reason, detail = only(tmp_path / "out")
    assert reason in ("missing_keys", "bad_shape")
    assert re.search(said, detail), detail


@pytest.mark.parametrize("key", ["smplx", "meta", "misc", "image_path"])
@pytest.mark.parametrize("name", ["os.system", "eval", "getattr"])
def test_a_hostile_dictionary_is_named_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data, named = MALICIOUS[name]
    with_pickle(humandata(tmp_path / "in" / "train_bad.npz"), key, data)
    a_good_one_beside(tmp_path / "in")
    extract(tmp_path / "in", tmp_path / "out", archive="humandata")
    reason, detail = only(tmp_path / "out")
    assert reason == "unsafe"
    assert named in detail
    assert not (tmp_path / "SENTINEL").exists()
    assert "SENTINEL" in CODE


@pytest.mark.parametrize("name", [name for name in BOMBS if "persistent" not in name])
def test_a_bomb_in_a_dictionary_is_a_rejection(tmp_path: Path, name: str) -> None:
    with_pickle(humandata(tmp_path / "in" / "train_bad.npz"), "smplx", BOMBS[name])
    a_good_one_beside(tmp_path / "in")
    extract(tmp_path / "in", tmp_path / "out", archive="humandata")
    assert only(tmp_path / "out")[0] in ("unreadable", "unsafe")


def test_a_pickle_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    from mocap_ray.npz import NpzError, open_npz
    from mocap_ray.storage import place

    humandata(tmp_path / "a.npz")
    with open_npz(place(tmp_path), "a.npz") as file:
        assert isinstance(file.pickled("smplx"), bytes)
        assert file.pickled("bbox_xywh") is None
        with pytest.raises(NpzError, match="Expected at most 1 kB; split the file"):
            file.pickled("smplx", most=1000)
        with pytest.raises(NpzError, match="pickled objects"):
            file.read("smplx")


def test_the_files_of_the_estimator(tmp_path: Path, shared: Path) -> None:
    root = shared / "estimator" / "hd_data" / "annot"
    made = extract(root, tmp_path / "out", archive="humandata", split="none")
    assert made.manifest["totals"]["poses"] == 12
    assert made.manifest["totals"]["rejected"] == {}
    table = rows(tmp_path / "out")
    source = table["source"][0].as_py()
    original = np.load(root / source, allow_pickle=True)["smplx"].item()
    found = poses_of(table)[:6]
    np.testing.assert_array_equal(found[:, 0], original["global_orient"])
    np.testing.assert_array_equal(found[:, 1:22], original["body_pose"])
    np.testing.assert_allclose(found[:, 25:40], original["left_hand_pose"], atol=1e-7)
    assert set(table["subject"].to_pylist()) == {"annot/seq"}


# A run.


def test_a_run_resumes_and_takes_new_files_in(tmp_path: Path) -> None:
    for k in range(4):
        plain(tmp_path / "in" / f"train_{k}.npz", seed=k)
    first = extract(tmp_path / "in", tmp_path / "out", shard_mb=1e-3)
    assert first.made == 4
    bytes_of_first = files(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    lost = next((tmp_path / "out" / "poses").rglob("*.parquet"))
    lost.unlink()
    again = extract(tmp_path / "in", tmp_path / "out", shard_mb=1e-3)
    assert (again.made, again.kept) == (1, 3)
    assert files(tmp_path / "out") == bytes_of_first
    plain(tmp_path / "in" / "val_4.npz", seed=4)
    more = extract(tmp_path / "in", tmp_path / "out", shard_mb=1e-3)
    assert (more.made, more.kept) == (1, 4)
    fresh = extract(tmp_path / "in", tmp_path / "fresh", shard_mb=1e-3)
    assert fresh.made == 5
    assert files(tmp_path / "fresh") == files(tmp_path / "out")


def test_files_that_are_gone_and_another_recipe_are_refused(tmp_path: Path) -> None:
    for k in range(2):
        plain(tmp_path / "in" / f"train_{k}.npz", seed=k)
    extract(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UserError, match=r"split: was 'name', is now 'none'"):
        extract(tmp_path / "in", tmp_path / "out", split="none")
    (tmp_path / "in" / "train_0.npz").unlink()
    with pytest.raises(UserError, match=r"holds 1 file that .* no longer has \(first: in/train_0\)"):
        extract(tmp_path / "in", tmp_path / "out")
    assert extract(tmp_path / "in", tmp_path / "out", prune=True).manifest["totals"]["files"] == 1


def test_a_damaged_file_is_a_rejection_and_strict_fails(tmp_path: Path) -> None:
    plain(tmp_path / "in" / "train.npz")
    (tmp_path / "in" / "other.npz").write_bytes(b"no zip")
    extract(tmp_path / "in", tmp_path / "out")
    assert only(tmp_path / "out")[0] == "unreadable"
    with pytest.raises(RunFailed, match="unreadable"):
        extract(tmp_path / "in", tmp_path / "strict", strict=True)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"hand_model": "nowhere/SMPLX.npz"}, "no such file"),
        ({"split": "nowhere"}, "unknown split"),
        ({"archive": "amass"}, "No format of poses 'amass'"),
        ({"include": ("nothing",)}, "select none of 1 recording"),
    ],
)
def test_configs_that_cannot_be_used(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    plain(tmp_path / "in" / "train.npz")
    with pytest.raises(UserError, match=said):
        extract(tmp_path / "in", tmp_path / "out", **keys)


def test_a_list_of_roots_names_files(tmp_path: Path) -> None:
    path = plain(tmp_path / "in" / "train.npz")
    with pytest.raises(UserError, match=r"is no \.npz file"):
        extract([path, tmp_path / "in" / "absent.npz"], tmp_path / "out")
    with pytest.raises(UserError, match="named twice"):
        extract([path, path], tmp_path / "out")


# Several sources.


def two_sources(root: Path, *, flat: bool = True) -> Path:
    """Plain arrays of bodies with subjects, and annotations of whole poses, in one data set."""
    who = np.array([f"p{k % 4}" for k in range(40)])
    plain(root / "a" / "train_bodies.npz", joints=21, subject=who)
    humandata(root / "b" / "train_images.npz", smplx(20))
    extract(root / "a", root / "out")
    extract(root / "b", root / "out", archive="humandata", domain="images", flat_hand_mean=flat)
    return root / "out"


def test_a_second_source_is_added_beside_the_first(tmp_path: Path) -> None:
    out = two_sources(tmp_path)
    source = mocap_ray.open_poses(out)
    assert (source.sources, source.domains) == (("humandata", "poses"), ("images", "poses"))
    assert {name: row["poses"] for row in source.manifest["sources"] for name in [row["source"]]} == {
        "humandata": 20,
        "poses": 40,
    }
    (images,) = source.tables(domain="images")
    assert set(images["source"].to_pylist()) == {"train_images.npz"}
    assert len(read_poses(out, split="train", domain="images")) == 20
    with pytest.raises(DataSetError, match=r"no domain 'x'\. Expected one of: images, poses"):
        source.tables(domain="x")
    card = (out / "README.md").read_text()
    assert "## Source humandata\n\nDomain: images\n\nHumanData: https://" in card
    assert "| a (poses) | train | 1 | 40 |" in card


def test_the_order_of_sources_changes_no_byte_and_one_is_updated_alone(tmp_path: Path) -> None:
    out = two_sources(tmp_path / "one")
    extract(
        tmp_path / "one" / "b", tmp_path / "two", archive="humandata", domain="images", flat_hand_mean=True
    )
    last = extract(tmp_path / "one" / "a", tmp_path / "two")
    assert last.made == 1
    assert files(tmp_path / "two") == files(out)
    with pytest.raises(
        UserError, match=r"its source humandata was made by another recipe:\n  domain: was 'images'"
    ):
        extract(tmp_path / "one" / "b", out, archive="humandata", flat_hand_mean=True)
    extract(tmp_path / "one" / "b", out, archive="humandata", flat_hand_mean=True, overwrite=True)
    assert mocap_ray.open_poses(out).domains == ("humandata", "poses")
    assert len(mocap_ray.open_poses(out)) == 60


def test_a_file_of_the_same_name_in_another_source_is_refused(tmp_path: Path) -> None:
    plain(tmp_path / "in" / "train.npz")
    extract(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UserError, match="1 file of the source mine has the name of one of the source poses"):
        extract(tmp_path / "in", tmp_path / "out", name="mine")
    extract(tmp_path / "in", tmp_path / "out", name="mine", dataset="Mine")
    assert mocap_ray.open_poses(tmp_path / "out").sources == ("mine", "poses")
    with pytest.raises(ValueError, match="is not the name of a source"):
        extract(tmp_path / "in", tmp_path / "out", name="a b")


def test_clips_and_single_poses_do_not_share_a_data_set(tmp_path: Path) -> None:
    made.make(tmp_path / "clips")
    plain(tmp_path / "in" / "train.npz")
    with pytest.raises(UserError):
        extract(tmp_path / "in", tmp_path / "clips")


def test_rows_of_some_subjects(tmp_path: Path) -> None:
    out = str(two_sources(tmp_path))
    everyone = PoseRows(out, "train", parts=("body",)).by_subject()
    assert everyone == {**{f"a/p{k}": 10 for k in range(4)}, **{f"b/s{k}": 4 for k in range(5)}}
    whole = PoseRows(out, ("train",), parts=("body", "left_hand")).by_subject()
    assert whole == {f"b/s{k}": 4 for k in range(5)}, "bodies without hands are no rows of a fold"
    some = PoseRows(out, "train", subjects=frozenset({"a/p1", "b/s2"}), parts=("body",))
    assert sum(some.counts.values()) == 14
    loaded = pickle.loads(pickle.dumps(some)).load()  # as a worker of Ray has it
    assert (len(loaded), set(loaded.item_names)) == (14, {"a/p1", "b/s2"})
    of_domain = PoseRows(out, "train", domain="images", subjects=frozenset({"a/p1", "b/s2"}))
    assert len(of_domain.load()) == 4


# What reads the data set.


def test_each_kind_of_data_set_says_what_it_is(tmp_path: Path) -> None:
    plain(tmp_path / "in" / "train.npz")
    extract(tmp_path / "in", tmp_path / "out")
    with pytest.raises(DataSetError, match="single poses, without motion"):
        mocap_ray.open(tmp_path / "out")
    made.make(tmp_path / "clips")
    with pytest.raises(DataSetError, match=r"of clips.*mocap_ray\.open"):
        mocap_ray.open_poses(tmp_path / "clips")
    source = mocap_ray.open_poses(tmp_path / "out")
    with pytest.raises(DataSetError, match=r"no split .val.\. Expected one of: train"):
        source.tables(split="val")
    with pytest.raises(DataSetError, match="no column 'joints'"):
        source.tables(columns=["joints"])
    assert "README.md" in source.place.names()


def test_rows_of_training_give_the_parts_that_are_modelled(tmp_path: Path) -> None:
    """A missing hand is all zeros, which is not a pose to learn."""
    plain(tmp_path / "in" / "train_whole.npz", joints=53, count=10)
    plain(tmp_path / "in" / "train_body.npz", joints=21, count=30)
    extract(tmp_path / "in", tmp_path / "out")
    root = str(tmp_path / "out")

    def count(*parts: str) -> int:
        return len(PoseRows(root, "train", parts=parts).load())

    assert count("body") == 40
    assert count("body", "left_hand") == count("root") == len(PoseRows(root, "train").load()) == 10
    assert count("eyes") == 40  # no pose gives eyes: they are constant, and no axis is trained on them
    assert sum(PoseRows(root, "train").counts.values()) == 40  # an upper bound


def test_a_split_in_which_no_pose_gives_the_parts_says_so(tmp_path: Path) -> None:
    plain(tmp_path / "in" / "train_whole.npz", joints=53)
    plain(tmp_path / "in" / "val_body.npz", joints=21)
    extract(tmp_path / "in", tmp_path / "out")
    with pytest.raises(DataSetError, match=r"no pose of split 'val' gives all of .*data\.joints=body"):
        PoseRows(str(tmp_path / "out"), "val").load()


def test_a_shard_that_was_exchanged_is_found(tmp_path: Path) -> None:
    plain(tmp_path / "in" / "train.npz")
    extract(tmp_path / "in", tmp_path / "out")
    (path,) = (tmp_path / "out" / "poses").rglob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["has_jaw"]), path)
    with pytest.raises(DataSetError, match="'has_jaw' is missing"):
        rows(tmp_path / "out")
