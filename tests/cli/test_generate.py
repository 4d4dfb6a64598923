"""`mocap-ray generate`: its files, and what it says about wrong options."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mocap_ray.cli.main import main
from mocap_ray.demo.standin import write_standin
from mocap_ray.motion.features import decode
from tests.generation.generated import exported


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("flow"))


def _typed(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(str(stopped.value.code))


def test_generate_writes_features_joints_prompts_and_a_page(flow: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--style", "old", "--seconds", 1, "--steps", 2)
    assert _typed("generate", flow, *options, "--n", 3, "--seed", 4, "--out", out) == 0
    names = ["000.npy", "001.npy", "002.npy"]
    assert sorted(p.name for p in (out / "features").iterdir()) == names
    features = [np.load(out / "features" / name) for name in names]
    assert [f.shape for f in features] == [(20, 263)] * 3
    for name, each in zip(names, features, strict=True):
        np.testing.assert_allclose(np.load(out / "joints" / name), decode(each), atol=1e-5)
    page = (out / "index.html").read_text()
    assert page.count('class="player"') == 3
    assert "seed 6" in page
    about = json.loads((out / "generated.json").read_text())
    assert (about["steps"], about["fps"], about["profile"]) == (2, 20.0, "humanml3d")
    # One of them alone is the same motion, and the list of motions is a file of prompts.
    assert _typed("generate", flow, *options, "--seed", 5, "--out", tmp_path / "one") == 0
    np.testing.assert_allclose(np.load(tmp_path / "one" / "features" / "000.npy"), features[1], atol=1e-4)
    again = tmp_path / "again"
    assert _typed("generate", flow, "--prompts", out / "motions.jsonl", "--steps", 2, "--out", again) == 0
    np.testing.assert_array_equal(np.load(again / "features" / "002.npy"), features[2])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--style", "grumpy"], ["'grumpy'", "calm, old"]),
        (["--domain", "cmu"], ["'cmu'", "amass, aist"]),
        (["--action", "jump"], ["'jump'", "run, walk"]),
        (["--text", "a walk"], ["without text"]),
        (["--solver", "rk4"], ["rk4", "euler, midpoint, heun"]),
        (["--seconds", "-1"], ["--seconds", "greater than 0", "-1"]),
        (["--format", "fbx"], ["fbx", "bvh, amass, gif, mp4, dataset"]),
        (["--format", "amass"], ["--body"]),
        (["--format", "bvh,dataset"], ["dataset", "export"]),
        (["--overwrite"], ["--overwrite", "--format dataset"]),
        (["--prompts", "p.jsonl", "--style", "old"], ["leave out --style"]),
        (["--prompts", "gone.jsonl"], ["gone.jsonl"]),
    ],
)
def test_wrong_options_are_named_and_nothing_is_written(
    flow: Path, tmp_path: Path, words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _typed("generate", flow, "--out", out, *words) == 2
    said = capsys.readouterr().err
    for part in parts:
        assert part in said
    assert not out.exists()


def test_generate_writes_into_a_new_folder_only(
    flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    assert _typed("generate", flow, "--out", tmp_path) == 2
    assert "exists already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_generate_writes_every_format(flow: Path, tmp_path: Path) -> None:
    write_standin(tmp_path / "bodies", families=("smplh",), genders=("neutral",))
    out, formats = tmp_path / "out", ("bvh", "amass", "gif", "mp4")
    words = ("--seconds", 1, "--steps", 2, "--format", ",".join(formats), "--body", tmp_path / "bodies")
    assert _typed("generate", flow, *words, "--out", out) == 0
    endings = ("000.bvh", "000_poses.npz", "000.gif", "000.mp4")
    assert all((out / kind / name).is_file() for kind, name in zip(formats, endings, strict=True))
    with np.load(out / "amass" / "000_poses.npz") as take:
        assert take["mocap_framerate"] == 20
        assert take["poses"].shape == (20, 156)
