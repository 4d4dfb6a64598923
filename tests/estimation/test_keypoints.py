"""Keypoints: the reference's table, its projection and its frames."""

from __future__ import annotations

from pathlib import Path

import torch

from mocap_ray.estimation.keypoints import (
    FACE,
    KEYPOINTS,
    LEFT_HAND,
    PELVIS,
    from_part_roots,
    from_pelvis,
    keypoints,
    to_heat_map,
)
from tests.estimation.reference import Reference, facts


def test_the_table_is_the_references(shared: Path) -> None:
    tables = facts(shared, "tables.json")
    assert list(KEYPOINTS) == tables["kps137_from_smplx144"]
    labels = tables["humandata_to_137"]
    differ = [k for k in range(137) if labels[k] != KEYPOINTS[k]]
    assert differ == [67, 68], "the reference swaps the eyes of its labels"


def test_projection_and_frames_are_the_references(shared: Path) -> None:
    reference = Reference.read(shared)
    points = keypoints(reference.tensor("stub_joints144"))
    close = {"rtol": 1e-5, "atol": 1e-4}
    torch.testing.assert_close(to_heat_map(points), reference.tensor("coord_joint_proj"), **close)
    torch.testing.assert_close(from_pelvis(points), reference.tensor("coord_joint_cam_wo_ra"), **close)
    torch.testing.assert_close(from_part_roots(points), reference.tensor("coord_joint_cam"), **close)


def test_frames_do_not_depend_on_where_a_person_is() -> None:
    torch.manual_seed(0)
    points = torch.randn(2, 137, 3, dtype=torch.float64)
    for frame in (from_pelvis, from_part_roots):
        torch.testing.assert_close(frame(points + torch.tensor([1.0, 2, 30])), frame(points))
    moved = points.clone()
    moved[:, PELVIS] += 1
    torch.testing.assert_close(from_part_roots(moved)[:, LEFT_HAND], from_part_roots(points)[:, LEFT_HAND])
    torch.testing.assert_close(from_part_roots(moved)[:, FACE], from_part_roots(points)[:, FACE])
