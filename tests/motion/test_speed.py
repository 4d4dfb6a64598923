"""Speeds of joints and pelvis, against forward kinematics of every joint of every frame by scipy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mocap_ray.body.bodies import Bodies
from mocap_ray.body.model import ShapedBody
from mocap_ray.demo.standin import write_standin
from mocap_ray.motion.clip import Motion, Reason
from mocap_ray.motion.kernels_poses import FAST, GOOD, TURNING
from mocap_ray.motion.quality import Limits, measure
from mocap_ray.motion.speed import steps
from mocap_ray.motion.stretches import stretches
from mocap_ray.records import Rejection
from mocap_ray.skeleton import BODY_JOINTS, BODY_PARENTS, HUMANML3D_BONES, REST_DIRECTIONS
from tests.motion.motions import as_in_a_file, motion, rotvecs, smooth


def person() -> ShapedBody:
    """HumanML3D's target skeleton in its rest pose, arms down."""
    offsets = HUMANML3D_BONES[:, None] * REST_DIRECTIONS
    rest = offsets.copy()
    for joint, parent in enumerate(BODY_PARENTS[1:], start=1):
        rest[joint] += rest[parent]
    return ShapedBody(rest, offsets, np.array(BODY_PARENTS))


def naive_joints(m: Motion, body: ShapedBody) -> np.ndarray:
    """[T, 22, 3]: textbook forward kinematics."""
    frames = len(m.poses)
    local = Rotation.from_rotvec(m.poses[:, :22].reshape(-1, 3).astype(np.float64)).as_matrix()
    turn, at = local.reshape(frames, 22, 3, 3), np.zeros((frames, 22, 3))
    at[:, 0] = body.rest[0] + m.trans
    for joint, parent in enumerate(BODY_PARENTS[1:], start=1):
        turn[:, joint] = turn[:, parent] @ turn[:, joint]
        at[:, joint] = at[:, parent] + turn[:, parent] @ body.offsets[joint]
    return at


def naive_speeds(m: Motion, body: ShapedBody) -> tuple[np.ndarray, np.ndarray]:
    """[T - step, 22] m/s and [T - step] rad/s."""
    step = next(k for k in range(1, 10_000) if k / m.fps > 1 / 60 - 1e-12)
    at = naive_joints(m, body)
    root = Rotation.from_rotvec(m.poses[:, 0].astype(np.float64))
    turn = (root[:-step].inv() * root[step:]).magnitude() if len(at) > step else np.zeros(0)
    return np.linalg.norm(at[step:] - at[:-step], axis=-1) * m.fps / step, turn * m.fps / step


def wandering(seed: int, poses: np.ndarray, fps: float) -> Motion:
    trans = np.random.default_rng(seed).normal(size=(len(poses), 3)).cumsum(0) * 0.02
    return motion(poses, trans=trans, fps=fps)


