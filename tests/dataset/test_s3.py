"""Archive and data set in a bucket: a real S3 server on loopback (moto), the same bytes as on a disk."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zlib
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import fs as pafs

import mocap_ray
from mocap_ray.archives import amass
from mocap_ray.cli.main import main
from mocap_ray.dataset.exclusion import Change, prepare_change
from mocap_ray.dataset.inspect import inspect
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.shards.running import InProcess, NoCallback
from mocap_ray.shards.running import run as run_plainly
from mocap_ray.storage import Place, place
from tests.archives.test_remote import Server
from tests.distributed.conftest import COMMAND, Run

KEY, SECRET = "AKIAOURKEY", "wJalr/XUtn+FEMI"
"""As real ones look: a slash and a plus, which an address holds as %2F and %2B."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("s3"))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, families=("smplh",), genders=("neutral", "male"))
    return root


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_demo(tmp_path / "archive", recordings=16)
    return tmp_path / "archive"


class Bucket:
    """A new bucket for each test."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        self.whole = place(self.address(""))
        self.whole.fs.create_dir(name)

    def address(self, path: str) -> str:
        secret = SECRET.replace("/", "%2F").replace("+", "%2B")
        query = f"endpoint_override=127.0.0.1%3A{self.server.port}&scheme=http&region=us-east-1"
        return f"s3://{KEY}:{secret}@{self.name}/{path}?{query}&allow_bucket_creation=true"

    def put(self, folder: Path, path: str) -> None:
        for file in folder.rglob("*"):
            if file.is_file():
                self.whole.write_atomic(file.read_bytes(), path, file.relative_to(folder).as_posix())

    def contents(self, path: str) -> dict[str, bytes]:
        where = place(self.address(path))
        return {where.relative(i.path): where.read(where.relative(i.path)) for i in where.files()}

    def times(self, path: str) -> dict[str, int]:
        where = place(self.address(path))
        return {where.relative(i.path): i.mtime_ns for i in where.files()}


@pytest.fixture
def bucket(server: Server, request: pytest.FixtureRequest) -> Bucket:
    return Bucket(server, f"b{zlib.crc32(request.node.name.encode())}")


def _run(source: str | Path, bodies: Path, out: str | Path) -> Run:
    return Run(source, bodies, out, extra={"source": {"split": "none"}, "output": {"shard_mb": 0.5}})  # type: ignore[arg-type]


def _of_the_data_set(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files that must be equal on all machines; receipts are excluded, as they hold times of the sources."""
    return {p: b for p, b in files.items() if p.split("/")[0] not in ("receipts", "_runs", ".lock")}


def _of_every_run(paths: Iterable[str]) -> set[str]:
    """Names of files, without the log of each run and the lock that only disks have."""
    return {p for p in paths if p.split("/")[0] not in ("_runs", ".lock")}


def test_a_bucket_holds_the_same_bytes_as_a_disk(
    bucket: Bucket, archive: Path, bodies: Path, tmp_path: Path
) -> None:
    _run(archive, bodies, tmp_path / "out").plain()
    local = {
        p.relative_to(tmp_path / "out").as_posix(): p.read_bytes()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    }
    bucket.put(archive, "amass")
    made = _run(bucket.address("amass"), bodies, bucket.address("out")).plain()
    remote = bucket.contents("out")
    assert json.dumps(made, indent=1, sort_keys=True).encode() == remote["manifest.json"]
    assert _of_the_data_set(remote) == _of_the_data_set(local)
    assert _of_every_run(remote) == _of_every_run(local)
    for path, data in remote.items():
        for secret in (KEY, SECRET, SECRET.replace("/", "%2F")):
            assert secret.encode() not in data, path


