"""The loss of the head, whose state is in Redis (Debian's redis-server): runs on the workers go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.distributed.machines import machines, require
from tests.distributed.nodes import Drive, Nodes
from tests.distributed.work import EPOCHS, Work

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    """A cluster of two workers whose head keeps its state in a Redis on another machine."""
    require("redis-server")
    with machines(tmp_path_factory.mktemp("head"), ["head", "a", "b"]) as made:
        laptop = made["laptop"]
        laptop.start(
            "redis-server", "--bind", laptop.ip, "--port", "6380", "--protected-mode", "no", "--save", "",
            "--dir", "/tmp",
        )  # fmt: skip
        nodes = Nodes(made, redis=f"{laptop.ip}:6380")
        nodes.start("a", "b")
        nodes.wait_for(3)
        yield Work(nodes)


@pytest.mark.parametrize("what", ["extraction", "training"])
def test_a_run_outlives_the_head(work: Work, what: str) -> None:
    """Its driver runs on a worker: one on the head is lost with it, and its command resumes."""
    runs: dict[str, tuple[Callable[..., Drive], Callable[[str], int], int]] = {
        "extraction": (work.extract, work.shards, 2),
        "training": (work.train, work.epochs, 3),
    }
    start, count, least = runs[what]
    if what == "training":
        work.train("undisturbed").end()
    drive = start(f"lost-{what}", on="a")
    drive.until(lambda: count(f"lost-{what}") >= least)
    seen = count(f"lost-{what}")
    work.nodes.lose("head")
    work.nodes.start_head()
    drive.end()
    if what == "extraction":
        work.check_rows(f"lost-{what}")
    else:
        assert seen < EPOCHS, "lost too late to show anything"
        work.check_losses(f"lost-{what}")