@pytest.mark.parametrize("fps", [30.0, 60.0, 59.94, 100.0, 120.0, 250.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_speeds_equal_the_naive_twin(fps: float, dtype: type) -> None:
    m = wandering(1, as_in_a_file(rotvecs(int(fps), 60, 52).astype(dtype)), fps)
    found = measure(m, body=person(), exact=True).speeds
    joints, pelvis = naive_speeds(m, person())
    assert found.step == steps(fps) == 60 - len(joints)
    assert found.joint is not None
    assert found.pelvis is not None
    np.testing.assert_allclose(found.joint[: len(joints)], joints.max(1), rtol=1e-9)
    np.testing.assert_array_equal(found.which[: len(joints)], joints.argmax(1))
    np.testing.assert_allclose(found.pelvis[: len(joints)], pelvis, rtol=1e-6, atol=1e-6)
    assert not found.joint[len(joints) :].any()


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    fps=st.sampled_from([15.0, 30.0, 60.0, 100.0, 120.0, 250.0]),
    multiplier=st.sampled_from([0.05, 0.3, 1.0]),
    calm=st.booleans(),
    hole=st.booleans(),
)
def test_the_bounds_do_not_change_which_frames_are_broken(
    seed: int, fps: float, multiplier: float, calm: bool, hole: bool
) -> None:
    poses = smooth(seed, 50, 52) if calm else rotvecs(seed, 50, 52)
    poses[20, 0] += 1.2  # a flip for one frame
    poses[35:, 16] += 1.0  # an arm that jumps and stays
    m = wandering(seed, poses, fps)
    limits = Limits(np.inf, np.inf, 30.0, 49.7, multiplier)  # 0.5 rad in 1/30 s are exactly 15 rad/s
    joints, pelvis = naive_speeds(m, person())
    if hole:
        m.trans[10, 1] = np.nan
    quick, exact = measure(m, limits, body=person()), measure(m, limits, body=person(), exact=True)
    np.testing.assert_array_equal(quick.codes, exact.codes)
    expected = np.zeros(50, int)
    if hole:
        expected[10] = 1
    for t in range(len(pelvis)):
        if hole and 10 in (t, t + exact.speeds.step):
            continue
        for frame in range(t + 1, t + exact.speeds.step + 1):
            if pelvis[t] > 49.7 * multiplier and expected[frame] in (GOOD, FAST):
                expected[frame] = TURNING
            if joints[t].max() > 30.0 * multiplier and expected[frame] == GOOD:
                expected[frame] = FAST
    np.testing.assert_array_equal(exact.codes, expected)
    for name in ("joint", "pelvis"):
        bound, value = getattr(quick.speeds, name), getattr(exact.speeds, name)
        assert (bound >= value * (1 - 1e-9) - 1e-9).all()


def test_a_pelvis_that_flips_within_a_frame_is_unstable() -> None:
    # What 14 of 201 unseen takes of CMU have: the pelvis turns 78 degrees within 1/120 s.
    poses = smooth(3, 300, 52)
    poses[150:, 0, 1] += np.deg2rad(78.0)  # on top of a slow turn
    m = motion(poses, fps=120.0)
    alone = Limits(pelvis_speed=np.inf, joint_speed=np.inf)
    assert not measure(m, alone, body=person()).bad.any()  # the accelerations cannot see it
    for body in (None, person()):
        found = measure(m, body=body)
        assert set(np.flatnonzero(found.bad)) >= {149, 150}
        [rejection] = stretches(m, found, cut=False, min_frames=60)
        assert isinstance(rejection, Rejection)
        assert rejection.reason is Reason.UNSTABLE
        assert "frame 149: the pelvis turns by 78.5" in rejection.detail
        assert "rad/s, above the limit of 50.0; broken frames: 3 of 300. Leave it out" in rejection.detail


@pytest.mark.parametrize("fps", [30.0, 60.0, 90.0, 120.0, 240.0])
@pytest.mark.parametrize(("jump", "broken"), [(0.45, False), (1.02, True)])
def test_a_hand_that_jumps_a_metre_is_unstable_at_every_rate(fps: float, jump: float, broken: bool) -> None:
    # 30 m/s are 0.5 m in 1/60 s and 1 m in 1/30 s.
    poses = np.zeros((200, 52, 3))
    reach = float(np.linalg.norm(person().offsets[[18, 20]].sum(0)))  # from the shoulder to the wrist
    poses[100:, 16, 0] = 2 * np.arcsin(jump / (2 * reach))
    m = motion(poses, fps=fps)
    found = measure(m, Limits(angular_acceleration=np.inf), body=person())
    assert found.bad.any() == broken
    assert found.speeds.joint is not None
    if broken:
        [rejection] = stretches(m, found, cut=False, min_frames=2)
        assert isinstance(rejection, Rejection)
        assert rejection.reason is Reason.UNSTABLE
        assert "left_wrist moves at " in rejection.detail


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    fps=st.sampled_from([30.0, 60.0, 120.0, 250.0]),
    jumps=st.lists(st.integers(1, 199), max_size=4, unique=True),
)
def test_each_stretch_that_is_kept_passes_on_its_own(seed: int, fps: float, jumps: list[int]) -> None:
    poses = smooth(seed, 200, 52)
    for at in jumps:
        poses[at:, 0] += 1.1
    m = motion(poses, fps=fps)
    parts = stretches(m, measure(m, body=person()), cut=True, min_frames=1)
    for part in parts:
        if isinstance(part, slice):
            assert not measure(m.part(part), body=person()).bad.any()


