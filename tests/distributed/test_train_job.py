"""Training and search as a lab operator starts them: `ray job submit` on a running cluster."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.distributed.test_job import RAY, ROOT, cluster  # noqa: F401
from tests.distributed.test_search import write_search
from tests.distributed.training import rows, write_base

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def _submit(environment: dict[str, str], *arguments: str | Path) -> str:
    command = [RAY, "job", "submit", "--working-dir", str(ROOT), "--", "python", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def _job(environment: dict[str, str], *words: str) -> str:
    """What `ray job ...` prints."""
    done = subprocess.run(
        [RAY, "job", *words], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_stopped_job_ends_its_log_with_a_sentence_and_resumes(
    cluster: dict[str, str],  # noqa: F811
    data_set: Path,
    tmp_path: Path,
) -> None:
    base, out = write_base(tmp_path / "base.yaml", data_set, training={"max_epochs": 4000}), tmp_path / "base"
    arguments = ["--working-dir", str(ROOT), "--no-wait", "--submission-id", "stop-me"]
    _job(cluster, "submit", *arguments, "--", "python", "jobs/train.py", str(base))
    end = time.monotonic() + 100
    while len(rows(out)) < 2:
        assert time.monotonic() < end, _job(cluster, "logs", "stop-me")
        time.sleep(0.1)
    _job(cluster, "stop", "stop-me")
    text = _job(cluster, "logs", "stop-me")
    assert "stopped by SIGTERM. The last checkpoint is kept; --resume continues from it." in text, text
    assert "Traceback" not in text, text
    last = [line for line in text.splitlines() if line.strip()][-1]
    assert last.startswith("mocap-ray: stopped by SIGTERM"), text
    override = f"training.max_epochs={len(rows(out)) + 2}"
    assert "resuming after epoch" in _submit(
        cluster, "jobs/train.py", base, "--resume", "--override", override
    )


def test_submitted_jobs_train_and_search(
    cluster: dict[str, str],  # noqa: F811
    data_set: Path,
    tmp_path: Path,
) -> None:
    base = write_base(tmp_path / "base.yaml", data_set, training={"max_epochs": 2})
    text = _submit(cluster, "jobs/train.py", base, "--override", "ray.workers=2")
    assert "mocap-ray evaluate" in text
    assert len(rows(tmp_path / "base")) == 2
    space = {"training.learning_rate": {"grid": [1e-3, 1e-2]}}
    search = write_search(tmp_path / "search.yaml", base, space=space, scheduler="none")
    text = _submit(cluster, "jobs/search.py", search)
    assert "2 trials: 2 finished" in text
    assert (tmp_path / "search" / "best" / "export" / "model.safetensors").is_file()
