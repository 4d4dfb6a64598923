"""Boxes of people, and files of them: MOT (text) and COCO (JSON).

MOT: `frame,id,left,top,width,height,confidence,...`, frames from 1, id -1 if it is not known (motchallenge.net).
COCO: a list of results with `image_id`, `category_id`, `bbox` (x, y, width, height) and `score`, or an object with
`images` and `annotations` (cocodataset.org, format of results and of data).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mocap_ray.errors import UserError
from mocap_ray.storage import expand

PERSON = 1
"""`category_id` of people in COCO."""


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Boxes of people in the frames of a video, sorted by frame.

    Attributes:
        frames: number of the frame of each box, from 0.
        corners: left, top, right and bottom, px.
        scores: confidence.
        ids: of the person, if a file gives one; -1 otherwise.
    """

    frames: Int[np.ndarray, "N"]
    corners: Float[np.ndarray, "N 4"]
    scores: Float[np.ndarray, "N"]
    ids: Int[np.ndarray, "N"]

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> Boxes:
        """Boxes of rows of frame (from 0), id, left, top, width, height, confidence."""
        table = np.asarray(rows, np.float64).reshape(-1, 7)
        table = table[np.argsort(table[:, 0], kind="stable")]
        corners = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], axis=1)
        return cls(table[:, 0].astype(np.int64), corners, table[:, 6].copy(), table[:, 1].astype(np.int64))

    def between(self, first: int, stop: int) -> Boxes:
        """The boxes of some frames."""
        start, end = np.searchsorted(self.frames, [first, stop])
        part = slice(int(start), int(end))
        return Boxes(self.frames[part], self.corners[part], self.scores[part], self.ids[part])

    def in_frame(self, frame: int) -> Boxes:
        """The boxes of a frame."""
        return self.between(frame, frame + 1)

    def above(self, score: float) -> Boxes:
        """The boxes with at least this confidence."""
        keep = self.scores >= score
        return Boxes(self.frames[keep], self.corners[keep], self.scores[keep], self.ids[keep])

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, slots=True, eq=False)
class BoxFile:
    """A file of boxes.

    Attributes:
        path: the file.
        boxes: by frame; those of a COCO file with images are by `names` instead.
        names: name of an image -> rows as in `Boxes.of`, their frame not yet known; None for numbered frames.
        sha256: of the file.
    """

    path: Path
    boxes: Boxes
    names: Mapping[str, Sequence[Sequence[float]]] | None
    sha256: str

    def of_frames(self, files: Sequence[str], *, images: bool) -> Boxes:
        """The boxes of a video or folder.

        Args:
            files: of the footage; where boxes are by the names of images, these are its frames.
            images: whether it is a folder of images.

        Raises:
            UserError: the boxes are by the names of images, and no image of the footage has one.
        """
        if self.names is None:
            return self.boxes
        if not images:  # the images of the file are the frames, in the order of its list
            order = list(self.names)
        else:
            order = [PurePosixPath(file).name for file in files]
            if not set(order) & set(self.names):
                raise UserError(
                    f"{self.path}: boxes of images such as {next(iter(self.names), 'none')}, but the frames are "
                    f"{order[0]} and so on. Expected `file_name` to be the name of an image."
                )
        rows = [
            [float(frame), *row[1:]] for frame, name in enumerate(order) for row in self.names.get(name, ())
        ]
        return Boxes.of(rows)


def find_boxes(address: str, names: Sequence[str]) -> dict[str, BoxFile]:
    """Name of a video -> its file of boxes.

    Args:
        address: a file, for a single video; or a folder with NAME.txt or NAME.json for each video.
        names: of the videos.

    Raises:
        UserError: no such file, or not boxes.
    """
    path = expand(address)
    if path.is_file():
        if len(names) > 1:
            raise UserError(
                f"{path}: one file of boxes for {len(names):,} videos. Expected a folder with a file for each, such as "
                f"{names[0]}.txt."
            )
        return {names[0]: read_boxes(path)}
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder. Expected boxes in the format of MOT or COCO.")
    found = {}
    for name in names:
        file = next(
            (path / f"{name}{end}" for end in (".txt", ".csv", ".json") if (path / f"{name}{end}").is_file()),
            None,
        )
        if file is None:
            raise UserError(
                f"{path}: no {name}.txt (MOT) and no {name}.json (COCO), the boxes of the video {name}."
            )
        found[name] = read_boxes(file)
    return found


def read_boxes(path: Path) -> BoxFile:
    """Read a file of boxes; one that ends in .json is COCO, any other MOT. Raises UserError, OSError."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    try:
        text = data.decode()
        if path.suffix.lower() == ".json":
            rows, names = _coco(json.loads(text))
        else:
            rows, names = _mot(text), None
        boxes = Boxes.of(rows)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path}: not boxes of people ({type(error).__name__}: {str(error)[:200]}). Expected MOT, "
            "`frame,id,left,top,width,height,confidence` on each line, or COCO results or annotations as .json."
        ) from error
    return BoxFile(path, boxes, names, digest)


def _mot(text: str) -> list[list[float]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        values = [float(part) for part in line.replace(";", ",").split(",")] if line.strip() else []
        if not values:
            continue
        if len(values) < 6 or values[0] < 1 or not np.isfinite(values[:6]).all():
            raise ValueError(f"line {number}: {line[:80]!r}")
        confidence = values[6] if len(values) > 6 else 1.0
        rows.append([values[0] - 1, values[1], *values[2:6], confidence])
    return rows


def _coco(values: Any) -> tuple[list[list[float]], dict[str, list[list[float]]] | None]:
    if isinstance(values, list):  # results: `image_id` is the number of the frame, from 1
        rows = [_result(item) for item in values if item.get("category_id", PERSON) == PERSON]
        return [[row[0] - 1, *row[1:]] for row in rows], None
    person = {c["id"] for c in values.get("categories", ()) if c.get("name") == "person"} or {PERSON}
    images = sorted(values["images"], key=lambda image: image["id"])
    names = {image["id"]: PurePosixPath(image["file_name"]).name for image in images}
    by_name: dict[str, list[list[float]]] = {name: [] for name in names.values()}
    for item in values["annotations"]:
        if item.get("category_id", PERSON) in person and not item.get("iscrowd"):
            by_name[names[item["image_id"]]].append(_result(item))
    return [], by_name


def _result(item: Mapping[str, Any]) -> list[float]:
    x, y, width, height = (float(v) for v in item["bbox"])
    frame = float(item["image_id"]) if isinstance(item["image_id"], int) else 0.0
    return [frame, float(item.get("track_id", -1)), x, y, width, height, float(item.get("score", 1.0))]
