"""What a run on one machine listens on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.distributed.machines import ROOT
from tests.distributed.sockets import beyond_loopback

RUN = """
import os, ray
from mocap_ray.distributed.cluster import connected
from mocap_ray.runs.ray import RayOptions
from tests.distributed.sockets import beyond_loopback

with connected(RayOptions(workers=1), dashboard=True):
    assert ray.get(ray.remote(os.getpid).remote())
    print("LISTENS", sorted(beyond_loopback(os.getpid())))
"""


def test_a_socket_on_all_addresses_is_found_and_one_on_loopback_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        before = beyond_loopback(os.getpid())
        with socket.create_server(("0.0.0.0", 0)) as wide:
            port = wide.getsockname()[1]
            (found,) = beyond_loopback(os.getpid()) - before
    assert found.startswith(f"0.0.0.0:{port} of ")
    assert not before


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.xfail(
    strict=True,
    reason="Ray 2.60 replaces _node_ip_address=127.0.0.1 by the machine's address, and listens on all",
)
def test_a_local_run_listens_on_loopback_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "LISTENS []" in done.stdout, done.stdout
