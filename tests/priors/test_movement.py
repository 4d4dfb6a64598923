"""Joints that no training pose moves are refused before any worker starts, after a look at few rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mocap_ray import config as configs
from mocap_ray.dataset.poses import PoseRows
from mocap_ray.errors import UserError
from mocap_ray.priors import movement
from mocap_ray.priors.forms import HANDS
from mocap_ray.priors.movement import require_movement
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.prepare import prepare
from mocap_ray.training.rows import Block
from tests.dataset.made import make


def still_hands(number: int, frames: int) -> np.ndarray:
    """Bodies that move, hands at one value."""
    poses = np.random.default_rng(number).normal(0, 0.2, (frames, 55, 3)).astype(np.float32)
    poses[:, list(HANDS)] = 0.25
    return poses


@pytest.fixture(scope="module")
def handless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("handless")
    make(root, clips={("CMU", "train"): 3, ("CMU", "val"): 1, ("KIT", "train"): 2}, poses=still_hands)
    return root


@pytest.mark.parametrize("kind", ["hand_vae", "joint_flow"])
def test_missing_hands_are_refused_before_ray(handless: Path, tmp_path: Path, kind: str) -> None:
    keys = [f"data.root={handless}", "data.joints=hands", f"output.root={tmp_path / 'out'}"]
    setup = configs.load(kind, TrainConfig, kind="train", overrides=keys).setup()
    with pytest.raises(UserError, match=r"joints: hands: nothing to learn .* constant \(30 joints\)"):
        prepare(setup)
    assert not (tmp_path / "out").exists()


def test_moving_joints_are_found_in_the_first_rows(handless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    blocks = PoseRows.blocks

    def counted(self: PoseRows, shard: int) -> Iterator[Block]:
        for block in blocks(self, shard):
            read.append(shard)
            yield block

    monkeypatch.setattr(PoseRows, "blocks", counted)
    rows = PoseRows(str(handless), "train")
    require_movement(rows, "all")
    assert len(read) == 1
    with pytest.raises(UserError):
        require_movement(rows, "hands")
    assert set(read) == set(rows.counts), "all shards, before it says so"


def test_what_was_not_read_is_not_refused(handless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movement, "AT_MOST", 10)
    require_movement(PoseRows(str(handless), "train"), "hands")


def test_one_clip_with_hands_is_enough(tmp_path: Path) -> None:
    def some(number: int, frames: int) -> np.ndarray:
        poses = still_hands(number, frames)
        if number == 4:
            poses[-1, HANDS[0], 1] += 0.1
        return poses

    make(tmp_path, clips={("CMU", "train"): 6}, poses=some)
    require_movement(PoseRows(str(tmp_path), "train"), "hands")
