"""Joint names, parents and mirror pairs of the SMPL family: tables only.

Sources: the kinematic trees of the SMPL, SMPL+H (MANO) and SMPL-X papers as stored in their model files
(`kintree_table`), and HumanML3D's target skeleton (its clip 000021, frame 0).
"""

from __future__ import annotations

import numpy as np

BODY_JOINTS: tuple[str, ...] = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
"""The 22 body joints that SMPL, SMPL+H and SMPL-X share, in their order."""

HAND_JOINTS: tuple[str, ...] = tuple(
    f"{finger}{k}" for finger in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3)
)
"""The 15 joints of one hand, in the order of SMPL+H and SMPL-X."""

SMPL_JOINTS = (*BODY_JOINTS, "left_hand", "right_hand")
SMPLH_JOINTS = (
    *BODY_JOINTS,
    *(f"left_{name}" for name in HAND_JOINTS),
    *(f"right_{name}" for name in HAND_JOINTS),
)
SMPLX_JOINTS = (*BODY_JOINTS, "jaw", "left_eye", "right_eye", *SMPLH_JOINTS[22:])

BODY_PARENTS: tuple[int, ...] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19,
)  # fmt: skip


def _hand_parents(first: int, wrist: int) -> tuple[int, ...]:
    """Parents of 15 hand joints that start at index `first`: five chains of three from the wrist."""
    return tuple(wrist if k % 3 == 0 else first + k - 1 for k in range(15))


SMPL_PARENTS = (*BODY_PARENTS, 20, 21)
SMPLH_PARENTS = (*BODY_PARENTS, *_hand_parents(22, 20), *_hand_parents(37, 21))
SMPLX_PARENTS = (*BODY_PARENTS, 15, 15, 15, *_hand_parents(25, 20), *_hand_parents(40, 21))

FAMILIES: tuple[str, ...] = ("smpl", "smplh", "smplx")
JOINT_NAMES: dict[str, tuple[str, ...]] = {
    "smpl": SMPL_JOINTS,
    "smplh": SMPLH_JOINTS,
    "smplx": SMPLX_JOINTS,
}
PARENTS: dict[str, tuple[int, ...]] = {
    "smpl": SMPL_PARENTS,
    "smplh": SMPLH_PARENTS,
    "smplx": SMPLX_PARENTS,
}

TO_SMPLX: dict[str, tuple[int, ...]] = {
    "smpl": tuple(range(22)),  # SMPL's two hand joints have no counterpart: dropped
    "smplh": (*range(22), *range(25, 55)),
    "smplx": tuple(range(55)),
}
"""Index of joint k of a family among the 55 joints of SMPL-X; joints that are not listed are zero."""

MIRROR_BODY: tuple[int, ...] = tuple(
    BODY_JOINTS.index(
        name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")
    )
    for name in BODY_JOINTS
)
"""`joints[..., MIRROR_BODY, :]` swaps left and right of the 22 body joints."""

REST_DIRECTIONS = np.zeros((22, 3))
"""[22, 3] unit axis parent -> joint of HumanML3D's kinematics (Y up, X to the body's left); row 0 is zero."""
REST_DIRECTIONS[[1, 13]] = (1, 0, 0)
REST_DIRECTIONS[[2, 14]] = (-1, 0, 0)
REST_DIRECTIONS[[3, 6, 9, 12]] = (0, 1, 0)
REST_DIRECTIONS[[4, 5, 7, 8, 16, 17, 18, 19, 20, 21]] = (0, -1, 0)
REST_DIRECTIONS[[10, 11, 15]] = (0, 0, 1)
REST_DIRECTIONS.setflags(write=False)

HUMANML3D_BONES = np.array(
    [
        0.0, 0.1030740, 0.1098834, 0.1315682, 0.3936233, 0.3901882, 0.1431902, 0.4324330, 0.4256434,
        0.0573647, 0.1433818, 0.1494191, 0.2193601, 0.1374868, 0.1433828, 0.1030392, 0.1316140,
        0.1229844, 0.2568399, 0.2630919, 0.2660118, 0.2698765,
    ]
)  # fmt: skip
"""[22] metres, bone parent -> joint of HumanML3D's target skeleton, from its published clips; entry 0 is zero."""
HUMANML3D_BONES.setflags(write=False)


def _rest_joints() -> np.ndarray:
    joints = np.zeros((22, 3))
    for joint, parent in enumerate(BODY_PARENTS):
        if parent >= 0:
            joints[joint] = joints[parent] + HUMANML3D_BONES[joint] * REST_DIRECTIONS[joint]
    return joints


REST_JOINTS = _rest_joints()
"""[22, 3] metres, HumanML3D's target skeleton at rest: Y up, facing Z, the pelvis at the origin."""
REST_JOINTS.setflags(write=False)
