"""Clips are as documented in `docs/data-format.md`, on synthetic recordings of every family, rate and profile."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.spatial.transform import Rotation

from mocap_ray.archives import find_archive
from mocap_ray.archives.amass import R_YUP_AMASS
from mocap_ray.archives.segments import Segment
from mocap_ray.body.bodies import Bodies, MissingBody
from mocap_ray.body.files import find
from mocap_ray.dataset import reader
from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.export import export_humanml3d
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.dataset.process import Plan, process
from mocap_ray.dataset.product import CLIPS, ClipBuild, ClipProduct, ClipSums
from mocap_ray.dataset.remarks import remarks
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.motion.clip import Clip, Reason
from mocap_ray.motion.features import decode
from mocap_ray.motion.mirror import mirror_joints
from mocap_ray.records import Recording, Rejection
from mocap_ray.shards import manifest, recipe
from mocap_ray.shards.cutting import Shard
from mocap_ray.shards.making import Job, make
from mocap_ray.shards.recipe import Origin
from mocap_ray.skeleton import FAMILIES, PARENTS, TO_SMPLX
from mocap_ray.storage import place

ALL = ("features", "joints", "poses", "trans", "stick")
PROFILES = ("humanml3d", "flowmimic")
METHODS = ("stride", "interpolate")


@pytest.fixture(scope="session")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins of all three families, male and neutral."""
    root = tmp_path_factory.mktemp("process_bodies")
    write_standin(root, genders=("male", "neutral"))
    return root


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight good takes and four bad ones."""
    root = tmp_path_factory.mktemp("process_demo")
    write_demo(root, recordings=8)
    return root


def finish(build: ClipBuild, made: list[Any]) -> dict[str, Any]:
    """The last step of a run, without the run."""
    recipe.begin(build.out, build.recipe)
    return manifest.finish(build.out, made, build.product, recipes=recipe.end(build.out, build.recipe))


def changed_settings(first: ClipBuild, second: ClipBuild) -> set[str]:
    """The settings of the source that differ; the shared ones do not."""
    assert first.recipe.shared == second.recipe.shared
    a, b = first.recipe.source.settings, second.recipe.source.settings
    return {key for key in {*a, *b} if a.get(key) != b.get(key)}


def plan_for(root: Path, bodies: Path, *, columns: tuple[str, ...] = ALL, **options: Any) -> Plan:
    """A plan; options of the body section by `body=`, the rest of the motion section."""
    body = BodyOptions(root=str(bodies), **options.pop("body", {}))
    extra = {name: options.pop(name) for name in ("segments", "fps") if name in options}
    models = Bodies.load(bodies, gender=body.gender, families=body.families)
    archive = find_archive("amass")
    return Plan(archive, place(root), models, body, MotionOptions(**options), columns, **extra)


def plan_of(build: ClipBuild) -> Plan:
    assert isinstance(build.product, ClipProduct)
    return build.product.plan


def shard_of(*recordings: Recording) -> Shard[Recording]:
    return Shard(CLIPS.folder, CLIPS.keys, ("Set", "train"), recordings)


def listed(plan: Plan) -> list[Recording]:
    return plan.archive.discover(plan.place)


def clips_of(recording: Recording, plan: Plan) -> list[Clip]:
    found = process(recording, plan)
    assert all(isinstance(item, Clip) for item in found), found
    return cast("list[Clip]", found)


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as members:
        return dict(members)


def take(
    root: Path,
    demo: Path,
    *,
    number: int = 0,
    family: str = "smplh",
    name: str = "Set/s1/a_poses",
    **changes: Any,
) -> Path:
    """A good take of the demo in the layout of another family and with other members."""
    source = sorted(p for p in demo.rglob("0*_poses.npz"))[number]
    arrays = arrays_of(source)
    body = arrays["poses"].reshape(-1, 52, 3)
    if family == "smpl":
        arrays["poses"] = np.concatenate([body[:, :22], np.zeros((len(body), 2, 3))], axis=1).reshape(-1, 72)
    if family == "smplx":
        whole = np.zeros((len(body), 55, 3))
        whole[:, TO_SMPLX["smplh"]] = body
        arrays["poses"] = whole[:, :54].reshape(-1, 162)
    arrays |= {"gender": np.array("male"), **changes}
    path = root / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def forward(poses: np.ndarray, trans: np.ndarray, rest: np.ndarray, family: str) -> np.ndarray:
    """[T, 22, 3]: textbook forward kinematics."""
    local = Rotation.from_rotvec(poses[:, :22].reshape(-1, 3).astype(np.float64)).as_matrix()
    local = local.reshape(-1, 22, 3, 3)
    turn, at = local.copy(), np.zeros((len(poses), 22, 3))
    at[:, 0] = rest[0] + trans
    for joint, parent in enumerate(PARENTS[family][1:22], start=1):
        turn[:, joint] = turn[:, parent] @ local[:, joint]
        at[:, joint] = at[:, parent] + turn[:, parent] @ (rest[joint] - rest[parent])
    return at


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fps", [59.0, 100.0, 120.0, 250.0])
def test_written_poses_give_the_written_joints(
    tmp_path: Path, demo: Path, bodies: Path, family: str, profile: str, method: str, fps: float
) -> None:
    path = take(tmp_path, demo, family=family, mocap_framerate=np.array(fps))
    plan = plan_for(tmp_path, bodies, profile=profile, resample=method)
    (clip,) = clips_of(listed(plan)[0], plan)
    assert (clip.family, clip.gender, clip.body_gender, clip.source_fps) == (family, "male", "male", fps)
    rest = plan.bodies.models[family, "male"].shaped(clip.betas).rest
    assert clip.poses is not None
    assert clip.trans is not None
    found = forward(clip.poses, clip.trans, rest, family)
    np.testing.assert_allclose(found, clip.joints, atol=1e-5)  # documented: 1e-4
    assert np.linalg.norm(clip.poses, axis=-1).max() <= np.pi + 1e-5
    assert len(clip.joints) == len(clip.poses) == len(clip.trans) == len(cast("np.ndarray", clip.stick))
    assert clip.num_frames == len(clip.joints) - (profile == "humanml3d")

    # The same positions as in the file, with Y up: every frame with stride, else the frames that both have.
    arrays = arrays_of(path)
    raw = arrays["poses"].reshape(len(arrays["trans"]), -1, 3)
    there = forward(raw, arrays["trans"], rest, family) @ R_YUP_AMASS.T
    target = 20 if profile == "humanml3d" else 30
    assert clip.fps == (target if method == "interpolate" else fps / (fps // target))
    at = np.arange(len(clip.joints)) * fps / clip.fps
    whole = np.abs(at - np.rint(at)) < 1e-9
    assert whole.all() if method == "stride" else whole.sum() >= 5
    np.testing.assert_allclose(clip.joints[whole], there[np.rint(at[whole]).astype(int)], atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"mirror": True}, {"window": 30, "window_stride": 20, "resample": "stride"}]
)
def test_a_clips_bits_do_not_depend_on_its_neighbours(
    tmp_path: Path, demo: Path, bodies: Path, options: dict[str, Any]
) -> None:
    plan = plan_for(demo, bodies, body={"gender": "neutral"}, **options)
    chosen = [r for r in listed(plan) if "/9" not in r.name and "shape" not in r.name]
    job = Job(ClipProduct(plan), place(tmp_path), Origin("x", "y", "z"), {})
    tables = []
    for shard in (shard_of(*chosen), *(shard_of(r) for r in reversed(chosen))):
        make(shard, job)
        tables.append(pq.read_table(tmp_path / shard.path, partitioning=None))
    together = {row["clip_id"]: row for row in tables[0].to_pylist()}
    alone = [row for table in tables[1:] for row in table.to_pylist()]
    assert len(alone) == len(together) >= len(chosen)
    for row in alone:
        assert row == together[row["clip_id"]]  # floats are equal only bit by bit; none is NaN


@pytest.mark.parametrize("profile", PROFILES)
def test_a_mirrored_twin_follows_its_original(tmp_path: Path, demo: Path, bodies: Path, profile: str) -> None:
    take(tmp_path, demo, number=1)
    texts = ("he turns Left", "a person walks")
    segments = {"Set/s1/a_poses": (Segment(3, 60, "000007", texts),)}
    plan = plan_for(
        tmp_path, bodies, profile=profile, mirror=True, segments=segments, columns=(*ALL, "vertices")
    )
    original, twin = clips_of(listed(plan)[0], plan)
    assert (original.name, twin.name) == ("000007", "M000007")
    assert twin.clip_id == f"{original.clip_id}~M"
    assert (original.texts, twin.texts) == (texts, ("he turns Right", "a person walks"))
    assert twin.poses is None
    assert twin.trans is None
    assert twin.vertices is None
    np.testing.assert_array_equal(twin.joints, mirror_joints(original.joints))
    decoded, expected = decode(twin.features), mirror_joints(decode(original.features))
    if profile == "humanml3d":
        # Its target skeleton is not symmetric: bones keep their mirrored directions, but not the lengths, and
        # with those the first frame's facing differs by milliradians. Angles between bones do not.
        def angles(joints: np.ndarray) -> np.ndarray:
            bone = joints[:, 1:] - joints[:, list(PARENTS["smpl"][1:22])]
            bone /= np.linalg.norm(bone, axis=-1, keepdims=True)
            return np.asarray(bone @ bone.transpose(0, 2, 1))

        decoded, expected = angles(decoded), angles(expected)
    np.testing.assert_allclose(decoded, expected, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_vertices_are_those_of_smplx_on_the_written_poses(
    tmp_path: Path, demo: Path, bodies: Path, family: str
) -> None:
    import smplx
    import torch

    take(tmp_path, demo, family=family)
    plan = plan_for(
        tmp_path,
        bodies,
        columns=("features", "joints", "poses", "trans", "vertices"),
        body={"betas": 10},
        window=20,
    )
    clip = clips_of(listed(plan)[0], plan)[1]
    assert clip.poses is not None
    assert clip.vertices is not None
    assert len(clip.vertices) == len(clip.poses) == 21  # the frames kept, not those of the source
    model = smplx.create(
        str(bodies),
        model_type=family,
        gender="male",
        ext="pkl" if family == "smpl" else "npz",
        use_pca=False,
        flat_hand_mean=True,
    )

    def part(start: int, stop: int) -> Any:
        return torch.tensor(cast("np.ndarray", clip.poses)[:, start:stop].reshape(21, -1))

    given = {"global_orient": part(0, 1), "body_pose": part(1, 22), "transl": torch.tensor(clip.trans)}
    if family == "smpl":
        given["body_pose"] = torch.cat([given["body_pose"], torch.zeros(21, 6)], dim=1)
    else:
        given |= {"left_hand_pose": part(25, 40), "right_hand_pose": part(40, 55)}
    if family == "smplx":
        given |= {"jaw_pose": part(22, 23), "leye_pose": part(23, 24), "reye_pose": part(24, 25)}
        given |= {"expression": torch.zeros(21, 10)}
    with torch.no_grad():
        out = model(betas=torch.tensor(clip.betas, dtype=torch.float32)[None].expand(21, -1), **given)
    np.testing.assert_allclose(clip.vertices, out.vertices.numpy(), atol=1e-5)
    np.testing.assert_allclose(clip.joints, out.joints[:, :22].numpy(), atol=1e-5)


def test_a_machine_without_the_model_file_says_so(tmp_path: Path, demo: Path) -> None:
    write_standin(tmp_path / "bodies", families=("smplh",), genders=("male",))
    take(tmp_path / "archive", demo)
    plan = plan_for(tmp_path / "archive", tmp_path / "bodies", columns=("features", "vertices"))
    for path in find(tmp_path / "bodies").values():
        path.unlink()
    with pytest.raises(MissingBody, match=r"SMPLH_MALE.npz: not on this machine.*same path there"):
        process(listed(plan)[0], plan)


@pytest.mark.parametrize(("method", "fps"), [("interpolate", 59.0), ("stride", 100.0)])
def test_windows_are_rows_of_the_whole_clip(
    tmp_path: Path, demo: Path, bodies: Path, method: str, fps: float
) -> None:
    take(tmp_path, demo, mocap_framerate=np.array(fps))
    (recording,) = listed(plan := plan_for(tmp_path, bodies, resample=method))
    (whole,) = clips_of(recording, plan)
    plan = plan_for(tmp_path, bodies, resample=method, window=30, window_stride=20)
    found = clips_of(recording, plan)
    assert len(found) == (whole.num_frames - 30) // 20 + 1 > 1
    for k, clip in enumerate(found):
        first = round(20 * k * fps / whole.fps)
        assert clip.clip_id == f"Set/s1/a_poses@{first}"
        assert (clip.num_frames, len(clip.joints)) == (30, 31)
        for name in ("joints", "poses", "trans"):
            np.testing.assert_array_equal(getattr(clip, name), getattr(whole, name)[20 * k :][:31])


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("method", "fps"), [("interpolate", 59.0), ("stride", 120.0), ("interpolate", 12.0)])
def test_a_longest_length_cuts_long_clips_without_a_loss(
    tmp_path: Path, demo: Path, bodies: Path, method: str, fps: float, profile: str
) -> None:
    take(tmp_path, demo, mocap_framerate=np.array(fps))
    options = {"resample": method, "profile": profile, "mirror": True}
    # The rates of the test differ, so the same take is of different lengths: without quality limits.
    options["quality"] = {"multiplier": 1e9}
    (recording,) = listed(plan := plan_for(tmp_path, bodies, **options))
    whole, _ = clips_of(recording, plan)
    most = (whole.num_frames - 5) // 2  # twice that leaves a rest of 5 or 6 rows
    least = (most + 1) // 2
    plan = plan_for(tmp_path, bodies, **options, max_frames=most, min_frames=least)
    found = clips_of(recording, plan)
    parts, twins = found[::2], found[1::2]
    assert len(parts) == 3
    assert (parts[0].num_frames, parts[2].num_frames) == (most, least)
    assert least <= parts[1].num_frames <= most
    np.testing.assert_array_equal(
        np.concatenate([p.joints[: p.num_frames] for p in parts]), whole.joints[: whole.num_frames]
    )
    start = 0
    for part, twin in zip(parts, twins, strict=True):
        assert part.clip_id == f"Set/s1/a_poses@{round(start * fps / whole.fps)}"
        assert twin.clip_id == f"{part.clip_id}~M"
        assert len(part.joints) - part.num_frames == len(whole.joints) - whole.num_frames
        np.testing.assert_array_equal(part.joints, whole.joints[start:][: len(part.joints)])
        np.testing.assert_allclose(twin.joints, mirror_joints(part.joints), atol=1e-6)
        start += part.num_frames


def test_clips_within_the_longest_length_and_windows_are_as_without_it(
    tmp_path: Path, demo: Path, bodies: Path
) -> None:
    take(tmp_path, demo)
    for options in ({}, {"window": 30, "window_stride": 20}):
        (recording,) = listed(plan := plan_for(tmp_path, bodies, **options))
        without = clips_of(recording, plan)
        most = max(clip.num_frames for clip in without)
        found = clips_of(recording, plan_for(tmp_path, bodies, **options, max_frames=max(most, 39)))
        assert [c.clip_id for c in found] == [c.clip_id for c in without]
        for a, b in zip(found, without, strict=True):
            np.testing.assert_array_equal(a.features, b.features)


@pytest.mark.parametrize("options", [{"window": 1}, {"max_frames": 1, "min_frames": 1}])
def test_clips_of_a_source_slower_than_the_profile_have_ids_of_their_own(
    tmp_path: Path, demo: Path, bodies: Path, options: dict[str, int]
) -> None:
    take(tmp_path, demo, mocap_framerate=np.array(7.0))
    quality = {"multiplier": 1e9}
    plan = plan_for(tmp_path, bodies, quality=quality, **{"min_frames": 1, **options})
    ids = [clip.clip_id for clip in clips_of(listed(plan)[0], plan)]
    assert len(set(ids)) == len(ids)
    assert ids[:6] == [f"Set/s1/a_poses@{at}" for at in ("0", "0.1", "1", "1.1", "1.2", "2")]


def test_a_teleport_cuts_a_recording_into_pieces_with_ids_of_their_own(
    tmp_path: Path, demo: Path, bodies: Path
) -> None:
    path = take(tmp_path, demo)
    arrays = arrays_of(path)
    middle = len(arrays["trans"]) // 2
    arrays["trans"][middle:] += (2.0, 0.0, 0.0)
    take(tmp_path, demo, trans=arrays["trans"])
    plan = plan_for(tmp_path, bodies)
    (whole,) = process(listed(plan)[0], plan)
    assert isinstance(whole, Rejection)
    assert (whole.reason, whole.start) == (Reason.TELEPORT, 0)

    plan = plan_for(tmp_path, bodies, quality={"cut": True})
    first, between, second = process(listed(plan)[0], plan)
    assert isinstance(first, Clip)
    assert isinstance(between, Rejection)
    assert isinstance(second, Clip)
    assert between.reason is Reason.TELEPORT
    start = int(second.clip_id.removeprefix("Set/s1/a_poses@"))
    assert first.clip_id == "Set/s1/a_poses@0"
    assert between.start < middle <= start < middle + 5
    rest = plan.bodies.models["smplh", "male"].shaped(first.betas).rest
    poses = arrays["poses"].reshape(-1, 52, 3)
    there = forward(poses, arrays["trans"], rest, "smplh") @ R_YUP_AMASS.T
    for clip, at in ((first, 0), (second, start)):
        frames = there[at::6][: len(clip.joints)]
        np.testing.assert_allclose(clip.joints, frames, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("fps", [30.0, 59.0, 59.94, 100.0, 250.0])
def test_the_shortest_clip_has_min_frames_rows(
    tmp_path: Path, demo: Path, bodies: Path, profile: str, method: str, fps: float
) -> None:
    whole = arrays_of(take(tmp_path, demo))
    plan = plan_for(tmp_path, bodies, profile=profile, resample=method, min_frames=25)
    rows = {}
    step = fps / (20 if profile == "humanml3d" else 30)
    step = max(1, np.floor(step)) if method == "stride" else step
    for frames in range(int(23 * step), int(27 * step) + 1):
        cut = {name: whole[name][:frames] for name in ("poses", "trans", "dmpls")}
        take(tmp_path, demo, mocap_framerate=np.array(fps), **cut)
        (item,) = process(listed(plan)[0], plan)
        rows[frames] = item.num_frames if isinstance(item, Clip) else 0
        if isinstance(item, Rejection):
            assert item.reason is Reason.TOO_SHORT
    taken = [n for _, n in sorted(rows.items()) if n]
    assert taken[0] == 25  # shorter ones are rejected, and the first with enough rows is kept
    assert taken == sorted(taken)
    assert 0 in rows.values()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": {"cut": True}, "mirror": True},
        {"window": 10_000},
        {"window": 40, "min_frames": 40, "quality": {"cut": True}},
        {"min_frames": 10_000},
        {"max_frames": 50, "mirror": True, "quality": {"cut": True}},
        {"quality": {"multiplier": 1e-9}},
        {"quality": {"multiplier": 1e-9, "cut": True}, "min_frames": 1},
        {"resample": "stride", "profile": "flowmimic", "yaw": "reference", "min_frames": 1, "window": 1},
    ],
)
def test_every_recording_is_accounted_for(demo: Path, bodies: Path, options: dict[str, Any]) -> None:
    plan = plan_for(demo, bodies, **options)
    for recording in listed(plan):
        found = process(recording, plan)
        assert found, recording.name
        ids = [item.clip_id for item in found if isinstance(item, Clip)]
        assert len(set(ids)) == len(ids)
        for item in found:
            assert (item.recording if isinstance(item, Clip) else item.input) == recording
            if isinstance(item, Rejection):
                assert len(item.detail) > 20
                assert item.detail.endswith(".")


def test_a_window_longer_than_a_recording_is_a_rejection(demo: Path, bodies: Path) -> None:
    plan = plan_for(demo, bodies, window=10_000)
    (item,) = process(listed(plan)[0], plan)
    assert isinstance(item, Rejection)
    assert item.reason is Reason.TOO_SHORT
    assert "motion.window" in item.detail


def test_the_error_for_a_missing_family_says_what_to_do(tmp_path: Path, demo: Path) -> None:
    write_standin(tmp_path / "bodies", families=("smpl",), genders=("male",))
    take(tmp_path / "archive", demo, family="smplx")
    plan = plan_for(tmp_path / "archive", tmp_path / "bodies")
    with pytest.raises(MissingBody) as error:
        process(listed(plan)[0], plan)
    for part in (
        f"{tmp_path}/bodies: no male model of the family smplx",
        "smpl-x.is.tue.mpg.de",
        "SMPLX_MALE",
    ):
        assert part in str(error.value)


def test_an_unknown_gender_uses_another_body_and_is_counted(tmp_path: Path, demo: Path, bodies: Path) -> None:
    take(tmp_path / "archive", demo, gender=np.array("unspecified"))
    take(tmp_path / "archive", demo, name="Set/s2/b_poses")
    plan = plan_for(tmp_path / "archive", bodies)
    unknown, male = (clips_of(r, plan)[0] for r in listed(plan))
    assert (unknown.gender, unknown.body_gender) == ("unknown", "neutral")
    assert (male.gender, male.body_gender) == ("male", "male")
    sums = sums_of(plan, tmp_path / "out")
    assert (sums.other_gender_body, sums.missing_body) == (
        1,
        0,
    )  # the policy chose it, and nothing is missing


@pytest.mark.parametrize(
    ("there", "policy", "other", "missing"),
    [
        (("male", "neutral"), "recorded", 1, 1),
        (("male", "neutral"), "neutral", 2, 0),
        (("male",), "neutral", 1, 2),
    ],
)
def test_only_a_model_that_is_missing_is_said_to_be(
    tmp_path: Path, demo: Path, bodies: Path, there: tuple[str, ...], policy: str, other: int, missing: int
) -> None:
    root = tmp_path / "bodies" / "smplh"
    root.mkdir(parents=True)
    for (family, gender), path in find(bodies).items():
        if family == "smplh" and gender in there:
            shutil.copy(path, root / path.name)
    take(tmp_path / "archive", demo, gender=np.array("female"))
    take(tmp_path / "archive", demo, name="Set/s2/b_poses")
    plan = plan_for(tmp_path / "archive", tmp_path / "bodies", body={"gender": policy})
    sums = sums_of(plan, tmp_path / "out")
    assert (sums.other_gender_body, sums.missing_body) == (other, missing)
    text = "\n".join(remarks(sums.counts(), plan.motion.model_dump()))
    assert ("because the model of the right gender is missing" in text) == (missing > 0)


def sums_of(plan: Plan, out: Path) -> ClipSums:
    """The sums of all recordings of the plan."""
    receipt = make(shard_of(*listed(plan)), Job(ClipProduct(plan), place(out), Origin("x", "y", "z"), {}))
    return receipt.sums


# Numbers that nobody has


@pytest.mark.parametrize(
    ("betas", "reason", "what"),
    [
        (
            [0.0, 1e4],
            Reason.BAD_VALUE,
            "shape coefficient 1 is 10000. Expected standard deviations between -100",
        ),
        ([1e37], Reason.BAD_VALUE, "shape coefficient 0 is 1e+37."),
        ([-1e300], Reason.BAD_VALUE, "shape coefficient 0 is -1e+300."),
        ([99.0] * 16, Reason.BAD_VALUE, "its shape coefficients give a body of "),
        ([0.0, np.nan], Reason.NON_FINITE, "shape coefficient 1 is nan."),
        ([2.0, -3.0, 4.0], None, ""),
    ],
)
def test_shape_coefficients_that_nobody_has_are_a_bad_value(
    tmp_path: Path, demo: Path, bodies: Path, betas: list[float], reason: Reason | None, what: str
) -> None:
    take(tmp_path, demo, betas=np.array(betas))
    plan = plan_for(tmp_path, bodies)
    (item,) = process(listed(plan)[0], plan)
    if reason is None:
        assert isinstance(item, Clip)
        return
    assert isinstance(item, Rejection)
    assert item.reason is reason
    assert what in item.detail


@pytest.mark.parametrize("value", [1e9, -1e37])
@pytest.mark.parametrize("name", ["trans", "poses"])
def test_absurd_numbers_are_cut_out_or_reject_the_recording(
    tmp_path: Path, demo: Path, bodies: Path, name: str, value: float
) -> None:
    arrays = arrays_of(take(tmp_path, demo))
    middle = len(arrays[name]) // 2
    arrays[name][middle, 1] = value
    take(tmp_path, demo, **{name: arrays[name]})
    plan = plan_for(tmp_path, bodies)
    (whole,) = process(listed(plan)[0], plan)
    assert isinstance(whole, Rejection)
    assert whole.reason is Reason.BAD_VALUE
    plan = plan_for(tmp_path, bodies, quality={"cut": True})
    before, between, after = process(listed(plan)[0], plan)
    assert isinstance(between, Rejection)
    assert (between.reason, between.start) == (Reason.BAD_VALUE, middle)
    for clip in (before, after):
        assert isinstance(clip, Clip)
        assert np.abs(clip.joints).max() < 100


def test_a_limb_that_jumps_is_unstable_at_rates_where_accelerations_cannot_show_it(
    tmp_path: Path, demo: Path, bodies: Path
) -> None:
    arrays = arrays_of(take(tmp_path, demo))
    arrays["poses"][200:, 3 * 16] += 2.5  # the left shoulder, within 1/120 s
    take(tmp_path, demo, poses=arrays["poses"])
    plan = plan_for(tmp_path, bodies)
    (item,) = process(listed(plan)[0], plan)
    assert isinstance(item, Rejection)
    assert item.reason is Reason.UNSTABLE
    assert "frame 199: left_wrist moves at " in item.detail
    plan = plan_for(tmp_path, bodies, quality={"joint_speed": 300})
    assert isinstance(process(listed(plan)[0], plan)[0], Clip)


# Families, rates and segments that are not as expected


def test_a_recording_of_a_family_that_is_left_out_is_rejected_and_the_run_goes_on(
    tmp_path: Path, demo: Path, bodies: Path
) -> None:
    root = tmp_path / "archive"
    take(root, demo, family="smplx", name="Set/s1/a_poses")
    take(root, demo, number=1, family="smplh", name="Set/s2/b_poses")
    build = prepare(
        SourceOptions(root=str(root), split="none"),
        BodyOptions(root=str(bodies), families=("smplh",)),
        MotionOptions(),
        OutputOptions(root=str(tmp_path / "out")),
    )
    sentence = (
        "Set/s1/a_poses.npz: it has the parameters of smplx, and body.families names only smplh. Add smplx to use it; "
        "its body models are needed then."
    )
    made = [make(s, build.job()) for s in build.shards]
    done = finish(build, made)
    assert done["totals"]["rejected"] == {"other_family": 1}
    assert done["totals"]["clips"] == 1
    (left,) = (r for receipt in made for r in receipt.rejections)
    assert left.detail == sentence
    assert set(build.notes) <= {f"Some recordings will be rejected as other_family: {sentence}"}


@pytest.mark.parametrize(
    ("fps", "method", "count"), [(30.0, "stride", 1), (30.0, "interpolate", 0), (60.0, "stride", 0)]
)
def test_clips_at_another_rate_are_counted(
    tmp_path: Path, demo: Path, bodies: Path, fps: float, method: str, count: int
) -> None:
    take(tmp_path / "archive", demo, mocap_framerate=np.array(fps))
    take(tmp_path / "archive", demo, name="Set/s2/b_poses")  # 120 fps
    plan = plan_for(tmp_path / "archive", bodies, resample=method, mirror=True)
    sums = sums_of(plan, tmp_path / "out")
    assert sums.other_rate == count
    text = "\n".join(remarks(sums.counts(), plan.motion.model_dump()))
    assert ("1 recording has clips at another frame rate than 20 fps, because stride keeps" in text) == bool(
        count
    )


def test_segments_that_go_beyond_their_recording_are_counted(
    tmp_path: Path, demo: Path, bodies: Path
) -> None:
    frames = len(arrays_of(take(tmp_path / "archive", demo))["trans"])
    end = -(-frames // 6)
    segments = (
        Segment(0, end, "all"),
        Segment(1, end + 1, "one"),
        Segment(2, 9999, "far"),
        Segment(3, -1, "open"),
    )
    plan = plan_for(
        tmp_path / "archive", bodies, segments={"Set/s1/a_poses": segments}, mirror=True, columns=ALL
    )
    found = clips_of(listed(plan)[0], plan)
    assert [c.name for c in found if c.short] == ["one", "Mone", "far", "Mfar"]
    sums = sums_of(plan, tmp_path / "out")
    assert sums.short_segments == 2
    (text,) = remarks(sums.counts(), plan.motion.model_dump())
    assert text.startswith("2 clips are shorter than in source.segments, because the recording ends before")


def test_what_is_counted_is_in_the_data_card(tmp_path: Path, demo: Path, bodies: Path) -> None:
    take(tmp_path / "archive", demo, mocap_framerate=np.array(30.0))
    build = prepare(
        SourceOptions(root=str(tmp_path / "archive"), split="none"),
        BodyOptions(root=str(bodies)),
        MotionOptions(resample="stride"),
        OutputOptions(root=str(tmp_path / "out")),
    )
    made = [make(s, build.job()) for s in build.shards]
    finish(build, made)
    assert (
        "1 recording has clips at another frame rate than 20 fps" in (tmp_path / "out/README.md").read_text()
    )


# Segments: HumanML3D's index.csv


def test_segments_are_the_clips_of_humanml3d(tmp_path: Path, demo: Path, bodies: Path) -> None:
    path = take(
        tmp_path, demo, family="smplh", name="TotalCapture/s1/a_poses", mocap_framerate=np.array(59.0)
    )
    rows = ["TotalCapture/s1/a_poses.npy,2,40,000011.npy", "TotalCapture/s1/a_poses.npy,9,9999,000004.npy"]
    build = prepared(tmp_path, bodies, rows, body={"gender": "humanml3d", "betas": 10}, motion=REBUILD)
    found = clips_of(build.shards[0].inputs[0], plan_of(build))
    arrays = arrays_of(path)
    rest = plan_of(build).bodies.models["smplh", "male"].shaped(arrays["betas"][:10]).rest
    # As in HumanML3D's notebooks, in their order: subsample, trim the first second, cut the rows.
    poses = arrays["poses"].reshape(-1, 52, 3)
    there = forward(poses, arrays["trans"], rest, "smplh")[::2] @ R_YUP_AMASS.T
    there = there[20:]
    for clip, (first, last), name in zip(found[::2], ((2, 40), (9, 9999)), ("000011", "000004"), strict=True):
        np.testing.assert_allclose(clip.joints, there[first:last], atol=1e-5)
        assert clip.name == name
        assert clip.clip_id == f"TotalCapture/s1/a_poses@{2 * (20 + first)}"
    assert [c.name for c in found[1::2]] == ["M000011", "M000004"]


def test_only_the_frames_of_a_segment_are_checked(tmp_path: Path, demo: Path, bodies: Path) -> None:
    path = take(tmp_path, demo)
    arrays = arrays_of(path)
    arrays["trans"][300:] += (2.0, 0.0, 0.0)
    frames = len(arrays["trans"])
    take(tmp_path, demo, trans=arrays["trans"])
    segments = (Segment(0, 45, "before"), Segment(40, 70, "across"), Segment(frames, 2 * frames, "behind"))
    plan = plan_for(tmp_path, bodies, segments={"Set/s1/a_poses": (*segments, Segment(46, 49, "short"))})
    before, across, behind, short = process(listed(plan)[0], plan)
    assert isinstance(before, Clip)
    assert (before.name, before.num_frames) == ("before", 44)
    kinds = [(r.reason, r.start) for r in (across, behind, short) if isinstance(r, Rejection)]
    assert kinds == [(Reason.TELEPORT, 240), (Reason.TOO_SHORT, frames), (Reason.TOO_SHORT, 276)]
    assert "segment behind begins at frame" in cast("Rejection", behind).detail


REBUILD = {"resample": "stride", "yaw": "reference", "mirror": True}


def prepared(
    root: Path,
    bodies: Path,
    rows: list[str],
    *,
    body: Mapping[str, Any] | None = None,
    motion: Mapping[str, Any] | None = None,
    **source: Any,
) -> ClipBuild:
    """The plan of a run over the archive in `root` with an index of these rows."""
    index = root / "index" / "index.csv"
    index.parent.mkdir(exist_ok=True)
    index.write_text(
        "\n".join(["source_path,start_frame,end_frame,new_name", *(f"./pose_data/{r}" for r in rows)])
    )
    return prepare(
        SourceOptions(root=str(root), **{"split": "none", "segments": str(index), **source}),
        BodyOptions(root=str(bodies), **(body or {})),
        MotionOptions(**(motion or {})),
        OutputOptions(root=str(root.parent / "out"), columns=("features", "joints")),
    )


def test_a_rebuild_is_exported_under_humanml3ds_names(tmp_path: Path, demo: Path, bodies: Path) -> None:
    root = tmp_path / "archive"
    for number, name in enumerate(("CMU/01/01_01_poses", "HDM05/bd/b_poses", "CMU/02/other_poses")):
        take(root, demo, number=number, name=name)
    rows = [
        "CMU/01/01_01_poses.npy,10,60,014615.npy",
        "humanact12/humanact12/P1.npy,0,-1,000001.npy",
        "CMU/01/01_01_poses.npy,0,50,000002.npy",
        "MPI_HDM05/bd/b_poses.npy,0,30,000003.npy",
        "KIT/3/kick_poses.npy,0,30,000000.npy",
    ]
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "014615.txt").write_text("he turns left#he/PRON turns/VERB left/ADJ#0.0#0.0\n")
    build = prepared(root, bodies, rows, motion=REBUILD, texts=str(texts))
    assert [r.name for s in build.shards for r in s.inputs] == ["CMU/01/01_01_poses", "HDM05/bd/b_poses"]
    assert [n.removeprefix(f"{root}/index/index.csv: ") for n in build.notes] == [
        "ignored 1 row of humanact12, which is not part of AMASS.",
        "ignored 1 row of 1 recording that the archive does not have, such as KIT/3/kick.",
        "found 1 row of 1 recording that this release names otherwise, such as HDM05/bd/b_poses for "
        "MPI_HDM05/bd/b_poses.",
        f"Left out, because {root}/index/index.csv has no row for them: 1 recording.",
    ]
    made = [make(s, build.job()) for s in build.shards]
    finish(build, made)
    ds = reader.open(build.out.path)
    names = {c.clip_id: c.name for c in ds.clips()}
    assert names == {
        "CMU/01/01_01_poses@0": "000002",
        "CMU/01/01_01_poses@0~M": "M000002",
        "CMU/01/01_01_poses@60": "014615",
        "CMU/01/01_01_poses@60~M": "M014615",
        "HDM05/bd/b_poses@180": "000003",
        "HDM05/bd/b_poses@180~M": "M000003",
    }
    assert ds.clip("CMU/01/01_01_poses@60~M").name == "M014615"
    assert "| `name` | `string or null` |" in (tmp_path / "out" / "README.md").read_text()
    export_humanml3d(build.out.path, tmp_path / "HumanML3D")
    files = {p.stem for p in (tmp_path / "HumanML3D" / "new_joint_vecs").iterdir()}
    assert files == set(names.values())
    with (tmp_path / "HumanML3D" / "index.csv").open(newline="") as f:
        assert {row["clip_id"]: row["name"] for row in csv.DictReader(f)} == names
    caption = (tmp_path / "HumanML3D" / "texts" / "M014615.txt").read_text()
    assert caption.startswith("he turns right#")


def test_the_index_is_in_the_recipe_by_its_content(tmp_path: Path, demo: Path, bodies: Path) -> None:
    root = tmp_path / "archive"
    take(root, demo, name="CMU/01/a_poses")
    rows = ["CMU/01/a_poses.npy,0,30,0.npy", "KIT/1/b_poses.npy,0,30,1.npy"]
    first = prepared(root, bodies, rows)
    assert prepared(root, bodies, rows[::-1]).recipe == first.recipe
    changed = prepared(root, bodies, [rows[0], rows[1].replace("30", "31")])
    assert changed_settings(first, changed) == {"segments"}
    assert "index.csv" not in repr(first.recipe)
    assert "segments" not in prepared(root, bodies, rows, segments=None).recipe.source.settings


def test_rows_of_an_index_are_not_cut(tmp_path: Path, demo: Path, bodies: Path) -> None:
    root = tmp_path / "archive"
    take(root, demo, name="CMU/01/a_poses")
    rows = ["CMU/01/a_poses.npy,0,60,0.npy", "CMU/01/a_poses.npy,30,60,1.npy"]
    whole, cut = (prepared(root, bodies, rows, motion=m) for m in ({}, {"max_frames": 40}))
    assert [n for n in cut.notes if n not in whole.notes] == [
        f"motion.max_frames does not cut the rows of {root}/index/index.csv: each is one clip with one name."
    ]
    (recording,) = cut.shards[0].inputs
    assert [c.num_frames for c in clips_of(recording, plan_of(cut))] == [59, 29]
    assert cut.recipe == whole.recipe  # it changes no row


# Labels from a table


def labelled(root: Path, bodies: Path, rows: str, **source: Any) -> ClipBuild:
    """The plan of a run over the archive in `root` with a table of these rows."""
    table = root.parent / "labels.csv"
    table.write_text(f"recording,action,style,text\n{rows}")
    return prepare(
        SourceOptions(root=str(root), split="none", labels=str(table), **source),
        BodyOptions(root=str(bodies)),
        MotionOptions(mirror=True, max_frames=60),
        OutputOptions(root=str(root.parent / "out"), columns=("features",)),
    )


def test_labels_of_a_table_reach_the_data_set_and_the_export(
    tmp_path: Path, demo: Path, bodies: Path
) -> None:
    root = tmp_path / "archive"
    for number, name in enumerate(("Set/s1/a_poses", "Set/s1/walk_poses", "Set/s2/run_poses")):
        take(root, demo, number=number, name=name)
    rows = 'Set/s1/a_poses,wave left hand,proud,"he turns left, twice"\nSet/s1/walk_poses.npz,,old,\nSet/s9/x,walk,,\n'
    build = labelled(root, bodies, rows)
    assert [note.removeprefix(f"{tmp_path}/labels.csv: ") for note in build.notes] == [
        "ignored the labels of 1 recording that the archive does not have, such as Set/s9/x.",
        "no row for 1 recording, such as Set/s2/run_poses; without a row, a recording keeps the labels of the archive.",
    ]
    made = [make(s, build.job()) for s in build.shards]
    finish(build, made)
    ds = reader.open(build.out.path)
    turn = {False: "he turns left, twice", True: "he turns right, twice"}
    wave = {False: "wave left hand", True: "wave right hand"}
    expected = {
        "Set/s1/a_poses": (wave, "proud", turn),
        "Set/s1/walk_poses": (
            dict.fromkeys(wave, "walk"),
            "old",
            None,
        ),  # an empty cell keeps that of the file name
        "Set/s2/run_poses": (dict.fromkeys(wave, "run"), None, None),
    }
    cut = 0
    for clip in ds.clips():
        actions, style, texts = expected[clip.recording]
        mirrored = clip.clip_id.endswith("~M")
        cut += not clip.clip_id.removesuffix("~M").endswith("@0")
        assert (clip.action, clip.style) == (actions[mirrored], style)
        assert clip.texts == (() if texts is None else (texts[mirrored],))
    assert cut > 0  # the parts of a cut recording have its labels
    export_humanml3d(build.out.path, tmp_path / "HumanML3D")
    with (tmp_path / "HumanML3D" / "index.csv").open(newline="") as f:
        lines = list(csv.DictReader(f))
    assert {(r["source"], r["action"], r["style"]) for r in lines} == {
        (name, action, style or "") for name, (of, style, _) in expected.items() for action in of.values()
    }
    (first,) = {r["name"] for r in lines if r["clip_id"] == "Set/s1/a_poses@0~M"}
    caption = (tmp_path / "HumanML3D" / "texts" / f"{first}.txt").read_text()
    assert caption.startswith("he turns right, twice#he/OTHER turns/OTHER right/OTHER")


def test_the_table_of_labels_is_in_the_recipe_by_its_content(
    tmp_path: Path, demo: Path, bodies: Path
) -> None:
    root = tmp_path / "archive"
    take(root, demo, name="CMU/01/a_poses")
    rows = ["CMU/01/a_poses,walk,,", "CMU/01/b_poses,run,,"]
    first, turned, changed = (
        labelled(root, bodies, "\n".join(r)) for r in (rows, rows[::-1], [rows[0], "CMU/01/b_poses,sit,,"])
    )
    assert first.recipe == turned.recipe
    assert changed_settings(first, changed) == {"labels"}
    assert "labels.csv" not in repr(first.recipe)


def test_settings_that_are_not_used_leave_the_recipe_as_it_was(
    tmp_path: Path, demo: Path, bodies: Path
) -> None:
    take(tmp_path / "archive", demo)
    for motion in ({}, {"window": 40, "max_frames": 40}):
        build = prepare(
            SourceOptions(root=str(tmp_path / "archive"), split="none"),
            BodyOptions(root=str(bodies)),
            MotionOptions.model_validate(motion),
            OutputOptions(root=str(tmp_path / "out")),
        )
        assert {"labels", "segments", "max_frames"}.isdisjoint(build.recipe.source.settings)
        assert "max_frames" not in build.recipe.shared["motion"]


@pytest.mark.parametrize("motion", [{"window": 40}, {"quality": {"cut": True}}])
def test_segments_cannot_be_combined_with_cuts_or_windows(
    tmp_path: Path, demo: Path, bodies: Path, motion: dict[str, Any]
) -> None:
    take(tmp_path, demo, name="CMU/01/a_poses")
    with pytest.raises(
        ValueError, match=r"source\.segments together with motion\.(window|quality\.cut): a row"
    ):
        prepared(tmp_path, bodies, ["CMU/01/a_poses.npy,0,30,0.npy"], motion=motion)


def test_the_device_is_only_in_the_plan(tmp_path: Path, demo: Path, bodies: Path) -> None:
    take(tmp_path / "archive", demo)
    source, body = SourceOptions(root=str(tmp_path / "archive"), split="none"), BodyOptions(root=str(bodies))
    output = OutputOptions(root=str(tmp_path / "out"))
    cpu = prepare(source, body, MotionOptions(), output)
    gpu = prepare(source, body, MotionOptions(), output, gpus=0.5)
    assert (plan_of(cpu).device, plan_of(gpu).device) == ("cpu", "cuda")
    assert cpu.recipe == gpu.recipe
    assert replace(plan_of(gpu), device="cpu", bodies=plan_of(cpu).bodies) == plan_of(cpu)
    assert (cpu.product.resources.gpus, gpu.product.resources.gpus) == (0.0, 0.5)
