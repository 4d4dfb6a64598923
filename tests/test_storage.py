"""Files are written atomically."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mocap_ray.storage import place


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


FULL = """
import resource, signal, sys
from mocap_ray.storage import place
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
place(sys.argv[1]).write_atomic(b"x" * 5000, "f")
"""


def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    place(tmp_path).write_atomic(b"old", "f")
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "OSError" in run.stderr
    assert place(tmp_path).read("f") == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_an_unsupported_address_is_a_user_error() -> None:
    with pytest.raises(ValueError, match="Expected a local path"):
        place("ftp://host/x")
