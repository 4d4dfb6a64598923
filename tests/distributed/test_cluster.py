"""Which Ray instance the workers of a local one talk to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OTHER = """
import sys, time, ray
ray.init(address="local", num_cpus=1, include_dashboard=True, _temp_dir=sys.argv[1], log_to_driver=False,
         object_store_memory=100_000_000, _node_ip_address="127.0.0.1")
print("up", flush=True)
print(ray.get_runtime_context().gcs_address, flush=True)
time.sleep(200)
"""

OURS = """
import ray
from ray.util.state import list_actors
from mocap_ray.runs.ray import RayOptions
from mocap_ray.distributed.cluster import connected

class Marker:
    def here(self):
        return ray.get_runtime_context().get_actor_id()

def seen():
    return [actor.actor_id for actor in list_actors()]

with connected(RayOptions(workers=2), dashboard=True):
    marker = ray.remote(num_cpus=0)(Marker).remote()
    own = ray.get(marker.here.remote())
    print("own" if own in ray.get(ray.remote(num_cpus=0)(seen).remote()) else "another")
"""


JOINING = """
import sys, ray
from ray.util.state import list_actors
from mocap_ray.runs.ray import RayOptions
from mocap_ray.distributed.cluster import connected

class Marker:
    def here(self):
        return ray.get_runtime_context().get_actor_id()

def seen():
    return [actor.actor_id for actor in list_actors()]

with connected(RayOptions(address=sys.argv[1]), dashboard=True) as cluster:
    assert not cluster.own
    marker = ray.remote(num_cpus=0)(Marker).remote()
    own = ray.get(marker.here.remote())
    print("own" if own in ray.get(ray.remote(num_cpus=0)(seen).remote()) else "another")
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("joined", [0, 1])
def test_workers_of_a_joined_cluster_use_its_state_api_beside_another_ray(
    joined: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = f"/tmp/mr-{tmp_path_factory.getbasetemp().name}-{joined}"
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", OTHER, f"{folder}{k}"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment,
        )
        for k in range(2)
    ]
    try:
        addresses = []
        for one in both:
            assert one.stdout is not None
            assert one.stdout.readline().strip() == "up"
            addresses.append(one.stdout.readline().strip())
        done = subprocess.run(
            [sys.executable, "-c", JOINING, addresses[joined]],
            capture_output=True, text=True, timeout=200, check=False, env=environment,
        )  # fmt: skip
    finally:
        for one in both:
            one.terminate()
            one.wait(60)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[0] == "own", done.stdout


@pytest.mark.ray
def test_workers_use_the_state_api_of_their_own_ray(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Ray Train frees the CPUs of a trial that ended when its State API says so (`distributed/cluster.py`)."""
    folder = Path("/tmp") / f"mr-{tmp_path_factory.getbasetemp().name}"  # Ray's sockets want short paths
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline().strip() == "up"
            done = subprocess.run(
                [sys.executable, "-c", OURS], capture_output=True, text=True, timeout=200, check=False
            )
        finally:
            other.terminate()
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[0] == "own", done.stdout
