"""The Ray cluster and the workers of a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mocap_ray.options import Section


class RayOptions(Section):
    """The Ray cluster and the workers of a run."""

    address: str | None = None
    """None: the cluster of the job under `ray job submit`, otherwise a new local Ray instance. `auto`, `host:port` or
    `ray://host:port`: connect to a running cluster."""
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Number of processes; `auto`: one per CPU, or `max_workers`; on a cluster without any CPU yet, one per task."""
    max_workers: Annotated[int, Field(ge=1)] | None = None
    """The most processes that `auto` asks for. Set it on a cluster that grows: `auto` then asks for so many, although
    fewer CPUs are there when the run starts."""
    wait_s: Annotated[float, Field(ge=0)] = 900.0
    """Seconds to wait for nodes that a cluster's autoscaler adds."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """GPUs per process, may be fractional; the column vertices, and the network of an estimation, use a GPU if this is
    above 0."""
