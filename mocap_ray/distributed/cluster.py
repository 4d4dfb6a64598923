"""Connect to the Ray cluster of a config, or start a local one; never connects to another one by accident."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from mocap_ray.distributed.watch import died, own_raylet, watched
from mocap_ray.errors import UserError
from mocap_ray.fetching.login import forget_logins
from mocap_ray.runs.job import is_job
from mocap_ray.runs.ray import RayOptions

UNLIMITED = 100_000
"""Workers of a cluster that has no CPU yet: as many as there are tasks."""
API = "RAY_API_SERVER_ADDRESS"
OBJECT_STORE_BYTES = 256 * 2**20
"""Size of the object store of a local Ray instance, which only transfers small rows."""

LONGEST_FOLDER = 42
"""Characters: the system allows 107 for the path of a socket, of which Ray's own names below its folder take 65."""
PREFIX = "mocap-ray-"
"""Prefix of the temporary folders of local Ray instances, followed by the process id of the driver."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Ray cluster of a run.

    Attributes:
        workers: the most processes; a cluster that grows may have fewer at the start.
        nodes: number of machines now.
        own: whether this process started it, on this machine.
        whole: whether the run may use every CPU.
    """

    workers: int
    nodes: int
    own: bool
    whole: bool


class NoCluster(UserError):
    """The cluster of the config cannot be reached, or a local one cannot be started."""


@contextmanager
def connected(options: RayOptions, *, dashboard: bool = False) -> Iterator[Cluster]:
    """Connect to a cluster inside the block.

    Without an address: the cluster of the job, if `ray job submit` started this process; else a local Ray instance
    with its own temporary folder, which is stopped and removed afterwards. Another Ray instance on the same machine is
    only used if `ray.address` names it.

    Args:
        options: the section `ray` of a config.
        dashboard: a local Ray instance also starts the dashboard, on loopback. Searches need its State API: without it
            the CPUs of a trial that was stopped early are never released (Ray 2.60).

    Raises:
        NoCluster: there is no cluster at the address, or the local one does not start.
    """
    address = options.address or _job_address()
    if address is None:
        with _own(options, dashboard=dashboard) as cluster:
            yield cluster
        return
    try:
        _join(address, state_api=dashboard)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise NoCluster(
            f"ray.address {address}: {str(error).splitlines()[0]}. Expected a running cluster (`ray start --head`); "
            "remove ray.address to start a local Ray instance on this machine."
        ) from error
    try:
        cpus = int(ray.cluster_resources().get("CPU", 0))
        # Tasks that wait for a CPU make an autoscaler add nodes. A cluster without any CPU is one that grows.
        wanted = options.max_workers or cpus or UNLIMITED
        workers = wanted if options.workers == "auto" else options.workers
        yield Cluster(workers=max(1, workers), nodes=len(_alive_nodes()), own=False, whole=workers >= cpus)
    finally:
        ray.shutdown()


def _join(address: str, *, state_api: bool) -> None:
    """Connect to a running cluster.

    With several Ray instances on a machine, the State API in a worker of a joined cluster cannot choose one either
    ("Found multiple active Ray instances"). So workers of a search get the address of their own cluster.
    """
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if not state_api or "://" in address:
        _init(address=address, **settings)
        return
    if not re.fullmatch(r"\S+:\d+", address):  # `auto`
        _init(address=address, **settings)
        address = ray.get_runtime_context().gcs_address
        ray.shutdown()
    _init(address=address, runtime_env={"env_vars": {"RAY_ADDRESS": address}}, **settings)


def _init(**settings: Any) -> None:
    """`ray.init`, and restore our SIGTERM handler, which Ray replaces by one that ends the process."""
    ours = signal.getsignal(signal.SIGTERM)
    forget_logins()  # Ray's processes inherit the environment, and its dashboard shows it
    ray.init(**settings)
    if callable(ours) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)


def _start(**settings: Any) -> None:
    """Call `_init`; retry once, because Ray may time out on a machine under load."""
    try:
        _init(**settings)
    except Exception as error:
        if "timed out" not in str(error):
            raise
        ray.shutdown()
        try:
            _init(**settings)
        except Exception as second:
            raise NoCluster(
                f"Ray timed out twice while starting: {str(second).splitlines()[0]} The machine may be "
                "overloaded; try again later, or connect to a running cluster with ray.address."
            ) from second


@contextmanager
def _own(options: RayOptions, *, dashboard: bool) -> Iterator[Cluster]:
    """Start a private local Ray instance."""
    here = os.cpu_count() or 1
    workers = min(here, options.max_workers or here) if options.workers == "auto" else options.workers
    # No usage statistics of a local Ray instance, unless the user enables them.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    folder = _temporary_folder()
    _sweep(Path(folder).parent)
    port = _free_port()
    # With several Ray instances on a machine, the State API in a worker raises because it cannot choose one. This ends
    # the thread of Ray Train that releases the CPUs of finished trials (Ray 2.60). So the address is set here; the
    # workers inherit it.
    previous = os.environ.get(API)
    if dashboard:
        os.environ[API] = f"http://127.0.0.1:{port}"
    try:
        _start(
            address="local",
            num_cpus=workers,
            num_gpus=None if options.gpus_per_worker else 0,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=dashboard,
            dashboard_host="127.0.0.1",
            dashboard_port=port if dashboard else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=folder,
            _node_ip_address="127.0.0.1",
            # Searches start many processes that need no CPU; Ray would print warnings about them.
            _system_config={"worker_maximum_startup_concurrency": 16} if dashboard else None,
        )
        with watched(own_raylet()):
            yield Cluster(workers=workers, nodes=1, own=True, whole=True)
    finally:
        if not died():
            ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        if dashboard:
            os.environ.pop(API)
        if previous is not None:
            os.environ[API] = previous


def _temporary_folder() -> str:
    """A new folder for a Ray of our own, on a path that is short enough for its sockets.

    Raises:
        NoCluster: there is none.
    """
    name = f"{PREFIX}{os.getpid()}-"
    tried = list(dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")))
    for parent in tried:
        if len(parent) + len(name) + 9 <= LONGEST_FOLDER and os.access(parent, os.W_OK | os.X_OK):
            return tempfile.mkdtemp(prefix=name, dir=parent)
    raise NoCluster(
        f"No folder for Ray's temporary files: {', '.join(tried)} are too long or cannot be written. Set TMPDIR to a "
        f"folder whose path has at most {LONGEST_FOLDER - len(name) - 9} characters."
    )


def _free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _sweep(folder: Path) -> None:
    """Remove the folders of killed drivers; the folder name has the process id."""
    for old in folder.glob(f"{PREFIX}*-*"):
        pid = old.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and old.stat().st_uid == os.getuid() and not _is_running(int(pid)):
            shutil.rmtree(old, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _job_address() -> str | None:
    """Address of the cluster that runs this process as a job of `ray job submit`, or None."""
    if is_job():
        return os.environ.get("RAY_ADDRESS", "auto")
    return None


def _alive_nodes() -> list[dict[str, object]]:
    return [node for node in ray.nodes() if node["Alive"]]
