"""A killed raylet of our own Ray ends a run with a sentence, and the run resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mocap_ray.distributed.watch import DIED, SIGNAL, RayDied, watched
from tests.distributed.conftest import Run
from tests.distributed.test_search import write_search
from tests.distributed.training import command, kill, rows, start, wait_for, write_base

WAIT = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Something that can die."""
    with subprocess.Popen(WAIT) as started:
        yield started
        started.kill()


def _during(process: subprocess.Popen[bytes], act: Callable[[], object]) -> None:
    """Act while a process that dies is watched."""
    with watched(process):
        process.kill()
        act()


def test_the_death_of_the_watched_process_interrupts_the_main_thread(
    process: subprocess.Popen[bytes],
) -> None:
    before = signal.getsignal(SIGNAL)
    with pytest.raises(RayDied, match="was killed"):
        _during(process, lambda: time.sleep(100))
    assert signal.getsignal(SIGNAL) == before


def test_what_follows_from_the_death_is_not_blamed_on_something_else(
    process: subprocess.Popen[bytes],
) -> None:
    def fails() -> None:
        process.wait()
        raise RuntimeError("the actor is unavailable")

    with pytest.raises(RayDied):
        _during(process, fails)


def test_a_library_that_swallows_the_interrupt_does_not_hide_the_death(
    process: subprocess.Popen[bytes],
) -> None:
    with pytest.raises(RayDied):
        _during(process, process.wait)


def test_a_block_that_ends_before_the_process_is_left_alone(process: subprocess.Popen[bytes]) -> None:
    with watched(process), watched(None):
        pass
    with pytest.raises(RuntimeError, match="another reason"), watched(process):
        raise RuntimeError("another reason")


def _raylet(driver: int) -> int:
    """The raylet that a driver started."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == driver and "raylet/raylet" in (folder / "cmdline").read_text():
                    return int(folder.name)
            except OSError:
                continue
    raise AssertionError(f"process {driver} has no raylet")


def _killed(process: subprocess.Popen[str]) -> str:
    kill(_raylet(process.pid))
    out, err = process.communicate(timeout=120)
    text = out + (err or "")
    assert process.returncode == 1, text
    assert DIED in text
    assert "Traceback" not in text
    return text


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_raylet_ends_an_extraction_with_a_sentence_and_it_resumes(run: Callable[..., Run]) -> None:
    plain = run("plain", output={"shard_mb": 0.5})
    plain.plain()
    job = run("ray", archive_name="trap_archive:ARCHIVE", output={"shard_mb": 0.5})
    process = job.start(TRAP_SLEEP_S="0.3")
    wait_for(lambda: len(list(job.out.glob("clips/**/*.parquet"))) >= 2, process)
    assert "run the same command again" in _killed(process)
    assert "kept" in job.command()
    assert len(job.files()) == len(plain.files())


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_raylet_ends_a_training_and_a_search_with_a_sentence(data_set: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path / "run.yaml", data_set, training={"max_epochs": 4000})
    process = start("train", base)
    wait_for(lambda: len(rows(tmp_path / "run")) >= 2, process)
    assert "--resume continues from it" in _killed(process)
    seen = len(rows(tmp_path / "run"))
    text = command("train", base, "--resume", "--override", f"training.max_epochs={seen + 2}")
    assert "resuming after epoch" in text
    space = {"training.learning_rate": {"grid": [1e-3, 1e-2]}}
    search = write_search(
        tmp_path / "s.yaml", base, space=space, scheduler="none", fixed={"training": {"max_epochs": 4000}}
    )
    process = start("search", search)
    wait_for(lambda: any((tmp_path / "s").glob("trials/*/metrics.csv")), process)
    assert "--resume continues the others" in _killed(process)
    assert os.path.exists(tmp_path / "s" / "search.yaml")
