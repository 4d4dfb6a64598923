"""Decode the frames of a chunk: seek, rotate, skip what is broken."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.error
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from mocap_ray.estimation.footage import Chunk


class Unreadable(Exception):
    """A video of which no frame can be decoded; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A decoded frame.

    Attributes:
        number: in the video, from 0.
        seconds: since the first frame of the video.
        image: RGB, upright.
    """

    number: int
    seconds: float
    image: UInt8[np.ndarray, "H W 3"]


def decode(chunk: Chunk) -> Iterator[Frame]:
    """The frames of a chunk in order; broken ones are left out.

    Raises:
        Unreadable: the container cannot be opened.
        OSError: a file cannot be read.
    """
    if chunk.images:
        yield from _images(chunk)
        return
    numbers = {int(pts): chunk.first + k for k, pts in enumerate(chunk.pts)}
    for pts, frame in _from_key_frame(chunk):
        number = numbers.get(pts)
        if number is not None and not frame.is_corrupt:
            image = frame.to_ndarray(format="rgb24")
            # FFmpeg gives the angle that turns the picture upright, counterclockwise, in steps of a quarter turn.
            image = np.rot90(image, round(frame.rotation / 90))
            yield Frame(number, chunk.seconds(pts), np.ascontiguousarray(image))


def _images(chunk: Chunk) -> Iterator[Frame]:
    for k, file in enumerate(chunk.files):
        data = chunk.place.read(file)
        try:
            with Image.open(io.BytesIO(data)) as opened:
                image = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # of Pillow: a broken image
            continue
        yield Frame(chunk.first + k, chunk.seconds(int(chunk.pts[k])), image)


def _from_key_frame(chunk: Chunk) -> Iterator[tuple[int, av.VideoFrame]]:
    """Time stamps and frames from the last key frame before the chunk, or from the beginning, to the chunk's end."""
    start, last = int(chunk.pts[0]), int(chunk.pts[-1])
    starts = (start, None) if chunk.first else (None,)
    for seek in starts:
        arrived = False
        for pts, frame in _frames(chunk, seek):
            arrived = arrived or pts <= start
            if seek is not None and not arrived:
                break  # the index of the file leads behind the first frame: decode from the beginning
            if pts > last:
                return
            yield pts, frame
        if arrived or seek is None:
            return


def _frames(chunk: Chunk, seek: int | None) -> Iterator[tuple[int, av.VideoFrame]]:
    """Time stamps and frames from a time stamp on, in order; those with an error of the decoder are left out."""
    with chunk.place.fs.open_input_file(chunk.place.join(chunk.files[0])) as data:
        try:
            container = av.open(data)
        except (av.error.InvalidDataError, ValueError) as error:
            raise Unreadable(str(error)) from error
        with container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if seek is not None:
                try:
                    container.seek(seek, stream=stream)
                except av.error.FFmpegError:  # a container without an index
                    return
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets)
                except (StopIteration, EOFError):
                    return
                except av.error.InvalidDataError:  # cut short
                    return
                try:
                    decoded = packet.decode()
                except (av.error.InvalidDataError, EOFError):
                    continue
                for frame in decoded:
                    if isinstance(frame, av.VideoFrame) and frame.pts is not None:
                        yield frame.pts, frame
