"""Hostile pickles through both archives of pickles, from listing to the rejection, also as a process of its own."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mocap_ray.archives import ARCHIVES
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.options import BodyOptions, MotionOptions
from mocap_ray.dataset.process import Plan, process
from mocap_ray.motion.clip import Clip, Reason
from mocap_ray.records import Rejection
from mocap_ray.storage import place
from tests.archives import dances, frames
from tests.test_pickles import BOMBS, CODE, COMMAND, CROOKED, MALICIOUS, Call

ROOT = Path(__file__).resolve().parents[2]


def _stored(data: bytes) -> Call:
    return Call(torch.storage._load_from_bytes, data)


def _zip_bomb() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        for k in range(20):
            file.writestr(f"archive/data/{k}", bytes(10**7))
    return sink.getvalue()


def _deep(*keys: bytes, depth: int = 20_000) -> bytes:
    """A dictionary whose values are tuples in tuples in tuples."""
    pairs = (b"\x8c" + bytes([len(key)]) + key + b")" + b"\x85" * depth for key in keys)
    return b"\x80\x04}(" + b"".join(pairs) + b"u."


EXTRAS: dict[str, tuple[Callable[[], object], str]] = {
    "os.system": (lambda: Call(os.system, COMMAND), f"{os.system.__module__}.system"),
    "eval": (lambda: Call(eval, CODE), "builtins.eval"),
    "nested reduce": (lambda: [Call(getattr, Call(__import__, "os"), "system")], "builtins.getattr"),
    "call of what a call gives": (lambda: {"a": (Call(Call, eval, CODE),)}, "Call"),
    "nested in a storage": (lambda: _stored(pickle.dumps(Call(os.system, COMMAND))), "system"),
    "in an object array": (lambda: np.array([Call(eval, CODE)], dtype=object), "builtins.eval"),
}
"""An object beside the motion in a file that is otherwise right, and what the rejection names."""

FILES: dict[str, tuple[bytes, Reason]] = {
    "zip bomb": (_zip_bomb(), Reason.UNREADABLE),
    "gzip bomb": (gzip.compress(bytes(10**7)), Reason.UNREADABLE),
    "a terabyte of bytes": (
        pickle.dumps({"joints": b"", "smpl_poses": 1})[:-2] + b"\x8e" + struct.pack("<Q", 2**40) + b"u.",
        Reason.UNREADABLE,
    ),
    "deep tuples as the motion": (_deep(b"joints", b"smpl_poses", b"smpl_trans"), Reason.BAD_SHAPE),
    **{name: (data, Reason.UNREADABLE) for name, data in BOMBS.items() if "persistent" not in name},
    **{name: (data, Reason.UNREADABLE) for name, data in CROOKED.items()},
    **{name: (data, Reason.UNSAFE) for name, (data, _) in MALICIOUS.items()},
}  # fmt: skip
"""A whole file, and the reason of its rejection."""


def as_dance(root: Path, extra: object = None, data: bytes | None = None) -> Path:
    values = dances.dance(40, extra=extra) if data is None else data
    return dances.write(root, values=values)


def as_frame(root: Path, extra: object = None, data: bytes | None = None) -> Path:
    """An outfit whose sixth frame is hostile; the five before it are read first."""
    joints = frames.write(root, frames=12)
    changed = frames.frame(joints[5], extra=extra) if data is None else data
    (root / "Part_01/100001/smpl_param/000005.pkl").write_bytes(changed)
    return root


WRITERS: dict[str, Callable[..., Path]] = {"aist": as_dance, "mvhumannet": as_frame}


def processed(archive: str, root: Path) -> list[Any]:
    """What a run makes of the only recording."""
    where, chosen = place(root), ARCHIVES[archive]
    (recording,) = chosen.discover(where)
    none = Bodies("nowhere", "recorded", {}, {})
    options = MotionOptions(profile="flowmimic", min_frames=1)
    return process(
        recording, Plan(chosen, where, none, BodyOptions(root="nowhere"), options, ("features", "joints"))
    )


@pytest.mark.parametrize("archive", WRITERS)
@pytest.mark.parametrize("name", EXTRAS)
def test_an_object_beside_the_motion_is_named_and_not_run(
    name: str, archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, named = EXTRAS[name]
    root = WRITERS[archive](tmp_path / "archive", extra=make())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (found,) = processed(archive, root)
    assert isinstance(found, Rejection)
    assert found.reason is Reason.UNSAFE
    assert named in found.detail
    assert "none of its code was run" in found.detail
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("archive", WRITERS)
@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_a_rejection(name: str, archive: str, tmp_path: Path) -> None:
    data, reason = FILES[name]
    (found,) = processed(archive, WRITERS[archive](tmp_path, data=data))
    assert isinstance(found, Rejection)
    assert found.reason is reason, found.detail
    assert found.detail.startswith(("motions/", "Part_01/100001/smpl_param/000005.pkl: "))
    assert len(found.detail) < 800


def test_a_frame_that_is_alike_but_for_a_name_is_not_taken_for_alike(tmp_path: Path) -> None:
    """A name of the same length where the other frames have a listed one."""
    joints = frames.write(tmp_path, frames=12)
    data = frames.frame(joints[5])
    assert data.count(b"OrderedDict") == 1
    (tmp_path / "Part_01/100001/smpl_param/000005.pkl").write_bytes(
        data.replace(b"OrderedDict", b"OrderedEvil")
    )
    (found,) = processed("mvhumannet", tmp_path)
    assert isinstance(found, Rejection)
    assert found.reason is Reason.UNSAFE
    assert "collections.OrderedEvil" in found.detail


def test_a_terabyte_on_disk_is_not_read(tmp_path: Path) -> None:
    for archive, writer in WRITERS.items():
        root = writer(tmp_path / archive)
        path = max(root.rglob("*.pkl"))
        with path.open("r+b") as file:
            file.truncate(1 << 40)  # takes no room on the disk
        (found,) = processed(archive, root)
        assert isinstance(found, Rejection)
        assert "it has 1.1 TB. Expected at most" in found.detail


PROGRAM = """
import json, resource, sys
from pathlib import Path
from mocap_ray.archives import ARCHIVES
from mocap_ray.storage import place

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
found = {}
for root in sorted(Path(sys.argv[1]).iterdir()):
    archive = ARCHIVES[root.name.partition("-")[0]]
    (recording,) = archive.discover(place(root))
    rejection = archive.read(place(root), recording)
    found[root.name] = [rejection.reason, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
print(json.dumps(found))
"""


def test_a_process_of_its_own_survives_all_of_them_in_little_memory(tmp_path: Path) -> None:
    """A crash, a hang, or memory beyond the limit would end it without an answer."""
    deep = b"\x80\x04" + b"}\x8c\x06joints" * 50_000 + b"N" + b"s" * 50_000 + b"."
    names = (
        "zip bomb",
        "a terabyte of bytes",
        "array of a huge shape",
        "torch storage of a terabyte",
        "torch storages inside of each other",
        "one list made into many sets",
        "shape of a doubled list",
    )
    hard = {"deep": (deep, None), **{name: FILES[name] for name in names}}
    for k, (data, _) in enumerate(hard.values()):
        for archive, writer in WRITERS.items():
            writer(tmp_path / "archives" / f"{archive}-{k}", data=data)
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "archives")],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path / "here",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found) == 2 * len(hard)
    assert {reason for reason, _ in found.values()} <= {"unreadable", "bad_shape", "missing_keys"}
    assert max(memory for _, memory in found.values()) < 2 << 20  # kB
    assert list((tmp_path / "here").iterdir()) == []


def test_the_files_are_motion_without_what_is_hostile(tmp_path: Path) -> None:
    """Without this, the rejections above could have another cause."""
    (clip,) = processed("mvhumannet", as_frame(tmp_path / "mvh", extra=[1, "two", {"three": None}]))
    assert isinstance(clip, Clip)
    root = place(as_dance(tmp_path / "aist", extra=[1, "two", {"three": None}]))
    (recording,) = ARCHIVES["aist"].discover(root)
    assert not isinstance(ARCHIVES["aist"].read(root, recording), Rejection)
