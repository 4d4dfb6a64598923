"""Skeletons (.asf) and motions (.amc): the bones where the published description puts them, damage by its reason."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.rigs import asf_text, kinematics
from mocap_ray.motion.clip import Reason
from tests.archives.rig_texts import AMC, ASF


def _turn(angles: list[float]) -> Rotation:
    """About X, then Y, then Z, all of them fixed."""
    return Rotation.from_euler("xyz", angles, degrees=True)


def test_bones_lie_where_the_description_puts_them() -> None:
    bones = asf_text.parse_skeleton(ASF.encode())
    found = asf_text.parse_motion(AMC.encode(), bones)
    assert found.skeleton.names == ("root", "thigh", "shin", "foot", "foot.end")
    assert found.fps is None
    assert found.metre == pytest.approx(0.0254 / 0.45)
    assert found.values.shape == (2, 11)
    ((_, pose),) = kinematics.forward(found, range(5))
    # L = C M C^-1 turns a bone and all below it; C are its axes, M is its motion.
    C = {"thigh": _turn([0, 0, 20]), "shin": _turn([10, -30, 20])}
    leg = np.array([0.34202, -0.939693, 0])
    for t, (root, thigh, shin) in enumerate(
        [([5, -10, 20], [10, 20, -30], [25.5, 0, -3]), ([6, -11, 21], [-11, 21, -31], [26.5, 0, -4])]
    ):
        G_root = _turn(root)
        G_thigh = G_root * C["thigh"] * _turn(thigh) * C["thigh"].inv()
        G_shin = G_thigh * C["shin"] * _turn(shin) * C["shin"].inv()
        hip = np.array([[1.0, 17.0, -3.0], [1.5, 17.25, -2.5]][t])
        knee = hip + G_thigh.apply(7 * leg)
        ankle = knee + G_shin.apply(6 * leg)
        expected = [hip, hip, knee, ankle, ankle + G_shin.apply([0, 0, 2])]
        np.testing.assert_allclose([pose.positions[k][:, t] for k in range(5)], expected, atol=1e-9)
        own = G_shin * C["shin"]  # the axes of the bone, not those of the world
        np.testing.assert_allclose(pose.rotations[2][..., t], own.as_matrix(), atol=1e-9)


def test_angles_in_radians_are_read() -> None:
    bones = asf_text.parse_skeleton(
        ASF.replace("angle deg", "angle rad").replace("0 0 20 XYZ", "0 0 0.35 XYZ").encode()
    )
    assert bones.degrees == pytest.approx(57.29578)
    found = asf_text.parse_motion(AMC.encode(), bones)
    assert found.values[0, 0] == 1.0
    assert found.values[0, 3] == pytest.approx(5 * 57.29578)


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("", Reason.UNREADABLE, "no section :root"),
        (ASF.partition(":hierarchy")[0], Reason.UNREADABLE, "no section :hierarchy"),
        (ASF.replace("thigh shin", "thigh calf"), Reason.BAD_SHAPE, "'calf' in the hierarchy"),
        (ASF.replace("shin foot", "shin thigh"), Reason.BAD_SHAPE, "'thigh' in the hierarchy"),
        (ASF.replace("length 7.0", "length seven"), Reason.BAD_VALUE, "'length seven'. Expected 1 number"),
        (ASF.replace("dof rx ry rz", "dof rx l"), Reason.BAD_VALUE, "Expected degrees of freedom"),
        (ASF.replace("20 XYZ", "20 XYW", 1), Reason.BAD_VALUE, "the axes 'XYW'"),
    ],
    ids=map(str, range(7)),
)
def test_damaged_skeletons_are_unusable_for_a_reason(text: str, reason: Reason, said: str) -> None:
    with pytest.raises(Unusable) as error:
        asf_text.parse_skeleton(text.encode())
    assert error.value.reason == reason
    assert said in error.value.detail


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("", Reason.UNREADABLE, "no frame 1"),
        (AMC[:-8], Reason.UNREADABLE, "frame 2 has not the bones and numbers of frame 1"),
        (AMC.replace("thigh -11 21 -31", "thigh -11 21"), Reason.UNREADABLE, "frame 2 has not the bones"),
        (AMC.replace("\n2\n", "\n3\n"), Reason.BAD_SHAPE, "'3' in frame 1. Expected a bone"),
        (
            AMC.replace("shin 26.5 -4\nthigh", "thigh 26.5 -4\nshin"),
            Reason.UNREADABLE,
            "frame 2 has not the bones",
        ),
        (
            AMC.replace("thigh", "femur"),
            Reason.BAD_SHAPE,
            "'femur' in frame 1. Expected a bone of the skeleton",
        ),
        (AMC.replace("26.5", "26,5"), Reason.BAD_VALUE, "'26,5' in frame 2. Expected a number"),
        (AMC.replace("26.5", "9" * 100), Reason.UNREADABLE, "a word of hundreds of letters"),
    ],
    ids=map(str, range(8)),
)
def test_damaged_motions_are_unusable_for_a_reason(text: str, reason: Reason, said: str) -> None:
    bones = asf_text.parse_skeleton(ASF.encode())
    with pytest.raises(Unusable) as error:
        asf_text.parse_motion(text.encode(), bones)
    assert (error.value.reason, said in error.value.detail) == (reason, True), error.value.detail


def test_a_motion_cut_at_any_byte_is_unusable_or_whole() -> None:
    bones = asf_text.parse_skeleton(ASF.encode())
    for size in range(len(AMC) - 1):
        try:
            found = asf_text.parse_motion(AMC[:size].encode(), bones)
        except Unusable:
            continue
        assert AMC[size - 1 : size + 1].strip() != "" or AMC[size:].startswith("2\n"), size
        assert len(found.values) in (1, 2)
