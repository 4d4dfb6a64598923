"""Stick figures that move, as GIF (by Pillow) or MP4 (H.264, by PyAV)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from mocap_ray.drawing.pixels import COLOURS, Line
from mocap_ray.drawing.stick import BONES, Camera, grounded

Kind = Literal["mp4", "gif"]
KINDS: tuple[str, ...] = ("mp4", "gif")
SIZE = 360
"""Pixels of both sides."""
METRES = 2.6
"""Of the world in a picture."""
_CAMERA = Camera(yaw=np.deg2rad(-30.0), pitch=np.deg2rad(14.0))
_FINER = 3
"""Pillow's lines have hard edges: pictures are drawn this many times larger and averaged."""
_FLOOR, _GRID = (222, 226, 231), 0.5
_STEADY = 0.5
"""Seconds over which the camera averages the path of the pelvis."""


def video(joints: Float[np.ndarray, "T 22 3"], *, fps: float, kind: str = "mp4") -> bytes:
    """The bytes of a video.

    Args:
        joints: metres, Y up.
        fps: frames per second; a GIF shows each frame for a whole number of hundredths of a second, on average as long.
        kind: `mp4` or `gif`.

    Raises:
        ValueError: no frames, or values that are not finite.
    """
    drawn = pictures(joints, fps=fps)
    return _gif(drawn, fps) if kind == "gif" else _mp4(drawn, fps)


def pictures(joints: Float[np.ndarray, "T 22 3"], *, fps: float) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """One picture for each frame: the figure on a floor with lines every half metre, followed by the camera."""
    p = grounded(joints)
    path = _smoothed(p[:, 0] * (1.0, 0.0, 1.0), max(1, round(_STEADY * fps)))
    bones: list[Line] = [(parent, joint, COLOURS[side]) for parent, joint, side in BONES]
    scale = SIZE / METRES
    for body, centre in zip(p, path, strict=True):
        ends = np.concatenate([body, _grid(centre)])
        seen = _CAMERA.view(ends - centre)
        points = np.stack([SIZE / 2 + scale * seen[:, 0], 0.86 * SIZE - scale * seen[:, 1]], axis=-1)
        floor: list[Line] = [(k, k + 1, _FLOOR) for k in range(22, len(ends), 2)]
        near = sorted(bones, key=lambda bone: float(seen[bone[0], 2] + seen[bone[1], 2]))
        yield _layered(np.concatenate([points, _head(points)]), floor, near)


def _layered(points: np.ndarray, floor: list[Line], bones: list[Line]) -> UInt8[np.ndarray, "H W 3"]:
    """The floor in thin lines, the figure in thick ones, and the last point as its head."""
    image = Image.new("RGB", (_FINER * SIZE, _FINER * SIZE), "white")
    pen = ImageDraw.Draw(image)
    at = [
        tuple(point) for point in (_FINER * points - 0.5).tolist()
    ]  # Pillow's coordinates are centres of pixels
    for start, end, colour in floor:
        pen.line((at[start], at[end]), fill=colour, width=_FINER)
    for start, end, colour in bones:
        pen.line((at[start], at[end]), fill=colour, width=5 * _FINER)
        for joint in (start, end):
            _dot(pen, at[joint], 2.5 * _FINER, colour)
    _dot(pen, at[-1], 9.0 * _FINER, COLOURS["t"])
    return np.asarray(image.reduce(_FINER))


def _dot(
    pen: ImageDraw.ImageDraw, at: tuple[float, ...], radius: float, colour: tuple[int, int, int]
) -> None:
    x, y = at
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _head(points: np.ndarray) -> np.ndarray:
    """[1, 2] the middle of the head, above the head joint."""
    up = points[15] - points[12]
    return np.asarray(points[15] + 8 * up / max(float(np.linalg.norm(up)), 1e-6))[None]


def _grid(centre: Float[np.ndarray, "3"]) -> Float[np.ndarray, "P 3"]:
    """Pairs of ends of the lines on the floor around a place; they stay where they are while the camera moves."""
    reach = 2.0
    x, z = (
        np.arange(np.ceil((c - reach) / _GRID), np.floor((c + reach) / _GRID) + 1) * _GRID
        for c in centre[[0, 2]]
    )
    along = [[(v, 0.0, centre[2] - reach), (v, 0.0, centre[2] + reach)] for v in x]
    across = [[(centre[0] - reach, 0.0, v), (centre[0] + reach, 0.0, v)] for v in z]
    return np.array([end for pair in (*along, *across) for end in pair])


def _smoothed(path: Float[np.ndarray, "T 3"], frames: int) -> Float[np.ndarray, "T 3"]:
    """The average over so many frames before and after each."""
    padded = np.pad(path, ((frames, frames), (0, 0)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((1, 0), (0, 0))), axis=0)
    width = 2 * frames + 1
    return np.asarray((sums[width:] - sums[:-width]) / width)


def _gif(drawn: Iterator[UInt8[np.ndarray, "H W 3"]], fps: float) -> bytes:
    images = [Image.fromarray(picture).quantize(32, dither=Image.Dither.NONE) for picture in drawn]
    ends = np.round(np.arange(len(images) + 1) * 100 / fps).astype(int)  # hundredths of a second
    out = io.BytesIO()
    durations = (10 * np.maximum(np.diff(ends), 2)).tolist()
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return out.getvalue()


def _mp4(drawn: Iterator[UInt8[np.ndarray, "H W 3"]], fps: float) -> bytes:
    from fractions import Fraction

    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width = stream.height = SIZE
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20"}
        for picture in drawn:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()
