"""The real command on a real local Ray: equal to the plain path, through kills, crashes and damage."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mocap_ray.dataset.build import prepare
from mocap_ray.distributed.cluster import connected
from mocap_ray.distributed.shards import RayEngine
from mocap_ray.runs.ray import RayOptions
from tests.archives.damage import damaged_files
from tests.distributed.conftest import COMMAND, Run

Runs = Callable[..., Run]
pytestmark = pytest.mark.ray
TRAP = "trap_archive:ARCHIVE"


def _descendants(pid: int) -> list[int]:
    """Process ids below a process, from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found, frontier = [], [pid]
    while frontier:
        current = frontier.pop()
        children = [p for p, parent in parents.items() if parent == current]
        found += children
        frontier += children
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _working(pid: int) -> list[int]:
    """Workers of a driver that are writing a shard."""
    return [p for p in _descendants(pid) if _title(p).startswith("ray::MapBatches")]


def _wait(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def _shards(job: Run) -> int:
    return len(list((job.out / "receipts").glob("*.json"))) if (job.out / "receipts").is_dir() else 0


@pytest.fixture(scope="module")
def plain(_archive_once: Path, bodies: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The undisturbed data set, by the plain path, for comparison."""
    out = tmp_path_factory.mktemp("plain") / "out"
    job = Run(_archive_once, bodies, out, source=TRAP, extra={"output": {"shard_mb": 0.5}})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        job.plain()
    return job


@pytest.fixture(autouse=True)
def _trap_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_ray_and_the_plain_path_give_the_same_bytes_and_a_second_run_is_a_no_op(
    run: Runs, plain: Run
) -> None:
    job = run("ray", archive_name=TRAP, output={"shard_mb": 0.5})
    text = job.command()
    assert "clips by dataset and split" in text
    assert job.files() == plain.files()
    before = {p: p.stat().st_mtime_ns for p in job.out.rglob("*") if p.name != ".lock"}
    assert "0 shards made" in job.command()
    assert {p: p.stat().st_mtime_ns for p in job.out.rglob("*") if p.name != ".lock"} == before


def test_a_killed_worker_changes_nothing(run: Runs, plain: Run) -> None:
    job = run("ray", archive_name=TRAP, output={"shard_mb": 0.5})
    process = job.start(TRAP_SLEEP_S="0.1")
    _wait(lambda: _shards(job) >= 2)
    _wait(lambda: bool(_working(process.pid)))
    os.kill(_working(process.pid)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err
    assert job.files() == plain.files()


def test_a_killed_driver_resumes_where_it_was(run: Runs, plain: Run) -> None:
    job = run("ray", archive_name=TRAP, output={"shard_mb": 0.5})
    process = job.start(TRAP_SLEEP_S="0.1")
    _wait(lambda: _shards(job) >= 2)
    _wait(lambda: bool(_working(process.pid)))
    workers = _working(process.pid)
    process.kill()
    process.wait()
    # Its workers die with it, and so does its lock. (Ray's own agents take another minute.)
    _wait(lambda: not any(_title(p) for p in workers))
    done = _shards(job)
    assert done >= 2
    assert not (job.out / "manifest.json").exists()
    text = job.command()
    assert f"{done} kept" in text
    assert job.files() == plain.files()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (signal.SIGINT, 130),
        # The same way; tests/cli sends one to a short command by default.
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_says_so_and_the_same_command_resumes(
    run: Runs, plain: Run, sent: signal.Signals, code: int
) -> None:
    job = run("ray", archive_name=TRAP, output={"shard_mb": 0.5})
    process = job.start(TRAP_SLEEP_S="1")  # long enough for the other command, on a busy machine too
    _wait(lambda: _shards(job) >= 2)
    other = job.command(expect=2)
    assert f"pid {process.pid} on " in other
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "run the same command again" in err
    assert "Traceback" not in err
    job.command()
    assert job.files() == plain.files()


def test_a_recording_that_kills_its_worker_is_rejected(run: Runs, archive: Path) -> None:
    victims = sorted(archive.rglob("*_poses.npz"))
    killer = shutil.copy(victims[4], victims[4].with_name("00_kill_poses.npz"))
    name = Path(killer).relative_to(archive).as_posix().removesuffix(".npz")
    job = run("ray", archive_name=TRAP, output={"shard_mb": 0.5})
    text = job.command()
    assert f"{name}: kills the process that reads it" in text
    assert job.rejected()[name] == "worker_died"
    again = job.files()
    assert "0 shards made" in job.command()
    assert job.files() == again
    Path(killer).unlink()
    clean = run("clean", archive_name=TRAP, output={"shard_mb": 0.5})
    clean.plain()
    good = {s["path"]: s["sha256"] for s in clean.manifest()["shards"]}
    rows = sum(s["rows"] for s in job.manifest()["shards"])
    assert rows == sum(s["rows"] for s in clean.manifest()["shards"])
    assert (
        len(good.items() & {s["path"]: s["sha256"] for s in job.manifest()["shards"]}.items())
        >= len(good) - 3
    )


def test_an_io_error_is_retried_then_fails_its_shard_but_never_the_data(
    run: Runs, archive: Path, tmp_path: Path
) -> None:
    victims = sorted(archive.rglob("*_poses.npz"))
    shutil.copy(victims[0], victims[0].with_name("zz_flaky_poses.npz"))
    broken = Path(shutil.copy(victims[-1], victims[-1].with_name("zz_broken_poses.npz")))
    marks = tmp_path / "marks"
    marks.mkdir()
    job = run("ray", archive_name=TRAP, output={"shard_mb": 0.5})
    text = job.command(expect=1, TRAP_MARKS=str(marks))
    assert "zz_broken_poses.npz" in text
    assert "the disk does not answer" in text
    assert "1 of" in text
    assert len(list(marks.iterdir())) == 3
    assert not (job.out / "manifest.json").exists()
    broken.rename(broken.with_name("zz_mended_poses.npz"))
    job.command(TRAP_MARKS=str(marks))
    assert not any("flaky" in name or "mended" in name for name in job.rejected())


def test_damaged_inputs_are_rejected_and_good_ones_are_kept(run: Runs, archive: Path) -> None:
    good = run("good", output={"shard_mb": 0.5}, source={"split": "none"})
    good.plain()
    damage = damaged_files(archive / "Damaged" / "S1")
    assert len(damage) >= 200
    job = run("ray", output={"shard_mb": 0.5}, source={"split": "none"})
    job.command()
    rejected = job.rejected()
    made = {s["path"]: s["sha256"] for s in job.manifest()["shards"]}
    for shard in good.manifest()["shards"]:
        assert made[shard["path"]] == shard["sha256"]
    names = {p.relative_to(archive).as_posix().removesuffix(".npz") for p in damage}
    lost = names - rejected.keys()
    counts = {r["dataset"]: r for r in job.manifest()["counts"]}["Damaged"]
    assert counts["recordings"] == len(names)
    # Inputs that are not rejected are damaged in unused parts, and become clips.
    assert counts["clips"] == len(lost)


def test_closing_the_reports_early_leaves_no_executor_running(run: Runs) -> None:
    """A running executor would use Ray after its shutdown, which kills the process without a message."""
    config = run(output={"shard_mb": 0.3}).config()
    build = prepare(config.source, config.body, config.motion, config.output)

    def executors() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith("StreamingExecutor")]

    with connected(RayOptions(workers=2)) as cluster:
        reports = RayEngine(cluster).make(build.todo, build.job(), per_task=1)
        assert next(reports).ok
        assert executors()
        reports.close()
        assert not executors()


def test_exit_codes(run: Runs, archive: Path, tmp_path: Path) -> None:
    job = run()
    assert "_poses.npz: " in job.command("--strict", expect=1)
    assert not (job.out / "manifest.json").exists()
    only_bad = tmp_path / "bad"
    shutil.copytree(archive, only_bad, ignore=lambda _, names: [n for n in names if n.endswith("_poses.npz")])
    shutil.rmtree(only_bad)
    (only_bad / "X" / "1").mkdir(parents=True)
    (only_bad / "X" / "1" / "a_poses.npz").write_bytes(b"no zip")
    text = run("none", archive_root=only_bad, source={"split": "none"}).command(expect=1)
    assert "every recording was rejected" in text
    usage = subprocess.run([*COMMAND, "extract", "nowhere.yaml"], capture_output=True, text=True, check=False)
    assert usage.returncode == 2
    assert "no such config" in usage.stderr
