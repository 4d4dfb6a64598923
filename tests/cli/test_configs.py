"""`mocap-ray configs`, and a wheel that carries them."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mocap_ray.cli.main import main
from mocap_ray.config import CONFIGS, load, shipped
from mocap_ray.runs.extract import ExtractConfig

ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    return int(done.value.code or 0)


def test_every_config_is_listed_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("configs") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert {(c.kind, c.name) for c in shipped()} == {
        (p.parent.name, p.stem) for p in CONFIGS.glob("*/*.yaml")
    }
    for config in shipped():
        assert config.title, config.path
        assert config.purpose, config.path
        assert config.purpose in shown


@pytest.mark.parametrize("kind", ["train", "search"])
def test_the_help_of_a_command_lists_its_configs_with_their_purposes(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(kind, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for config in shipped():
        assert (f"{config.name} {config.purpose}" in shown) == (config.kind == kind)


def test_a_copy_is_a_config_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run("configs", "copy", "amass") == 0
    assert Path("amass.yaml").read_bytes() == (CONFIGS / "extract" / "amass.yaml").read_bytes()
    load("amass.yaml", ExtractConfig, kind="extract", overrides=["source.root=a", "output.root=c"])
    assert _run("configs", "copy", "train/joint_flow", "mine/flow.yaml") == 0
    assert Path("mine/flow.yaml").is_file()


def test_a_copy_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("amass.yaml").write_text("mine: true\n")
    assert _run("configs", "copy", "amass") == 2
    assert "amass.yaml exists" in capsys.readouterr().err
    assert Path("amass.yaml").read_text() == "mine: true\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("joint_flow", "Say search/joint_flow or train/joint_flow"),
        ("extract/amas", "Did you mean 'extract/amass'?"),
    ],
)
def test_a_name_that_fits_none_or_several_says_which_there_are(
    name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("configs", "copy", name) == 2
    assert said in capsys.readouterr().err


def test_a_wheel_carries_the_configs_and_finds_them(tmp_path: Path) -> None:
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    here = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = (
        "import mocap_ray, mocap_ray.config as c; print(mocap_ray.__file__); "
        "print(*(f'{s.kind}/{s.name}' for s in c.shipped())); print(c.find('amass', kind='extract'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=here, check=True, capture_output=True, text=True
    )
    file, names, found = run.stdout.splitlines()
    assert file == str(tmp_path / "site" / "mocap_ray" / "__init__.py")
    assert names.split() == sorted(f"{p.parent.name}/{p.stem}" for p in (ROOT / "configs").glob("*/*.yaml"))
    assert found == str(tmp_path / "site" / "mocap_ray" / "configs" / "extract" / "amass.yaml")
