"""From a made video to motion, in one process: tracks, conventions, data set."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.spatial.transform import Rotation

import mocap_ray
from mocap_ray.cli.main import main
from mocap_ray.dataset.build import prepare as prepare_motion
from mocap_ray.dataset.options import MotionOptions, QualityOptions
from mocap_ray.errors import UserError
from mocap_ray.estimation.camera import Camera
from mocap_ray.estimation.options import (
    CameraOptions,
    EstimateOutput,
    FootageOptions,
    PeopleOptions,
    SmoothOptions,
    TrackOptions,
)
from mocap_ray.estimation.passes import neutral_body, prepare, write_tracks
from mocap_ray.estimation.people import SCHEMA
from mocap_ray.estimation.tracks import People, Shot, Track, common_camera, tracks, upright
from mocap_ray.estimation.weights import save_network
from mocap_ray.runs.estimate import BodyRoot, EstimateConfig
from mocap_ray.shards.making import make
from mocap_ray.shards.reports import ShardReport
from mocap_ray.shards.running import InProcess, NoCallback, RunFailed, RunResult, run
from mocap_ray.storage import place
from tests.estimation.reference import random_network
from tests.estimation.video import CROWD, FPS, HEIGHT, WIDTH, centres, mot, pictures, write_video

FRAMES, CHUNK = 60, 32


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two chunks, its boxes, and a tiny network with random weights."""
    root = tmp_path_factory.mktemp("inputs")
    write_video(root / "crowd.mp4", pictures(CROWD, FRAMES))
    (root / "crowd.txt").write_text(mot(CROWD, FRAMES))
    save_network(random_network(), root / "tiny.safetensors", origin="a test")
    return root


