"""Join the Ray that a config names, or start one of our own; never somebody else's."""

from __future__ import annotations

import logging
import os
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

from mocap_ray.errors import UserError
from mocap_ray.runs.ray import RayOptions

API = "RAY_API_SERVER_ADDRESS"
OBJECT_STORE_BYTES = 256 * 2**20
"""Object store of a Ray of our own: only small rows travel through it."""

LONGEST_FOLDER = 42
"""Characters: the system allows 107 for the path of a socket, of which Ray's own names below its folder take 65."""
PREFIX = "mocap-ray-"
"""Of the temporary folders of our own Rays; the driver's process id follows."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Ray that a run computes on.

    Attributes:
        workers: processes at once.
        nodes: machines.
        own: started by us, on this machine.
        whole: every CPU of it may work.
    """

    workers: int
    nodes: int
    own: bool
    whole: bool


class NoCluster(UserError):
    """The cluster that the config names cannot be joined."""


@contextmanager
def connected(options: RayOptions, *, dashboard: bool = False) -> Iterator[Cluster]:
    """Connect for the time of the block.

    Without an address: the cluster that runs this process as a job, if `ray job submit` started it; else a
    local Ray with its own temporary folder, which is stopped and removed afterwards. Somebody else's Ray on
    the same machine is only joined where `ray.address` says so.

    Args:
        options: the `ray:` section of a config.
        dashboard: a Ray of our own also gets the dashboard, on loopback. Searches need the State API that it
            serves: without it the CPUs of a trial that was stopped early are never given back (Ray 2.60).

    Raises:
        NoCluster: nothing answers at the address.
    """
    address = options.address or _job_address()
    if address is None:
        with _own(options, dashboard=dashboard) as cluster:
            yield cluster
        return
    try:
        _init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise NoCluster(
            f"ray.address {address}: {str(error).splitlines()[0]}. Expected a running cluster (`ray start --head`); "
            "leave ray.address out for a Ray of our own on this machine."
        ) from error
    try:
        cpus = int(ray.cluster_resources().get("CPU", 0))
        workers = cpus if options.workers == "auto" else options.workers
        yield Cluster(workers=max(1, workers), nodes=len(_alive()), own=False, whole=workers >= cpus)
    finally:
        ray.shutdown()


def _init(**settings: Any) -> None:
    """`ray.init`, which replaces the handler of SIGTERM by one that ends the process; ours is put back."""
    ours = signal.getsignal(signal.SIGTERM)
    ray.init(**settings)
    if callable(ours) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)


def _start(**settings: Any) -> None:
    """`_init`, which on a machine under load may give up before Ray's processes are up: then once more."""
    try:
        _init(**settings)
    except Exception as error:
        if "timed out" not in str(error):
            raise
        ray.shutdown()
        try:
            _init(**settings)
        except Exception as again:
            raise NoCluster(
                f"Ray did not start within its time, twice: {str(again).splitlines()[0]} The machine may be "
                "overloaded; try again when it is not, or join a running cluster by ray.address."
            ) from again


@contextmanager
def _own(options: RayOptions, *, dashboard: bool) -> Iterator[Cluster]:
    """A local Ray that nobody else sees."""
    workers = (os.cpu_count() or 1) if options.workers == "auto" else options.workers
    # Nothing is reported about a Ray of our own, unless the user wants it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    folder = _temporary_folder()
    _sweep(Path(folder).parent)
    port = _free_port()
    # Where several Rays run on a machine, a worker's State API refuses to choose one, and the thread of Ray Train that
    # frees the CPUs of a trial that ended dies of it (Ray 2.60): so it is told which. The workers inherit this.
    known = os.environ.get(API)
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
            # Searches start many processes that take no CPU; Ray would warn of them on the terminal.
            _system_config={"worker_maximum_startup_concurrency": 16} if dashboard else None,
        )
        yield Cluster(workers=workers, nodes=1, own=True, whole=True)
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        if dashboard:
            os.environ.pop(API)
        if known is not None:
            os.environ[API] = known


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
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _sweep(folder: Path) -> None:
    """Remove what killed drivers of ours left; their process id stands in the name."""
    for old in folder.glob(f"{PREFIX}*-*"):
        pid = old.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and old.stat().st_uid == os.getuid() and not _runs(int(pid)):
            shutil.rmtree(old, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _job_address() -> str | None:
    """The cluster that `ray job submit` runs this process on, or None."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return os.environ.get("RAY_ADDRESS", "auto")
    return None


def _alive() -> list[dict[str, object]]:
    return [node for node in ray.nodes() if node["Alive"]]
