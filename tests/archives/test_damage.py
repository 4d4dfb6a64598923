from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mocap_ray.archives.amass import discover, read
from mocap_ray.motion.clip import Motion, Reason
from mocap_ray.records import Rejection
from mocap_ray.storage import place
from tests.archives.damage import CANARY, damaged_files


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Motion | Rejection]]:
    folder = tmp_path_factory.mktemp("damaged")
    canary = folder / "canary"
    damaged_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CANARY, str(canary))
        where = place(folder)
        recordings = discover(where)
        tracemalloc.start()  # numpy's and zlib's memory counts, the kernel's maps of files do not
        found = [(recording.name, read(where, recording)) for recording in recordings]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert not canary.exists()
    assert peak < 20e6  # some files claim terabytes, one inflates to 60 MB
    return found


def test_two_hundred_damaged_files_give_rejections_or_valid_motion(results) -> None:
    assert len(results) == 200
    for name, result in results:
        if isinstance(result, Motion):
            joints = {"smpl": 24, "smplh": 52, "smplx": 55}[result.family]
            assert result.poses.shape == (len(result.trans), joints, 3)
            assert result.trans.shape == (len(result.poses), 3)
            assert len(result.poses) > 0
            assert 0 < result.fps < 10_000, name
        else:
            assert result.detail.startswith(f"{result.input.source}: "), name
            assert result.detail.endswith("."), name
            assert len(result.detail) < 700, name


def test_damage_of_each_kind_has_its_reason(results) -> None:
    reasons: dict[str, Counter[str]] = {}
    for name, result in results:
        kind = name.split("/")[-1].rsplit("_", 2)[0]
        reason = result.reason if isinstance(result, Rejection) else "taken"
        reasons.setdefault(kind, Counter())[reason] += 1
    assert set(reasons["cut"]) == {Reason.UNREADABLE}
    assert set(reasons["not_zip"]) == {Reason.UNREADABLE, Reason.MISSING_KEYS}  # one is an empty archive
    assert set(reasons["wrong_keys"]) == {Reason.MISSING_KEYS, Reason.NOT_MOTION}
    assert set(reasons["splice"]) <= {Reason.UNREADABLE, "taken"}
    assert reasons["pickled"][Reason.UNSAFE] == 8  # poses, trans, betas and rate; a pickled gender is ignored
    assert reasons["wrong_shapes"][Reason.TOO_SHORT] == 1
    assert reasons["wrong_values"] == {
        Reason.BAD_VALUE: 7,
        "taken": 7,
    }  # the quality checks find the non-finite ones
    assert set(reasons["huge"]) == {Reason.BAD_SHAPE, Reason.UNREADABLE}
    assert reasons["flip"][Reason.UNREADABLE] > reasons["flip"]["taken"]


def test_damaged_files_are_the_same_every_time(tmp_path: Path) -> None:
    a, b = (damaged_files(tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in a] == [p.read_bytes() for p in b]
    assert len({p.name for p in a}) == len(a) == 200


def test_the_canary_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Unpickling the same files creates the canary; otherwise the test above would prove nothing.
    monkeypatch.setenv(CANARY, str(tmp_path / "canary"))
    bad = [p for p in damaged_files(tmp_path) if "pickled" in p.name]
    np.load(bad[0], allow_pickle=True)["poses"]
    assert (tmp_path / "canary").exists()
