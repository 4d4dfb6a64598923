"""Decoding: every frame once, whatever the chunks, rates, rotations and faults of a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mocap_ray.errors import UserError
from mocap_ray.estimation.footage import Footage, chunks, find_footage
from mocap_ray.estimation.frames import Frame, Unreadable, decode
from tests.estimation.video import write_video

COUNT = 40


def shade(k: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture whose brightness is its number."""
    return Image.new("RGB", size, (40 + 4 * k, 40 + 4 * k, 40 + 4 * k))


def numbers(frames: list[Frame]) -> list[int]:
    """The numbers that are drawn in frames."""
    return [round((float(f.image.mean()) - 40) / 4) for f in frames]


def decoded(footage: Footage, size: int) -> list[Frame]:
    return [frame for chunk in chunks(footage, frames=size) for frame in decode(chunk)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "a film.mp4", [shade(k) for k in range(COUNT)])


@pytest.mark.parametrize("size", [1, 7, 12, 13, 100])
def test_every_frame_is_in_one_chunk(film: Path, size: int) -> None:
    (footage,) = find_footage([str(film)], fps=30.0)
    frames = decoded(footage, size)
    assert footage.name == "a_film"
    assert [f.number for f in frames] == list(range(COUNT)) == numbers(frames)
    np.testing.assert_allclose([f.seconds for f in frames], np.arange(COUNT) / 25, atol=1e-9)


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    pts = np.cumsum([0, *([2, 7, 3, 11] * COUNT)])[:COUNT].tolist()
    path = write_video(tmp_path / "v.mp4", [shade(k) for k in range(COUNT)], pts=pts)
    (footage,) = find_footage([str(path)], fps=30.0)
    frames = decoded(footage, 9)
    assert numbers(frames) == list(range(COUNT))
    np.testing.assert_allclose([f.seconds for f in frames], np.array(pts) / 100, atol=1e-9)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "one.mp4", [shade(3)])
    (footage,) = find_footage([str(path)], fps=30.0)
    assert numbers(decoded(footage, 300)) == [3]


@pytest.mark.parametrize(("turn", "matrix"), [
    (0, (1, 0, 0, 1)), (90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0)),
])  # fmt: skip
def test_a_rotated_video_is_upright(tmp_path: Path, turn: int, matrix: tuple[int, ...]) -> None:
    """The matrix of the track header (ISO 14496-12, 8.3.2) turns the stored picture clockwise by `turn` degrees."""
    upright = Image.new("RGB", (48, 64), (20, 20, 20))
    upright.paste((240, 240, 240), (0, 0, 48, 16))  # bright above
    stored = upright.rotate(turn, expand=True)  # Pillow turns counterclockwise
    path = write_video(tmp_path / "r.mp4", [stored] * 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        data[at + place : at + place + 4] = (value * 0x10000).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    (footage,) = find_footage([str(path)], fps=30.0)
    for frame in decoded(footage, 2):
        assert frame.image.shape == (64, 48, 3)
        assert frame.image[:12].mean() > 200
        assert frame.image[20:].mean() < 60


def test_a_folder_of_images_is_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for k in range(12):
        shade(k).save(tmp_path / f"frame{k}.png")
    (tmp_path / "notes.txt").write_text("no image")
    (footage,) = find_footage([str(tmp_path)], fps=10.0)
    frames = decoded(footage, 5)
    assert numbers(frames) == list(range(12))
    assert frames[-1].seconds == pytest.approx(1.1)


def test_images_are_turned_as_their_camera_says(tmp_path: Path) -> None:
    upright = Image.new("RGB", (48, 64), (20, 20, 20))
    upright.paste((240, 240, 240), (0, 0, 48, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    upright.rotate(90, expand=True).save(tmp_path / "0.png", exif=exif)
    (footage,) = find_footage([str(tmp_path / "0.png")], fps=10.0)
    (frame,) = decoded(footage, 5)
    assert frame.image.shape == (64, 48, 3)
    assert frame.image[:12].mean() > 200


def test_a_broken_image_is_left_out(tmp_path: Path) -> None:
    for k in range(4):
        shade(k).save(tmp_path / f"{k}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    (footage,) = find_footage([str(tmp_path)], fps=10.0)
    frames = decoded(footage, 5)
    assert [f.number for f in frames] == numbers(frames) == [0, 1, 3]


def test_frames_that_cannot_be_decoded_are_left_out(film: Path, tmp_path: Path) -> None:
    """Zeros in the data of the second third: other frames keep their numbers."""
    data = bytearray(film.read_bytes())
    media = data.index(b"mdat") + 4
    length = data.index(b"moov") - media if data.index(b"moov") > media else len(data) - media
    third = media + length // 3
    data[third : third + length // 8] = bytes(length // 8)
    path = tmp_path / "broken.mp4"
    path.write_bytes(data)
    (footage,) = find_footage([str(path)], fps=30.0)
    frames = decoded(footage, 10)
    found = [f.number for f in frames]
    assert found == sorted(set(found))
    assert {0, 1, 2, COUNT - 1} <= set(found)
    good = [f for f in frames if f.number < 10 or f.number >= 30]
    assert numbers(good) == [f.number for f in good]


def test_what_is_no_video_is_rejected_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    (footage,) = find_footage([str(tmp_path)], fps=30.0)
    assert "not a video" in footage.problem
    (chunk,) = chunks(footage, frames=10)
    assert chunk.problem == footage.problem


def test_a_video_that_vanishes_is_an_error_of_the_disk(film: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone.mp4"
    path.write_bytes(film.read_bytes())
    (footage,) = find_footage([str(path)], fps=30.0)
    path.unlink()
    with pytest.raises(OSError, match=r"gone\.mp4"):
        decoded(footage, 10)
    path.write_bytes(b"no video")
    with pytest.raises(Unreadable):
        decoded(footage, 10)


@pytest.mark.parametrize("address", ["nowhere.mp4", "."])
def test_what_is_not_there_is_said(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match="Expected"):
        find_footage([str(tmp_path / address)], fps=30.0)


def test_two_videos_of_one_name_are_refused(film: Path, tmp_path: Path) -> None:
    path = tmp_path / "a film.mp4"
    path.write_bytes(film.read_bytes())
    with pytest.raises(UserError, match="a_film too"):
        find_footage([str(film), str(path)], fps=30.0)