@pytest.fixture(scope="module")
def short(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of twelve frames with one person."""
    root = tmp_path_factory.mktemp("short")
    write_video(root / "crowd.mp4", pictures(CROWD[:1], 12))
    (root / "crowd.txt").write_text(mot(CROWD[:1], 12))
    (root / "tiny.safetensors").write_bytes((inputs / "tiny.safetensors").read_bytes())
    return root


def config(inputs: Path, standins: Path, out: Path, **changes: object) -> EstimateConfig:
    sections = {
        "source": FootageOptions(root=str(inputs / "crowd.mp4"), chunk_frames=CHUNK),
        "people": PeopleOptions(
            weights=str(inputs / "tiny.safetensors"), boxes=str(inputs / "crowd.txt"), batch=16
        ),
        "body": BodyRoot(root=str(standins)),
        # Random weights do not move as people do.
        "motion": MotionOptions(quality=QualityOptions(multiplier=1e6)),
        "output": EstimateOutput(root=str(out)),
    }
    return EstimateConfig(**(sections | changes))


def first_pass(
    settings: EstimateConfig, *, callback: NoCallback | None = None, **options: bool
) -> tuple[RunResult, list]:
    out = place(settings.output.root).folder("people")
    footage: list = []

    def prepared() -> object:
        build, found = prepare(settings.source, settings.people, out, **options)
        footage.extend(found)
        return build

    done = run(prepared, lambda: nullcontext(InProcess()), out=out, callback=callback or NoCallback())
    return done, footage


def estimated(settings: EstimateConfig, *, motion: bool = True) -> Path:
    """All passes."""
    root = place(settings.output.root)
    result, footage = first_pass(settings)
    write_tracks(
        result.manifest,
        root.folder("people"),
        root.folder("tracks"),
        footage,
        body=neutral_body(settings.body.root),
        track=settings.track,
        camera=settings.camera,
        smooth=settings.smooth,
    )
    if motion:
        last = settings.of_motion()
        run(
            lambda: prepare_motion(last.source, last.body, last.motion, last.output),
            lambda: nullcontext(InProcess()),
            out=place(last.output.root),
            callback=NoCallback(),
        )
    return Path(settings.output.root)


@pytest.fixture(scope="module")
def results(inputs: Path, standins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return estimated(config(inputs, standins, tmp_path_factory.mktemp("out") / "crowd"))


def people_tracks(root: Path) -> list[dict[str, np.ndarray]]:
    paths = sorted((root / "tracks" / "estimates" / "crowd").glob("*.npz"))
    return [dict(np.load(path)) for path in paths]


def test_each_walker_is_one_track_over_both_chunks(results: Path) -> None:
    found = people_tracks(results)
    assert len(found) == len(CROWD)
    assert len(list((results / "people").rglob("*.parquet"))) == 3  # two chunks and the rejections
    for one in CROWD:
        middle = centres(one, range(one.first, one.last))
        (track,) = [
            t
            for t in found
            if len(t["boxes"]) == one.last - one.first
            and np.abs((t["boxes"][:, :2] + t["boxes"][:, 2:]) / 2 - middle).max() < 0.01
        ]
        assert track["frames"].tolist() == list(range(one.first, one.last))
        np.testing.assert_allclose(track["confidence"], 0.9, atol=1e-6)
        assert track["mocap_frame_rate"] == FPS


def test_the_pelvis_is_projected_into_the_crop_where_the_network_saw_it(
    results: Path, standins: Path
) -> None:
    """A track and its camera alone give the pixel that the network's own camera gives."""
    body, _ = neutral_body(str(standins))
    table = _rows(results)
    for track in people_tracks(results):
        rest = body.shaped(track["betas"][:10]).rest[0]
        R, focal = track["camera_rotation"], float(track["camera_focal"])
        assert focal == pytest.approx(np.hypot(WIDTH, HEIGHT))
        seen = (track["trans"] + rest) @ R  # the rotation's inverse
        pixels = Camera(focal, *(float(v) for v in track["camera_centre"])).project(seen)
        for frame, pixel, box, depth in zip(track["frames"], pixels, track["boxes"], seen[:, 2], strict=True):
            rows = np.flatnonzero(table["frame"] == frame)
            row = rows[np.abs(table["box"][rows] - box).max(axis=1).argmin()]
            x, y, w, h = table["crop"][row]
            own = body.shaped(table["betas"][row].astype(np.float64)).rest[0] + table["trans"][row]
            expected = own[:2] / own[2] * 5000 * h / 256 + (x + w / 2, y + h / 2)
            np.testing.assert_allclose(pixel, expected, atol=0.02)
            assert depth == pytest.approx(own[2] * focal / (5000 * h / 256), rel=1e-4)


def test_the_network_conventions_are_undone(results: Path, standins: Path) -> None:
    _, hands = neutral_body(str(standins))
    table = _rows(results)
    for track in people_tracks(results):
        row = np.flatnonzero(np.abs(table["box"] - track["boxes"][0]).max(axis=1) < 1e-4)[0]
        own = table["poses"][row].reshape(55, 3).astype(np.float64)
        poses = track["poses"][0].reshape(55, 3)
        _same_rotations(poses[1:25], own[1:25])
        _same_rotations(poses[25:40], own[25:40] + hands[0])
        _same_rotations(poses[40:], own[40:] + hands[1])
        turned = Rotation.from_matrix(track["camera_rotation"]) * Rotation.from_rotvec(own[0])
        _same_rotations(poses[:1], turned.as_rotvec()[None])
        # The file is Z up: down in the image is down, away from the camera is along Y.
        np.testing.assert_allclose(track["camera_rotation"] @ [0, 1, 0], [0, 0, -1], atol=1e-12)
        np.testing.assert_allclose(np.abs(track["camera_rotation"] @ [0, 0, 1]), [0, 1, 0], atol=1e-12)
        assert np.linalg.det(track["camera_rotation"]) == pytest.approx(1)


def _same_rotations(a: np.ndarray, b: np.ndarray) -> None:
    apart = (Rotation.from_rotvec(a).inv() * Rotation.from_rotvec(b)).magnitude()
    assert apart.max() < 1e-5


def _rows(results: Path) -> dict[str, np.ndarray]:
    paths = sorted((results / "people" / "rows").rglob("*.parquet"))
    tables = [pq.read_table(path, partitioning=None).to_pydict() for path in paths]
    return {name: np.concatenate([np.array(t[name]) for t in tables]) for name in tables[0]}


def test_the_motion_is_a_data_set_like_any_other(results: Path) -> None:
    found = mocap_ray.open(results / "motion")
    clips = list(found.clips())
    assert sorted(c.recording for c in clips) == [f"estimates/crowd/person000{k}" for k in (1, 2, 3)]
    for clip in clips:
        assert clip.family == "smplx"
        assert clip.poses is not None
        assert clip.poses.shape == (clip.num_frames + 1, 55, 3)
        assert np.isfinite(clip.features).all()
        assert clip.joints.shape[1:] == (22, 3)
    longest = max(clip.num_frames for clip in clips)
    assert longest == 47  # 60 frames at 25 fps: 2.36 s are 48 joint frames at 20 fps


def test_other_commands_take_the_motion(
    results: Path, standins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def typed(*words: object) -> int:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        return int(end.value.code or 0)

    motion = results / "motion"
    assert typed("dataset", "validate", motion) == 0
    assert typed("export", "amass", motion, tmp_path / "back", "--body", standins) == 0
    track = results / "tracks" / "estimates" / "crowd" / "person0001.npz"
    assert typed("inspect", track, "--body", standins) == 0
    assert "60 at 25 fps" in capsys.readouterr().out
    back = [dict(np.load(path)) for path in sorted((tmp_path / "back").rglob("*.npz"))]
    own = people_tracks(results)
    for a, b in zip(back, own, strict=True):
        # At 20 fps; the first frame is the same one.
        _same_rotations(a["poses"][0].reshape(55, 3), b["poses"][0].reshape(55, 3))
        np.testing.assert_allclose(a["trans"][0] - b["trans"][0], 0, atol=1e-3)
    assert typed("dataset", "stats", results / "people") == 2
    assert f"is the folder beside it, {results}/motion" in capsys.readouterr().err


def test_a_second_run_makes_nothing(inputs: Path, standins: Path, results: Path) -> None:
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in results.rglob("*.parquet")}
    before |= {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in results.rglob("*.npz")}
    estimated(config(inputs, standins, results))
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before}


