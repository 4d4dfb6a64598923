"""A bucket that loses one request in ten and answers another one in ten with SlowDown: nothing is lost or doubled."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from mocap_ray import storage
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.storage import Place, place
from tests.archives.test_remote import Server
from tests.distributed.conftest import Run
from tests.flaky import Fault, FlakyProxy, one_in_ten


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("s3"))
    try:
        yield running
    finally:
        running.stop()


class Through:
    """A bucket seen through a proxy."""

    def __init__(self, server: Server, bucket: str, fault: Fault) -> None:
        self.proxy, self.bucket = FlakyProxy(server.port, fault), bucket

    def address(self, path: str) -> str:
        query = f"endpoint_override=127.0.0.1%3A{self.proxy.port}&scheme=http&region=us-east-1"
        return f"s3://dummy:secret@{self.bucket}/{path}?{query}"


@pytest.fixture
def through(server: Server, request: pytest.FixtureRequest) -> Iterator[Through]:
    fault = getattr(request, "param", one_in_ten)
    server.place("flaky").fs.create_dir("flaky")
    made = Through(server, "flaky", fault)
    yield made
    made.proxy.stop()


def _contents(where: Place) -> dict[str, bytes]:
    """The files that are equal on all machines."""
    names = [where.relative(i.path) for i in where.files()]
    return {n: where.read(n) for n in names if n.split("/")[0] not in ("receipts", "_runs", ".lock")}


@pytest.mark.slow  # 20 s
def test_an_extraction_through_a_bad_connection_gives_the_same_bytes(
    through: Through, server: Server, tmp_path: Path
) -> None:
    write_demo(tmp_path / "archive", recordings=12)
    write_standin(tmp_path / "bodies", families=("smplh",), genders=("neutral", "male"))
    for file in (tmp_path / "archive").rglob("*.npz"):
        name = file.relative_to(tmp_path / "archive").as_posix()
        server.place("flaky").write_atomic(file.read_bytes(), "amass", name)
    settings = {"source": {"split": "none"}, "output": {"shard_mb": 0.5}}
    Run(tmp_path / "archive", tmp_path / "bodies", tmp_path / "near", extra=settings).plain()
    far = Run(
        through.address("amass"),  # type: ignore[arg-type]
        tmp_path / "bodies",
        through.address("out"),  # type: ignore[arg-type]
        extra=settings,
    )
    far.plain()
    expected, found = _contents(place(tmp_path / "near")), _contents(server.place("flaky/out"))
    assert found == expected
    assert through.proxy.faults > 20
    assert through.proxy.longest < storage.ATTEMPTS
    far.plain()  # a second run finds everything finished
    assert _contents(server.place("flaky/out")) == expected


def test_a_place_that_travels_to_a_worker_repeats_requests_as_often(through: Through) -> None:
    where: Place = pickle.loads(pickle.dumps(place(through.address("p"))))
    for k in range(30):
        where.write_atomic(b"%d" % k, f"{k}")
    assert [where.read(f"{k}") for k in range(30)] == [b"%d" % k for k in range(30)]
    assert through.proxy.faults > 5


def _always(fault: str) -> Fault:
    return lambda number: fault


@pytest.mark.slow  # 13 s of waiting each
@pytest.mark.parametrize("through", [_always("slow"), _always("drop")], indirect=True, ids=["slow", "drop"])
def test_requests_that_always_fail_are_bounded_and_wait_longer_each_time(through: Through) -> None:
    where = place(through.address("never"))
    with pytest.raises(OSError):  # noqa: PT011  (the SDK's own words)
        where.read("file")
    (times,) = through.proxy.attempts.values()
    assert len(times) == storage.ATTEMPTS
    waits = [b - a for a, b in pairwise(times)]
    # The first pause is 0. A pause is never shorter than it was set, however busy the machine is.
    assert all(wait >= 0.9 * 0.025 * 2**k for k, wait in enumerate(waits) if k)
