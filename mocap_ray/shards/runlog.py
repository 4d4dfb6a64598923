"""`_runs/<id>/`: what may differ between runs of the same data set: times, hosts, the configuration."""

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


class RunLog:
    """The folder of one run."""

    def __init__(self, out: Place, config: str) -> None:
        self.out = out
        self.began = datetime.now(UTC)
        self.id = f"{self.began:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
        # Also the proof, before any work, that the output can be written.
        out.write_atomic(config.encode(), "_runs", self.id, "config.yaml")

    def close(
        self,
        result: Mapping[str, Any],
        reports: Sequence[ShardReport],
        layout: Layout[Any],
        versions: Mapping[str, str],
    ) -> None:
        """Write what the run did."""
        values = {
            "began": self.began.isoformat(),
            "ended": datetime.now(UTC).isoformat(),
            "driver": socket.gethostname(),
            "python": platform.python_version(),
            **versions,
            **result,
            "shards": [report.named(layout) for report in reports],
        }
        self.out.write_atomic(json.dumps(values, indent=1).encode(), "_runs", self.id, "run.json")
