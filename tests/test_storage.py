"""Files are written atomically."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mocap_ray.errors import UserError
from mocap_ray.storage import place

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "listed"])
def test_a_name_that_python_reads_as_ascii_says_what_to_set(tmp_path: Path, typed: bool) -> None:
    folder = tmp_path / "Müller"
    folder.mkdir()
    (folder / "Ü_poses.npz").write_bytes(b"")
    root = folder if typed else tmp_path
    code = (
        "import sys\nfrom mocap_ray.storage import place\nfrom mocap_ray.errors import UserError\n"
        "try:\n    place(sys.argv[1]).files()\nexcept UserError as error:\n    print(ascii(str(error)))"
    )
    command = [sys.executable, "-c", code, str(root)]
    for environment, expected in ((ASCII, True), ({"LC_ALL": "C"}, False), ({"LANG": "C"}, False)):
        others = {k: v for k, v in os.environ.items() if k not in (*ASCII, "LANG", "LC_CTYPE")}
        done = subprocess.run(
            command, env={**others, **environment}, capture_output=True, text=True, check=True
        )
        assert ("Set the environment variable PYTHONUTF8=1" in done.stdout) == expected, done.stdout
        if expected:
            assert "M\\xfcller" in done.stdout
            assert "reads file names as ascii" in done.stdout


def test_a_path_that_cannot_be_one_is_refused_with_a_sentence() -> None:
    with pytest.raises(UserError, match="NUL byte"):
        place("data/\0set")
    with pytest.raises(UserError, match="Write the path without ~"):
        place("~nobody-here/set")
    with pytest.raises(UserError, match="is not UTF-8"):
        place("data/\udcff")
    with pytest.raises(UserError, match=r"s3://bucket//set.*Expected an address such as"):
        place("s3://bucket//set?region=us-east-1&endpoint_override=127.0.0.1:1").read("x")


def test_written_files_are_read_back(tmp_path: Path) -> None:
    here = place(tmp_path / "new" / "folder")
    assert here.files() == []
    here.write_atomic(b"abc", "a", "b.bin")
    assert here.read("a", "b.bin") == b"abc"
    assert [here.relative(i.path) for i in here.files()] == ["a/b.bin"]
    here.write_atomic(b"xyz", "a", "b.bin")
    assert here.read("a", "b.bin") == b"xyz"
    here.remove("a", "b.bin")
    here.remove("a", "b.bin")
    assert not here.exists("a", "b.bin")


def test_files_that_are_flushed_together_are_whole_as_well(tmp_path: Path) -> None:
    here = place(tmp_path / "new")
    for k in range(3):
        here.write_atomic(bytes([k]) * 1000, "a", f"{k}.bin", flush=False)
    here.flush()
    assert [here.read("a", f"{k}.bin") for k in range(3)] == [bytes([k]) * 1000 for k in range(3)]
    assert sorted(os.listdir(tmp_path / "new" / "a")) == ["0.bin", "1.bin", "2.bin"]
    with pytest.raises(FileNotFoundError):
        place(tmp_path / "nowhere").flush()


FULL = """
import resource, signal, sys
from mocap_ray.storage import place
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
place(sys.argv[1]).write_atomic(b"x" * 5000, "f", flush=sys.argv[2] == "flush")
"""


@pytest.mark.parametrize("flush", ["flush", "later"])
def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path: Path, flush: str) -> None:
    place(tmp_path).write_atomic(b"old", "f")
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), flush], capture_output=True, text=True, check=False
    )
    assert "OSError" in run.stderr
    assert place(tmp_path).read("f") == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_an_unsupported_address_is_a_user_error() -> None:
    with pytest.raises(ValueError, match="Expected a local path"):
        place("ftp://host/x")