def test_the_size_of_chunks_changes_no_track(short: Path, standins: Path, tmp_path: Path) -> None:
    found = []
    for size in (5, 100):
        settings = config(short, standins, tmp_path / str(size))
        source = settings.source.model_copy(update={"chunk_frames": size})
        out = estimated(settings.model_copy(update={"source": source}), motion=False)
        found.append(people_tracks(out))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a["boxes"], b["boxes"])
        np.testing.assert_allclose(a["trans"], b["trans"], atol=1e-3)


def _tracks(table: pa.Table, standins: Path, **smooth: object) -> list[Track]:
    people = People.of(table)
    camera = common_camera(people.width, people.height, CameraOptions())
    shot = Shot(camera, upright(0.0), float(FPS), *neutral_body(str(standins)))
    return list(tracks(people, shot, options=TrackOptions(), smooth=SmoothOptions(**smooth), frames=FRAMES))


def _table(results: Path) -> pa.Table:
    paths = sorted((results / "people" / "rows").rglob("*.parquet"))
    return pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths])


def _with_numbers(table: pa.Table) -> pa.Table:
    """The table with the numbers of the walkers, 11, 12 and 13, as a MOT file may give them."""
    numbers = []
    for frame, (left, _, right, _) in zip(table["frame"].to_pylist(), table["box"].to_pylist(), strict=True):
        apart = [
            abs(b[0] - left) + abs(b[2] - right + left) if (b := one.box(frame)) else 1e9 for one in CROWD
        ]
        numbers.append(11 + int(np.argmin(apart)))
    return table.set_column(table.column_names.index("id"), SCHEMA.field("id"), pa.array(numbers))


def test_given_numbers_are_kept(results: Path, standins: Path) -> None:
    found = _tracks(_with_numbers(_table(results)), standins)
    assert [track.number for track in found] == [11, 12, 13]
    for one, track in zip(CROWD, found, strict=True):
        assert track.frames.tolist() == list(range(one.first, one.last))


def test_a_gap_is_filled_and_marked(results: Path, standins: Path) -> None:
    table = _with_numbers(_table(results))
    frames = np.asarray(table["frame"])
    table = table.filter(pa.array((np.asarray(table["id"]) == 11) & ((frames < 20) | (frames >= 30))))
    (track,) = _tracks(table, standins)
    assert len(track.poses) == FRAMES
    assert np.flatnonzero(track.confidence == 0).tolist() == list(range(20, 30))
    middle = (track.boxes[:, 0] + track.boxes[:, 2]) / 2
    np.testing.assert_allclose(middle, centres(CROWD[0], range(FRAMES))[:, 0], atol=0.05)
    first, last, between = (Rotation.from_rotvec(track.poses[k]) for k in (19, 30, 25))
    whole, part = (first.inv() * last).magnitude(), (first.inv() * between).magnitude()
    np.testing.assert_allclose(part, whole * 6 / 11, atol=1e-6)


@pytest.mark.parametrize("kind", ["savgol", "one_euro"])
def test_smoothing_lowers_accelerations_and_keeps_the_way(results: Path, standins: Path, kind: str) -> None:
    table = _with_numbers(_table(results))
    raw, smooth = _tracks(table, standins), _tracks(table, standins, kind=kind)
    for a, b in zip(raw, smooth, strict=True):
        assert len(a.trans) == len(b.trans)
        for x, y in ((a.trans, b.trans), (a.poses[:, 1], b.poses[:, 1])):
            assert np.abs(np.diff(y, 2, axis=0)).mean() < 0.7 * np.abs(np.diff(x, 2, axis=0)).mean()
        assert np.abs(a.trans - b.trans).mean() < np.abs(a.trans - a.trans.mean(axis=0)).mean()


