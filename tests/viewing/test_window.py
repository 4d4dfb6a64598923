"""The window's acts on a real page without a browser: clips, filters, time, comparisons, meshes, broken files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mocap_ray.errors import UserError
from mocap_ray.viewing.browser.panel import DECODED, PINNED
from mocap_ray.viewing.browser.server import LocalServer, serve
from mocap_ray.viewing.browser.window import Window
from mocap_ray.viewing.opening import Choices, open_playlist
from mocap_ray.viewing.quality import SPEED
from mocap_ray.viewing.rows import Filters
from tests.dataset import made


@pytest.fixture
def server() -> Iterator[LocalServer]:
    found = serve(None, title="test")
    yield found
    found.stop()


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "set"
    made.make(root)
    return root


def do(window: Window) -> None:
    """The acts that are waiting."""
    while not window.todo.empty():
        window.todo.get()()


def test_clips_filters_and_time(server: LocalServer, data_set: Path) -> None:
    window = Window(server, open_playlist([data_set]), Filters({"split": "train"}))
    names = window.playlist.rows.names
    assert window.panel.facets["split"].value == "train (10)"
    assert window.current == window.chosen[0]
    window.step(1)
    assert window.current == window.chosen[1]
    assert window.panel.name.value == names[window.current]
    assert window.panel.place.content.count("2 of 10 that pass the filters, 18 in all") == 1
    window.go(names[0])
    assert "not among 10" in window.panel.place.content
    window.panel.facets["split"].value = "val (4)"
    window.panel.words.value = "walk"
    window.filter()
    assert all(window.playlist.rows.facets["split"][k] == "val" for k in window.chosen)
    assert window.current in window.chosen
    window.panel.words.value = "no such word"
    window.filter()
    assert "No clip passes" in window.panel.place.content
    window.seek(1.0)
    assert window.panel.time.value == pytest.approx(1.0)
    window.toggle()
    assert window.panel.play.label == "Play"


def test_bones_move_with_the_time(server: LocalServer, data_set: Path) -> None:
    window = Window(server, open_playlist([data_set]), Filters())
    window.toggle()
    (drawn,) = window.stage.drawn
    before = np.array(drawn.bones.batched_positions)
    window.seek(0.5)
    assert drawn.frame == 10
    after = np.array(drawn.bones.batched_positions)
    joints = drawn.figure.joints
    np.testing.assert_allclose(
        after - before, (joints[10] - joints[0])[list(drawn.figure.parents[1:])], atol=1e-5
    )
    # The world moves the other way, so that the person stays in the picture.
    followed = joints[10, 0, 2] + window.stage.world.position[2]
    assert abs(followed) < 0.5 * joints[10, 0, 2]
    window.panel.follow.value = False
    window.change()
    assert not np.array(window.stage.world.position).any()


def test_features_and_pinned_clips_stand_beside(server: LocalServer, data_set: Path) -> None:
    window = Window(server, open_playlist([data_set]), Filters())
    assert window.panel.compare.options == ("nothing", DECODED)
    window.panel.compare.value = DECODED
    window.compare(DECODED)
    assert [d.label.text for d in window.stage.drawn if d.label] == [
        window.playlist.rows.names[0],
        "decoded from features",
    ]
    window.step(1)
    assert len(window.stage.drawn) == 2, "the comparison stays with the next clip"
    window.pin()
    assert window.panel.compare.value == PINNED
    window.step(1)
    labels = [d.label.text for d in window.stage.drawn if d.label]
    assert labels == [window.playlist.rows.names[2], f"{window.playlist.rows.names[1]} (pinned)"]


def test_meshes_are_made_when_they_are_shown(server: LocalServer, data_set: Path, standins: Path) -> None:
    window = Window(server, open_playlist([data_set], choices=Choices(body=str(standins))), Filters())
    (drawn,) = window.stage.drawn
    assert drawn.mesh is not None
    before = np.array(drawn.mesh.vertices)
    window.seek(0.5)
    assert np.abs(drawn.mesh.vertices - before).max() > 0.01
    window.panel.skeleton.value = False
    window.panel.compare.value = DECODED
    window.compare(DECODED)
    assert [d.bones.visible for d in window.stage.drawn] == [False, True], "who has no mesh is seen as bones"
    window.panel.compare.value = "nothing"
    window.compare("nothing")
    (drawn,) = window.stage.drawn
    assert drawn.mesh is not None
    window.panel.mesh.value = False
    window.change()
    assert not drawn.mesh.visible
    still = np.array(drawn.mesh.vertices)
    window.seek(1.0)
    np.testing.assert_array_equal(drawn.mesh.vertices, still)


def test_a_file_that_is_no_motion_leaves_the_viewer_running(server: LocalServer, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", made.walker(20))
    np.save(tmp_path / "b.npy", np.zeros((3, 7)))
    (tmp_path / "c.npz").write_bytes(b"PK no")
    window = Window(server, open_playlist([tmp_path]), Filters())
    for _ in range(2):
        window.step(1)
        assert window.scene is None
        assert "background" in window.panel.status.content
        window.seek(0.1)
        window.change()
    window.step(1)
    assert window.scene is not None
    assert window.panel.status.content == ""


def test_measuring_adds_limits_and_orders(server: LocalServer, data_set: Path) -> None:
    window = Window(server, open_playlist([data_set]), Filters())
    window.measure()
    end = time.monotonic() + 60
    while SPEED not in window.panel.limits:
        assert time.monotonic() < end
        time.sleep(0.02)
        do(window)
    window.panel.sort.value = f"{SPEED}, largest first"
    window.filter()
    speeds = window.playlist.rows.numbers[SPEED][window.chosen]
    assert (np.diff(speeds) <= 0).all()
    handle = window.panel.limits[SPEED]
    handle.value = (handle.min, float(np.median(speeds)))
    window.filter()
    assert 0 < len(window.chosen) < 18


def test_filters_that_nothing_passes_are_refused_at_the_start(server: LocalServer, data_set: Path) -> None:
    with pytest.raises(UserError, match="no clip passes"):
        Window(server, open_playlist([data_set]), Filters(text="no such word"))
