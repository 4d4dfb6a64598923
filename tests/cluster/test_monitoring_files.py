"""`cluster/monitoring/`: what Grafana and Prometheus would read, without either; and the metrics it names."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "cluster" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())


def queries(range_: str = "1m") -> dict[str, str]:
    """Panel and number of the query -> the query as Grafana would send it for all runs."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        .replace("$__rate_interval", range_)
        .replace("$run", ".*")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }


def test_panels_have_all_that_grafana_asks_for_and_do_not_overlap() -> None:
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= set(DASHBOARD)
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels)))
    assert used <= variables
    cells = [
        (x, y)
        for panel in panels
        for x, y in itertools.product(
            range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"]),
            range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"]),
        )
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_metric_of_the_program_is_shown_and_no_other_is_asked_for() -> None:
    source = (ROOT / "mocap_ray" / "distributed" / "metrics.py").read_text()
    counters = re.findall(r'Counter\(\s*f"\{PREFIX\}(\w+)"', source)
    others = re.findall(r'(?:Gauge|Histogram)\(f"\{PREFIX\}(\w+)"', source) + re.findall(
        r'= gauge\("(\w+)"', source
    )
    ours = {f"{name}_total" for name in counters} | set(others)
    shown = set(re.findall(r"ray_mocap_ray_(\w+?)(?:_bucket)?\{", "".join(queries().values())))
    assert shown <= ours
    assert ours - shown == {"rows_total", "failed_shards_total", "epoch"}  # for queries of one's own


def test_prometheus_parses_every_query_and_its_config(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("cluster/tools.sh installs prometheus")
    rules = [{"record": f"q{n}", "expr": text} for n, text in enumerate(queries().values())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    for command in (["rules", str(tmp_path / "rules.yml")], ["config", str(FOLDER / "prometheus.yml")]):
        done = subprocess.run(["promtool", "check", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
