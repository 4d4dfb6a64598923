"""What a path holds becomes a playlist: data sets, recordings, arrays of a generator, samples of a prior."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import mocap_ray
from mocap_ray import priors
from mocap_ray.demo.archive import write_demo
from mocap_ray.errors import UserError
from mocap_ray.priors import Coordinates
from mocap_ray.priors.gaussian_prior import GaussianConfig
from mocap_ray.priors.task import WORDS
from mocap_ray.storage import place
from mocap_ray.training.checkpoint import export
from mocap_ray.viewing import figures
from mocap_ray.viewing.data_sets import DataSetPlaylist
from mocap_ray.viewing.opening import Choices, open_playlist
from mocap_ray.viewing.playlist import Playlist
from mocap_ray.viewing.quality import LOWEST, SPEED
from mocap_ray.viewing.rows import SECONDS, Filters
from tests.dataset import made


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "set"
    made.make(root, poses=lambda number, frames: np.zeros((frames, 55, 3), np.float32))
    return root


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "archive"
    write_demo(root, recordings=4)
    return root


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """Files as generators and estimators write them."""
    root = tmp_path / "generated"
    (root / "more").mkdir(parents=True)
    joints = made.walker(30)
    np.save(root / "joints.npy", joints.astype(np.float32))
    np.save(root / "features.npy", made.features_of(joints))
    np.save(root / "flat.npy", joints.reshape(30, 66))
    np.save(root / "samples.npy", np.stack([made.features_of(joints)] * 3))
    np.save(root / "pair.npy", np.stack([joints, joints + np.array([1.0, 0.0, 0.0])]))
    np.savez(root / "more" / "take.npz", joints=joints, fps=np.float64(60))
    np.savez(root / "more" / "poses.npz", poses=np.zeros((5, 55, 3), np.float32), seed=0)
    return root


def index_of(playlist: Playlist, name: str) -> int:
    return playlist.rows.names.index(name)


def test_a_data_set_is_listed_from_its_index_and_read_clip_by_clip(data_set: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    read: list[str] = []
    original = mocap_ray.dataset.reader.DataSet.clip

    def counting(self, clip_id, **more):  # type: ignore[no-untyped-def]
        read.append(clip_id)
        return original(self, clip_id, **more)

    monkeypatch.setattr(mocap_ray.dataset.reader.DataSet, "clip", counting)
    playlist = open_playlist([data_set])
    clips = list(mocap_ray.open(data_set))
    assert playlist.rows.names == [clip.clip_id for clip in clips]
    assert playlist.rows.facets["split"] == [clip.split for clip in clips]
    assert playlist.rows.facets["action"] == [clip.action for clip in clips]
    np.testing.assert_allclose(playlist.rows.numbers[SECONDS], [c.num_frames / c.fps for c in clips])
    assert read == [], "nothing is read before it is shown"
    shown = playlist.scene(3)
    assert read == [clips[3].clip_id]
    np.testing.assert_array_equal(shown.figures[0].joints, clips[3].joints)
    assert shown.captions == clips[3].texts


def test_words_find_texts_of_a_data_set(data_set: Path) -> None:
    playlist = open_playlist([data_set])
    found = playlist.rows.select(Filters(text="person 3"))
    assert {playlist.rows.names[k] for k in found} == {
        c.clip_id for c in mocap_ray.open(data_set) if any("person 3 " in text for text in c.texts)
    }


def test_decoded_features_lie_on_the_joints_of_the_clip(data_set: Path) -> None:
    shown = open_playlist([data_set]).scene(0)
    assert shown.decoded is not None
    decoded = shown.decoded()
    # The made figure has HumanML3D's own bones and starts at the origin facing +Z, so decoding gives it back.
    np.testing.assert_allclose(decoded.joints, shown.figures[0].joints[:-1], atol=1e-5)


def test_the_mesh_of_a_clip_is_that_of_its_poses(data_set: Path, standins: Path) -> None:
    playlist = open_playlist([data_set], choices=Choices(body=str(standins)))
    clip = mocap_ray.open(data_set).clip(playlist.rows.names[0])
    figure = playlist.scene(0).figures[0]
    assert figure.skin is not None
    assert figure.skin.model.family == "smplh"
    vertices, faces = figure.skin.vertices(5), figure.skin.faces()
    assert vertices.shape == (6890, 3)
    assert faces.max() < 6890
    # At rest, so the body is the shaped template, moved by trans.
    assert clip.trans is not None
    moved = figure.skin.vertices(0) - clip.trans[0]
    np.testing.assert_allclose(vertices - clip.trans[5], moved, atol=1e-5)
    # These poses are at rest although the joints walk: the stored joints are shown, not those of the poses.
    np.testing.assert_allclose(figure.joints, clip.joints, atol=1e-6)


def test_without_mesh_the_reason_is_said(data_set: Path, standins: Path, tmp_path: Path) -> None:
    plain, bodied = open_playlist([data_set]), open_playlist([data_set], choices=Choices(body=str(standins)))
    names = plain.rows.names
    twin = next(k for k, name in enumerate(names) if name.endswith("~M"))
    assert "--body" in plain.scene(0).figures[0].no_skin
    assert "mirrored twin" in bodied.scene(twin).figures[0].no_skin
    made.make(tmp_path / "few", columns=("features",))
    few = open_playlist([tmp_path / "few"], choices=Choices(body=str(standins))).scene(0)
    assert "no column poses" in few.figures[0].no_skin
    assert few.figures[0].frames == 40, "decoded from the features"


def test_every_clip_can_be_measured(data_set: Path) -> None:
    playlist = open_playlist([data_set])
    done: list[tuple[int, int]] = []
    found = playlist.measure(lambda a, b: done.append((a, b)), stopped=lambda: False)
    assert done[-1] == (18, 18)
    clip = mocap_ray.open(data_set).clip(playlist.rows.names[4])
    joints = np.asarray(clip.joints, np.float64)
    assert found[SPEED][4] == pytest.approx(np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() * 20)
    assert found[LOWEST][4] == pytest.approx(joints[..., 1].min())
    playlist.rows.numbers |= found
    fastest = playlist.rows.select(Filters(sort=SPEED))
    assert found[SPEED][fastest[0]] == found[SPEED].max()


def test_a_recording_of_an_archive_is_shown_upright_at_its_own_rate(archive: Path, standins: Path) -> None:
    take = next(archive.rglob("*_walk_poses.npz"))
    with np.load(take) as arrays:
        frames, fps = len(arrays["trans"]), float(arrays["mocap_framerate"])
    shown = open_playlist([take], choices=Choices(body=str(standins))).scene(0)
    figure = shown.figures[0]
    assert (figure.frames, figure.fps) == (frames, fps)
    assert figure.joints.shape[1] == 52, "with its hands"
    assert figure.joints[:, 15, 1].min() > 1.2, "the head is up"
    assert abs(figure.joints[..., 1].min()) < 0.2, "the feet are on the floor"
    assert figure.skin is not None
    nearest = np.linalg.norm(figure.skin.vertices(7)[:, None] - figure.joints[7, :22], axis=-1).min(axis=0)
    assert nearest.max() < 0.2, "the skin is around the joints"
    decoded = shown.decoded and shown.decoded()
    assert decoded is not None
    assert decoded.fps == 20.0
    assert decoded.duration == pytest.approx(figure.duration, abs=0.11)


def test_a_recording_without_body_models_gets_the_standin_s_bones(archive: Path) -> None:
    take = next(archive.rglob("*_walk_poses.npz"))
    figure = open_playlist([take]).scene(0).figures[0]
    assert figure.skin is None
    assert "--body" in figure.no_skin
    assert figure.joints[:, 15, 1].min() > 1.2


def test_a_folder_lists_its_files_and_reads_them_when_shown(archive: Path) -> None:
    playlist = open_playlist([archive])
    files = sorted(str(p.relative_to(archive).with_suffix("")) for p in archive.rglob("*.npz"))
    assert playlist.rows.names == files
    assert len(playlist.rows.values("folder")) > 1
    shape = index_of(playlist, next(name for name in files if name.endswith("shape")))
    with pytest.raises(UserError, match="body shape"):
        playlist.scene(shape)


def test_joints_features_people_and_poses_are_told_apart_by_shape(generated: Path) -> None:
    playlist = open_playlist([generated])
    joints = made.walker(30)

    def scene(name: str):  # type: ignore[no-untyped-def]
        return playlist.scene(index_of(playlist, name))

    np.testing.assert_allclose(scene("joints").figures[0].joints, joints, atol=1e-6)
    np.testing.assert_allclose(scene("flat").figures[0].joints, joints)
    np.testing.assert_allclose(scene("features").figures[0].joints, joints[:-1], atol=1e-5)
    assert scene("features").decoded is None
    assert [len(group) for group in scene("samples").groups] == [1, 1, 1], "samples stand side by side"
    assert [len(group) for group in scene("pair").groups] == [2], (
        "people at places of their own share one space"
    )
    assert scene("more/take").figures[0].fps == 60.0
    assert [figure.frames for figure in scene("more/poses").figures] == [1] * 5
    assert (
        open_playlist([generated / "joints.npy"], choices=Choices(fps=30.0)).scene(0).figures[0].fps == 30.0
    )


def test_two_people_at_one_place_are_set_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.stack([made.walker(20), made.walker(20, phase=1.0)]))
    assert [len(group) for group in open_playlist([tmp_path / "two.npy"]).scene(0).groups] == [1, 1]


def test_entries_of_the_same_name_stand_beside_each_other(generated: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    shutil.copy(generated / "joints.npy", truth / "joints.npy")
    shutil.copy(generated / "joints.npy", truth / "take.npy")
    playlist = open_playlist([generated], beside=truth)
    assert len(playlist.scene(index_of(playlist, "joints")).groups) == 2
    assert len(playlist.scene(index_of(playlist, "more/take")).groups) == 2, "found by its file name"
    alone = playlist.scene(index_of(playlist, "flat"))
    assert len(alone.groups) == 1
    assert any("nothing of this name" in text for _, text in alone.facts)


def test_several_paths_make_one_playlist(data_set: Path, generated: Path) -> None:
    playlist = open_playlist([data_set, generated / "joints.npy"])
    assert len(playlist) == 19
    assert playlist.scene(18).title == "joints"
    assert playlist.scene(17).title == mocap_ray.open(data_set).index["clip_id"][17].as_py()
    assert playlist.rows.facets["split"][18] is None
    assert np.isnan(playlist.rows.numbers[SECONDS][18])
    twice = open_playlist([generated / "joints.npy", generated / "joints.npy"])
    assert len(set(twice.rows.names)) == 2, "names stay unique"


def test_draws_of_a_prior_are_those_of_its_seeds(tmp_path: Path) -> None:
    fitted = 0.3 * torch.randn(50, 55, 3, generator=torch.Generator().manual_seed(0))
    prior = priors.build(GaussianConfig(), Coordinates.fit(fitted))
    export(place(tmp_path), tensors=prior.state_dict(), about=prior.export(), description=WORDS.description)
    playlist = open_playlist([tmp_path], choices=Choices(count=7, seed=3))
    shown = playlist.scene(2)
    assert len(shown.groups) == 7
    poses = mocap_ray.load_prior(tmp_path).sample(7, torch.Generator().manual_seed(5)).numpy()
    expected = figures.of_poses("", poses[4:5].astype(np.float64)).joints
    np.testing.assert_allclose(shown.figures[4].joints, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("objects.npy", np.array([{"motion": 1}], object), "pickled objects"),
        ("flat.npy", np.zeros(12), r"float64 of shape \(12,\)"),
        ("empty.npy", np.zeros((0, 22, 3)), "Expected joints"),
        ("text.npy", np.array(["a"]), "Expected joints"),
        ("many.npy", np.zeros((4, 9, 3)), "Expected joints"),
    ],
)
def test_what_is_not_motion_is_refused_with_what_it_is(
    name: str, array: np.ndarray, message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / name, array, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        open_playlist([tmp_path / name])


def test_paths_without_anything_to_show_are_refused(tmp_path: Path, data_set: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        open_playlist([tmp_path / "nowhere"])
    (tmp_path / "notes.txt").write_text("a")
    with pytest.raises(UserError, match=r"no \.npy or \.npz file in it \(found: \.txt\)"):
        open_playlist([tmp_path])
    with pytest.raises(UserError, match="no body model in it"):
        open_playlist([data_set], choices=Choices(body=str(tmp_path)))
    half = tmp_path / "half"
    shutil.copytree(data_set, half)
    os.remove(half / "manifest.json")
    with pytest.raises(UserError, match="has not finished"):
        open_playlist([half])


def test_a_data_set_s_own_gender_policy_chooses_the_bodies(tmp_path: Path, standins: Path) -> None:
    made.make(tmp_path / "set")
    path = tmp_path / "set" / "manifest.json"
    manifest = json.loads(path.read_text())
    for gender, found in (
        ("humanml3d", "female"),
        ("neutral", "neutral"),
        ("nonsense", "neutral"),
        (3, "neutral"),
    ):
        manifest["recipe"]["body"]["gender"] = gender
        path.write_text(json.dumps(manifest))
        playlist = DataSetPlaylist(mocap_ray.open(tmp_path / "set"), shelf=figures.Shelf(standins))
        skin = playlist.scene(0).figures[0].skin
        assert skin is not None
        assert skin.model.gender == found


def test_a_body_model_without_triangles_has_no_mesh_but_joints(
    tmp_path: Path, data_set: Path, standins: Path
) -> None:
    (tmp_path / "smplh").mkdir()
    with np.load(standins / "smplh" / "SMPLH_NEUTRAL.npz") as arrays:
        np.savez(tmp_path / "smplh" / "SMPLH_NEUTRAL.npz", **{k: arrays[k] for k in arrays.files if k != "f"})
    skin = open_playlist([data_set], choices=Choices(body=str(tmp_path))).scene(0).figures[0].skin
    assert skin is not None
    with pytest.raises(UserError, match="no triangles"):
        skin.faces()
