"""The reader returns what was written, and its errors say what was found and what to do."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem
from torch.utils.data import DataLoader

from mocap_ray.dataset import reader, tensors
from mocap_ray.dataset.poses import read_poses
from mocap_ray.dataset.views import DataSetError
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Clip
from mocap_ray.storage import Place, place
from tests.dataset.made import features_of, make, walker


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Clip]]:
    root = tmp_path_factory.mktemp("data") / "set"
    return root, make(root)


def test_every_clip_comes_back_once_as_written(made: tuple[Path, list[Clip]]) -> None:
    root, clips = made
    ds = reader.open(root)
    assert len(ds) == len(clips) == 18
    for written, read in zip(clips, ds, strict=True):
        assert read.clip_id == written.clip_id
        assert (read.action, read.texts, read.fps) == (written.action, written.texts, 20.0)
        assert read.num_frames == len(read.features) == len(written.features)
        np.testing.assert_array_equal(read.features, written.features)
        np.testing.assert_array_equal(read.joints, written.joints)
        np.testing.assert_array_equal(read.betas, np.asarray(written.betas, np.float32))
        assert (read.poses is None) == (written.poses is None)
        if written.poses is not None:
            np.testing.assert_array_equal(read.poses, written.poses)
            np.testing.assert_array_equal(read.trans, written.trans)


def test_split_and_dataset_select_clips(made: tuple[Path, list[Clip]]) -> None:
    ds = reader.open(made[0])
    assert ds.splits == ("train", "val", "test")
    assert ds.datasets == ("BMLrub", "CMU")
    assert {c.dataset for c in ds.clips(split="test")} == {"BMLrub"}
    assert {c.split for c in ds.clips(dataset="CMU", columns=["features"])} == {"train", "val"}
    assert ds.index.num_rows == len(ds)
    assert ds.index["clip_id"].to_pylist() == [c.clip_id for c in ds]


def test_each_clip_is_found_by_its_id(made: tuple[Path, list[Clip]]) -> None:
    ds = reader.open(made[0])
    for written in made[1]:
        found = ds.clip(written.clip_id, columns=["features"])
        assert found.clip_id == written.clip_id
        np.testing.assert_array_equal(found.features, written.features)
    with pytest.raises(DataSetError, match=r"no clip 'unknown'. Ids look like"):
        ds.clip("unknown")


def test_a_clip_is_found_in_a_later_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mocap_ray.dataset.schema.ROW_GROUP_CLIPS", 2)
    clips = make(tmp_path / "set", clips={("CMU", "train"): 7})
    ds = reader.open(tmp_path / "set")
    items = ds.torch(normalise=False)
    with ds.open_shard(0) as file:
        assert file.num_row_groups == 4
    for k, clip in enumerate(clips):
        np.testing.assert_array_equal(ds.clip(clip.clip_id).features, clip.features)
        np.testing.assert_array_equal(items[k]["features"], clip.features)


def test_only_shards_of_the_manifest_are_read(tmp_path: Path) -> None:
    clips = make(tmp_path / "set")
    shard = next((tmp_path / "set" / "clips").rglob("*.parquet"))
    (shard.parent / "orphan.parquet").write_bytes(shard.read_bytes())
    assert len(list(reader.open(tmp_path / "set"))) == len(clips)


def test_joints_are_decoded_if_they_were_not_written(tmp_path: Path) -> None:
    make(tmp_path / "set", columns=("features",))
    ds = reader.open(tmp_path / "set")
    clip = next(iter(ds))
    with pytest.raises(DataSetError, match=r"'joints' was not written; this data set has features"):
        _ = clip.joints
    joints = walker(len(clip.features) + 1, speed=0.02)
    assert np.array_equal(features_of(joints), clip.features)
    np.testing.assert_allclose(ds.joints(clip), joints[:-1], atol=1e-5)


def test_denormalised_inverts_normalised(made: tuple[Path, list[Clip]]) -> None:
    ds = reader.open(made[0])
    rows = np.concatenate([c.features for c in ds])
    z = ds.normalised(rows)
    changing = ds.statistics.std > 1e-6
    np.testing.assert_allclose(z.std(0)[changing], 1, atol=1e-3)
    assert np.isfinite(z).all()  # columns that never change included
    np.testing.assert_allclose(ds.denormalised(z), rows, atol=1e-5)


def test_errors_say_what_was_found_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"no such folder"):
        reader.open(tmp_path / "nowhere")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    with pytest.raises(DataSetError, match=r"not a data set: no manifest.json \(found a.jpg\)"):
        reader.open(tmp_path / "photos")
    root = tmp_path / "set"
    make(root)
    ds = reader.open(root)
    with pytest.raises(DataSetError, match=r"no split 'dev'. Expected one of: train, val, test"):
        ds.clips(split="dev")
    with pytest.raises(DataSetError, match=r"'stick' was not written; .*add stick to output.columns"):
        ds.clips(columns=["stick"])
    with pytest.raises(DataSetError, match=r"'poses' was not read, because columns= leaves it out"):
        _ = next(ds.clips(columns=["features"])).poses
    manifest = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 2}))
    with pytest.raises(
        DataSetError, match=r"written in format 2 by mocap_ray 0.1.0; .* reads up to format 1"
    ):
        reader.open(root)
    (root / "manifest.json").write_text("{")
    with pytest.raises(DataSetError, match=r"not a manifest of a data set"):
        reader.open(root)
    (root / "manifest.json").unlink()
    with pytest.raises(DataSetError, match=r"has not finished. Run the same extract command again"):
        reader.open(root)


@pytest.mark.parametrize(
    "path", ["../../etc/dataset=a/split=b/x.parquet", "/etc/dataset=a/split=b/x.parquet"]
)
def test_a_manifest_cannot_name_files_outside(tmp_path: Path, path: str) -> None:
    make(tmp_path / "set")
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    manifest["shards"][0]["path"] = path
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataSetError, match=r"leaves the data set"):
        reader.open(tmp_path / "set")


def test_absent_damaged_and_swapped_shards_are_named(tmp_path: Path) -> None:
    make(tmp_path / "set")
    ds = reader.open(tmp_path / "set")
    path = tmp_path / "set" / ds.shards[0].path
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataSetError, match=r"damaged"):
        list(ds)
    path.unlink()
    with pytest.raises(DataSetError, match=r"listed in the manifest, but missing"):
        list(ds)
    make(tmp_path / "other", clips={("CMU", "train"): 1})
    other = next((tmp_path / "other" / "clips").rglob("*.parquet"))
    path.write_bytes(other.read_bytes())
    with pytest.raises(DataSetError, match=r"1 row, but the manifest lists 2"):
        list(ds)


class BadDisk(LocalFileSystem):
    """A disk on which reading Parquet files fails with EIO, the first `failures` times."""

    cachable = False

    def __init__(self, failures: float) -> None:
        super().__init__()
        self.failures = failures

    def open(self, path: str, *arguments: Any, **settings: Any) -> Any:
        file = super().open(path, *arguments, **settings)
        if path.endswith(".parquet"):
            read = file.read

            def fails(*size: int) -> bytes:
                if self.failures > 0:
                    self.failures -= 1
                    raise OSError(errno.EIO, "Input/output error")
                return bytes(read(*size))

            file.read = fails
        return file


@pytest.mark.parametrize("failures", [1, 3, float("inf")])
def test_a_disk_that_fails_is_an_io_error_and_not_a_damaged_file(tmp_path: Path, failures: float) -> None:
    make(tmp_path / "set")
    ds = reader.open(tmp_path / "set")
    bad = PyFileSystem(FSSpecHandler(BadDisk(failures)))
    broken = replace(ds, place=Place(bad, str(tmp_path / "set"), "the set"))
    with pytest.raises(OSError, match="Input/output error") as failed:
        list(broken)
    assert not isinstance(failed.value, UserError)


def test_damage_within_a_shard_names_the_file_whatever_reads_it(tmp_path: Path) -> None:
    make(tmp_path / "set")
    ds = reader.open(tmp_path / "set")
    path = tmp_path / "set" / ds.shards[0].path
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    footer = bytearray(data)
    footer[-8 - length : -8] = bytes(b ^ 0x55 for b in data[-8 - length : -8])  # Arrow calls this an OSError
    pages = bytearray(data)
    pages[4 : len(data) - length - 8] = bytes(len(data) - length - 12)
    split = ds.shards[0].split
    for damaged in (footer, pages):
        path.write_bytes(damaged)
        for use in (
            lambda: list(ds.clips()),
            lambda: reader.open(tmp_path / "set").index,
            lambda: reader.open(tmp_path / "set").torch(split=split)[0],
            lambda: read_poses(tmp_path / "set", split=split),
        ):
            with pytest.raises(DataSetError, match=rf"{re.escape(ds.shards[0].path)}: damaged \(") as failed:
                use()
            assert "\n" not in str(failed.value)


def test_a_shard_with_other_columns_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "set")
    ds = reader.open(tmp_path / "set")
    path = tmp_path / "set" / ds.shards[0].path
    table = pq.read_table(path)
    for changed, words in (
        (table.drop_columns(["poses"]), "the column 'poses' is missing"),
        (
            table.set_column(table.column_names.index("fps"), "fps", table["clip_id"]),
            "'fps' is string. Expected",
        ),
    ):
        pq.write_table(changed, path)
        with pytest.raises(DataSetError, match=words):
            list(ds)


def test_windows_cover_each_clip_once(made: tuple[Path, list[Clip]]) -> None:
    ds = reader.open(made[0])
    windows = ds.torch(split="train", length=16, normalise=False, columns=["features", "joints"])
    expected = [
        (c.clip_id, start, c)
        for c in made[1]
        if c.recording.dataset == "CMU" and c.clip_id in set(ds_ids(ds, "train"))
        for start in range(0, len(c.features) - 15, 16)
    ]
    assert len(windows) == len(expected)
    for k, (clip_id, start, clip) in enumerate(expected):
        item = windows[k]
        assert (item["clip_id"], item["start"], item["length"]) == (clip_id, start, 16)
        np.testing.assert_array_equal(item["features"], clip.features[start : start + 16])
        np.testing.assert_array_equal(item["joints"], clip.joints[start : start + 16])
    with pytest.raises(IndexError):
        windows[len(windows)]


def ds_ids(ds: reader.DataSet, split: str) -> list[str]:
    return [c.clip_id for c in ds.clips(split=split, columns=["features"])]


def test_windows_longer_than_clips_leave_them_out(made: tuple[Path, list[Clip]]) -> None:
    ds = reader.open(made[0])
    long = ds.torch(length=100)
    assert long.left_out == sum(len(c.features) < 100 for c in made[1]) > 0
    with pytest.raises(DataSetError, match=r"length is 0"):
        ds.torch(length=0)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_two_workers_give_the_same_batches_as_none(made: tuple[Path, list[Clip]], start_method: str) -> None:
    windows = reader.open(made[0]).torch(length=20)
    windows[0]  # opens a file in this process; the workers must not share it
    plain = list(DataLoader(windows, batch_size=4))
    loader = DataLoader(windows, batch_size=4, num_workers=2, multiprocessing_context=start_method)
    for a, b in zip(plain, loader, strict=True):
        assert a["clip_id"] == b["clip_id"]
        assert torch.equal(a["features"], b["features"])


def test_a_forked_process_opens_its_own_files(made: tuple[Path, list[Clip]]) -> None:
    windows = reader.open(made[0]).torch(length=20)
    windows[0]
    inherited = windows._files[0]  # keep a reference, so that its address is not reused
    child = os.fork()
    if child == 0:
        windows[0]
        os._exit(0 if windows._files[0] is not inherited and windows._pid == os.getpid() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_whole_clips_pad_to_the_longest(made: tuple[Path, list[Clip]]) -> None:
    ds = reader.open(made[0])
    clips = ds.torch(split="val", normalise=True)
    batch = next(iter(DataLoader(clips, batch_size=4, collate_fn=tensors.pad)))
    longest = int(batch["length"].max())
    assert batch["features"].shape == (4, longest, 263)
    assert torch.equal(batch["mask"].sum(1), batch["length"])
    assert not batch["features"][~batch["mask"]].any()
    first = next(ds.clips(split="val"))
    again = clips.denormalised(batch["features"][0, : first.num_frames])
    np.testing.assert_allclose(again, first.features, atol=1e-5)


def test_the_sampler_visits_each_item_once_in_a_seeded_order(made: tuple[Path, list[Clip]]) -> None:
    windows = reader.open(made[0]).torch(length=20)
    orders = [list(windows.sampler(seed=s)) for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(len(windows)))


def test_pickled_torch_data_holds_no_frames(made: tuple[Path, list[Clip]]) -> None:
    windows = reader.open(made[0]).torch(length=20)
    before = len(pickle.dumps(windows))
    list(windows)
    assert len(pickle.dumps(windows)) == before < 30_000
    assert torch.equal(pickle.loads(pickle.dumps(windows))[3]["features"], windows[3]["features"])


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty S3 bucket on loopback."""
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"s3://bucket?endpoint_override={host}:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
    server.stop()


def test_a_bucket_reads_like_a_folder(bucket: str, made: tuple[Path, list[Clip]]) -> None:
    there = place(bucket)
    there.fs.create_dir("bucket")
    with pytest.raises(DataSetError, match=r"not a data set: no manifest.json \(found nothing\)"):
        reader.open(bucket)
    for file in made[0].rglob("*"):
        if file.is_file():
            there.write_atomic(file.read_bytes(), str(file.relative_to(made[0])))
    here, remote = reader.open(made[0]), reader.open(bucket)
    assert remote.index.equals(here.index)
    for a, b in zip(here, remote, strict=True):
        assert a.clip_id == b.clip_id
        np.testing.assert_array_equal(a.features, b.features)
    window = pickle.loads(pickle.dumps(remote.torch(length=20)))[7]
    assert torch.equal(window["features"], here.torch(length=20)[7]["features"])


def test_a_null_column_in_torch_says_which_clip(made: tuple[Path, list[Clip]]) -> None:
    items = reader.open(made[0]).torch(columns=["poses"], normalise=False)
    with pytest.raises(DataSetError, match=r"~M: no poses"):
        items[1]
