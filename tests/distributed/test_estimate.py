"""`mocap-ray estimate` on a real local Ray: killed, resumed, and what other commands make of its results."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import mocap_ray
from mocap_ray.demo.standin import write_standin
from mocap_ray.estimation.weights import save_network
from tests.distributed.conftest import COMMAND
from tests.estimation.reference import random_network
from tests.estimation.video import CROWD, mot, pictures, write_video

pytestmark = pytest.mark.ray
FRAMES = 60
REASONABLE = "motion.quality.multiplier=1e6"
"""Random weights do not move as people do."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    write_video(root / "crowd.mp4", pictures(CROWD, FRAMES))
    (root / "crowd.txt").write_text(mot(CROWD, FRAMES))
    save_network(random_network(), root / "tiny.safetensors", origin="a test")
    write_standin(root / "bodies", families=("smplx",), genders=("neutral",))
    return root


def _words(inputs: Path, out: Path) -> list[str]:
    options = {"--out": out, "--checkpoint": "tiny.safetensors", "--boxes": "crowd.txt", "--body": "bodies"}
    pairs = [str(word) for pair in options.items() for word in pair]
    overrides = ["--override", "source.chunk_frames=6", REASONABLE, "ray.workers=2"]
    return [*COMMAND, "estimate", "crowd.mp4", *pairs, *overrides]


def _typed(words: list[str], inputs: Path) -> str:
    done = subprocess.run(words, cwd=inputs, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _content(out: Path) -> dict[str, bytes]:
    """All files but the logs, the locks and the receipts of `motion`, which have the times of the tracks' files."""
    return {
        name: p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file()
        and "_runs" not in p.parts
        and not p.name.startswith(".lock")
        and not (name := p.relative_to(out).as_posix()).startswith("motion/receipts/")
    }


def _chunks(out: Path) -> int:
    return len(list((out / "people" / "receipts").glob("*.json")))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_resumes_and_other_commands_take_its_results(inputs: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    text = _typed(_words(inputs, whole), inputs)
    assert f"{whole}/tracks: 3 tracks, the longest 2.40 s" in text
    process = subprocess.Popen(
        _words(inputs, cut), cwd=inputs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 200
    while _chunks(cut) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = _chunks(cut)
    assert 2 <= done < 10, "killed too early or too late to show anything"
    assert not (cut / "people" / "manifest.json").exists()
    text = _typed(_words(inputs, cut), inputs)
    assert "already finished" in text
    assert _content(cut) == _content(whole)

    motion = whole / "motion"
    assert len(mocap_ray.open(motion)) == 3
    _typed([*COMMAND, "dataset", "validate", str(motion)], inputs)
    _typed([*COMMAND, "dataset", "stats", str(motion)], inputs)
    _typed([*COMMAND, "export", "amass", str(motion), str(tmp_path / "back"), "--body", "bodies"], inputs)
    files = sorted((tmp_path / "back").rglob("*.npz"))
    assert len(files) == 3
    assert np.load(files[0])["poses"].shape[1] == 165
