"""A small archive, stand-in bodies, and runs of the real command in separate processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.product import ClipBuild
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.shards import recipe
from mocap_ray.shards.making import make
from mocap_ray.shards.running import InProcess, NoCallback
from mocap_ray.shards.running import run as run_plainly
from mocap_ray.storage import place

HERE = Path(__file__).resolve().parent
COMMAND = [sys.executable, "-m", "mocap_ray.cli"]


@pytest.fixture(scope="session")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, genders=("neutral", "male"))
    return root


@pytest.fixture(scope="session")
def _archive_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    write_demo(root, recordings=24)
    return root


@pytest.fixture
def archive(_archive_once: Path, tmp_path: Path) -> Path:
    """A copy of the archive for each test, which may change it."""
    return Path(shutil.copytree(_archive_once, tmp_path / "archive"))


@pytest.fixture(scope="session")
def data_set(_archive_once: Path, bodies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished data set with poses, read-only."""
    out = tmp_path_factory.mktemp("data") / "set"
    Run(_archive_once, bodies, out).plain()
    return out


@dataclass
class Run:
    """Settings of a run, by the plain path in this process or by the command in another."""

    archive: Path
    bodies: Path
    out: Path
    source: str = "amass"
    extra: dict[str, Any] = field(default_factory=dict)

    def config(self) -> ExtractConfig:
        return ExtractConfig.model_validate(
            {
                "source": {"archive": self.source, "root": str(self.archive), **self.extra.get("source", {})},
                "body": {"root": str(self.bodies), **self.extra.get("body", {})},
                "motion": self.extra.get("motion", {}),
                "output": {"root": str(self.out), "shard_mb": 2, **self.extra.get("output", {})},
                "ray": {"workers": self.extra.get("workers", 2)},
            }
        )

    def plain(
        self, *, prune: bool = False, overwrite: bool = False, shards: int | None = None
    ) -> dict[str, Any]:
        """The same run as `distributed.extract` in this process, without Ray; or only some of the shards."""
        config = self.config()

        def prepared() -> ClipBuild:
            return prepare(
                config.source, config.body, config.motion, config.output, prune=prune, overwrite=overwrite
            )

        if shards is None:
            out = place(config.output.root)
            return run_plainly(
                prepared, lambda: nullcontext(InProcess()), out=out, callback=NoCallback()
            ).manifest
        build = prepared()
        recipe.begin(build.out, build.recipe)
        for shard in build.todo[:shards]:
            make(shard, build.job())
        return {}

    def arguments(self) -> list[str]:
        path = self.out.parent / f"{self.out.name}.yaml"
        path.write_text(self.config().model_dump_json())  # JSON is YAML
        return [*COMMAND, "extract", str(path)]

    def start(self, *flags: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.arguments(), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE), **environment},
        )

    def command(self, *flags: str, expect: int = 0, **environment: str) -> str:
        """Run `mocap-ray extract` and return what it printed."""
        process = self.start(*flags, **environment)
        out, err = process.communicate(timeout=240)
        assert process.returncode == expect, f"exit {process.returncode}, expected {expect}:\n{out}\n{err}"
        return out + err

    def files(self) -> dict[str, str]:
        """Path -> sha256 of all files that must be equal between runs."""
        return {
            str(p.relative_to(self.out)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(self.out.rglob("*"))
            if p.is_file() and p.relative_to(self.out).parts[0] not in ("_runs", "receipts", ".lock")
        }

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "manifest.json").read_text())
        return found

    def rejected(self) -> dict[str, str]:
        """Rejected recording -> reason."""
        import pyarrow.parquet as pq

        return {r["recording"]: r["reason"] for r in pq.read_table(self.out / "rejected.parquet").to_pylist()}


@pytest.fixture
def run(archive: Path, bodies: Path, tmp_path: Path) -> Callable[..., Run]:
    def build(name: str = "out", **settings: Any) -> Run:
        source = settings.pop("archive_name", "amass")
        where = settings.pop("archive_root", archive)
        return Run(where, bodies, tmp_path / name, source=source, extra=settings)

    return build
