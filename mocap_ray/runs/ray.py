"""Where a run computes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mocap_ray.options import Section


class RayOptions(Section):
    """Where a run computes."""

    address: str | None = None
    """None: the cluster that runs this job under `ray job submit`, otherwise a Ray of our own on this
    machine. `auto`, `host:port` or `ray://host:port` join a running cluster; nothing else ever does."""
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Processes at once; `auto`: one per CPU."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """Share of a GPU that each process gets; only the vertices column uses one. More than 0 computes them there."""
