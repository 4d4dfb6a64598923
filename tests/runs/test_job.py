"""In a job, a path that leads into Ray's copy of the working directory is refused before anything is written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from mocap_ray.cli import main as cli
from mocap_ray.errors import UserError
from mocap_ray.runs.job import VARIABLE, require_lasting
from tests.dataset import made


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Ray 2.60 gives a job: its variable, and a copy of the working directory to start in."""
    copy = tmp_path / "session" / "runtime_resources" / "working_dir_files" / "_ray_pkg_0123456789abcdef"
    copy.mkdir(parents=True)
    monkeypatch.setenv(VARIABLE, "{}")
    monkeypatch.chdir(copy)
    return copy


@pytest.mark.parametrize("lasting", ["/data/rel", "~/rel", "s3://bucket/rel", "gs://bucket/rel"])
def test_absolute_paths_and_addresses_are_allowed(job: Path, lasting: str) -> None:
    require_lasting({"output.root": lasting})


@pytest.mark.parametrize("lost", ["data/rel", "rel", ".", "../rel"])
def test_relative_paths_are_refused_with_an_override(job: Path, lost: str) -> None:
    with pytest.raises(UserError, match=r"Ray's copy of the working directory, which is deleted") as error:
        require_lasting({"source.root": "/data/amass", "output.root": lost})
    words = shlex.split(str(error.value).partition("for example ")[2])
    assert words[0] == "--override"
    key, _, value = words[1].partition("=")
    assert key == "output.root"
    require_lasting({key: value})


def test_an_absolute_path_into_the_copy_is_refused(job: Path) -> None:
    with pytest.raises(UserError, match=r"output\.root is"):
        require_lasting({"output.root": str(job / "rel")})


def test_the_copy_is_recognised_without_the_variable(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a task of a driver with its own working directory."""
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(UserError, match=r"output\.root is rel"):
        require_lasting({"output.root": "rel"})


def test_a_job_without_a_copy_is_refused_too(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"relative paths lead into a folder of the cluster \("):
        require_lasting({"output.root": "rel"})


def test_outside_of_a_job_every_path_is_allowed() -> None:
    require_lasting({"output.root": "rel"})


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("extract amass", ["source.root", "body.root", "output.root"]),
        ("extract humanml3d", ["source.root", "body.root", "output.root"]),
        ("extract flowmimic --dry-run", ["source.root", "body.root", "output.root"]),
        *((f"train {n}", ["data.root", "output.root"]) for n in ("gaussian_prior", "joint_flow", "hand_vae")),
        ("train global_flow", ["data.root", "output.root"]),
        *(
            (f"search {n}", ["fixed.data.root", "output.root"])
            for n in ("tiny", "joint_flow", "joint_flow_pbt")
        ),
    ],
)
def test_no_default_of_a_config_leads_into_the_copy(
    command: str, keys: list[str], job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(command.split())
    text = capsys.readouterr().err
    assert done.value.code == 2
    assert "In a job, relative paths lead into Ray's copy" in text
    assert [w.partition("=")[0] for w in shlex.split(text.partition("for example ")[2])[1:]] == keys
    assert list(job.iterdir()) == []


def test_a_data_set_at_a_relative_path_is_not_changed(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.make(job / "set")
    with pytest.raises(SystemExit) as done:
        cli.main(["dataset", "exclude", "set", "CMU", "--reason", "x"])
    assert done.value.code == 2
    assert "mocap-ray: " in capsys.readouterr().err
