"""Any product on a real local Ray: the bytes of the plain path on any number of workers, through kills, with setup."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mocap_ray.demo.archive import write_demo
from mocap_ray.distributed.shards import ray_engine
from mocap_ray.runs.ray import RayOptions
from mocap_ray.storage import place
from tests.shards.poses import PoseProduct, ScaledPoses, make_poses
from tests.shards.test_second_product import Notes, files

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pose_archive")
    write_demo(root, recordings=12)
    return root


def on_ray(workers: int) -> Callable[[], Any]:
    return lambda: ray_engine(RayOptions(workers=workers))


def _run(archive: str, out: str) -> None:
    """A driver in a separate process, to be killed."""
    make_poses(PoseProduct(place(archive)), Path(out), engine=on_ray(2))


def test_a_killed_run_resumes_and_inputs_that_kill_workers_are_rejected(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        p.relative_to(archive).as_posix().removesuffix(".npz") for p in sorted(archive.rglob("0*_poses.npz"))
    ]
    make_poses(PoseProduct(place(archive)), tmp_path / "plain")
    out = tmp_path / "ray"
    monkeypatch.setenv("TRAP_SLEEP_S", "0.3")
    driver = multiprocessing.get_context("spawn").Process(target=_run, args=(str(archive), str(out)))
    driver.start()
    assert driver.pid is not None
    end = time.monotonic() + 120
    while len(list((out / "receipts").glob("*.json"))) < 2:
        assert time.monotonic() < end, "no shard was made"
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.join()
    done = len(list((out / "receipts").glob("*.json")))
    assert not (out / "manifest.json").exists()
    # The same run resumes with another number of workers, and gives the bytes of the plain path.
    monkeypatch.setenv("TRAP_SLEEP_S", "0")
    result = make_poses(PoseProduct(place(archive)), out, engine=on_ray(1))
    assert result.kept >= done
    assert files(out) == files(tmp_path / "plain")
    # An added input kills its worker: only it is rejected.
    killer = archive / f"{names[3]}_kill_poses.npz"
    killer.write_bytes((archive / f"{names[3]}.npz").read_bytes())
    notes = Notes()
    try:
        make_poses(PoseProduct(place(archive)), out, engine=on_ray(2), callback=notes)
    finally:
        killer.unlink()
    name = f"{names[3]}_kill_poses"
    assert f"{name}: kills the process that reads it; rejected" in notes.notes
    lost = {r["recording"]: r["reason"] for r in pq.read_table(out / "rejected.parquet").to_pylist()}
    assert lost[name] == "worker_died"
    before = {r["recording"] for r in pq.read_table(tmp_path / "plain" / "rejected.parquet").to_pylist()}
    assert lost.keys() - before == {name}


def test_a_product_with_setup_runs_in_actors(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "scale").write_text("2.0")
    for folder in ("plain_marks", "marks"):
        (tmp_path / folder).mkdir()

    def scaled(marks: str, model: str = "scale") -> ScaledPoses:
        return ScaledPoses(place(archive), model=str(tmp_path / model), marks=str(tmp_path / marks))

    made = make_poses(scaled("plain_marks"), tmp_path / "plain").made
    result = make_poses(scaled("marks"), tmp_path / "ray", engine=on_ray(2))
    assert result.made == made > 4
    assert files(tmp_path / "ray") == files(tmp_path / "plain")
    # Each worker ran setup once, not once per shard.
    processes = [p.name.partition(".")[0] for p in (tmp_path / "marks").iterdir()]
    assert 1 <= len(processes) == len(set(processes)) <= 2
    # A setup that fails ends the run with its message.
    with pytest.raises(RuntimeError, match="no_such_file"):
        make_poses(scaled("marks", "no_such_file"), tmp_path / "other", engine=on_ray(1))


@pytest.mark.slow
def test_an_actor_that_dies_is_restarted_and_its_input_rejected(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "scale").write_text("2.0")
    (tmp_path / "marks").mkdir()
    source = sorted(archive.rglob("0*_poses.npz"))[5]
    killer = source.with_name("zz_kill_poses.npz")
    killer.write_bytes(source.read_bytes())
    notes = Notes()
    product = ScaledPoses(place(archive), model=str(tmp_path / "scale"), marks=str(tmp_path / "marks"))
    try:
        make_poses(product, tmp_path / "ray", engine=on_ray(2), callback=notes)
    finally:
        killer.unlink()
    assert any("zz_kill_poses: kills the process that reads it" in n for n in notes.notes)
