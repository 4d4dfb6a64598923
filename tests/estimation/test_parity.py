"""The same numbers as the reference: tokens, heads, rotations, translation, at a tiny size in fp32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mocap_ray.estimation.camera import translation
from mocap_ray.estimation.geometry import SIZES
from mocap_ray.estimation.network import network_size, official_shapes
from mocap_ray.estimation.read_out import read_out
from mocap_ray.estimation.rotations import matrix_from_6d, rotvec_from_matrix
from tests.estimation.reference import TINY, Reference, facts

CLOSE = {"rtol": 0.0, "atol": 1e-4}


@pytest.fixture(scope="module")
def reference(shared: Path) -> Reference:
    return Reference.read(shared)


def test_the_tokens_of_the_encoder_are_the_references(reference: Reference) -> None:
    images = network_size(reference.tensor("img_u8")).float() / 255
    with torch.no_grad():
        encoder = reference.network.encoder
        torch.testing.assert_close(encoder.patch_embed(images), reference.tensor("patch_embed"), **CLOSE)
        task, image = encoder(images)
    torch.testing.assert_close(task, reference.tensor("enc_task_tokens"), **CLOSE)
    expected = reference.tensor("enc_img_feat").flatten(2).transpose(1, 2)
    torch.testing.assert_close(image, expected, **CLOSE)


def test_the_heads_give_the_references_numbers(reference: Reference) -> None:
    with torch.no_grad():
        found = reference.network(network_size(reference.tensor("img_u8")), wrists=True)
    expected = {
        "root": "body_root_pose",
        "body": "body_pose",
        "left_hand": "lhand_pose",
        "right_hand": "rhand_pose",
        "jaw": "face_jaw_pose",
        "betas": "body_betas",
        "expression": "face_expression",
        "camera": "body_cam",
    }
    for ours, theirs in expected.items():
        torch.testing.assert_close(
            getattr(found, ours).flatten(1), reference.tensor(f"raw_{theirs}"), **CLOSE
        )
    wrists = torch.stack([reference.tensor(f"raw_{side}hand_root_pose") for side in "lr"], dim=1)
    torch.testing.assert_close(found.wrists, wrists, **CLOSE)


def test_the_estimate_is_the_references(reference: Reference) -> None:
    with torch.no_grad():
        found = read_out(reference.network(network_size(reference.tensor("img_u8"))))
    poses = found.poses
    expected = {
        "root_pose": poses[:, 0],
        "body_pose": poses[:, 1:22],
        "jaw_pose": poses[:, 22],
        "lhand_pose": poses[:, 25:40],
        "rhand_pose": poses[:, 40:55],
        "shape": found.betas,
        "expr": found.expression,
    }
    for name, ours in expected.items():
        torch.testing.assert_close(ours.flatten(1), reference.tensor(f"test_smplx_{name}"), **CLOSE)
    torch.testing.assert_close(found.trans, reference.tensor("test_cam_trans"), **CLOSE)
    assert poses[:, 23:25].abs().max() == 0, "eyes are not predicted"
    matrices = reference.tensor("rotmat_body_pose").view(-1, 21, 3, 3)
    torch.testing.assert_close(found.rotations[:, 1:22], matrices, **CLOSE)


def test_six_numbers_give_the_references_rotations(reference: Reference) -> None:
    found = matrix_from_6d(reference.tensor("sixd_in"))
    torch.testing.assert_close(found, reference.tensor("sixd_aa_rotmat"), **CLOSE)
    vectors, expected = rotvec_from_matrix(found), reference.tensor("sixd_aa")
    away = expected.norm(dim=-1) < np.pi - 1e-3  # at half a turn both axes are right
    assert away.sum() >= 50
    torch.testing.assert_close(vectors[away], expected[away], **CLOSE)


def test_a_batch_of_three_is_not_special(reference: Reference) -> None:
    """The reference takes the cross product over the wrong axis then: 1.76 rad off."""
    found = rotvec_from_matrix(matrix_from_6d(reference.tensor("sixd_b3")))
    torch.testing.assert_close(found, reference.tensor("sixd_b3_each_alone_aa"), **CLOSE)
    assert (found - reference.tensor("sixd_b3_peer_aa")).abs().max() > 0.1


def test_the_translation_is_the_references(reference: Reference) -> None:
    found = translation(reference.tensor("raw_body_cam"))
    torch.testing.assert_close(found, reference.tensor("trans_body"), rtol=1e-6, atol=1e-6)


def test_names_and_shapes_are_those_of_the_published_checkpoint(shared: Path) -> None:
    official = {k: tuple(v) for k, v in facts(shared, "official_h_state_dict.json").items()}
    assert len(official) == 519
    assert official_shapes(SIZES["h"]) == official
    tiny = {k: tuple(v) for k, v in facts(shared, "tiny_state_dict.json").items()}
    assert official_shapes(TINY) == tiny