def test_a_second_run_makes_nothing_and_a_new_recording_remakes_about_one_shard(
    bucket: Bucket, archive: Path, bodies: Path, tmp_path: Path
) -> None:
    bucket.put(archive, "amass")
    job = _run(bucket.address("amass"), bodies, bucket.address("out"))
    job.plain()
    before, files = bucket.times("out"), bucket.contents("out")
    earlier = len(bucket.server.requests())
    job.plain()
    put = [path for method, path in bucket.server.requests()[earlier:] if method in ("PUT", "POST")]
    assert not any("/clips/" in path or "/receipts/" in path for path in put)
    assert bucket.contents("out") == files

    source = sorted(archive.rglob("*_poses.npz"))[4]
    new = Path(shutil.copy(source, source.with_name("zz_new_poses.npz")))
    bucket.whole.write_atomic(new.read_bytes(), "amass", new.relative_to(archive).as_posix())
    job.plain()
    after = bucket.times("out")
    shards = {p for p in before if p.startswith("clips/")}
    kept = {p for p in shards if after.get(p) == before[p]}
    made = {p for p in after if p.startswith("clips/")} - kept
    assert 1 <= len(made) <= 2
    assert len(shards - kept) <= 2
    # Superseded files and their receipts are removed: the bucket holds the same as after one run over everything.
    _run(archive, bodies, tmp_path / "fresh").plain()
    fresh = place(tmp_path / "fresh")
    assert _of_every_run(bucket.contents("out")) == _of_every_run(
        fresh.relative(i.path) for i in fresh.files()
    )
    assert bucket.contents("out")["manifest.json"] == fresh.read("manifest.json")


def test_recordings_are_taken_out_of_a_bucket_and_in_again(
    bucket: Bucket, archive: Path, bodies: Path
) -> None:
    bucket.put(archive, "amass")
    job = _run(bucket.address("amass"), bodies, bucket.address("out"))
    job.plain()
    config, out = job.config(), place(bucket.address("out"))
    before = _of_the_data_set(bucket.contents("out"))

    def changed(reason: str | None) -> None:
        change = Change(("DemoStroll/s01",), reason)
        assert change.sources(out) == ["amass"]
        run_plainly(
            lambda: prepare_change(config.source, config.body, config.motion, config.output, change),
            lambda: nullcontext(InProcess()),
            out=out,
            callback=NoCallback(),
        )
        assert not change.sources(out)

    changed("markers swapped")
    after = bucket.contents("out")
    shards = [p for p in before if p.startswith("clips/")]
    assert 1 <= sum(after.get(p) != before[p] for p in shards) < len(shards)
    assert b"markers swapped" in out.read("excluded.json")
    changed(None)
    assert _of_the_data_set(bucket.contents("out")) == before


