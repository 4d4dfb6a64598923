"""`load_prior`: from whatever path a training left, and a sentence for whatever else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import mocap_ray
from mocap_ray import priors
from mocap_ray.priors import Coordinates
from mocap_ray.priors.gaussian_prior import GaussianConfig
from mocap_ray.priors.task import WORDS
from mocap_ray.storage import place
from mocap_ray.training.checkpoint import CheckpointError, Checkpoints, export

ABOUT = WORDS.description


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder as a training leaves it, without the training."""
    generator = torch.Generator().manual_seed(0)
    poses = 0.3 * torch.randn(50, 55, 3, generator=generator)
    prior = priors.build(GaussianConfig(), Coordinates.fit(poses))
    out = tmp_path / "run"
    state = {"model": prior.state_dict(), "ema": None}
    Checkpoints(place(out / "checkpoints"), about=prior.export()).save(state, best=True)
    export(place(out / "export"), tensors=prior.state_dict(), about=prior.export(), description=ABOUT)
    return out


PATHS = (
    "",
    "checkpoints",
    "checkpoints/best.pt",
    "checkpoints/last.pt",
    "export",
    f"export/{ABOUT}",
    "export/model.safetensors",
)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_into_a_training_gives_its_prior(trained: Path, path: str) -> None:
    state = torch.random.get_rng_state()
    prior = mocap_ray.load_prior(trained / path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not prior.training
    assert prior.sample(3, torch.Generator().manual_seed(1)).shape == (3, 55, 3)
    same = mocap_ray.load_prior(f"file://{trained / path}" if path else str(trained))
    poses = torch.zeros(2, 21, 3)
    assert torch.equal(prior.log_prob(poses), same.log_prob(poses))


def test_a_path_relative_to_the_current_folder_works(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained / "checkpoints")
    assert mocap_ray.load_prior("best.pt").config.kind == "gaussian_prior"
    assert mocap_ray.load_prior(".").config.kind == "gaussian_prior"


def test_nothing_and_something_else_are_told_apart(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file or folder"):
        mocap_ray.load_prior(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("")
    with pytest.raises(CheckpointError, match=r"no trained prior \(found a\.txt\)"):
        mocap_ray.load_prior(tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"none\.pt: there is no such file"):
        mocap_ray.load_prior(trained / "checkpoints" / "none.pt")
    (trained / "export" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: there is no such file"):
        mocap_ray.load_prior(trained / "export")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model", {"kind": "diffusion"}, "does not know"),
        ("model", {"kind": "gaussian_prior", "depth": 3}, "does not know"),
        ("model", None, "does not know"),
        ("coordinates", {}, "description do not match"),
        ("coordinates", None, "description do not match"),
    ],
)
def test_a_description_that_was_tampered_with_is_a_sentence(
    trained: Path, key: str, value: Any, words: str
) -> None:
    path = trained / "export" / ABOUT
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, key: value}))
    with pytest.raises(CheckpointError, match=words):
        mocap_ray.load_prior(trained / "export")
    del about[key]
    path.write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="description do not match"):
        mocap_ray.load_prior(trained / "export")


def test_a_prior_of_an_older_version_keeps_its_density(trained: Path) -> None:
    path = trained / "export" / ABOUT
    about = json.loads(path.read_text())
    for key in ("tails", "floor_deg", "broad_weight"):
        del about["model"][key]
    path.write_text(json.dumps(about))
    old = mocap_ray.load_prior(trained / "export")
    assert old.config.tails == "gaussian"
    poses = torch.full((2, 21, 3), 0.3)
    x, mask, _ = old.coordinates.encode(poses)
    bare = old.log_density(x, mask) + old.coordinates.log_volume(x, mask)
    assert torch.equal(old.log_prob(poses), bare)
    about["model"] = {"kind": "global_flow", "condition_dim": 3}
    path.write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=r"does not know \(model.*condition_dim"):
        mocap_ray.load_prior(trained / "export")


def test_numbers_of_another_model_are_refused(trained: Path) -> None:
    path = trained / "export" / ABOUT
    about = json.loads(path.read_text())
    about["coordinates"]["active"] = about["coordinates"]["active"][:-1]
    path.write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="description do not match"):
        mocap_ray.load_prior(trained / "export")


def test_loading_needs_no_ray(trained: Path) -> None:
    code = f"import sys, mocap_ray; mocap_ray.load_prior({str(trained)!r}); print('ray' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
