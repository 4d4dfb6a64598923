"""Generated motion as a data set: resumed, extended, checked, and the same whoever samples it."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import mocap_ray
from mocap_ray.dataset.validation import validate
from mocap_ray.errors import UserError
from mocap_ray.generation import generated
from mocap_ray.generation.generated import FRAME_BYTES, Prompted, clip_of, plan
from mocap_ray.generation.generator import Generator
from mocap_ray.generation.requests import Request
from mocap_ray.motion.clip import Clip
from mocap_ray.motion.features import decode
from mocap_ray.records import Rejection
from mocap_ray.shards.running import InProcess, NoCallback, RunResult, run
from mocap_ray.storage import place
from tests.generation.generated import exported, generator


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("flow"))


def _requests(count: int, **values: object) -> dict[str, Request]:
    styles = ("calm", "old", None)
    return {
        f"here, line {k}": Request.model_validate({"seed": k, "frames": 24, "style": styles[k % 3], **values})
        for k in range(count)
    }


def _made(
    requests: dict[str, Request], made_by: Generator, out: Path, *, overwrite: bool = False
) -> RunResult:
    return run(
        lambda: plan(requests, made_by, out=place(out), overwrite=overwrite),
        lambda: nullcontext(InProcess()),
        out=place(out),
        callback=NoCallback(),
    )


def test_a_generated_data_set_is_a_sound_one(flow: Path, tmp_path: Path) -> None:
    requests = _requests(5)
    requests["named"] = Request(name="walk", seed=9, domain="aist", action="walk", frames=17)
    made = _made(requests, generator(flow), tmp_path)
    found = validate(mocap_ray.open(tmp_path))
    assert found.problems == ()
    ds = mocap_ray.open(tmp_path)
    assert made.manifest["totals"]["clips"] == len(ds) == 6
    clip = ds.clip("aist/walk@0")
    assert (clip.action, clip.style, clip.family, clip.domain) == ("walk", None, "joints", "generated")
    assert [c.style for c in ds.clips(dataset="generated")] == ["calm", "old", None, "calm", "old"]
    assert len(clip.features) == 16  # one fewer than frames in this profile
    assert ds.statistics.mean.shape == (263,)
    assert "licence" in (tmp_path / "README.md").read_text().lower()


def test_the_joints_of_a_clip_are_those_that_were_generated(flow: Path, tmp_path: Path) -> None:
    requests, made_by = _requests(2), generator(flow)
    _made(requests, made_by, tmp_path)
    clips = list(mocap_ray.open(tmp_path).clips())
    for clip, features in zip(clips, made_by.generate(list(requests.values())), strict=True):
        assert clip.joints is not None
        np.testing.assert_allclose(clip.joints, decode(features), atol=1e-5)


def test_a_second_run_resumes_and_new_requests_are_added(
    flow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, "SHARD_MB", 4 * 24 * FRAME_BYTES / 2**20)
    made_by = generator(flow)
    first = _made(_requests(20), made_by, tmp_path)
    assert first.made > 3
    again = _made(_requests(20), made_by, tmp_path)
    assert (again.made, again.kept) == (0, first.made)
    elsewhere = {f"moved, line {k}": r for k, r in enumerate(_requests(20).values())}
    assert _made(elsewhere, made_by, tmp_path).made == 0
    more = _made(_requests(22), made_by, tmp_path)
    assert more.made <= 2
    assert more.kept >= first.made - 1
    fresh = _made(_requests(22), made_by, tmp_path.with_name("fresh"))
    assert fresh.manifest["shards"] == more.manifest["shards"]


def test_other_settings_and_another_model_are_refused(flow: Path, tmp_path: Path) -> None:
    _made(_requests(1), generator(flow), tmp_path / "out")
    with pytest.raises(UserError, match=r"steps: was 2, is now 3"):
        _made(_requests(1), generator(flow, steps=3), tmp_path / "out")
    changed = exported(tmp_path / "other", width=8)
    with pytest.raises(UserError, match=r"model: was "):
        _made(_requests(1), generator(changed), tmp_path / "out")
    _made(_requests(1), generator(flow, steps=3), tmp_path / "out", overwrite=True)


def test_a_worker_refuses_a_model_that_has_changed_since_the_run_began(flow: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(flow, tmp_path / "flow"))
    build = plan(_requests(1), generator(moved), out=place(tmp_path / "out"))
    exported(moved, width=8)
    with pytest.raises(UserError, match="another one under the same path"):
        build.product.setup()


def test_two_requests_of_one_name_are_refused(flow: Path, tmp_path: Path) -> None:
    twice = {"a, line 1": Request(name="x"), "a, line 2": Request(name="x")}
    with pytest.raises(UserError, match=r"a, line 2: the name .* is also that of a, line 1"):
        plan(twice, generator(flow), out=place(tmp_path))


def test_a_request_gives_the_same_motion_alone_and_ahead(flow: Path, tmp_path: Path) -> None:
    build = plan(_requests(4), generator(flow), out=place(tmp_path))
    inputs = [i for shard in build.shards for i in shard.inputs]
    ready = build.product.setup()
    alone = [ready.process(i)[0] for i in inputs]
    ready.ahead(inputs)
    together = [ready.process(i)[0] for i in inputs]
    for a, b in zip(alone, together, strict=True):
        assert isinstance(a, Clip)
        assert isinstance(b, Clip)
        np.testing.assert_allclose(a.joints, b.joints, atol=1e-4)


def test_a_motion_that_is_none_is_rejected_with_its_seed() -> None:
    features = np.zeros((10, 263), np.float32)
    input = Prompted("generated/a", 1, "f", Request(seed=5))
    found = clip_of(input, features, fps=20.0, profile="humanml3d")
    assert isinstance(found, Rejection)
    assert "generated/a, seed 5" in found.detail
