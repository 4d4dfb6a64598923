"""The page in a real browser: figures, meshes and comparisons are seen, buttons work, at two widths."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mocap_ray.demo.archive import write_demo
from tests.viewing import chromium
from tests.viewing.test_serving import viewing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium here: apt-get install chromium"),
]

READY = "document.querySelector('canvas') !== null && document.body.innerText.includes('Follow')"
PANEL = 330
"""Pixels at the right that the panel takes."""


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    write_demo(root, recordings=4)
    return next(root.rglob("*_walk_poses.npz"))


def picture(tab: chromium.Tab, path: Path) -> np.ndarray:
    """The 3D part of the page, as numbers; waits until something is drawn on it."""
    for _ in range(60):
        tab.close_notes()
        time.sleep(0.5)  # a note fades out
        tab.screenshot(path)
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)[:, :-PANEL]
        if (pixels.max(axis=2) - pixels.min(axis=2) > 60).sum() > 500 or (
            pixels.max(axis=2) < 120
        ).sum() > 500:
            return pixels
    raise AssertionError(f"nothing is drawn: {path}")


def columns(mask: np.ndarray) -> np.ndarray:
    """The columns of a picture that a mask touches."""
    return np.flatnonzero(mask.any(axis=0))


@pytest.mark.parametrize("width", [1400, 800])
def test_a_skeleton_is_seen_in_its_colours_inside_the_picture(width: int, take: Path, tmp_path: Path) -> None:
    with viewing(take) as running, chromium.chromium(f"http://127.0.0.1:{running.port}", width=width) as tab:
        tab.until(READY)
        tab.press("Pause")
        tab.until("document.body.innerText.includes('Play')")
        seen = picture(tab, tmp_path / "skeleton.png")
        r, b = seen[..., 0], seen[..., 2]
        left, right = b > r + 60, r > b + 60
        assert left.sum() > 500, "the left side is blue"
        assert right.sum() > 500, "the right side is orange"
        rows = np.flatnonzero((left | right).any(axis=1))
        assert rows[0] > 20, "the person is inside the picture"
        assert rows[-1] < len(seen) - 20
        assert rows[-1] - rows[0] > 200, "and large enough to see"
        assert tab.log == []


def test_features_stand_beside_the_source_and_time_moves(take: Path, tmp_path: Path) -> None:
    with viewing(take) as running, chromium.chromium(f"http://127.0.0.1:{running.port}") as tab:
        tab.until(READY)
        first = picture(tab, tmp_path / "first.png")
        tab.choose("nothing", "decoded features")
        time.sleep(5)
        both = picture(tab, tmp_path / "both.png")
        b_columns = columns(both[..., 2] > both[..., 0] + 60)
        assert np.diff(b_columns).max() > 40, "two figures with a gap between them"
        time.sleep(1)
        later = picture(tab, tmp_path / "later.png")
        assert (np.abs(later - both).sum(axis=2) > 60).sum() > 500, "they move"
        assert (np.abs(first - both).sum(axis=2) > 60).sum() > 500


def test_a_mesh_is_seen_and_the_next_clip_is_shown(take: Path, standins: Path, tmp_path: Path) -> None:
    folder = take.parent
    with (
        viewing(folder, "--body", standins) as running,
        chromium.chromium(f"http://127.0.0.1:{running.port}") as tab,
    ):
        tab.until(READY)
        tab.press("Next")
        tab.until("document.body.innerText.includes('2 of ')")
        time.sleep(5)
        tab.screenshot(tmp_path / "mesh.png")
        pixels = np.asarray(Image.open(tmp_path / "mesh.png").convert("RGB")).astype(int)[:, :-PANEL]
        solid = (pixels.max(axis=2) < 235) & (np.ptp(pixels, axis=2) < 40)
        assert solid.sum() > 8000, "a body fills a part of the picture"
        assert tab.log == []
