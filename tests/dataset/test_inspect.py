"""`mocap-ray inspect` agrees with a run, and its figures are exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mocap_ray.archives import amass
from mocap_ray.body.bodies import Bodies
from mocap_ray.dataset.inspect import Inspection, inspect
from mocap_ray.dataset.options import BodyOptions, MotionOptions
from mocap_ray.dataset.process import Plan, process
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.motion.clip import Clip, Reason
from mocap_ray.records import Rejection
from mocap_ray.storage import place
from tests.archives import rawzip, takes

COLUMNS = ("features", "joints")


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> BodyOptions:
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, families=("smplh",))
    return BodyOptions(root=str(root))


def _look(path: Path, **options: object) -> Inspection:
    return inspect(path, amass.ARCHIVE, **options)


def _written(path: Path, take: dict[str, np.ndarray]) -> Path:
    path.write_bytes(rawzip.npz(take))
    return path


def test_a_file_is_usable_exactly_if_a_run_uses_it(tmp_path: Path, body: BodyOptions) -> None:
    write_demo(tmp_path, recordings=8)
    short = takes.smplh(30)
    _written(tmp_path / "DemoGym" / "s03" / "short_poses.npz", short)
    where, options = place(tmp_path), MotionOptions()
    bodies = Bodies.load(body.root, gender=body.gender)
    plan = Plan(amass.ARCHIVE, where, bodies, body, options, COLUMNS)
    seen = set()
    for recording in amass.discover(where):
        made = process(recording, plan)
        found = _look(tmp_path / recording.source, body=body)
        assert found.complete
        assert found.usable == any(isinstance(m, Clip) for m in made), recording.source
        lost = [m for m in made if isinstance(m, Rejection)]
        assert [(r.reason, r.start) for r in found.rejections] == [(r.reason, r.start) for r in lost]
        for clip, other in zip(found.clips, (m for m in made if isinstance(m, Clip)), strict=True):
            assert np.array_equal(clip.features, other.features)
        seen |= {r.reason for r in lost}
        # Without body models, the result is the same for all checks that need none.
        assert _look(tmp_path / recording.source).usable == found.usable
    assert seen == {
        Reason.MISSING_KEYS,
        Reason.NOT_MOTION,
        Reason.TELEPORT,
        Reason.TOO_SHORT,
        Reason.UNREADABLE,
    }


def test_quality_figures_are_exact(tmp_path: Path) -> None:
    frames, fps = 200, 120.0
    take = {**takes.smplh(frames), "mocap_framerate": np.array(fps)}
    take["poses"], take["trans"] = np.zeros((frames, 156)), np.zeros((frames, 3))
    take["trans"][90:, 1] = 0.02  # a step: +a, then -a
    left_elbow = 18
    take["poses"][40, 3 * left_elbow] = 0.3  # there and back within two frames
    found = _look(_written(tmp_path / "a_poses.npz", take))
    assert found.quality is not None
    assert found.quality.exact
    assert found.quality.root_acceleration == pytest.approx(0.02 * fps**2, rel=1e-12)
    assert found.quality.root_frame in (89, 90)
    assert found.quality.angular_acceleration == pytest.approx(2 * 0.3 * fps**2, rel=1e-9)
    assert (found.quality.angular_frame, found.quality.angular_joint) == (40, left_elbow)
    assert not found.quality.bad.any()
    assert found.usable
    assert not found.complete  # no body models: facing and bones were not checked


def test_limits_of_the_options_are_used(tmp_path: Path, body: BodyOptions) -> None:
    take = takes.smplh(600)
    take["trans"][300:] += (1.0, 0.0, 0.0)
    path = _written(tmp_path / "b_poses.npz", take)
    assert not _look(path).usable
    assert _look(path).complete  # a body could not change the result
    cut = MotionOptions.model_validate({"quality": {"cut": True}})
    for models in (None, body):
        found = _look(path, motion=cut, body=models)
        assert found.usable
        assert found.frames_kept == (598 if models is None else 597)  # with a body, speeds are measured too
        assert [r.reason for r in found.rejections] == [Reason.TELEPORT]
    assert len(_look(path, motion=cut, body=body).clips) == 2
    tall = MotionOptions(min_frames=200)
    assert [r.reason for r in _look(_written(path, takes.smplh(600)), motion=tall).rejections] == [
        Reason.TOO_SHORT
    ]


def test_a_frame_rate_can_be_given(tmp_path: Path) -> None:
    take = takes.smplh(300)
    del take["mocap_framerate"]
    path = _written(tmp_path / "c_poses.npz", take)
    assert not _look(path).usable
    found = _look(path, fps=60.0)
    assert found.usable
    assert found.quality is not None
    assert found.quality.fps == 60.0


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("absent.npz", "absent.npz: no such file. Expected one recording of AMASS"),
        ("", ": a folder. Expected one recording of AMASS"),
    ],
)
def test_a_path_that_is_not_a_file_is_a_user_error(tmp_path: Path, name: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        _look(tmp_path / name)


def test_a_missing_body_is_named(tmp_path: Path, body: BodyOptions) -> None:
    path = _written(tmp_path / "d_poses.npz", takes.smpl(300))
    with pytest.raises(ValueError, match=r"no male model of the family smpl\b"):
        _look(path, body=body)


def test_the_real_takes_pass_and_the_suspect_ones_do_not(shared: Path) -> None:
    good = sorted((shared / "data" / "amass").rglob("*.npz"))
    bad = sorted((shared / "data" / "amass_suspect").rglob("*.npz"))
    assert len(bad) == 2
    for path in good[::10]:
        assert _look(path).usable == (path.stem != "05_16_poses"), path  # its pelvis turns by 59 rad/s
    for path in bad:
        found = _look(path)
        assert not found.usable
        assert [r.reason for r in found.rejections] == [Reason.TELEPORT]
        assert found.rejections[0].input == found.recording