@pytest.mark.parametrize("frames", [0, 1, 2, 3])
def test_recordings_shorter_than_the_step_have_no_speed(frames: int) -> None:
    m = motion(rotvecs(1, frames, 52) if frames else np.zeros((0, 52, 3)), fps=250.0)
    found = measure(m, body=person(), exact=True)
    assert found.speeds.joint is not None
    assert not found.speeds.joint.any()
    assert dict(found.rows())["joint speed"] == "0.0 m/s at most (limit 30)"


def test_a_turn_through_half_a_circle_is_not_a_jump() -> None:
    angle = np.linspace(np.pi - 0.3, np.pi + 0.3, 100)
    poses = np.zeros((100, 52, 3))
    poses[:, 0, 2] = np.where(angle > np.pi, angle - 2 * np.pi, angle)  # the vector changes its sign
    found = measure(motion(poses, fps=120.0), body=person())
    assert not found.bad.any()
    assert not measure(motion(poses, fps=120.0), body=person(), exact=True).bad.any()


def test_the_table_names_the_fastest_joint() -> None:
    poses = np.zeros((100, 52, 3))
    poses[50:, 18, 0] = 0.5  # the left elbow bends, which moves only the wrist
    found = measure(motion(poses, fps=60.0), body=person(), exact=True)
    speed = 2 * np.sin(0.25) * HUMANML3D_BONES[BODY_JOINTS.index("left_wrist")] * 60
    assert dict(found.rows())["joint speed"] == f"{speed:.1f} m/s in left_wrist, frame 49 (limit 30)"


BROKEN = {
    # A T-pose in frame 0, from which the arms jump by 30 m/s.
    *("02_07", "02_09"),
    # A knee that jumps by 0.3 m for a frame.
    "01_06",
    # Ballet, retargeted: legs, and in 05_16 the pelvis, that flip at 33 to 82 m/s and back within 0.1 s.
    *("05_05", "05_06", "05_08", "05_10", "05_14", "05_15", "05_16", "05_17", "05_18", "05_19"),
}
"""Takes of CMU of which the speeds, and nothing else, show that they are broken."""


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> ShapedBody:
    """The neutral stand-in of SMPL+H."""
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, families=("smplh",), genders=("neutral",))
    return Bodies.load(root, gender="neutral").choose("smplh", "neutral").model.shaped(np.zeros(10))


def test_the_real_takes_pass_but_for_those_that_are_broken(shared: Path, standin: ShapedBody) -> None:
    broken, pelvis = set(), {}
    for path in sorted((shared / "data" / "amass").rglob("*.npz")):
        with np.load(path) as data:
            m = motion(
                data["poses"].reshape(-1, 52, 3), trans=data["trans"], fps=float(data["mocap_framerate"])
            )
        assert not measure(m, Limits(pelvis_speed=np.inf), body=None).bad.any(), path
        name = path.stem.removesuffix("_poses")
        found = measure(m, body=standin)
        if found.bad.any():
            broken.add(name)
        exact = measure(m, exact=True).speeds.pelvis
        assert exact is not None
        pelvis[name] = exact.max()
    assert broken == BROKEN
    assert sorted(pelvis.values())[-2] < 25.0  # a side flip; the limit is 50
    assert max(pelvis, key=lambda name: pelvis[name]) == "05_16"


def test_a_flip_of_one_frame_in_a_real_take_is_found(shared: Path, standin: ShapedBody) -> None:
    path = shared / "data" / "amass" / "CMU" / "08" / "08_01_poses.npz"
    with np.load(path) as data:
        m = motion(data["poses"].reshape(-1, 52, 3), trans=data["trans"], fps=float(data["mocap_framerate"]))
    assert not measure(m, body=standin).bad.any()
    flipped = m.poses.copy()
    turned = Rotation.from_rotvec([0, 0, np.deg2rad(78)]) * Rotation.from_rotvec(flipped[90, 0])
    flipped[90, 0] = turned.as_rotvec()
    found = measure(replace(m, poses=flipped), body=standin)
    assert set(np.flatnonzero(found.bad)) == {89, 90, 91, 92}
