"""What a cluster of two working nodes survives: no row is lost or doubled, no epoch and no trial repeated or left out.

Each machine has a network and processes of its own. The folder /mnt is the same on all of them, as a shared file system
that does not fail; a cable that is pulled cuts Ray's connections, not the way to the data.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mocap_ray.demo.archive import write_demo
from tests.distributed.machines import machines, require
from tests.distributed.nodes import ENVIRONMENT, FAKETIME, MEMORY, PORT, Drive, Nodes, clock
from tests.distributed.work import EPOCHS, HERE, Work

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1200)]
CUT_S = 30
"""How long a cable is pulled. Ray takes a node for dead after about a minute without an answer."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    """A cluster of two workers, and the inputs; the disk /mnt/small holds 20 MB. The machine `c` is idle."""
    require("mount")
    folder = tmp_path_factory.mktemp("survival")
    small = folder / "shared" / "small"
    small.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(small)], check=True)
    try:
        with machines(folder, ["head", "a", "b", "c"]) as made:
            nodes = Nodes(made)
            nodes.start("a", "b")
            yield Work(nodes)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.fixture(autouse=True)
def whole(work: Work) -> None:
    """Both workers are there when a test starts."""
    work.nodes.wait_for(3)


@pytest.mark.parametrize("silent", [False, True], ids=["killed", "without power"])
def test_an_extraction_that_loses_a_node(work: Work, silent: bool) -> None:
    name = "lost-silent" if silent else "lost"
    drive = work.extract(name)
    drive.until(lambda: work.shards(name) >= 2)
    work.nodes.lose("b", silent=silent)
    seen = work.shards(name)
    drive.end()
    assert seen < work.shards(name), "lost too late to show anything"
    work.check_rows(name)
    work.nodes.plug("b", up=True)
    work.nodes.join("b")


def test_a_training_that_loses_a_node_continues_from_its_checkpoint(work: Work) -> None:
    drive = work.train("trained")
    drive.until(lambda: work.epochs("trained") >= 3)
    work.nodes.lose("b")
    seen = work.epochs("trained")
    drive.until(lambda: "a node may be lost" in drive.said)
    work.nodes.join("b")  # as an autoscaler replaces it
    drive.end()
    assert seen < EPOCHS, "lost too late to show anything"
    work.check_losses("trained")


def test_a_search_that_loses_a_node_repeats_no_finished_trial(work: Work) -> None:
    drive = work.search("searched")
    # One has finished, and each node is in the middle of another.
    drive.until(lambda: len(work.finished("searched")) >= 1 and work.begun("searched") == 2)
    before = work.finished("searched")
    work.nodes.lose("b")
    assert work.begun("searched") == 2, "lost too late to show anything"
    work.nodes.join("b")
    drive.end()
    work.check_trials("searched", before)


def test_a_network_cut_of_half_a_minute(work: Work) -> None:
    runs: dict[str, tuple[Callable[..., Drive], Callable[[str], int]]] = {
        "cut": (work.extract, work.shards),
        "cut-training": (work.train, work.epochs),
    }
    for name, (start, count) in runs.items():
        drive = start(name)
        drive.until(lambda count=count, name=name: count(name) >= 2)
        work.nodes.plug("b", up=False)
        time.sleep(CUT_S)
        work.nodes.plug("b", up=True)
        drive.end()
    work.check_rows("cut")
    work.check_losses("cut-training")
    assert work.nodes.alive() == 3


def test_a_recording_that_needs_more_memory_than_a_node_has_is_rejected_alone(work: Work) -> None:
    if not (MEMORY / "memory.limit_in_bytes").exists():
        pytest.skip("this system has no control groups of version 1")
    shutil.copytree(work.shared / "archive", work.shared / "hungry")
    victim = sorted((work.shared / "hungry").rglob("*_poses.npz"))[4]
    hungry = shutil.copy(victim, victim.with_name("00_hungry_poses.npz"))
    name = Path(hungry).relative_to(work.shared / "hungry").as_posix().removesuffix(".npz")
    with work.nodes.memory("a", 3 * 2**30), work.nodes.memory("b", 3 * 2**30):
        said = work.extract("hungry-set", archive="hungry").end()
    assert f"{name}: kills the process that reads it" in said
    run = work.run("hungry-set", "hungry")
    assert run.rejected()[name] == "worker_died"
    rows = [sum(shard["rows"] for shard in made.manifest()["shards"]) for made in (run, work.plain)]
    assert rows[0] == rows[1]
    assert work.nodes.alive() == 3, "the nodes are still there"


def test_a_disk_that_fills_up_stops_the_run_and_the_same_command_goes_on(work: Work) -> None:
    full = work.shared / "small" / "full"
    full.write_bytes(b"x" * 18 * 2**20)
    said = work.extract("small/set").end(expect=1)
    assert "No space left on device" in said
    assert not (work.shared / "small" / "set" / "manifest.json").exists()
    full.unlink()
    assert "kept" in work.extract("small/set").end()
    work.check_rows("small/set")


def test_one_of_three_nodes_ten_times_slower(work: Work) -> None:
    """Prints both times; how their ratio comes about is in docs/clusters.md."""
    nodes, seconds = work.nodes, []
    write_demo(work.shared / "many", recordings=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        work.run("many-plain", "many").plain()
    for name, slow in (("even", 0.5), ("slow", 5.0)):
        for worker, sleep_s in (("a", 0.5), ("b", 0.5), ("c", slow)):
            nodes.lose(worker)
            nodes.join(worker, TRAP_SLEEP_S=str(sleep_s))
        nodes.wait_for(4)
        start = time.monotonic()
        said = work.extract(name, "ray.workers=3", archive="many").end()
        seconds.append((time.monotonic() - start, said.rpartition("is complete")[0][-300:]))
        work.check_rows(name, "many-plain")
    print(seconds)
    nodes.lose("c")
    for worker in ("a", "b"):
        nodes.lose(worker)
        nodes.join(worker)


@pytest.mark.parametrize("shift", ["+2h", "-2h"])
def test_a_node_whose_clock_is_wrong(work: Work, shift: str) -> None:
    if not Path(FAKETIME).exists():
        pytest.skip("Debian's faketime is not installed; cluster/tools.sh installs it")
    nodes = work.nodes
    nodes.lose("b")
    nodes.wait_for(2)
    nodes.join("b", **clock(shift))
    nodes.wait_for(3)
    work.extract(f"clock{shift}").end()
    work.check_rows(f"clock{shift}")
    work.train(f"clock-training{shift}").end()
    work.check_losses(f"clock-training{shift}")
    work.search(f"clock-search{shift}").end()
    work.check_trials(f"clock-search{shift}", {})
    nodes.lose("b")
    nodes.wait_for(2)
    nodes.join("b")


QUEUES = """
import ray
from mocap_ray.distributed.events import EventQueue
ray.init("{}", log_to_driver=False)
queues = [EventQueue() for _ in range(8)]
for queue in queues:
    queue.put("here", 1, wait=True)
from ray.util.state import list_actors
here = ray.get_runtime_context().get_node_id()
print("elsewhere", sum(a.node_id != here for a in list_actors(filters=[("state", "=", "ALIVE")])))
"""


def test_events_go_through_the_node_of_the_driver(work: Work) -> None:
    """The loss of any other node must not end a run, and Ray would place an actor without CPUs on any."""
    head = work.nodes.head
    said = head.run(sys.executable, "-c", QUEUES.format(f"{head.ip}:{PORT}"), **ENVIRONMENT).stdout
    assert "elsewhere 0" in said
