"""Poses from joints: on real takes, on made ones whose answer is known, and against the laws that any fit keeps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mocap_ray.archives.amass import R_YUP_AMASS
from mocap_ray.body.bodies import Bodies
from mocap_ray.body.fitting import FitOptions, Fitted, betas_of, fit, fit_batch, onto, own_body
from mocap_ray.body.fitting.solve import PARENTS, Problem, centred, chained, solve
from mocap_ray.body.fitting.start import LIMBS, swing
from mocap_ray.body.model import BodyModel, ShapedBody
from mocap_ray.motion.features import Profile, decode, encode
from mocap_ray.skeleton import BODY_JOINTS, BODY_PARENTS, HUMANML3D_BONES, REST_DIRECTIONS
from tests.dataset.made import walker

FPS = 20.0
TAKES = ("02/02_01", "05/05_09", "07/07_01", "08/08_01", "09/09_01", "02/02_05")
"""A walk, a dance, two walks, a run and boxing. In many others, a hip or an ankle of the takes themselves jumps by more
than 90 degrees from one frame to the next."""


@pytest.fixture(scope="module")
def model(standins: Path) -> BodyModel:
    return Bodies.load(standins, gender="neutral", families=("smplh",)).choose("smplh", "neutral").model


@pytest.fixture(scope="module")
def body(model: BodyModel) -> ShapedBody:
    return model.shaped(np.zeros(10))


@pytest.fixture(scope="module")
def other(standins: Path) -> ShapedBody:
    """A man with long legs and broad hips."""
    bodies = Bodies.load(standins, gender="recorded", families=("smplh",))
    return bodies.choose("smplh", "male").model.shaped(np.array([1.0, 0.0, 1.5, 0.0, 0.0, 1.5]))


@pytest.fixture(scope="module")
def takes(shared: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Poses [T, 22, 3] and translations [T, 3] of real takes at 20 fps, Y up."""
    found = []
    for name in TAKES:
        with np.load(shared / "data" / "amass" / "CMU" / f"{name}_poses.npz") as file:
            every = round(float(file["mocap_framerate"]) / FPS)
            poses = file["poses"][::every, :66].reshape(-1, 22, 3).copy()
            trans = file["trans"][::every] @ R_YUP_AMASS.T
        poses[:, 0] = (Rotation.from_matrix(R_YUP_AMASS) * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
        found.append((poses, trans))
    return found


def joints_of(body: ShapedBody, fitted: Fitted) -> np.ndarray:
    return body.joints(fitted.poses, fitted.trans)


def millimetres(a: np.ndarray, b: np.ndarray) -> float:
    return float(1000 * np.linalg.norm(a - b, axis=-1).mean())


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[T, J] between the rotations of two arrays of rotation vectors."""
    apart = Rotation.from_rotvec(a.reshape(-1, 3)).inv() * Rotation.from_rotvec(b.reshape(-1, 3))
    return np.degrees(apart.magnitude()).reshape(a.shape[:-1])


def world(poses: np.ndarray, joint: int) -> Rotation:
    """The rotation of a joint to the world."""
    R = Rotation.from_rotvec(poses[:, joint])
    while (joint := BODY_PARENTS[joint]) >= 0:
        R = Rotation.from_rotvec(poses[:, joint]) * R
    return R


# --- real takes ---


@pytest.mark.parametrize("profile", ["flowmimic", "humanml3d"])
def test_features_of_real_takes_become_poses_with_their_joints(
    takes: list[tuple[np.ndarray, np.ndarray]], body: ShapedBody, profile: Profile
) -> None:
    """The goal is 10 mm; on a body of the same bones the closed form is exact."""
    clips = [decode(encode(body.joints(poses, trans), profile=profile)) for poses, trans in takes]
    if profile == "humanml3d":
        # Retargeting keeps directions, so on the body's bones the joints are those before it.
        clips = [onto(clip, body) for clip in clips]
        for clip, (poses, trans) in zip(clips, takes, strict=True):
            before = decode(encode(body.joints(poses, trans), profile="flowmimic"))
            at = before[: len(clip)] - before[: len(clip), :1]
            assert (
                millimetres(clip - clip[:, :1], at) < 2
            )  # frame 0 faces Z by the hips and shoulders of other bones
    for clip, fitted in zip(clips, fit(clips, [body] * len(clips), fps=FPS), strict=True):
        assert millimetres(joints_of(body, fitted), clip) < 0.1
        assert fitted.error_mm == pytest.approx(millimetres(joints_of(body, fitted), clip), abs=0.01)


def test_features_become_poses_of_a_body_of_other_proportions(
    takes: list[tuple[np.ndarray, np.ndarray]], body: ShapedBody, other: ShapedBody
) -> None:
    clips = [onto(decode(encode(body.joints(p, t), profile="humanml3d")), other) for p, t in takes]
    for clip, fitted in zip(clips, fit(clips, [other] * len(clips), fps=FPS), strict=True):
        assert millimetres(joints_of(other, fitted), clip) < 5
        assert np.linalg.norm(joints_of(other, fitted) - clip, axis=-1).max() < 0.025


def test_turns_that_joints_determine_are_those_of_the_takes(
    takes: list[tuple[np.ndarray, np.ndarray]], body: ShapedBody
) -> None:
    clips = [body.joints(poses, trans) for poses, trans in takes]
    fitted = fit(clips, [body] * len(clips), fps=FPS)
    apart = np.concatenate([degrees(f.poses, p) for f, (p, _) in zip(fitted, takes, strict=True)])
    mean = dict(zip(BODY_JOINTS, np.median(apart, axis=0), strict=True))
    assert mean["pelvis"] < 0.1
    assert max(mean[name] for name in ("left_hip", "right_hip", "left_knee", "right_knee", "spine1")) < 6
    trans = fitted[0].trans - takes[0][1]
    assert np.abs(trans).max() < 1e-4


def test_knees_and_elbows_of_real_takes_bend_forward(
    takes: list[tuple[np.ndarray, np.ndarray]], body: ShapedBody
) -> None:
    clips = [body.joints(poses, trans) for poses, trans in takes]
    for (truth, _), fitted in zip(takes, fit(clips, [body] * len(clips), fps=FPS), strict=True):
        for limb in LIMBS:
            bend, true = (np.degrees(p[:, limb.hinge] @ np.array(limb.axis)) for p in (fitted.poses, truth))
            assert np.quantile(bend, 0.02) > min(0.0, np.quantile(true, 0.02)) - 6, BODY_JOINTS[limb.hinge]
            assert np.median(bend) > 5


def test_nothing_flips_between_frames_of_walks(
    takes: list[tuple[np.ndarray, np.ndarray]], body: ShapedBody
) -> None:
    for k in (0, 2, 3):
        clip = body.joints(*takes[k])[1:]  # frame 0 is a T pose
        for profile in ("flowmimic", "humanml3d"):
            seen = onto(decode(encode(clip, profile=profile)), body)  # type: ignore[arg-type]
            (fitted,) = fit([seen], [body], fps=FPS)
            assert degrees(fitted.poses[1:], fitted.poses[:-1]).max() < 35


# --- made motion ---


def bent(frames: int, **turns: tuple[float, float, float] | np.ndarray) -> np.ndarray:
    """Poses [T, 22, 3] at rest, but for some joints; degrees."""
    poses = np.zeros((frames, 22, 3))
    for name, turn in turns.items():
        poses[:, BODY_JOINTS.index(name)] = np.radians(turn)
    return poses


@pytest.mark.parametrize("twist", [-70.0, 0.0, 35.0, 80.0])
def test_a_bent_knee_and_a_bent_elbow_show_the_twist_of_the_limb(body: ShapedBody, twist: float) -> None:
    """Of the thigh about itself, and of the upper arm."""
    poses = bent(
        30, left_knee=(70, 0, 0), right_elbow=(0, 80, 0), left_hip=(0, twist, 0), right_shoulder=(twist, 0, 0)
    )
    (fitted,) = fit([body.joints(poses, np.zeros((30, 3)))], [body], fps=FPS)
    apart = degrees(fitted.poses, poses).max(axis=0)
    assert apart[BODY_JOINTS.index("left_hip")] < 15
    assert apart[BODY_JOINTS.index("right_shoulder")] < 15
    assert apart[BODY_JOINTS.index("left_knee")] < 10


def test_a_straight_arm_keeps_its_twist_whatever_its_tremor(body: ShapedBody) -> None:
    """The plane of a bend of a degree is noise, so nothing may follow it."""
    tremor = np.random.default_rng(0).normal(size=(120, 3))
    raised = np.linspace(-80, 80, 120)[:, None] * np.array([0.0, 0.0, 1.0])
    poses = bent(120, left_elbow=tremor, left_shoulder=raised)
    (fitted,) = fit([body.joints(poses, np.zeros((120, 3)))], [body], fps=FPS)
    assert degrees(fitted.poses[1:], fitted.poses[:-1]).max() < 10


def test_an_arm_that_passes_its_own_antipode_does_not_spin(body: ShapedBody) -> None:
    """The smallest rotation from rest is undefined where the upper arm points into the body."""
    turn = np.linspace(120, 240, 60)
    poses = bent(60, left_elbow=(0, -60, 0))
    poses[:, 16] = Rotation.from_rotvec(np.radians(-turn)[:, None] * np.array([0.0, 1.0, 0.0])).as_rotvec()
    (fitted,) = fit([body.joints(poses, np.zeros((60, 3)))], [body], fps=FPS)
    assert degrees(fitted.poses[1:], fitted.poses[:-1]).max() < 25


def test_a_heel_at_the_thigh_is_no_flip(body: ShapedBody) -> None:
    turn = np.linspace(100, 200, 50)[:, None] * np.array([1.0, 0.0, 0.0])
    (fitted,) = fit([body.joints(bent(50, left_knee=turn), np.zeros((50, 3)))], [body], fps=FPS)
    assert degrees(fitted.poses[1:], fitted.poses[:-1]).max() < 10


def test_a_figure_of_another_skeleton_walks_on_its_own_bones() -> None:
    """HumanML3D's target skeleton, whose bones point elsewhere than SMPL's at rest."""
    clip = walker(60)
    own = own_body(clip)
    (fitted,) = fit([clip], [own], fps=FPS)
    assert millimetres(joints_of(own, fitted), clip) < 0.1
    for limb in LIMBS[:2]:
        assert (fitted.poses[:, limb.hinge] @ np.array(limb.axis)).min() > np.radians(-12)


# --- laws ---


def some_clips(body: ShapedBody, *lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    clips = []
    for frames in lengths:
        steps = rng.normal(size=(frames, 22, 3)).cumsum(0) * 0.02 + 0.15 * rng.normal(size=(22, 3))
        clips.append(body.joints(steps, rng.normal(size=(frames, 3)).cumsum(0) * 0.02))
    return clips


def test_a_clip_gets_the_same_poses_alone_and_among_others(body: ShapedBody, other: ShapedBody) -> None:
    clips, bodies = some_clips(body, 7, 90, 1, 33), [body, other, body, other]
    together = fit(clips, bodies, fps=FPS)
    for clip, own, found in zip(clips, bodies, together, strict=True):
        (alone,) = fit([clip], [own], fps=FPS)
        assert degrees(alone.poses, found.poses).max() < 0.1
        np.testing.assert_allclose(alone.trans, found.trans, atol=1e-5)


def test_padding_is_not_read(body: ShapedBody) -> None:
    (clip,) = some_clips(body, 20)
    padded = torch.full((1, 50, 22, 3), float("nan"))
    padded[0, :20] = torch.as_tensor(clip)
    offsets = torch.as_tensor(body.offsets[None, :22]).float()
    poses, pelvis, error = fit_batch(padded, torch.tensor([20]), offsets, fps=FPS)
    (alone,) = fit([clip], [body], fps=FPS)
    assert degrees(poses[0, :20].numpy(), alone.poses).max() < 0.1
    for part in (poses, pelvis, error):
        assert not part[:, 20:].any()


def test_the_same_call_gives_the_same_bits(body: ShapedBody) -> None:
    clips = some_clips(body, 30, 12)
    first, second = (fit(clips, [body, body], fps=FPS) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.poses, b.poses)
        np.testing.assert_array_equal(a.trans, b.trans)


def test_steps_converge_quadratically(body: ShapedBody) -> None:
    """From a start 6 degrees away in each joint; a wrong derivative would converge linearly at best."""
    rng = np.random.default_rng(1)
    local = torch.as_tensor(Rotation.from_rotvec(rng.normal(size=(88, 3)) * 0.4).as_matrix()).reshape(
        4, 22, 3, 3
    )
    away = torch.as_tensor(Rotation.from_rotvec(rng.normal(size=(88, 3)) * 0.06).as_matrix()).reshape(
        4, 22, 3, 3
    )
    offsets = torch.as_tensor(body.offsets[:22]).expand(4, 22, 3).clone()
    offsets[:, 0] = 0
    targets, _ = chained(local, offsets, PARENTS)
    problem = Problem(targets, offsets, torch.zeros(3, dtype=torch.bool))
    left = []
    for steps in (0, 1, 2, 3):
        _, at = solve(local @ away, problem, FitOptions(steps=steps))
        left.append(float((centred(at) - centred(targets)).norm(dim=-1).mean()))
    assert left[0] > 0.01
    assert left[1] < 0.1 * left[0]
    assert left[3] < 1e-3 * left[0]


def test_steps_lower_the_error_on_joints_with_noise(body: ShapedBody) -> None:
    (clip,) = some_clips(body, 40)
    noisy = clip + 0.02 * np.random.default_rng(2).normal(size=clip.shape)
    start, end = (fit([noisy], [body], fps=FPS, options=FitOptions(steps=steps))[0] for steps in (0, 4))
    assert end.error_mm < 0.8 * start.error_mm
    assert millimetres(joints_of(body, end), clip) < 0.8 * millimetres(joints_of(body, start), clip)


@pytest.mark.parametrize("near", [1e-9, 1e-4, 0.5, 3.0, np.pi - 1e-7, np.pi])
def test_a_swing_brings_one_direction_to_another(near: float) -> None:
    rng = np.random.default_rng(3)
    R = torch.as_tensor(Rotation.random(50, rng=rng).as_matrix())
    rest = torch.as_tensor(rng.normal(size=(50, 3)))
    axis = np.cross(R[..., 0].numpy(), (R @ rest[..., None])[..., 0].numpy())
    turn = Rotation.from_rotvec(near * axis / np.linalg.norm(axis, axis=-1, keepdims=True))
    bone = torch.as_tensor(turn.apply((R @ rest[..., None])[..., 0].numpy()))
    found = swing(R, rest, bone)
    at = (found @ rest[..., None])[..., 0]
    torch.testing.assert_close(at, bone, atol=1e-6, rtol=0)
    torch.testing.assert_close(found @ found.mT, torch.eye(3).double().expand(50, 3, 3), atol=1e-9, rtol=0)
    angle = (Rotation.from_matrix(found.numpy()) * Rotation.from_matrix(R.numpy()).inv()).magnitude()
    np.testing.assert_allclose(angle, near, atol=1e-5)


def test_bones_of_a_person_give_a_body_with_such_bones(model: BodyModel) -> None:
    betas = np.array([1.5, 0.0, -1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    person = model.shaped(betas)
    (clip,) = some_clips(person, 20)
    found = model.shaped(betas_of(clip, model))
    lengths = [np.linalg.norm(b.offsets[1:22], axis=-1) for b in (person, found, model.shaped(np.zeros(10)))]
    assert np.abs(lengths[1] - lengths[0]).max() < 0.003
    assert np.abs(lengths[2] - lengths[0]).max() > 0.01


def test_a_persons_own_bones_need_no_body_model(body: ShapedBody, other: ShapedBody) -> None:
    for person in (body, other):
        (clip,) = some_clips(person, 40)
        own = own_body(clip)
        np.testing.assert_allclose(
            np.linalg.norm(own.offsets[1:22], axis=-1),
            np.linalg.norm(person.offsets[1:22], axis=-1),
            rtol=1e-6,
        )
        (fitted,) = fit([clip], [own], fps=FPS)
        assert millimetres(joints_of(own, fitted), clip) < 3


def test_onto_keeps_directions_and_scales_the_path(body: ShapedBody) -> None:
    clip = walker(30)
    moved = onto(clip, body)
    for joint in range(1, 22):
        bones = [p[:, joint] - p[:, BODY_PARENTS[joint]] for p in (clip, moved)]
        across = np.cross(bones[0], bones[1])
        np.testing.assert_allclose(across, 0, atol=1e-9)
        np.testing.assert_allclose(
            np.linalg.norm(bones[1], axis=-1), np.linalg.norm(body.offsets[joint]), rtol=1e-9
        )
    legs = np.linalg.norm(body.offsets[[4, 5, 7, 8]], axis=-1).sum() / HUMANML3D_BONES[[4, 5, 7, 8]].sum()
    np.testing.assert_allclose(moved[:, 0], legs * clip[:, 0], rtol=1e-3)


def test_the_6d_columns_of_features_say_what_the_positions_say(body: ShapedBody) -> None:
    """They hold the direction of each bone and no twist, so a fit does not need them beside the positions."""
    (clip,) = some_clips(body, 40)
    features = encode(clip, profile="flowmimic").astype(np.float64)
    positions = decode(features)
    six = features[:, 67:193].reshape(-1, 21, 6)
    local = np.stack([six[..., :3], six[..., 3:], np.cross(six[..., :3], six[..., 3:])], axis=-1)  # columns
    # The chains begin at the rotation from the facing to Z, the inverse of what `decode` turns positions by.
    yaw = 2 * np.concatenate([[0.0], features[:-1, 0].cumsum()])
    facing = Rotation.from_rotvec(yaw[:, None] * np.array([0.0, 1.0, 0.0])).as_matrix()
    turns = {0: facing}
    for chain in (
        (0, 2, 5, 8, 11),
        (0, 1, 4, 7, 10),
        (0, 3, 6, 9, 12, 15),
        (9, 14, 17, 19, 21),
        (9, 13, 16, 18, 20),
    ):
        R = facing
        for parent, joint in pairwise(chain):
            R = R @ local[:, joint - 1]
            turns[joint] = R
            bone = positions[:, joint] - positions[:, parent]
            said = R @ REST_DIRECTIONS[joint]
            cosine = (bone * said).sum(-1) / np.linalg.norm(bone, axis=-1)
            assert cosine.min() > 1 - 1e-4, BODY_JOINTS[joint]


# --- errors ---


def test_what_cannot_be_fitted_is_named(body: ShapedBody) -> None:
    (clip,) = some_clips(body, 5)
    with pytest.raises(ValueError, match="1 bodies for 2 clips"):
        fit([clip, clip], [body], fps=FPS)
    broken = clip.copy()
    broken[2, 3, 1] = np.nan
    with pytest.raises(ValueError, match="clip 1: values that are not finite"):
        fit([clip, broken], [body, body], fps=FPS)
    with pytest.raises(ValueError, match=r"clip 0: shape \(0, 22, 3\)"):
        fit([clip[:0]], [body], fps=FPS)


@pytest.mark.slow
def test_all_takes_fit_and_hardly_any_joint_jumps(shared: Path, body: ShapedBody) -> None:
    """In the 70 takes whose own joints turn by less than 100 degrees from frame to frame: 13,000 frames at 20 fps."""
    clips, truths = [], []
    for path in sorted((shared / "data" / "amass" / "CMU").rglob("*_poses.npz")):
        with np.load(path) as file:
            every = round(float(file["mocap_framerate"]) / FPS)
            poses, trans = file["poses"][::every, :66].reshape(-1, 22, 3), file["trans"][::every]
        if degrees(poses[2:], poses[1:-1]).max() < 100:
            clips.append(body.joints(poses, trans) @ R_YUP_AMASS.T)
            truths.append(poses)
    assert len(clips) == 70
    jumps = 0
    for clip, truth, fitted in zip(clips, truths, fit(clips, [body] * len(clips), fps=FPS), strict=True):
        assert millimetres(joints_of(body, fitted), clip) < 0.1
        steps = [degrees(p[2:], p[1:-1]) for p in (fitted.poses, truth)]
        jumps += int(((steps[0] > 45) & (steps[1] < 30)).sum())
    assert jumps <= 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_poses(body: ShapedBody) -> None:
    clips = some_clips(body, 30, 12)
    here, there = (fit(clips, [body, body], fps=FPS, device=device) for device in ("cpu", "cuda"))
    for a, b in zip(here, there, strict=True):
        assert degrees(a.poses, b.poses).max() < 0.2
