"""What `ray job submit --working-dir .` sends to the cluster: what a job needs, and little more."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ray._private.runtime_env.packaging import create_package

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 5 * 2**20
"""Measured: 2.4 MB; it was 24 MB with the history and the tests."""


def test_a_job_ships_the_package_its_configs_and_scripts_and_is_small(tmp_path: Path) -> None:
    made = tmp_path / "package.zip"
    create_package(str(ROOT), made, include_gitignore=True)
    with zipfile.ZipFile(made) as package:
        names = package.namelist()
    assert {"jobs/extract.py", "jobs/train.py", "jobs/search.py", "mocap_ray/__init__.py"} <= set(names)
    assert "configs/extract/amass.yaml" in names
    configs = [p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").rglob("*.yaml")]
    templates = [
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "mocap_ray").rglob("*")
        if p.suffix in (".yaml", ".html", ".j2")
    ]
    assert {*configs, *templates} <= set(names)
    unwanted = {".git", ".venv", "tests", "docs", "bench", "data", "demo", "build", ".mypy_cache"}
    assert not unwanted & {name.split("/")[0] for name in names}
    assert made.stat().st_size < MOST_BYTES
