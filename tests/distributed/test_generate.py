"""Generating at scale by the real commands on Ray: stopped and resumed, by any number of workers, and as jobs."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

import mocap_ray
from mocap_ray.dataset.validation import validate
from tests.distributed.conftest import COMMAND
from tests.distributed.test_job import cluster  # noqa: F401
from tests.distributed.test_train_job import _submit
from tests.generation.generated import exported
from tests.generation.made import two_domains

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

FRAMES = 1500
"""Of a motion; two or three of this length fill a shard."""


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("flow"))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    entries = [
        {"style": "old", "frames": FRAMES, "n": 8},
        {"domain": "aist", "action": "walk", "frames": FRAMES, "n": 4},
    ]
    path.write_text("\n".join(json.dumps(entry) for entry in entries))
    return path


def _arguments(flow: Path, prompts: Path, out: Path, *more: object) -> list[str]:
    options = ["--prompts", prompts, "--format", "dataset", "--guidance", 1, "--out", out, *more]
    return [*COMMAND, "generate", str(flow), *map(str, options)]


def _run(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _hashes(out: Path) -> dict[str, str]:
    return {
        str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.relative_to(out).parts[0] not in ("_runs", ".lock")
    }


def test_a_stopped_run_resumes_to_what_one_worker_makes_at_once(
    flow: Path, prompts: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    assert "12 motions" in _run(_arguments(flow, prompts, whole, "--workers", 1, "--steps", 20))
    assert validate(mocap_ray.open(whole)).problems == ()
    halves = tmp_path / "halves"
    words = _arguments(flow, prompts, halves, "--workers", 2, "--steps", 20)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 600
        while not list(halves.glob("receipts/*.json")):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
    assert "already finished" in _run(words)
    assert _hashes(halves) == _hashes(whole)
    assert "nothing to make" in _run(words)


def test_pairs_are_drawn_by_workers_that_hold_the_teacher(flow: Path, tmp_path: Path) -> None:
    data = two_domains(tmp_path / "set")
    words = [
        *COMMAND,
        "reflow",
        str(flow),
        "--data",
        str(data),
        "--out",
        str(tmp_path / "pairs"),
        "--steps",
        "2",
    ]
    assert "128 pairs" in _run([*words, "--n", "128", "--workers", "2"])
    assert "200 pairs" in _run([*words, "--n", "200", "--workers", "1"])
    manifest = json.loads((tmp_path / "pairs" / "manifest.json").read_text())
    assert (manifest["product"], manifest["totals"]["pairs"]) == ("reflow", 200)


def test_jobs_generate_and_reflow(
    cluster: dict[str, str],  # noqa: F811
    flow: Path,
    prompts: Path,
    tmp_path: Path,
) -> None:
    out, pairs = tmp_path / "out", tmp_path / "pairs"
    options = ("--prompts", prompts, "--format", "dataset", "--steps", "2", "--out", out)
    assert "is complete" in _submit(cluster, "jobs/generate.py", flow, *options)
    assert len(mocap_ray.open(out)) == 12
    data = two_domains(tmp_path / "set")
    options = ("--data", data, "--n", "64", "--steps", "2", "--out", pairs)
    assert "64 pairs" in _submit(cluster, "jobs/reflow.py", flow, *options)
