"""Requests and files of prompts: what they hold, and what their errors say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mocap_ray.errors import UserError
from mocap_ray.generation.prompts import read_prompts
from mocap_ray.generation.requests import GivenFrames, Keypoints, Request, RootPath, check_requests

KNOWN = {"domain": ("aist", "bandai"), "style": ("elderly", "happy"), "action": ()}


def _written(folder: Path, name: str, *entries: object) -> Path:
    path = folder / name
    path.write_text("\n".join(e if isinstance(e, str) else json.dumps(e) for e in entries))
    return path


def test_lines_become_requests_with_seeds_and_names(tmp_path: Path) -> None:
    path = _written(
        tmp_path,
        "p.jsonl",
        {"text": "a walk", "seconds": 2, "n": 3, "seed": 5, "name": "walk"},
        "",
        {"style": "happy"},
    )
    found = read_prompts(path)
    assert [r.seed for r in found.values()] == [5, 6, 7, 0]
    assert [r.name for r in found.values()] == ["walk_0", "walk_1", "walk_2", None]
    assert list(found) == [
        f"{path}, line 1",
        f"{path}, line 1, motion 1",
        f"{path}, line 1, motion 2",
        f"{path}, line 3",
    ]
    assert all(r.text == "a walk" for r in list(found.values())[:3])


def test_yaml_and_text_say_the_same_as_jsonl(tmp_path: Path) -> None:
    lines = read_prompts(_written(tmp_path, "p.jsonl", {"text": "a walk"}, {"text": "a jump"}))
    assert list(
        read_prompts(_written(tmp_path, "p.yaml", "- text: a walk\n- {text: a jump}")).values()
    ) == list(lines.values())
    assert list(read_prompts(_written(tmp_path, "p.txt", "a walk", "", "a jump")).values()) == list(
        lines.values()
    )


def test_values_are_read_from_files_beside_the_prompts(tmp_path: Path) -> None:
    values = np.arange(2 * 263, dtype=np.float32).reshape(2, 263)
    np.save(tmp_path / "start.npy", values)
    path = _written(tmp_path, "p.jsonl", {"given": {"frames": [0, 1], "values": "start.npy"}})
    (request,) = read_prompts(path).values()
    assert request.given == GivenFrames(frames=(0, 1), values=values)


def test_a_request_survives_json_and_its_fingerprint_is_its_content() -> None:
    request = Request(
        seed=3,
        text="x",
        root=RootPath(frames=(0, 9), values=np.array([[0, 0], [1, 2]])),
        keypoints=Keypoints(frames=(4,), values=np.ones((1, 25, 3))),
    )
    back = Request.model_validate_json(request.model_dump_json())
    assert back == request
    assert back.fingerprint == request.fingerprint
    assert request.model_copy(update={"seed": 4}).fingerprint != request.fingerprint


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ({"txt": "a walk"}, ["line 2", "'txt'", "Did you mean 'text'?"]),
        ({"seconds": -1}, ["line 2", "seconds", "greater than 0", "found -1"]),
        ({"seconds": 2, "frames": 60}, ["line 2", "seconds and frames"]),
        ("{nothing", ["line 2", "not JSON"]),
        ([1], ["line 2", "a list", "Expected keys"]),
        ({"root": {"frames": [1], "values": [[1, 2, 3]]}}, ["line 2", "root", "[1, 2]", "[1, 3]"]),
        ({"root": {"frames": [5, 1], "values": [[1, 2], [3, 4]]}}, ["line 2", "rise"]),
        (
            {"given": {"frames": [1], "values": "gone.npy"}},
            ["line 2", "given.values", "no such file", "gone.npy"],
        ),
        ({"root": {"frames": [1], "values": [["a", 1]]}}, ["line 2", "rows of numbers"]),
        ({"name": "same"}, ["line 2", "'same'", "line 1"]),
    ],
)
def test_a_wrong_entry_is_named_with_its_line(tmp_path: Path, entry: object, parts: list[str]) -> None:
    path = _written(tmp_path, "p.jsonl", {"name": "same"}, entry)
    with pytest.raises(UserError) as error:
        read_prompts(path)
    for part in (str(path), *parts):
        assert part in str(error.value), str(error.value)


@pytest.mark.parametrize("name", ["p.csv", "gone.jsonl", "empty.jsonl", "map.yaml"])
def test_files_that_hold_no_prompts_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "map.yaml").write_text("text: a walk")
    with pytest.raises(UserError, match="Expected"):
        read_prompts(tmp_path / name)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"style": "old"}, r"no style 'old'. Expected one of elderly, happy\."),
        ({"action": "walk"}, "no action 'walk'. Expected none"),
        (
            {"seconds": 1.0, "root": {"frames": [30], "values": [[0, 0]]}},
            "root.frames names frame 30.* has 30 frames",
        ),
    ],
)
def test_what_a_model_does_not_know_is_refused(values: dict[str, Any], text: str) -> None:
    request = Request.model_validate(values)
    with pytest.raises(UserError, match=f"^here: .*{text}"):
        check_requests({"here": request}, known=KNOWN, fps=30.0, default=120)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValidationError, match="finite"):
        RootPath(frames=(0,), values=np.array([[np.nan, 0.0]]))