def test_another_video_is_not_dropped_unasked(short: Path, standins: Path, tmp_path: Path) -> None:
    settings = config(short, standins, tmp_path / "out")
    first_pass(settings)
    write_video(tmp_path / "other.mp4", pictures(CROWD, 5))
    source = FootageOptions(root=str(tmp_path / "other.mp4"), chunk_frames=CHUNK)
    other = settings.model_copy(update={"source": source})
    with pytest.raises(UserError, match=r"\(crowd\)"):
        first_pass(other)
    result, _ = first_pass(other, prune=True)
    assert result.removed


def test_other_boxes_remake_their_video(short: Path, standins: Path, tmp_path: Path) -> None:
    settings = config(short, standins, tmp_path / "out")
    first_pass(settings)
    assert first_pass(settings)[0].made == 0
    boxes = tmp_path / "crowd.txt"
    boxes.write_text((short / "crowd.txt").read_text().replace(",0.9,", ",0.8,"))
    people = settings.people.model_copy(update={"boxes": str(boxes)})
    assert first_pass(settings.model_copy(update={"people": people}))[0].made == 1


class _Stopped(Exception):
    """Ends a run in the middle."""


class _StopsAfterOne(NoCallback):
    def on_shard(self, report: ShardReport) -> None:
        raise _Stopped


def test_a_run_that_stops_resumes_at_its_chunk(short: Path, standins: Path, tmp_path: Path) -> None:
    """tests/distributed/test_estimate.py kills one on Ray."""
    files = {}
    for name in ("whole", "cut"):
        settings = config(short, standins, tmp_path / name)
        source = settings.source.model_copy(update={"chunk_frames": 4})
        settings = settings.model_copy(update={"source": source})
        if name == "cut":
            with pytest.raises(_Stopped):
                first_pass(settings, callback=_StopsAfterOne())
            assert not (tmp_path / "cut" / "people" / "manifest.json").exists()
        result, _ = first_pass(settings)
        assert (result.made, result.kept) == ((3, 0) if name == "whole" else (2, 1))
        root = tmp_path / name / "people"
        kept = [p for p in root.rglob("*.*") if p.suffix in (".parquet", ".json") and "_runs" not in p.parts]
        files[name] = {p.relative_to(root): p.read_bytes() for p in kept}
    assert files["whole"] == files["cut"]
    assert len(files["whole"]) == 3 + 3 + 3  # shards, receipts; manifest, recipe, rejections


def test_what_is_sent_to_a_worker_makes_the_same_shard(short: Path, standins: Path, tmp_path: Path) -> None:
    settings = config(short, standins, tmp_path / "out")
    build, _ = prepare(settings.source, settings.people, place(settings.output.root).folder("people"))
    job, shard = pickle.loads(pickle.dumps((build.job(), build.todo[0])))
    receipt = make(shard, job.ready())
    assert shard.path == build.todo[0].path == receipt.path
    assert (receipt.rows, receipt.sums.frames, receipt.sums.broken) == (12, 12, 0)
    assert len(pickle.dumps(build.job())) < 10_000  # without the network


def test_a_video_without_people_says_so(inputs: Path, standins: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "none.txt"
    boxes.write_text("")
    people = PeopleOptions(weights=str(inputs / "tiny.safetensors"), boxes=str(boxes))
    with pytest.raises(RunFailed, match="nobody in 32 frames"):
        first_pass(config(inputs, standins, tmp_path / "out", people=people))


def test_one_image_gives_parameters_and_no_clip(inputs: Path, standins: Path, tmp_path: Path) -> None:
    pictures(CROWD, 7)[6].save(tmp_path / "one.png")
    boxes = tmp_path / "one.txt"
    boxes.write_text("".join(f"1,-1,{','.join(map(str, one.box(6) or ()))},1\n" for one in CROWD))
    settings = config(
        inputs,
        standins,
        tmp_path / "out",
        source=FootageOptions(root=str(tmp_path / "one.png")),
        people=PeopleOptions(weights=str(inputs / "tiny.safetensors"), boxes=str(boxes)),
        track=TrackOptions(),
    )
    out = estimated(settings, motion=False)
    files = sorted((out / "tracks" / "estimates" / "one.png").glob("*.npz"))
    assert len(files) == 3
    assert np.load(files[0])["poses"].shape == (1, 165)


@pytest.mark.parametrize("pitch", [0.0, 30.0, -20.0])
def test_gravity_is_where_the_pitch_says(pitch: float) -> None:
    R = upright(pitch)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    assert (R @ [0, 0, 1])[1] == pytest.approx(-np.sin(np.radians(pitch)))  # what it looks at is lower
    assert (R @ [1, 0, 0]).tolist() == [1, 0, 0]
