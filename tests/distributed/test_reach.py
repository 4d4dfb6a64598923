"""A folder that only some machines of a cluster see is refused with a remedy, before any work."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mocap_ray.dataset.build import prepare
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.distributed.reach import absent, has_cpus, refusal
from tests.distributed.conftest import COMMAND, Run
from tests.distributed.machines import ROOT, Machine, machines, require

PATHS = {"source.root": "/data/amass", "output.root": "/home/me/set"}
RAY = (sys.executable, "-m", "ray.scripts.scripts")


def test_what_every_node_sees_is_accepted() -> None:
    assert refusal({"10.0.0.1": (), "10.0.0.2": ()}, PATHS) == ""
    assert refusal({}, PATHS) == ""


def test_the_refusal_names_folders_and_nodes_and_its_remedy_can_be_pasted() -> None:
    found = refusal(
        {"10.0.0.1": (), "10.0.0.3": ("output.root",), "10.0.0.2": ("output.root", "source.root")}, PATHS
    )
    assert "source.root /data/amass (not on 10.0.0.2) and output.root /home/me/set (not on" in found
    assert "(not on 10.0.0.2 and 10.0.0.3), of 3 nodes" in found
    words = shlex.split(found.rpartition("in a bucket: ")[2])
    assert words == ["--override", "source.root=s3://bucket/amass", "output.root=s3://bucket/set"]


def test_only_what_is_missing_is_named() -> None:
    found = refusal({"10.0.0.1": (), "10.0.0.2": ("output.root",)}, PATHS)
    assert "source.root" not in found


def test_many_nodes_are_counted() -> None:
    found = refusal({f"10.0.0.{k}": ("source.root",) for k in range(1, 10)}, PATHS)
    assert "(not on 10.0.0.1, 10.0.0.2, 10.0.0.3 and 6 more)" in found


def test_a_machine_reports_what_it_does_not_see(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = {"a": str(tmp_path), "b": str(tmp_path / "file"), "c": str(tmp_path / "none")}
    assert absent(paths) == ("c",)


def test_a_head_without_cpus_runs_no_worker_and_is_not_asked() -> None:
    assert has_cpus({"Resources": {"CPU": 4.0, "memory": 1e9}})
    assert not has_cpus({"Resources": {"memory": 1e9}})
    assert not has_cpus({"Resources": {"CPU": 0.0}})


def test_a_product_says_which_folders_its_workers_read(run: Callable[..., Run]) -> None:
    def reads(job: Run) -> dict[str, str]:
        config = job.config()
        product = prepare(config.source, config.body, config.motion, config.output).product
        return {key: found.path for key, found in product.reads.items()}

    plain, large = run("a"), run("b", output={"columns": ["features", "vertices"]})
    assert reads(plain) == {"source.root": str(plain.archive)}
    assert reads(large) == {"source.root": str(large.archive), "body.root": str(large.bodies)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Machine]]:
    """Two machines with one Ray; /mnt is shared, /srv is each machine's own."""
    require()
    with machines(tmp_path_factory.mktemp("reach"), ["head", "other"]) as made:
        head, other = made["head"], made["other"]
        setting = {"RAY_AUTH_MODE": "disabled"}
        head.run(
            *RAY, "start", "--head", f"--node-ip-address={head.ip}", "--port=6379", "--num-cpus=1",
            "--object-store-memory=100000000", "--disable-usage-stats", "--include-dashboard=false", **setting,
        )  # fmt: skip
        other.run(
            *RAY, "start", f"--address={head.ip}:6379", f"--node-ip-address={other.ip}", "--num-cpus=1",
            "--object-store-memory=100000000", "--disable-usage-stats", **setting,
        )  # fmt: skip
        end = time.monotonic() + 60
        while "2 node(s)" not in (text := _nodes(head)):
            assert time.monotonic() < end, text
            time.sleep(1)
        yield made


def _nodes(head: Machine) -> str:
    code = "import ray; ray.init(address='auto', log_to_driver=False); print(len(ray.nodes()), 'node(s)', sep=' ')"
    return head.run(sys.executable, "-c", code, check=False, RAY_AUTH_MODE="disabled").stdout


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_folder_of_one_machine_is_refused_before_any_shard(pair: dict[str, Machine]) -> None:
    head, other = pair["head"], pair["other"]
    shared = head.home.parent / "shared"
    for home in (head.home, shared):
        write_demo(home / "archive", recordings=8)
    write_standin(shared / "bodies", genders=("neutral", "male"))

    def extract(archive: str, out: str) -> str:
        done = head.run(
            *COMMAND, "extract", "amass", "--override", f"source.root={archive}", "body.root=/mnt/bodies",
            f"output.root={out}", "output.shard_mb=1", f"ray.address={head.ip}:6379", "source.split=none",
            check=False, RAY_AUTH_MODE="disabled", PYTHONPATH=str(ROOT),
        )  # fmt: skip
        text = done.stdout + done.stderr
        assert "Traceback" not in text, text
        return f"{done.returncode} {text}"

    text = " ".join(extract("/srv/archive", "/mnt/out").split())
    assert text[0] in "12", text
    assert f"source.root /srv/archive (not on {other.ip}), of 2 nodes" in text
    assert not list((shared / "out").rglob("*.parquet"))
    text = " ".join(extract("/mnt/archive", "/srv/out").split())
    assert text[0] in "12", text
    assert f"output.root /srv/out (not on {other.ip})" in text
    assert not list((head.home / "out").rglob("*.parquet"))
    assert not list((head.home / "out").glob(".tmp-*"))
    # The same command with a folder that both see goes on where the first one was refused.
    text = extract("/mnt/archive", "/mnt/out")
    assert text[0] == "0", text
    assert list((shared / "out" / "clips").rglob("*.parquet"))
