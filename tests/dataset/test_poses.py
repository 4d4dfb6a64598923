"""Poses of a split as one array: every frame of every clip that has poses, in order; errors say what to do."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mocap_ray
from mocap_ray.dataset.poses import pose_rows, read_poses
from mocap_ray.dataset.views import DataSetError
from tests.dataset.made import make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make(root, clips={("CMU", "train"): 5, ("KIT", "train"): 2, ("CMU", "val"): 2})
    return root


def test_all_frames_equal_those_of_the_reader(made: Path) -> None:
    source = mocap_ray.open(made)
    for split in ("train", "val"):
        found = read_poses(made, split=split)
        clips = [c for c in source.clips(split=split, columns=["poses"]) if c.poses is not None]
        assert found.clip_ids == [c.clip_id for c in clips]
        assert not any("~M" in name for name in found.clip_ids)  # mirrored twins have none
        assert np.array_equal(found.rotvecs, np.concatenate([c.poses for c in clips]))
        assert np.array_equal(
            found.clip_index, np.repeat(np.arange(len(clips)), [len(c.poses) for c in clips])
        )  # type: ignore[arg-type]
        assert found.rotvecs.dtype == np.float32
        assert len(found) <= pose_rows(source, split=split)


def test_a_sub_dataset_is_read_alone(made: Path) -> None:
    found = read_poses(made, split="train", dataset="KIT")
    assert found.clip_ids
    assert all(name.startswith("KIT/") for name in found.clip_ids)


def test_the_manifest_hash_is_that_of_the_file(made: Path) -> None:
    expected = hashlib.sha256((made / "manifest.json").read_bytes()).hexdigest()
    assert read_poses(made, split="val").manifest_hash == expected


def test_a_bucket_gives_the_same_as_a_folder(made: Path) -> None:
    whole, address = read_poses(made, split="val"), read_poses(f"file://{made}", split="val")
    assert np.array_equal(whole.rotvecs, address.rotvecs)


def test_the_error_for_a_data_set_without_poses_says_what_to_do(tmp_path: Path) -> None:
    make(tmp_path, columns=("features", "joints"))
    with pytest.raises(DataSetError, match=r"'poses' was not written.*add poses to output\.columns"):
        read_poses(tmp_path, split="train")


def test_the_error_for_an_unknown_split_or_dataset_lists_those_that_exist(made: Path) -> None:
    with pytest.raises(DataSetError, match=r"no split 'dev'\. Expected one of: train, val"):
        read_poses(made, split="dev")
    with pytest.raises(DataSetError, match=r"no dataset 'ACCAD'\. Expected one of: CMU, KIT"):
        read_poses(made, split="train", dataset="ACCAD")


def test_a_split_of_a_sub_dataset_that_is_empty_is_refused(made: Path) -> None:
    with pytest.raises(DataSetError, match="no clip of split 'val' of dataset 'KIT' has poses"):
        read_poses(made, split="val", dataset="KIT")


def test_poses_that_are_not_finite_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.dataset import made as maker

    plain = maker.made_clip

    def broken(*args: object, **kwargs: object) -> object:
        clip = plain(*args, **kwargs)  # type: ignore[arg-type]
        if clip.poses is not None and clip.clip_id == "CMU/01/04_poses@0":
            clip.poses[3, 5, 1] = np.nan
        return clip

    monkeypatch.setattr(maker, "made_clip", broken)
    make(tmp_path)
    with pytest.raises(
        DataSetError,
        match=r"not finite in CMU/01/04_poses@0\. .*dataset exclude .* CMU/01/04_poses@0 --reason",
    ):
        read_poses(tmp_path, split="train")


def test_more_poses_than_in_the_manifest_are_refused(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    for shard in manifest["shards"]:
        shard["frames"] = 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataSetError, match="more poses than the manifest"):
        read_poses(copy, split="train")
