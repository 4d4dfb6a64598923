"""Samples of stick figures keep the speed of the motion, and the same data set gives the same file."""

from __future__ import annotations

import csv
import random
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mocap_ray.archives.actions import ACTIONS
from mocap_ray.dataset import stick_plan, views
from mocap_ray.dataset.stick_actions import KNOWN, label_of
from mocap_ray.dataset.stick_gen import StickExport, export_stick_gen
from mocap_ray.dataset.stick_plan import FRAMES, StickOptions, Window
from mocap_ray.skeleton import BODY_JOINTS
from tests.dataset.made import make

ONE: dict[tuple[str, str], int] = {("CMU", "train"): 1}
SPEED = 0.02
"""Metres per frame of the first figure of `made`, which walks along +Z and faces it."""


def export(
    root: Path, *, out: str = "a.pt", preview: str | None = None, **options: Any
) -> tuple[list[dict[str, Any]], list[dict[str, str]], StickExport]:
    """The samples, the rows of the .csv file, and the result."""
    folder = root.parent
    done = export_stick_gen(
        root,
        folder / out,
        options=StickOptions(**options),
        preview=folder / preview if preview else None,
        overwrite=True,
    )
    with (folder / out).with_suffix(".csv").open(newline="") as f:
        return torch.load(folder / out, weights_only=True), list(csv.DictReader(f)), done


@pytest.mark.parametrize("fps", [20.0, 20.8333, 25.0, 29.5, 30.0, 120.0])
def test_a_sample_has_the_speed_of_the_motion_at_any_rate(tmp_path: Path, fps: float) -> None:
    make(tmp_path / "set", clips=ONE, frames=int(21 * fps) + 2, fps=fps)
    samples, rows, _ = export(tmp_path / "set", view="side")
    assert [r["start_s"] for r in rows] == ["0.0", "10.0", "20.0"] * 2
    for sample, row in zip(samples, rows, strict=True):
        frames = int(row["frames"])
        neck, pelvis = sample["motion"][:frames, 0].numpy(), sample["motion"][:frames, 2].numpy()
        expected = SPEED * fps * np.arange(frames) / 25.0
        np.testing.assert_allclose(pelvis, expected, atol=1e-4)
        np.testing.assert_allclose(neck - pelvis, neck[0] - pelvis[0], atol=1e-4)


