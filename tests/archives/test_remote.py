"""Reading from S3: a real server on loopback (moto) whose log counts the requests. GCS cannot be tested here."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mocap_ray.archives.amass import discover, read
from mocap_ray.archives.selection import select
from mocap_ray.motion.clip import Motion, Reason
from mocap_ray.npz import open_npz
from mocap_ray.npz.sources import Remote
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place, place
from tests.archives import rawzip, takes

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LINE = re.compile(r'"(GET|HEAD|POST|PUT|DELETE) (/\S*) HTTP')


class Server:
    """moto in a separate process, which logs each request in one line."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / "requests.log"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)

    def place(self, path: str) -> Place:
        host = f"endpoint_override=127.0.0.1%3A{self.port}&scheme=http&region=us-east-1"
        return place(f"s3://dummy:secret@{path}?{host}&allow_bucket_creation=true")

    def requests(self) -> list[tuple[str, str]]:
        """Method and path of all requests so far."""
        return LINE.findall(COLOUR.sub("", self.log.read_text()))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


TAKES = {
    "CMU/01/small_poses.npz": takes.smplh(40),
    "CMU/01/middle_poses.npz": takes.smplh(300),
    "CMU/02/large_poses.npz": takes.smplh(1500),
    "CNRS/283/markers_stageii.npz": takes.stage_ii(700),
    "CNRS/283/both_162_stageii.npz": {**takes.stage_ii(700), "poses": takes.smplx_54(700)["poses"]},
    "KIT/3/old_poses.npz": takes.smpl(900),
    "KIT/3/shape.npz": {"betas": np.zeros(16), "gender": np.array("male")},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("s3"))
    try:
        where = running.place("archive")
        where.fs.create_dir("archive")
        for source, take in TAKES.items():
            where.write_atomic(rawzip.npz(take), "amass", source)
        packed = rawzip.npz(TAKES["CMU/02/large_poses.npz"], deflate=True)
        where.write_atomic(packed, "amass", "CMU/02/packed_poses.npz")
        where.write_atomic(packed[: len(packed) // 2], "amass", "CMU/02/cut_poses.npz")
        many = {**takes.smplh(40), **{f"extra{k}": np.zeros(200) for k in range(3000)}}
        where.write_atomic(rawzip.npz(many), "amass", "KIT/3/many_poses.npz")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def listed(server: Server) -> dict[str, Recording]:
    return {r.source: r for r in discover(server.place("archive/amass"))}


def test_a_bucket_lists_like_a_folder(listed: dict[str, Recording]) -> None:
    assert set(listed) == {*TAKES, "CMU/02/packed_poses.npz", "CMU/02/cut_poses.npz", "KIT/3/many_poses.npz"}
    one = listed["CMU/01/small_poses.npz"]
    assert (one.dataset, one.subject, one.name) == ("CMU", "CMU/01", "CMU/01/small_poses")
    assert one.size == len(rawzip.npz(TAKES[one.source]))
    assert int(one.fingerprint) > 1.7e18


def test_no_recording_needs_more_than_three_requests(server: Server, listed: dict[str, Recording]) -> None:
    where = server.place("archive/amass")
    counts = {}
    for source, recording in listed.items():
        before = len(server.requests())
        result = read(where, recording)
        requests = server.requests()[before:]
        assert all(path == f"/archive/amass/{source}" for _, path in requests)
        counts[source] = len(requests)
        if source in TAKES and source != "KIT/3/shape.npz":
            assert isinstance(result, Motion), result.detail
            assert np.array_equal(result.trans, TAKES[source]["trans"])
    assert max(counts.values()) <= 3
    assert counts["CMU/01/small_poses.npz"] == 2  # one to open it, one for all of it
    assert counts["CMU/02/large_poses.npz"] == 3
    assert counts["KIT/3/many_poses.npz"] == 3
    assert counts["KIT/3/shape.npz"] == 0


def test_remote_values_equal_local_ones(server: Server, listed: dict[str, Recording], tmp_path: Path) -> None:
    for source in (
        "CNRS/283/markers_stageii.npz",
        "CNRS/283/both_162_stageii.npz",
        "CMU/02/packed_poses.npz",
    ):
        found = read(server.place("archive/amass"), listed[source])
        path = tmp_path / source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(server.place("archive/amass").read(source))
        (local,) = select(discover(place(tmp_path)), include=[listed[source].name], where="")
        expected = read(place(tmp_path), local)
        assert isinstance(found, Motion)
        assert isinstance(expected, Motion)
        for name in ("poses", "trans", "betas"):
            assert np.array_equal(getattr(found, name), getattr(expected, name))
        assert (found.fps, found.gender, found.family) == (expected.fps, expected.gender, expected.family)


def test_only_the_needed_members_of_a_file_with_markers_are_fetched(
    listed: dict[str, Recording], server: Server
) -> None:
    recording = listed["CNRS/283/markers_stageii.npz"]
    where = server.place("archive/amass")
    with open_npz(where, recording.source, size=recording.size) as file:
        assert isinstance(file._source, Remote)
        file.prefetch(["poses", "trans", "betas", "gender", "mocap_frame_rate"])
        sizes = [len(window) for _, window in file._source._windows]
    assert sum(sizes) < 0.4 * recording.size


def test_a_cut_file_is_a_rejection_and_a_failing_store_is_not(
    server: Server, listed: dict[str, Recording]
) -> None:
    where = server.place("archive/amass")
    cut = read(where, listed["CMU/02/cut_poses.npz"])
    assert isinstance(cut, Rejection)
    assert cut.reason == Reason.UNREADABLE
    with pytest.raises(OSError):  # noqa: PT011  (the store's own words)
        read(server.place("archive/nothing"), listed["CMU/01/small_poses.npz"])
    with pytest.raises(OSError):  # noqa: PT011
        read(server.place("nobucket/amass"), listed["CMU/01/small_poses.npz"])
    with pytest.raises(ValueError, match="no such folder") as caught:
        discover(server.place("archive/nothing"))
    assert "secret" not in str(caught.value)


def test_a_store_that_disappears_is_an_io_error(tmp_path: Path) -> None:
    brief = Server(tmp_path)
    try:
        where = brief.place("archive")
        where.fs.create_dir("archive")
        where.write_atomic(rawzip.npz(takes.smplh(1500)), "CMU/01/a_poses.npz")
        (recording,) = discover(where)
    finally:
        brief.stop()
    with pytest.raises(OSError):  # noqa: PT011
        read(where, recording)
