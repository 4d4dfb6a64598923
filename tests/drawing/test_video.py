"""Videos of stick figures play as long as the motion, and show it."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from PIL import Image

from mocap_ray.drawing.video import SIZE, pictures, video
from tests.dataset.made import walker


def _decoded(data: bytes) -> tuple[np.ndarray, float]:
    """Frames and seconds of an MP4."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        assert stream.average_rate is not None
        return frames, len(frames) / float(stream.average_rate)


@pytest.mark.parametrize("fps", [20.0, 29.97])
def test_an_mp4_shows_every_picture_for_its_time(fps: float) -> None:
    joints = walker(12)
    frames, seconds = _decoded(video(joints, fps=fps, kind="mp4"))
    assert seconds == pytest.approx(12 / fps, rel=1e-3)
    expected = np.stack(list(pictures(joints, fps=fps)))
    assert frames.shape == expected.shape == (12, SIZE, SIZE, 3)
    assert np.abs(frames.astype(float) - expected).mean() < 3


@pytest.mark.parametrize("fps", [20.0, 30.0])
def test_a_gif_plays_as_long_as_the_motion(fps: float) -> None:
    image = Image.open(io.BytesIO(video(walker(31), fps=fps, kind="gif")))
    total = 0
    for frame in range(image.n_frames):  # type: ignore[attr-defined]
        image.seek(frame)
        total += image.info["duration"]
    assert total == pytest.approx(1000 * 31 / fps, abs=6)
    assert image.info["loop"] == 0


def test_the_camera_follows_and_the_floor_passes_by() -> None:
    joints = walker(60)
    joints[..., 2] *= 4
    seen = [picture for k, picture in enumerate(pictures(joints, fps=20.0)) if k in (20, 25, 40)]
    dark = [(picture.astype(int).sum(-1) < 500) for picture in seen]
    for figure in dark:
        columns = np.flatnonzero(figure.any(axis=0))
        assert 0.25 * SIZE < columns.mean() < 0.75 * SIZE
        assert 0.4 * SIZE < np.ptp(np.flatnonzero(figure.any(axis=1))) < 0.95 * SIZE
    floor = [
        ((p == (222, 226, 231)).all(-1) | (p.astype(int).sum(-1) < 740)) & ~d
        for p, d in zip(seen, dark, strict=True)
    ]
    assert (floor[0] != floor[1]).mean() > 0.005


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        video(np.full((3, 22, 3), np.nan), fps=20.0)
