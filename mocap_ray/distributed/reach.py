"""Local paths on a cluster of several machines: every node has to see the same files, or the run is refused."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mocap_ray.errors import UserError
from mocap_ray.storage import Place
from mocap_ray.wording import counted, listed, override

ANSWER_S = 60.0
"""How long to wait for the nodes to answer; one that is busy or lost for longer is not judged."""


def require_reach(*, reads: Mapping[str, Place], writes: Mapping[str, Place]) -> None:
    """Check that every node of the connected cluster that has CPUs sees the local folders of a run.

    A folder that is read has to exist at the same path; each node may have a copy of its own. A folder that is written
    has to be the same folder, so a file is put into it for a moment, which every node looks for. Places in a bucket are
    not checked here: they fail with their own message on every machine alike.

    Args:
        reads, writes: key of the config -> folder.

    Raises:
        UserError: some nodes do not see a folder; says which, and what to do.
    """
    read = {key: str(found.local) for key, found in reads.items() if found.local is not None}
    written = {key: found for key, found in writes.items() if found.local is not None}
    nodes = {n["NodeID"]: n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"] and has_cpus(n)}
    if not nodes or not (read or written):
        return
    probe = f".tmp-{uuid.uuid4().hex}"  # a name that runs clean up after a kill
    try:
        for found in written.values():
            found.write_atomic(b"", probe)
        looked_for = read | {key: found.join(probe) for key, found in written.items()}
        missing = _ask(nodes, looked_for)
    finally:
        for found in written.values():
            found.remove(probe)
    text = refusal(missing, {**read, **{key: str(found.local) for key, found in written.items()}})
    if text:
        raise UserError(text)


def refusal(missing: Mapping[str, tuple[str, ...]], paths: Mapping[str, str]) -> str:
    """Why a run cannot start on these nodes; empty if it can.

    Args:
        missing: address of each node that answered -> keys whose folder it does not see.
        paths: key of the config -> folder.

    >>> refusal({"10.0.0.2": ()}, {"source.root": "/data/amass"})
    ''
    """
    lost = {key: sorted(node for node, keys in missing.items() if key in keys) for key in paths}
    lost = {key: nodes for key, nodes in lost.items() if nodes}
    if not lost:
        return ""
    found = [f"{key} {paths[key]} (not on {listed(nodes, most=3)})" for key, nodes in lost.items()]
    remedy = override(*(f"{key}=s3://bucket/{Path(paths[key]).name}" for key in lost))
    return (
        f"Not every node of this cluster has the same files: {listed(found)}, of {counted(len(missing), 'node')}. A "
        "path on one machine alone cannot be used by the others. Put the folder on a file system that all nodes mount "
        f"at the same path, or in a bucket: {remedy}"
    )


def has_cpus(node: Mapping[str, Any]) -> bool:
    """Whether a node, as `ray.nodes()` describes it, can run workers; the head of a cluster file cannot."""
    return float(node["Resources"].get("CPU", 0)) > 0


def _ask(nodes: Mapping[str, str], paths: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Address of each node that answers -> keys whose path does not exist there."""
    look = ray.remote(num_cpus=0, max_retries=0)(absent)
    tasks = {
        address: look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        ).remote(dict(paths))
        for node, address in nodes.items()
    }
    ready, _ = ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=ANSWER_S)
    found = {}
    for address, task in tasks.items():
        if task in ready:
            try:
                found[address] = ray.get(task)
            except RayError:
                continue
    return found


def absent(paths: Mapping[str, str]) -> tuple[str, ...]:
    """The keys whose path does not exist on this machine."""
    return tuple(key for key, path in paths.items() if not Path(path).exists())
