"""Maps of rigs, and the motion of rigs as joints and as poses: against genuine files, and against scipy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mocap_ray.archives import bvh
from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.orientation import to_y_up
from mocap_ray.archives.rigs import bvh_text, rotations, transfer
from mocap_ray.archives.rigs.rig import Rig, detect, find_rig, known
from mocap_ray.archives.rigs.take import X_ROTATION, Skeleton, Take
from mocap_ray.body.bodies import Bodies
from mocap_ray.body.model import ShapedBody
from mocap_ray.errors import UserError
from mocap_ray.motion.axes import joints_y_up
from mocap_ray.motion.clip import JointMotion, Motion, Reason
from mocap_ray.motion.features import encode
from mocap_ray.skeleton import BODY_JOINTS, BODY_PARENTS
from mocap_ray.storage import place
from tests.archives import rig_texts

IDENTITY = np.eye(3)


@pytest.fixture(scope="module")
def body(standins: Path) -> ShapedBody:
    return Bodies.load(standins, gender="neutral").choose("smplh", "neutral").model.shaped(np.zeros(10))


def _joints(body: ShapedBody, poses: np.ndarray) -> np.ndarray:
    """[T, 22, 3] joints of a body in these poses, relative to the pelvis."""
    own = np.zeros((len(poses), 52, 3))
    own[:, :22] = poses[:, :22]
    joints = body.joints(own, np.zeros((len(own), 3)))
    return joints - joints[:, :1]


def _amass(path: Path) -> np.ndarray:
    """[T, 22, 3] poses of a file in the layout of AMASS, turned from Z up to Y up as these takes were to Z up."""
    with np.load(path) as file:
        poses = np.array(file["poses"][:, :66], dtype=np.float64).reshape(-1, 22, 3)
    upright = Rotation.from_euler("x", -90, degrees=True) * Rotation.from_rotvec(poses[:, 0])
    poses[:, 0] = upright.as_rotvec()
    return poses


def _read(path: Path, **options: object) -> Motion | JointMotion:
    where = place(path.parent)
    recording = next(r for r in bvh.discover(where) if r.source == path.name)
    found = bvh.read(where, recording, **options)  # type: ignore[arg-type]
    assert isinstance(found, Motion | JointMotion), found
    return found


# --- genuine files ---


@pytest.mark.parametrize("take", ["02_01", "07_01", "08_01"])
def test_poses_of_cmu_takes_are_those_of_amass(shared: Path, body: ShapedBody, take: str) -> None:
    found = _read(shared / "data" / "bvh" / "cmu_daz" / f"{take}.bvh", read_as="poses")
    assert isinstance(found, Motion)
    assert (found.fps, found.first_frame, found.family) == (120.0, 1, "smplh")
    expected = _amass(shared / "data" / "amass" / "CMU" / take[:2] / f"{take}_poses.npz")
    assert len(found.poses) == len(expected)  # both at 120 fps, without the T pose of frame 0
    apart = np.linalg.norm(_joints(body, found.poses) - _joints(body, expected), axis=-1)
    assert apart.mean() < 0.002
    assert apart.mean(axis=0).max() < 0.006


def test_a_skeleton_and_its_motion_are_a_second_syntax_of_the_same_take(
    shared: Path, body: ShapedBody
) -> None:
    found = _read(shared / "data" / "bvh" / "cmu_asfamc" / "02_01.amc", read_as="poses")
    assert isinstance(found, Motion)
    assert (found.fps, found.first_frame) == (120.0, 0)
    expected = _amass(shared / "data" / "amass" / "CMU" / "02" / "02_01_poses.npz")
    apart = np.linalg.norm(_joints(body, found.poses) - _joints(body, expected), axis=-1)
    # The takes there come from the conversion to DAZ's figure, whose thighs, forearms and head rest at other angles.
    assert apart.mean() < 0.035
    torso = [
        BODY_JOINTS.index(name) for name in ("spine1", "spine2", "spine3", "left_collar", "right_collar")
    ]
    assert apart[:, torso].mean() < 0.015


BANDAI = [
    ("run_active_001", 68),
    ("run_masculine_008", 90),
    ("walk-turn-left_exhausted_001", 205),
    ("walk_elderly_001", 414),
    ("walk_normal_001", 273),
    ("wave-left-hand_feminine_001", 223),
]


@pytest.mark.parametrize(("take", "frames"), BANDAI)
def test_poses_of_bandai_namcos_takes_are_those_of_the_retargeted_ones(
    shared: Path, body: ShapedBody, take: str, frames: int
) -> None:
    found = _read(shared / "data" / "bvh" / "bandai" / f"dataset-2_{take}.bvh", read_as="poses")
    assert isinstance(found, Motion)
    assert (found.fps, len(found.poses)) == (30.0, frames)
    action, style, number = take.split("_")
    expected = _amass(shared / "data" / "bandai" / "BandaiNamco" / style / f"{action}_{number}_poses.npz")
    apart = np.linalg.norm(_joints(body, found.poses) - _joints(body, expected), axis=-1)
    assert apart.mean() < 0.003


@pytest.mark.parametrize(
    ("folder", "rig"),
    [("cmu_daz", "cmu_daz"), ("cmu_asfamc", "cmu_asfamc"), ("bandai", "bandai_namco")],
)
def test_joints_of_genuine_files_are_a_persons(shared: Path, folder: str, rig: str) -> None:
    where = place(shared / "data" / "bvh" / folder)
    for recording in bvh.discover(where):
        found = bvh.read(where, recording)
        named = bvh.read(where, recording, rig=find_rig(rig))
        assert isinstance(found, JointMotion)
        assert isinstance(named, JointMotion)
        np.testing.assert_array_equal(found.joints, named.joints)
        at = dict(zip(BODY_JOINTS, np.moveaxis(joints_y_up(found).joints, 1, 0), strict=True))
        assert 0.6 < np.median(at["pelvis"][:, 1]) < 1.2
        assert (at["head"][:, 1] > at["pelvis"][:, 1]).all()
        # Left hip x up points forward, where the feet point too, on average: those of runners point down as well.
        across = at["left_hip"] - at["right_hip"]
        forward = np.cross(across, [0.0, 1.0, 0.0])
        feet = at["left_foot"] - at["left_ankle"] + at["right_foot"] - at["right_ankle"]
        assert (forward * feet).sum(-1).mean() > 0
        assert np.isfinite(encode(found.joints.astype(np.float64), profile="flowmimic")).all()


def test_the_maps_of_this_package_name_the_joints_that_were_found_by_hand(shared: Path) -> None:
    import yaml

    by_hand = yaml.safe_load((shared / "data" / "bvh" / "rigs.yaml").read_text())
    assert set(known()) == {"cmu_daz", "cmu_motionbuilder", "cmu_asfamc", "bandai_namco", "smpl"}
    for name, joints in by_hand.items():
        own = known()["bandai_namco" if name == "bandai" else name].joints
        for body_joint, source in joints.items():
            assert own[body_joint].turns == tuple([source] if isinstance(source, str) else source), name


# --- made files ---


def test_the_map_for_motionbuilder_gives_each_bone_a_length() -> None:
    """Also where LowerBack lies at Hips, and neck and shoulders at Spine1. There is no genuine file to try."""
    tree = {"Hips": ("", (0, 0, 0)), "LowerBack": ("Hips", (0, 0, 0)), "Spine": ("LowerBack", (0, 2.1, 0))}
    tree |= {"Spine1": ("Spine", (0, 2.1, 0)), "Neck": ("Spine1", (0, 0, 0)), "Neck1": ("Neck", (0, 1.8, 0))}
    tree |= {"Head": ("Neck1", (0, 1.7, 0))}
    for side, x in (("Left", 1), ("Right", -1)):
        tree |= {f"{side}UpLeg": ("Hips", (1.4 * x, -1.8, 0)), f"{side}Leg": (f"{side}UpLeg", (0, -7.4, 0))}
        tree |= {
            f"{side}Foot": (f"{side}Leg", (0, -7.2, 0)),
            f"{side}ToeBase": (f"{side}Foot", (0, -0.5, 2.2)),
        }
        tree |= {
            f"{side}Shoulder": ("Spine1", (0, 0, 0)),
            f"{side}Arm": (f"{side}Shoulder", (3.4 * x, 1.2, 0)),
        }
        tree |= {
            f"{side}ForeArm": (f"{side}Arm", (5 * x, 0, 0)),
            f"{side}Hand": (f"{side}ForeArm", (3.5 * x, 0, 0)),
        }
    names = list(tree)
    skeleton = Skeleton(
        names=tuple(names),
        parents=tuple(names.index(parent) if parent else -1 for parent, _ in tree.values()),
        offsets=np.array([offset for _, offset in tree.values()], dtype=np.float64),
        channels=(((X_ROTATION, 0),), *((),) * (len(names) - 1)),
    )
    assert detect(skeleton) is known()["cmu_motionbuilder"]
    take = Take(skeleton, np.zeros((3, 1)), fps=120.0)
    found = transfer.mapped(take, detect(skeleton), scale=None, world=IDENTITY)
    bones = found.body[1:] - found.body[list(BODY_PARENTS[1:])]
    assert np.linalg.norm(bones, axis=1).min() > 0.03
    assert 1.2 < transfer.stature(found.body) < 1.7
    poses, _ = transfer.poses(found, joints=24)
    assert np.linalg.norm(poses, axis=-1).max() < np.radians(10)  # at rest, up to the directions of the limbs


@pytest.fixture
def daz(tmp_path: Path) -> Path:
    path = tmp_path / "Lab" / "a_1.bvh"
    path.parent.mkdir()
    path.write_text(rig_texts.bvh(60))
    return path


def test_poses_put_the_limbs_where_the_rigs_are(daz: Path, body: ShapedBody) -> None:
    joints, poses = _read(daz), _read(daz, read_as="poses")
    assert isinstance(joints, JointMotion)
    assert isinstance(poses, Motion)
    made = _joints(body, poses.poses)
    for end in ("knee", "ankle", "elbow", "wrist"):
        for side in ("left", "right"):
            k = BODY_JOINTS.index(f"{side}_{end}")
            bones = [at[:, k] - at[:, BODY_PARENTS[k]] for at in (joints.joints, made)]
            units = [bone / np.linalg.norm(bone, axis=-1, keepdims=True) for bone in bones]
            degrees = np.degrees(np.arccos(np.clip((units[0] * units[1]).sum(-1), -1, 1)))
            assert degrees.max() < 3, end  # between SMPL's rest directions and those of the stand-in body
    # 3 cm a frame along Z, on legs of 0.81 m instead of 0.78 m.
    steps = np.diff(poses.trans, axis=0)
    np.testing.assert_allclose(steps[:, 2].mean(), 0.03 * transfer.SMPL_LEG / 0.81, rtol=0.01)


@pytest.mark.parametrize("read_as", ["joints", "poses"])
def test_the_order_of_channels_prefixes_and_units_do_not_matter(daz: Path, read_as: str) -> None:
    plain = _read(daz, read_as=read_as)
    other = daz.with_name("b_1.bvh")
    other.write_text(rig_texts.bvh(60, scale=10, prefix="mixamorig:"))
    scaled = _read(other, read_as=read_as, scale=0.001)
    if isinstance(plain, Motion):
        assert isinstance(scaled, Motion)
        np.testing.assert_allclose(scaled.poses, plain.poses, atol=1e-9)
    np.testing.assert_allclose(scaled.root, plain.root, atol=1e-7)


def _in_axes(take: Take, A: np.ndarray) -> Take:
    """The same motion in a file whose axes A turns, or mirrors, to those of this one."""
    values = np.array(take.values)
    handed = np.linalg.det(A)
    channels = []
    for own in take.skeleton.channels:
        for code, column in own:
            sign = A[code % 3].sum() * (handed if code >= X_ROTATION else 1.0)
            values[:, column] *= sign
        channels.append(tuple((code // 3 * 3 + int(np.abs(A[code % 3]).argmax()), c) for code, c in own))
    skeleton = replace(take.skeleton, offsets=take.skeleton.offsets @ A, channels=tuple(channels))
    return replace(take, skeleton=skeleton, values=values)


@pytest.mark.parametrize("axes", ["x z -y", "z x y", "y -x z", "-x y z", "x z y"])
def test_a_file_in_other_axes_is_read_alike(daz: Path, axes: str) -> None:
    """Z up; turned; and left-handed, in which all rotations are the other way round."""
    plain = bvh_text.parse(daz.read_bytes())
    A = to_y_up(axes)
    rig = known()["cmu_daz"]
    found = transfer.mapped(plain, rig, scale=None, world=IDENTITY)
    other = transfer.mapped(_in_axes(plain, A), rig, scale=None, world=A)
    np.testing.assert_allclose(transfer.joints(other), transfer.joints(found), atol=1e-12)
    for made, expected in zip(
        transfer.poses(other, joints=24), transfer.poses(found, joints=24), strict=True
    ):
        np.testing.assert_allclose(made, expected, atol=1e-7)


def test_the_frames_to_skip_are_gone_and_a_take_of_nothing_else_is_rejected(daz: Path) -> None:
    found = _read(daz)
    assert isinstance(found, JointMotion)
    assert (len(found.joints), found.first_frame) == (59, 1)
    daz.write_text(rig_texts.bvh(1))
    (recording,) = bvh.discover(place(daz.parent))
    rejection = bvh.read(place(daz.parent), recording)
    assert rejection.reason == Reason.TOO_SHORT  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("scale", "size", "unit"),
    [(1.0, "145 m", "0.01 (centimetres)"), (0.1, "14.5 m", "0.01 (centimetres)"), (0.001, "0.145 m", "0.01")],
)
def test_a_person_of_absurd_size_is_rejected_with_the_unit_that_fits(
    daz: Path, scale: float, size: str, unit: str
) -> None:
    (recording,) = bvh.discover(place(daz.parent))
    rejection = bvh.read(place(daz.parent), recording, scale=scale)
    assert rejection.reason == Reason.BAD_VALUE  # type: ignore[union-attr]
    assert f"a person of {size} from the ankles" in rejection.detail  # type: ignore[union-attr]
    assert f"Set source.scale to {unit}" in rejection.detail  # type: ignore[union-attr]


def test_a_rig_is_recognised_by_its_joints_or_refused_with_the_one_it_lacks(daz: Path) -> None:
    skeleton = bvh_text.parse(daz.read_bytes()).skeleton
    assert detect(skeleton) is known()["cmu_daz"]
    text = daz.read_text().replace("JOINT lShin", "JOINT lCalf")
    skeleton = bvh_text.parse(text.encode()).skeleton
    with pytest.raises(Unusable, match="the nearest, cmu_daz, also has lShin") as error:
        detect(skeleton)
    assert error.value.reason == Reason.MISSING_KEYS
    with pytest.raises(Unusable, match="no joint 'lShin', which its map needs for left_knee"):
        known()["cmu_daz"].places(skeleton)


OWN = """
metre: 0.01
skip: 2
joints:
""" + "\n".join(f"  {body}: {source}" for body, source in {
    **{name: source.turns[0] for name, source in known()["cmu_daz"].joints.items()},
    "left_knee": "lCalf", "spine2": "[abdomen, chest]",
    "left_foot": "{turns: lFoot, at: lFoot.end}", "right_foot": "{turns: rFoot, at: rFoot.end}",
}.items())  # fmt: skip


def test_a_map_of_ones_own_is_a_yaml_file(daz: Path, tmp_path: Path) -> None:
    plain = _read(daz)
    daz.write_text(daz.read_text().replace("JOINT lShin", "JOINT lCalf"))
    path = tmp_path / "rig.yaml"
    path.write_text(OWN)
    found = _read(daz, rig=find_rig(str(path)))
    np.testing.assert_allclose(found.root, plain.root[1:])
    assert isinstance(found, JointMotion)
    assert isinstance(plain, JointMotion)
    np.testing.assert_allclose(found.joints, plain.joints[1:])
    own = find_rig(str(path))
    assert own.identity(str(path)) != find_rig("cmu_daz").identity("cmu_daz") == "cmu_daz"
    assert len(own.identity(str(path))) == 64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("joints: 3", "joints: "),
        ("[1, 2]", "no map of a rig. Expected keys such as joints:"),
        (OWN.replace("pelvis", "hips"), "no pelvis; expected each of the 22 body joints once"),
        (OWN + "\n  tail: tail", "tail is no body joint"),
        (OWN + "\naxes: {hip: [left, up, up]}", "three directions at right angles"),
        (OWN + "\naxes: {hip: [left, up, sideways]}", "'sideways'; expected left, right, up"),
        (OWN.replace("metre: 0.01", "metre: -1"), "metre: "),
        (OWN.replace("skip", "skipped"), "skipped: "),
        (OWN.replace("[abdomen, chest]", "[abdomen, chest, neck]"), "joints.spine2"),
    ],
    ids=map(str, range(9)),
)
def test_an_invalid_map_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        find_rig(str(path))
    assert str(path) in str(error.value)
    assert said in str(error.value)


def test_the_error_for_an_unknown_rig_names_ours() -> None:
    with pytest.raises(UserError, match=r"no such file\. Expected a rig \(bandai_namco, cmu_asfamc, cmu_daz"):
        find_rig("mixamo")


# --- rotations ---


def _draws() -> Rotation:
    """Random rotations, with angles near 0 and near pi among them, and pi itself."""
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(400, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = np.concatenate(
        [
            rng.uniform(0, np.pi, 200),
            10.0 ** rng.uniform(-12, -1, 100),
            np.pi - 10.0 ** rng.uniform(-12, -1, 100),
        ]
    )
    special = [np.zeros(3), [np.pi, 0, 0], [0, np.pi, 0], [0, 0, np.pi], [np.pi / 2, 0, 0]]
    return Rotation.from_rotvec(np.concatenate([axes * angles[:, None], special]))


def _last(R: Rotation) -> np.ndarray:
    return np.moveaxis(R.as_matrix(), 0, -1)


def test_rotation_vectors_are_those_of_scipy() -> None:
    draws = _draws()
    found = rotations.rotation_vectors(_last(draws)).T
    assert (np.linalg.norm(found, axis=1) <= np.pi + 1e-12).all()
    again = (Rotation.from_rotvec(found).inv() * draws).magnitude()
    assert again.max() < 1e-7
    safe = draws.magnitude() < np.pi - 1e-5  # at pi, both signs are right
    np.testing.assert_allclose(found[safe], draws.as_rotvec()[safe], atol=1e-8)


def test_half_way_is_the_middle_of_the_arc() -> None:
    a, b = _draws(), Rotation.from_rotvec(np.roll(_draws().as_rotvec(), 7, axis=0))
    middle = Rotation.from_matrix(np.moveaxis(rotations.halfway(_last(a), _last(b)), -1, 0))
    whole = (a.inv() * b).magnitude()
    np.testing.assert_allclose((a.inv() * middle).magnitude(), whole / 2, atol=1e-6)
    np.testing.assert_allclose((middle.inv() * b).magnitude(), whole / 2, atol=1e-6)


def test_between_is_the_smallest_rotation_from_one_direction_to_another() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        a, b = rng.normal(size=(2, 3))
        R = rotations.between(a, b)
        np.testing.assert_allclose(R @ a / np.linalg.norm(a), b / np.linalg.norm(b), atol=1e-12)
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        np.testing.assert_allclose(Rotation.from_matrix(R).magnitude(), np.arccos(cosine), atol=1e-7)
    a = np.array([0.0, 2.0, 0.0])
    np.testing.assert_allclose(rotations.between(a, -3 * a) @ a, -a, atol=1e-12)
    np.testing.assert_array_equal(rotations.between(a, np.zeros(3)), IDENTITY)


def test_a_rig_can_be_sent_to_workers() -> None:
    import pickle

    for rig in known().values():
        assert pickle.loads(pickle.dumps(rig)) == rig
        assert isinstance(rig, Rig)
