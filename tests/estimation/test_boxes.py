"""Files of boxes, and joining boxes to people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mocap_ray.errors import UserError
from mocap_ray.estimation.boxes import Boxes, find_boxes, read_boxes
from mocap_ray.estimation.tracking import intersection_over_union, track
from tests.estimation.video import CROWD, FPS, centres, mot


def test_mot_counts_frames_from_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("2,7,10,20,30,40,0.5,-1,-1,-1\n\n1,-1,1.5,2,3,4,-1\n1,3,0,0,5,5\n")
    boxes = read_boxes(path).boxes
    assert boxes.frames.tolist() == [0, 0, 1]
    assert boxes.ids.tolist() == [-1, 3, 7]
    assert boxes.scores.tolist() == [-1, 1, 0.5]
    assert boxes.corners[[0, 2]].tolist() == [[1.5, 2, 4.5, 6], [10, 20, 40, 60]]
    assert boxes.in_frame(1).ids.tolist() == [7]
    assert len(boxes.in_frame(5)) == 0


def test_coco_results_and_annotations(tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    box = [10, 20, 30, 40]
    results.write_text(
        json.dumps(
            [
                {"image_id": 2, "category_id": 1, "bbox": box, "score": 0.25},
                {"image_id": 1, "category_id": 17, "bbox": box, "score": 0.9},
            ]
        )
    )
    assert read_boxes(results).boxes.frames.tolist() == [1]
    assert read_boxes(results).boxes.scores.tolist() == [0.25]
    labels = tmp_path / "l.json"
    images = [{"id": 9, "file_name": "sub/f2.png"}, {"id": 5, "file_name": "f1.png"}]
    people = [
        {"image_id": 9, "category_id": 3, "bbox": box},
        {"image_id": 9, "category_id": 3, "bbox": box, "iscrowd": 1},
        {"image_id": 5, "category_id": 1, "bbox": box},
    ]
    values = {"images": images, "annotations": people, "categories": [{"id": 3, "name": "person"}]}
    labels.write_text(json.dumps(values))
    file = read_boxes(labels)
    assert file.of_frames(["f0.png", "f1.png", "f2.png"], images=True).frames.tolist() == [2]
    assert file.of_frames(["film.mp4"], images=False).frames.tolist() == [1]
    with pytest.raises(UserError, match=r"f2\.png|f1\.png"):
        file.of_frames(["other.png"], images=True)


@pytest.mark.parametrize("text", ["frame,id\n", "1,2,3\n", "0,1,2,3,4,5\n", "1,1,nan,3,4,5\n"])
def test_what_is_no_mot_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(UserError, match="Expected MOT"):
        read_boxes(path)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"image_id": 1, "bbox": [1, 2]}]'])
def test_what_is_no_coco_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match="COCO"):
        read_boxes(path)


def test_each_video_has_its_file(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("1,-1,0,0,5,5,1\n")
    assert sorted(find_boxes(str(tmp_path), ["a", "b"])) == ["a", "b"]
    with pytest.raises(UserError, match=r"c\.txt"):
        find_boxes(str(tmp_path), ["a", "c"])
    with pytest.raises(UserError, match="2 videos"):
        find_boxes(str(tmp_path / "a.txt"), ["a", "b"])


def _tracked(boxes: Boxes, **options: float) -> np.ndarray:
    chosen = {"lost_s": 1.0, "overlap": 0.3, **options}
    return track(boxes.frames, boxes.frames / FPS, boxes.corners, boxes.scores, **chosen)


def _truth(boxes: Boxes) -> np.ndarray:
    """Who of the crowd is nearest to each box."""
    found = []
    for frame, box in zip(boxes.frames.tolist(), boxes.corners, strict=True):
        middle = (box[:2] + box[2:]) / 2
        apart = [
            np.linalg.norm(centres(one, range(frame, frame + 1))[0] - middle) if one.box(frame) else np.inf
            for one in CROWD
        ]
        found.append(int(np.argmin(apart)))
    return np.array(found)


@pytest.mark.parametrize("seed", range(3))
def test_people_who_cross_keep_their_numbers(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text(mot(CROWD, 60, seed=seed))
    boxes = read_boxes(path).boxes
    pairs = set(zip(_tracked(boxes).tolist(), _truth(boxes).tolist(), strict=True))
    assert len(pairs) == len(CROWD)


def test_someone_who_is_gone_for_long_gets_a_new_number(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(mot(CROWD[:1], 60))
    boxes = read_boxes(path).boxes
    keep = (boxes.frames < 20) | (boxes.frames >= 32)
    some = Boxes(boxes.frames[keep], boxes.corners[keep], boxes.scores[keep], boxes.ids[keep])
    assert set(_tracked(some).tolist()) == {1}
    assert set(_tracked(some, lost_s=0.2).tolist()) == {1, 2}


def test_a_weak_box_continues_a_track_and_starts_none(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(mot(CROWD[:1], 60))
    boxes = read_boxes(path).boxes
    boxes.scores[10] = 0.1
    assert set(_tracked(boxes).tolist()) == {1}
    boxes.corners[30] += 150  # somewhere else
    boxes.scores[30] = 0.1
    assert _tracked(boxes)[30] == 0


def test_the_overlap_is_that_of_areas() -> None:
    a = np.array([[0.0, 0, 2, 2], [0, 0, 0, 0]])
    b = np.array([[1.0, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6]])
    np.testing.assert_allclose(intersection_over_union(a, b)[0], [1 / 7, 1, 0])
    assert not intersection_over_union(a, b)[1].any()