def test_the_five_lines_join_the_joints_of_the_clip(tmp_path: Path) -> None:
    clip, _ = make(tmp_path / "set", clips=ONE, frames=241)
    samples, rows, _ = export(tmp_path / "set")
    motion = samples[0]["motion"].numpy()
    assert rows[0]["clip_id"] == clip.clip_id
    lines = [
        ("neck", "pelvis"),
        ("pelvis", "left_ankle"),
        ("pelvis", "right_ankle"),
        ("neck", "left_wrist"),
        ("neck", "right_wrist"),
    ]
    for k in range(0, FRAMES, 5):  # at 25 fps, each of these is a frame of 20 fps
        joints = clip.joints[k // 5 * 4]
        expected = [
            joints[BODY_JOINTS.index(name)][axis] for line in lines for name in line for axis in (0, 1)
        ]
        np.testing.assert_allclose(motion[k], expected, atol=1e-6)


def test_fields_and_types_are_those_of_stick_gen(tmp_path: Path) -> None:
    clips = make(tmp_path / "set")
    samples, rows, done = export(tmp_path / "set")
    assert isinstance(samples, list)
    assert len(samples) == len(rows) == len(done.plan.windows) == len(clips)
    by_id = {c.clip_id: c for c in clips}
    for sample, row in zip(samples, rows, strict=True):
        assert set(sample) == {"motion", "action", "actions", "description", "source"}
        assert (sample["motion"].shape, sample["motion"].dtype) == ((250, 20), torch.float32)
        assert (sample["actions"].shape, sample["actions"].dtype) == ((250,), torch.int64)
        assert sample["source"] == "amass"
        clip = by_id[row["clip_id"]]
        expected = {
            "walk": ("walk", 1),
            "run & <jump>": ("jump", 4),
            "dance": ("dance", 39),
            None: ("idle", 0),
        }
        assert (sample["action"], int(sample["actions"][0])) == expected[clip.action]
        assert (sample["actions"] == sample["actions"][0]).all()
        assert (sample["description"] in [t.replace("#", " ").replace("  ", " ") for t in clip.texts]) == (
            row["caption"] == "texts"
        )
    assert done.idle == sum(c.action is None for c in clips) > 0


def test_a_rest_is_padded_with_its_last_frame_or_dropped(tmp_path: Path) -> None:
    make(tmp_path / "set", clips=ONE, frames=20 * 14 + 1)  # 14 s
    samples, rows, done = export(tmp_path / "set", view="side")
    assert [int(r["frames"]) for r in rows] == [250, 101, 250, 101]
    rest = samples[1]["motion"]
    assert (rest[101:] == rest[100]).all()
    assert rest[100, 2] == pytest.approx(SPEED * 20 * 4)
    assert (rest[100] != rest[99]).any()
    assert len([w for w in done.plan.windows if w.frames < FRAMES]) == 2
    dropped, rows, done = export(tmp_path / "set", view="side", rest="drop")
    assert [r["start_s"] for r in rows] == ["0.0", "0.0"]
    assert torch.equal(dropped[0]["motion"], samples[0]["motion"])
    assert (done.plan.rests, done.plan.rest_seconds) == (2, pytest.approx(2 * 101 / 25))


@pytest.mark.parametrize(("least", "kept"), [(4.0, 4), (4.04, 4), (4.1, 2)])
def test_a_rest_shorter_than_the_least_is_dropped(tmp_path: Path, least: float, kept: int) -> None:
    make(tmp_path / "set", clips=ONE, frames=20 * 14 + 1)
    _, rows, done = export(tmp_path / "set", least_seconds=least)
    assert len(rows) == kept
    assert done.plan.rests == 4 - kept


def test_every_frame_of_a_clip_is_in_one_sample(tmp_path: Path) -> None:
    clips = make(tmp_path / "set", frames=333)
    _, rows, _ = export(tmp_path / "set", least_seconds=0.04)
    for clip in clips:
        found = [r for r in rows if r["clip_id"] == clip.clip_id]
        assert sum(int(r["frames"]) for r in found) == int((len(clip.joints) - 1) / 20 * 25 + 1e-9) + 1


def test_the_same_data_set_gives_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "set")
    for out in ("a", "b"):
        export(tmp_path / "set", out=f"{out}.pt", preview=f"{out}.svg", max_samples=7)
    for suffix in ("pt", "csv", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_sample_does_not_depend_on_the_others(tmp_path: Path) -> None:
    make(tmp_path / "set", frames=333)
    samples, rows, _ = export(tmp_path / "set", seed=4)
    whole = {(r["clip_id"], r["start_s"]): s for r, s in zip(rows, samples, strict=True)}
    for options in ({"split": "val"}, {"max_samples": 5}, {"without_action": "drop"}):
        some, rows, _ = export(tmp_path / "set", seed=4, **options)
        assert 0 < len(some) < len(samples)
        for sample, row in zip(some, rows, strict=True):
            same = whole[row["clip_id"], row["start_s"]]
            assert sample["description"] == same["description"]
            assert torch.equal(sample["motion"], same["motion"])


def test_max_samples_are_drawn_by_the_seed_and_stay_in_order(tmp_path: Path) -> None:
    make(tmp_path / "set", frames=333)
    everything = [(r["clip_id"], r["start_s"]) for r in export(tmp_path / "set")[1]]
    drawn = []
    for seed in (0, 1, 2):
        _, rows, done = export(tmp_path / "set", max_samples=6, seed=seed)
        names = [(r["clip_id"], r["start_s"]) for r in rows]
        assert names == [name for name in everything if name in names]
        assert (len(names), done.plan.others) == (6, len(everything) - 6)
        drawn.append(tuple(names))
    assert len(set(drawn)) == 3
    assert export(tmp_path / "set", max_samples=10_000)[2].plan.others == 0


def test_the_choice_does_not_depend_on_the_order_of_clips() -> None:
    found = [Window(k, f"clip {k}@0+0s", 0, 250) for k in range(200)]
    options = StickOptions(max_samples=20)
    kept = stick_plan.drawn(found, options)
    shuffled = random.Random(0).sample(found, len(found))
    assert set(stick_plan.drawn(shuffled, options)) == set(kept)
    more = stick_plan.drawn([*found, Window(200, "clip 200@0+0s", 0, 250)], options)
    assert len(set(kept) - set(more)) <= 1


def test_templates_change_with_the_seed_and_texts_come_first(tmp_path: Path) -> None:
    make(tmp_path / "set", frames=333)
    captions = set()
    for seed in range(8):
        samples, rows, done = export(tmp_path / "set", seed=seed)
        captions |= {s["description"] for s, r in zip(samples, rows, strict=True) if r["label"] == "walk"}
        assert {r["caption"] for r in rows} == {"texts", "template", "placeholder"}
        assert done.placeholders == sum(r["caption"] == "placeholder" for r in rows) > 0
    assert {"a person walks", "someone is walking"} <= captions


@pytest.mark.parametrize("view", ["recorded", "front", "side"])
def test_any_of_the_columns_gives_the_lines(tmp_path: Path, view: str) -> None:
    found = {}
    for name, columns in (
        ("stick", ("features", "stick")),
        ("joints", ("features", "joints")),
        ("features", ("features",)),
    ):
        make(tmp_path / name, clips=ONE, frames=122, columns=columns)
        (sample, _), rows, _ = export(tmp_path / name, view=view)
        found[name] = sample["motion"][:140].numpy()
        # The column stick has no depth, so a view that turns decodes the features, which have a frame less.
        decoded = name == "features" or (name == "stick" and view != "recorded")
        assert int(rows[0]["frames"]) == (151 if decoded else 152)
    np.testing.assert_allclose(found["stick"], found["joints"], atol=1e-4)
    np.testing.assert_allclose(found["features"], found["joints"], atol=1e-4)


def test_each_sample_of_a_view_begins_above_the_origin(tmp_path: Path) -> None:
    make(tmp_path / "set", clips=ONE, frames=281)
    for view in ("front", "side"):
        samples = export(tmp_path / "set", view=view)[0]
        assert len(samples) == 4
        assert all(sample["motion"][0, 2] == pytest.approx(0.0, abs=1e-6) for sample in samples)
    front = export(tmp_path / "set", view="front")[0]
    assert all(
        (sample["motion"][:, 14] > sample["motion"][:, 18]).all() for sample in front
    )  # left wrist on the right


def test_every_known_label_has_an_action_or_none() -> None:
    assert set(KNOWN) < set(ACTIONS)
    assert set(ACTIONS) - set(KNOWN) == {"cartwheel", "pick", "stretch", "turn"}
    assert all(label_of(label) == label for label in ACTIONS)


def test_the_preview_moves_at_true_speed_and_marks_the_padding(tmp_path: Path) -> None:
    make(tmp_path / "set", clips=ONE, frames=20 * 14 + 1)
    export(tmp_path / "set", preview="a.svg")
    picture = ET.parse(tmp_path / "a.svg").getroot()
    named = "{http://www.w3.org/2000/svg}"
    moving = picture.findall(f".//{named}animate")
    assert len(moving) == 4 * (5 * 4 + 2)
    for one in moving:
        assert (one.get("dur"), one.get("calcMode")) == ("10s", "discrete")
        assert len((one.get("values") or "").split(";")) == 250
    texts = [t.text for t in picture.findall(f".//{named}text")]
    assert texts.count("9 s") == 4
    assert texts.count("padded") == 2 * 5  # seconds 5 to 9; second 4 is the last frame


def test_an_existing_file_is_kept_unless_overwritten(tmp_path: Path) -> None:
    make(tmp_path / "set", clips=ONE)
    for name in ("a.pt", "a.csv", "a.svg"):
        (tmp_path / name).write_text("precious")
        with pytest.raises(views.DataSetError, match=rf"{name}: exists. --overwrite replaces it"):
            export_stick_gen(tmp_path / "set", tmp_path / "a.pt", preview=tmp_path / "a.svg")
        assert (tmp_path / name).read_text() == "precious"
        (tmp_path / name).unlink()


def test_a_write_that_fails_leaves_no_pt_file(tmp_path: Path) -> None:
    make(tmp_path / "set", clips=ONE)
    (tmp_path / "file").write_text("")
    export(tmp_path / "set")
    with pytest.raises(OSError, match="file"):
        export_stick_gen(
            tmp_path / "set", tmp_path / "a.pt", preview=tmp_path / "file" / "a.svg", overwrite=True
        )
    assert not (tmp_path / "a.pt").exists()
