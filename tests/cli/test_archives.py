"""`mocap-ray archive` and `body fetch` as typed: a whole way from a server to a folder that is checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fetching.archives import addresses, npz, tar, zipped
from tests.fetching.server import PASSWORD, USER, running

PREFIX = "amass_per_dataset/smplh/gender_specific/mosh_results"


def typed(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mocap_ray.cli", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def amass_login(password: str = PASSWORD) -> dict[str, str]:
    return {"MOCAP_RAY_AMASS_USER": USER, "MOCAP_RAY_AMASS_PASSWORD": password}


def test_from_the_server_to_a_checked_folder(tmp_path: Path, standins: Path) -> None:
    files = {f"HumanEva/S1/take_{k:02}_poses.npz": npz(5, seed=k) for k in range(28)}
    data = tar(files)
    with running(files={f"{PREFIX}/HumanEva.tar.bz2": data}, drops=[len(data) // 2]) as site:
        where = addresses(tmp_path / "addresses.yaml", site.address)
        fetched = typed(
            *("archive", "fetch", "HumanEva", "--addresses", where), cwd=tmp_path, **amass_login()
        )
    assert fetched.returncode == 0, fetched.stderr
    assert "licence  https://amass.is.tue.mpg.de/license.html" in fetched.stdout
    assert fetched.stdout.index("licence") < fetched.stdout.index("complete")
    assert "the connection was lost" in fetched.stderr
    unpacked = typed("archive", "unpack", cwd=tmp_path)
    assert unpacked.returncode == 0, unpacked.stderr
    assert "HumanEva.tar.bz2: unpacked, 28 files" in unpacked.stdout
    checked = typed("archive", "check", "--body", standins, "--json", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tree = json.loads(checked.stdout)
    assert tree["fine"] is True
    assert [(s["name"], s["sequences"], s["expected"]) for s in tree["subs"]] == [("HumanEva", 28, 28)]
    for run in (fetched, unpacked, checked):
        assert "Traceback" not in run.stderr
    everything = [fetched.stdout, fetched.stderr, *_texts(tmp_path)]
    for secret in (PASSWORD, "pl4nted", USER):
        assert not any(secret in text for text in everything), secret


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_download_is_kept_and_resumed(tmp_path: Path, number: int, code: int) -> None:
    data = tar({"SFU/1/a_poses.npz": npz(600)})
    with running(files={f"{PREFIX}/SFU.tar.bz2": data}, stalls=[len(data) - 100]) as site:
        where = addresses(tmp_path / "addresses.yaml", site.address)
        words = ("archive", "fetch", "SFU", "--addresses", str(where))
        with subprocess.Popen(
            [sys.executable, "-m", "mocap_ray.cli", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **amass_login()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            until = time.monotonic() + 60
            part = tmp_path / "data" / "packed" / "SFU.tar.bz2.part"
            while not (part.exists() and part.stat().st_size):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        assert process.returncode == code
        assert "Run the same command again: it resumes." in said
        assert "Traceback" not in said
        kept = part.stat().st_size
        again = typed(*words, cwd=tmp_path, **amass_login())
        assert again.returncode == 0, again.stderr
        assert site.served[-1] == f"bytes={kept}-"
    assert (tmp_path / "data" / "packed" / "SFU.tar.bz2").read_bytes() == data


@pytest.mark.parametrize("accepted", [True, False])
def test_no_password_in_any_error(tmp_path: Path, accepted: bool) -> None:
    with running(accepted=accepted) as site:
        where = addresses(tmp_path / "addresses.yaml", site.address)
        password = PASSWORD if not accepted else "an0ther-w0rd"
        refused = typed(
            *("archive", "fetch", "CMU", "--addresses", where), cwd=tmp_path, **amass_login(password)
        )
    assert refused.returncode == 2
    assert "This program never accepts a licence for you" in refused.stderr
    assert "Traceback" not in refused.stderr
    for secret in (password, USER):
        assert secret not in refused.stdout + refused.stderr
        assert not any(secret in text for text in _texts(tmp_path))


def test_a_password_on_the_command_line_is_no_option(tmp_path: Path) -> None:
    for option in ("--password", "--user"):
        assert typed("archive", "fetch", "CMU", option, "x", cwd=tmp_path).returncode == 2
    nothing = typed("archive", "fetch", "CMU", cwd=tmp_path)
    assert nothing.returncode == 2
    assert "MOCAP_RAY_AMASS_USER and MOCAP_RAY_AMASS_PASSWORD" in nothing.stderr


def test_body_models_are_put_where_they_are_looked_for(tmp_path: Path, standins: Path) -> None:
    model = next(standins.rglob("SMPLX_NEUTRAL.npz")).read_bytes()
    data = zipped({"models/smplx/SMPLX_NEUTRAL.npz": model, "models/smplx/version.txt": b"1.1"})
    with running(files={"models_smplx_v1_1.zip": data}) as site:
        where = addresses(tmp_path / "addresses.yaml", site.address)
        login = {"MOCAP_RAY_SMPLX_USER": USER, "MOCAP_RAY_SMPLX_PASSWORD": PASSWORD}
        fetched = typed("body", "fetch", "smplx", "--addresses", where, cwd=tmp_path, **login)
    assert fetched.returncode == 0, fetched.stderr
    assert "https://smpl-x.is.tue.mpg.de/modellicense.html" in fetched.stdout
    checked = typed("body", "check", "data/body_models", "--family", "smplx", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    again = typed("body", "fetch", "smplx", "--addresses", where, cwd=tmp_path)
    assert again.returncode == 0, "no login is needed for a file that is there: " + again.stderr
    assert "was there already" in again.stdout
    assert "was unpacked already" in again.stdout


def _texts(folder: Path) -> list[str]:
    return [p.read_bytes().decode("latin-1") for p in folder.rglob("*") if p.is_file()]
