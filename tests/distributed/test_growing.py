"""A cluster that grows with the work: a head without CPUs and Ray's fake nodes, which are real processes."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from mocap_ray.demo.archive import write_demo
from tests.distributed.conftest import COMMAND, Run
from tests.distributed.machines import ROOT, Machine, machines, require

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1200)]
RAY = (sys.executable, "-m", "ray.scripts.scripts")
HEAD = "f" * 51 + "00000"
PORT = 6379
CONFIG = {
    "cluster_name": "growing",
    "max_workers": 3,
    "idle_timeout_minutes": 0.1,
    "upscaling_speed": 10.0,
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
    # By its class, because Ray's wheel lacks the example file from which the type `fake_multinode` takes its defaults.
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "head_node_id": HEAD,
        "launch_multiple": True,
    },
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "small": {
            "resources": {"CPU": 1, "object_store_memory": 100_000_000}, "node_config": {}, "min_workers": 0,
            "max_workers": 3,
        },
    },
}  # fmt: skip
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token", "RAY_enable_autoscaler_v2": "1",
    "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "PYTHONPATH": str(ROOT),
}  # fmt: skip


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A head without CPUs, whose autoscaler may add three nodes of one CPU."""
    require("curl")
    with machines(tmp_path_factory.mktemp("growing"), ["head"]) as made:
        head = made["head"]
        config = {**CONFIG, "provider": {**CONFIG["provider"], "gcs_address": f"{head.ip}:{PORT}"}}
        (head.home / "growing.yaml").write_text(yaml.safe_dump(config))
        head.run(*RAY, "get-auth-token", "--generate")
        head.run(
            *RAY, "start", "--head", f"--node-ip-address={head.ip}", f"--port={PORT}", "--num-cpus=0",
            "--object-store-memory=100000000", "--disable-usage-stats", "--autoscaling-config=/srv/growing.yaml",
            RAY_OVERRIDE_NODE_ID_FOR_TESTING=HEAD, RAY_CLOUD_INSTANCE_ID=HEAD, **ENVIRONMENT,
        )  # fmt: skip
        yield head


def cpus(head: Machine) -> int:
    """CPUs of the cluster now, as `ray status` shows them."""
    shown = head.run(*RAY, "status", check=False, **ENVIRONMENT).stdout
    found = re.search(r"/(\d+)\.0 CPU", shown)
    return int(found[1]) if found else 0


def wait(done: Callable[[], bool], head: Machine, what: str, at_most: float = 120) -> None:
    end = time.monotonic() + at_most
    while not done():
        if time.monotonic() > end:
            logs = head.run(
                "sh", "-c", "tail -n 60 /tmp/ray/session_latest/logs/monitor*", check=False
            ).stdout
            raise AssertionError(f"{what}\n{logs[-6000:]}")
        time.sleep(0.5)


def test_an_extraction_makes_the_cluster_grow_and_it_shrinks_again(
    head: Machine, run: Callable[..., Run], bodies: Path, tmp_path: Path
) -> None:
    shared = head.home.parent / "shared"
    write_demo(shared / "archive", recordings=200)
    shutil.copytree(bodies, shared / "bodies")
    plain = run("plain", archive_root=shared / "archive", output={"shard_mb": 1})
    plain.plain()
    assert cpus(head) == 0
    process = head.start(
        "sh", "-c", '"$@" > /mnt/said 2>&1', "sh", *COMMAND, "extract", "amass", "--override",
        "source.root=/mnt/archive", "body.root=/mnt/bodies", "output.root=/mnt/out", "output.shard_mb=1",
        f"ray.address={head.ip}:{PORT}", **ENVIRONMENT,
    )  # fmt: skip
    most = 0

    def ended() -> bool:
        nonlocal most
        most = max(most, cpus(head))
        return process.poll() is not None

    wait(ended, head, "the extraction does not end", at_most=300)
    said = (shared / "said").read_text()
    assert process.returncode == 0, said
    assert most == 3, said
    rows = {name: digest for name, digest in plain.files().items() if name.endswith(".parquet")}
    made = Run(shared / "archive", bodies, shared / "out").files()
    assert {name: made[name] for name in rows} == rows
    wait(lambda: cpus(head) == 0, head, "the nodes stay")


def test_what_the_cluster_can_never_have_is_refused_and_what_does_not_come_is_given_up(head: Machine) -> None:
    shared = head.home.parent / "shared"
    train = ("train", "gaussian_prior", "--override", "data.root=/mnt/out", f"ray.address={head.ip}:{PORT}")
    never = head.run(
        *COMMAND,
        *train,
        "output.root=/mnt/never",
        "ray.workers=4",
        "ray.max_workers=3",
        check=False,
        **ENVIRONMENT,
    )
    assert never.returncode == 2, never.stdout + never.stderr
    assert "at most 3 workers" in " ".join((never.stdout + never.stderr).split())
    done = head.run(
        *COMMAND,
        *train,
        "output.root=/mnt/grown",
        "ray.workers=2",
        "ray.max_workers=3",
        "training.max_epochs=1",
        **ENVIRONMENT,
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert "Waiting for the cluster: this training needs 2 CPUs" in said
    assert (shared / "grown" / "summary.json").exists()
    late = head.run(
        *COMMAND,
        *train,
        "output.root=/mnt/late",
        "ray.workers=3",
        "ray.max_workers=3",
        "ray.wait_s=0.5",
        check=False,
        **ENVIRONMENT,
    )
    said = " ".join((late.stdout + late.stderr).split())
    assert late.returncode != 0
    assert re.search(r"needs 3 CPUs, but after .* \d CPUs? (is|are) free", said), said
    assert not (shared / "late" / "summary.json").exists()
