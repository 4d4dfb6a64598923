"""A real Prometheus scrapes a real cluster during an extraction, a training and a search: every panel has data."""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from mocap_ray.demo.archive import write_demo
from tests.cluster.test_monitoring_files import FOLDER, queries
from tests.distributed.conftest import COMMAND
from tests.distributed.machines import ROOT, Machine, machines, require

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1200)]
RAY = (sys.executable, "-m", "ray.scripts.scripts")
ADDRESS = "ray.address=127.0.0.1:6379"
ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_metrics_report_interval_ms": "1000", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a cluster of one node, and Prometheus as the comment of its config starts it."""
    require("prometheus", "curl")
    with machines(tmp_path_factory.mktemp("monitoring"), ["head"]) as made:
        head = made["head"]
        head.run(*RAY, "get-auth-token", "--generate")
        head.run(
            *RAY, "start", "--head", "--node-ip-address=127.0.0.1", "--num-cpus=2", "--disable-usage-stats",
            "--object-store-memory=200000000", **ENVIRONMENT,
        )  # fmt: skip
        config = (
            (FOLDER / "prometheus.yml")
            .read_text()
            .replace("10s ", "1s ")
            .replace("timeout: 8s", "timeout: 1s")
        )
        (head.home / "prometheus.yml").write_text(
            config.replace("refresh_interval: 30s", "refresh_interval: 1s")
        )
        head.start(
            "prometheus", "--config.file=/srv/prometheus.yml", "--web.listen-address=127.0.0.1:9090",
            "--storage.tsdb.path=/tmp/prometheus",
        )  # fmt: skip
        yield head


def ask(head: Machine, query: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each series that a query finds now."""
    where = f"http://127.0.0.1:9090/api/v1/query?query={urllib.parse.quote(query)}"
    answer = json.loads(
        head.run("curl", "-sf", "--retry", "30", "--retry-connrefused", "--retry-delay", "1", where).stdout
    )
    return [(found["metric"], float(found["value"][1])) for found in answer["data"]["result"]]


def test_every_panel_has_data_and_the_counts_are_those_of_the_run(head: Machine, bodies: Path) -> None:
    shared = head.home.parent / "shared"
    write_demo(shared / "archive", recordings=300)
    (shared / "archive" / "broken_poses.npz").write_bytes(b"no archive")
    shutil.copytree(bodies, shared / "bodies")

    def look() -> None:
        found = {name: ask(head, query) for name, query in queries().items()}
        values.update({name: series for name, series in found.items() if any(v == v for _, v in series)})

    def run(*command: str) -> None:
        """Run a command and look at every panel meanwhile: gauges end with the process that reports them."""
        process = head.start(
            "sh", "-c", '"$@" > /mnt/said 2>&1', "sh", *COMMAND, *command, ADDRESS, **ENVIRONMENT
        )
        while process.poll() is None:
            look()
            time.sleep(0.5)
        assert process.returncode == 0, (shared / "said").read_text()
        time.sleep(3)
        look()

    values: dict[str, list[tuple[dict[str, str], float]]] = {}
    run("extract", "amass", "--override", "source.root=/mnt/archive", "body.root=/mnt/bodies", "output.root=/mnt/out",
        "output.shard_mb=1")  # fmt: skip
    counted = {labels["run"]: value for labels, value in values["Recordings A"]}
    rejected = {labels["reason"]: value for labels, value in values["Rejections by reason A"]}
    run("train", "gaussian_prior", "--override", "data.root=/mnt/out", "output.root=/mnt/prior",
        "training.max_epochs=20", "ray.workers=1")  # fmt: skip
    run("search", "tiny", "--override", "fixed.data.root=/mnt/out", "output.root=/mnt/search")
    end = time.monotonic() + 30
    while missing := set(queries()) - set(values):
        assert time.monotonic() < end, f"no data: {sorted(missing)}"
        time.sleep(1)
        look()
    trained = {labels["run"] for labels, _ in ask(head, "last_over_time(ray_mocap_ray_loss[10m])")}
    assert trained >= {"prior", "search/000"}
    manifest = json.loads((shared / "out" / "manifest.json").read_text())
    assert sum(rejected.values()) <= manifest["totals"]["rejected"]
    assert counted["out"] <= 301
    assert counted["out"] > 100, "most of the run was scraped"
