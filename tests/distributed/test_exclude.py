"""`mocap-ray dataset exclude` as it is typed: on Ray, in another folder than the extraction, with relative paths."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.distributed.conftest import COMMAND, Run


@pytest.mark.ray
@pytest.mark.slow  # tests/dataset/test_exclusion.py has the rest without Ray
def test_the_command_finds_archive_and_bodies_in_the_log_of_the_extraction(
    run: Callable[..., Run], archive: Path, bodies: Path, tmp_path: Path
) -> None:
    job = run(source={"split": "none"})
    config = job.arguments()[-1]
    (tmp_path / "bodies").symlink_to(bodies)
    keys = ["source.root=archive", "body.root=bodies", "output.root=out"]
    (tmp_path / "elsewhere").mkdir()

    def typed(folder: Path, *words: str, expect: int = 0) -> str:
        done = subprocess.run(
            [*COMMAND, *words], cwd=folder, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    typed(tmp_path, "extract", config, "--override", *keys)
    before = job.files()
    archive.rename(tmp_path / "moved")
    words = ["dataset", "exclude", "../out", "DemoStroll/s01", "--reason", "markers swapped"]
    text = typed(tmp_path / "elsewhere", *words, expect=2)
    assert f"{archive}: no such folder" in text
    assert "Nothing was changed" in text
    assert job.files() == before
    words += ["--override", f"source.root={tmp_path / 'moved'}", "ray.workers=1"]
    assert "recordings taken out" in typed(tmp_path / "elsewhere", *words)
    assert job.rejected()["DemoStroll/s01/001_walk_poses"] == "excluded"
    assert "nothing to change" in typed(tmp_path / "elsewhere", *words)
