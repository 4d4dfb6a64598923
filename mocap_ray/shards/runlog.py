"""The log of a run in `_runs/<id>/`: what may differ between runs of one data set (times, hosts, the config)."""

from __future__ import annotations

import json
import platform
import socket
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mocap_ray.shards.layout import Layout
from mocap_ray.shards.reports import ShardReport
from mocap_ray.storage import Place

FOLDER = "_runs"
CONFIG_NAME = "config.yaml"


class RunLog:
    """The log folder of one run."""

    def __init__(self, out: Place, config: str) -> None:
        self.out = out
        self.started = datetime.now(UTC)
        self.id = f"{self.started:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
        # This also checks, before any work, that the output is writable.
        out.write_atomic(config.encode(), FOLDER, self.id, CONFIG_NAME)

    def close(
        self,
        result: Mapping[str, Any],
        reports: Sequence[ShardReport],
        layout: Layout[Any],
        versions: Mapping[str, str],
    ) -> None:
        """Write `run.json`: the result of the run and the reports of its shards."""
        values = {
            "began": self.started.isoformat(),
            "ended": datetime.now(UTC).isoformat(),
            "driver": socket.gethostname(),
            "python": platform.python_version(),
            **versions,
            **result,
            "shards": [report.named(layout) for report in reports],
        }
        self.out.write_atomic(json.dumps(values, indent=1).encode(), FOLDER, self.id, "run.json")
