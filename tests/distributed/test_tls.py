"""TLS between two nodes, with the certificates of cluster/certificates.sh, as docs/clusters.md says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.distributed.machines import ROOT, Machine, machines, require

RAY = (sys.executable, "-m", "ray.scripts.scripts")
PORT = 6379
DRIVER = """
import ray
ray.init(address="10.77.0.2:6379", log_to_driver=False)
print("ran on", ray.get(ray.remote(ray.util.get_node_ip_address).remote()))
"""


def test_certificates_are_of_one_authority_and_for_one_address_each(tmp_path: Path) -> None:
    require("openssl")
    subprocess.run(
        ["bash", str(ROOT / "cluster" / "certificates.sh"), str(tmp_path / "tls"), "10.0.0.1", "10.0.0.2"],
        check=True,
    )
    made = {path.name for path in (tmp_path / "tls").iterdir()}
    assert made == {"ca.crt", "10.0.0.1.crt", "10.0.0.1.key", "10.0.0.2.crt", "10.0.0.2.key"}
    for address, other in (("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")):
        verify = ["openssl", "verify", "-CAfile", "ca.crt"]
        for ip, expected in ((address, 0), (other, 2)):
            done = subprocess.run(
                [*verify, "-verify_ip", ip, f"{address}.crt"],
                cwd=tmp_path / "tls",
                capture_output=True,
                check=False,
            )
            assert done.returncode == expected, done.stdout
        assert (tmp_path / "tls" / f"{address}.key").stat().st_mode & 0o077 == 0


def settings(machine: Machine) -> dict[str, str]:
    """The environment of a node."""
    return {
        "RAY_AUTH_MODE": "token", "RAY_USE_TLS": "1", "RAY_TLS_CA_CERT": "/mnt/tls/ca.crt",
        "RAY_TLS_SERVER_CERT": f"/mnt/tls/{machine.ip}.crt", "RAY_TLS_SERVER_KEY": f"/mnt/tls/{machine.ip}.key",
    }  # fmt: skip


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_two_nodes_work_together_and_a_client_without_a_certificate_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    require("openssl")
    folder = tmp_path_factory.mktemp("tls")
    with machines(folder, ["head", "worker"]) as made:
        head, worker, laptop = made["head"], made["worker"], made["laptop"]
        head.run("bash", "cluster/certificates.sh", "/mnt/tls", *(m.ip for m in (head, worker)))
        head.run(*RAY, "get-auth-token", "--generate")
        token = {"RAY_AUTH_TOKEN_PATH": "/mnt/token"}
        (folder / "shared" / "token").write_bytes((head.home / ".ray" / "auth_token").read_bytes())
        common = ("--object-store-memory=100000000", "--disable-usage-stats")
        head.run(
            *RAY, "start", "--head", f"--node-ip-address={head.ip}", f"--port={PORT}", "--num-cpus=0", *common,
            **settings(head), **token,
        )  # fmt: skip
        worker.run(
            *RAY, "start", f"--address={head.ip}:{PORT}", "--num-cpus=1", *common, **settings(worker), **token
        )
        ran = head.run(sys.executable, "-c", DRIVER, **settings(head), **token)
        assert f"ran on {worker.ip}" in ran.stdout

        shown = laptop.run("openssl", "s_client", "-connect", f"{head.ip}:{PORT}", check=False)
        assert f"CN = {head.ip}" in shown.stdout
        # The token alone does not open the door.
        refused = laptop.run(
            "timeout", "40", sys.executable, "-c", DRIVER, check=False, RAY_AUTH_MODE="token", **token
        )
        assert refused.returncode != 0
        assert "ran on" not in refused.stdout