def test_a_data_set_in_a_bucket_is_read_and_shown(
    bucket: Bucket, archive: Path, bodies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(archive, bodies, tmp_path / "out").plain()
    bucket.put(tmp_path / "out", "out")
    near, far = mocap_ray.open(tmp_path / "out"), mocap_ray.open(bucket.address("out"))
    assert len(far) == len(near) == 16
    for a, b in zip(near.clips(), far.clips(), strict=True):
        assert a.clip_id == b.clip_id
        assert np.array_equal(a.features, b.features)
        assert np.array_equal(near.joints(a), far.joints(b))
    for secret in (KEY, SECRET):
        assert secret not in repr(far)
    with pytest.raises(SystemExit) as done:
        main(["page", bucket.address("out"), str(tmp_path / "page.html")])
    assert not done.value.code
    html = (tmp_path / "page.html").read_text()
    assert "<svg" in html
    assert not [s for s in (KEY, SECRET) if s in html + "".join(capsys.readouterr())]
    table = pq.read_table(io.BytesIO(far.place.read(far.shards[0].path)))
    assert table.num_rows == far.shards[0].rows


def test_a_recording_in_a_bucket_can_be_inspected(bucket: Bucket, archive: Path) -> None:
    source = "DemoStroll/s01/901_teleport_poses.npz"
    bucket.whole.write_atomic((archive / source).read_bytes(), "amass", source)
    far = inspect(bucket.address(f"amass/{source}"), amass.ARCHIVE)
    near = inspect(archive / source, amass.ARCHIVE)
    assert far.quality is not None
    assert near.quality is not None
    assert far.quality.rows() == near.quality.rows()
    assert [(r.reason, r.detail) for r in far.rejections] == [(r.reason, r.detail) for r in near.rejections]
    with pytest.raises(ValueError, match="no such file") as caught:
        inspect(bucket.address("amass/absent.npz"), amass.ARCHIVE)
    assert KEY not in str(caught.value)


def _wrong_addresses(bucket: Bucket) -> list[list[str]]:
    good = bucket.address("out")
    raw = f"s3://{KEY}:{SECRET}@{bucket.name}/out"  # the slash is not encoded
    extract = ["extract", "amass", "--dry-run", "--override", "source.split=none"]
    return [
        ["page", good],
        ["page", raw],
        ["export", "npy", good.replace(bucket.name, "nobucket"), "here"],
        ["inspect", good],
        ["inspect", raw],
        [*extract, f"source.root={good}", "body.root=bodies", "output.root=o"],
        [*extract, f"source.root={raw}", "body.root=bodies", "output.root=o"],
        [*extract, "source.root=archive", "body.root=bodies", f"output.root={raw}"],
        [*extract, "source.root=archive", "body.root=bodies", f"output.root={good}x&foo=1"],
        [*extract, "source.root=archive", "body.root=bodies", f"output.root={good.replace('s3:', 'S3:')}"],
        [*extract, good],
        [*extract, f"source.limit={good}"],
        [*extract, f"motion.yaw={raw}"],
        ["extract", good],
        ["archives", good],
    ]


@pytest.mark.parametrize("number", range(15))
def test_no_message_contains_a_secret(
    number: int,
    bucket: Bucket,
    archive: Path,
    bodies: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(archive.parent)
    shutil.copytree(bodies, archive.parent / "bodies")
    with pytest.raises(SystemExit) as done:
        main(_wrong_addresses(bucket)[number])
    text = "".join(capsys.readouterr())
    assert done.value.code in (1, 2)
    assert len(text) > 20
    for secret in (KEY, SECRET, SECRET.replace("/", "%2F").replace("+", "%2B"), "FEMI"):
        assert secret not in text


@pytest.mark.ray
def test_the_command_on_a_bucket_makes_the_same_data_set_and_hides_secrets(
    bucket: Bucket, archive: Path, bodies: Path, tmp_path: Path
) -> None:
    """The run log holds the whole configuration: nowhere else could an address get into a file."""
    local = _run(archive, bodies, tmp_path / "out").plain()
    bucket.put(archive, "amass")
    command = [
        *COMMAND, "extract", "amass", "--override", "source.split=none", "output.shard_mb=0.5", "ray.workers=1",
        f"source.root={bucket.address('amass')}", f"body.root={bodies}", f"output.root={bucket.address('out')}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    files = bucket.contents("out")
    assert json.loads(files["manifest.json"]) == local
    assert any(p.startswith("_runs/") and p.endswith("config.yaml") for p in files)
    for name, data in {**files, "printed": (done.stdout + done.stderr).encode()}.items():
        for secret in (KEY, SECRET, SECRET.replace("/", "%2F").replace("+", "%2B")):
            assert secret.encode() not in data, name


def test_pickled_places_keep_their_credentials(bucket: Bucket) -> None:
    """Workers get the address as a pickled file system, with credentials that no message shows."""
    import pickle

    where: Place = pickle.loads(pickle.dumps(place(bucket.address("x"))))
    where.write_atomic(b"1", "a")
    assert where.read("a") == b"1"
    assert isinstance(where.fs, pafs.S3FileSystem)
    assert KEY not in where.uri
    assert SECRET not in where.uri
