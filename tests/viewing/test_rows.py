"""Filters over a playlist's columns, and the clock."""

from __future__ import annotations

import numpy as np
import pytest

from mocap_ray.errors import UserError
from mocap_ray.viewing.player import Player
from mocap_ray.viewing.rows import SECONDS, Filters, Rows, step

ROWS = Rows(
    ["CMU/01", "CMU/02", "SFU/01", "SFU/02"],
    {"split": ["train", "val", "train", "test"], "action": ["walk", "run", None, "Walk"]},
    ["a person walks slowly", "runs", "turns LEFT", ""],
    {SECONDS: np.array([2.0, 1.0, 4.0, 3.0]), "speed": np.array([np.nan, 9.0, 3.0, 5.0])},
)


def found(**changes: object) -> list[str]:
    return [ROWS.names[k] for k in ROWS.select(Filters(**changes))]  # type: ignore[arg-type]


def test_without_filters_everything_is_in_its_order() -> None:
    assert found() == ROWS.names


def test_facets_words_and_limits_hold_together() -> None:
    assert found(facets={"split": "train"}) == ["CMU/01", "SFU/01"]
    assert found(facets={"split": "train", "action": "walk"}) == ["CMU/01"]
    assert found(text="left") == ["SFU/01"]
    assert found(text="WALK") == ["CMU/01", "SFU/02"], (
        "words are looked for in facets too, whatever their case"
    )
    assert found(text="walks cmu") == ["CMU/01"], "all words, in any order"
    assert found(limits={SECONDS: (1.5, 3.0)}) == ["CMU/01", "SFU/02"]
    assert found(limits={SECONDS: (None, 2.0)}, text="cmu") == ["CMU/01", "CMU/02"]


def test_what_was_not_measured_is_neither_hidden_nor_first() -> None:
    assert found(limits={"speed": (4.0, None)}) == ["CMU/01", "CMU/02", "SFU/02"]
    assert found(sort="speed") == ["CMU/02", "SFU/02", "SFU/01", "CMU/01"]
    assert found(sort="speed", descending=False) == ["SFU/01", "SFU/02", "CMU/02", "CMU/01"]


def test_an_unknown_value_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no split 'tset' here\. Expected one of: test, train and val"):
        found(facets={"split": "tset"})
    with pytest.raises(UserError, match=r"no style 'old' here\. Expected one of: none"):
        found(facets={"style": "old"})


def test_values_are_counted() -> None:
    assert ROWS.values("split") == [("test", 1), ("train", 2), ("val", 1)]
    assert ROWS.values("action") == [("Walk", 1), ("run", 1), ("walk", 1)]


def test_next_and_previous_stay_among_those_that_pass() -> None:
    chosen = ROWS.select(Filters({"split": "train"}))
    assert step(chosen, 0, 1) == 2
    assert step(chosen, 2, 1) == 0
    assert step(chosen, 0, -1) == 2
    assert step(chosen, 1, 1) == 0, "from one that does not pass to the first that does"
    assert step(np.array([], np.int64), 0, 1) is None


def test_the_clock_plays_pauses_repeats_and_stops_at_the_end() -> None:
    player = Player(duration=2.0)
    assert player.advance(0.5) == 0.5
    player.toggle()
    assert player.advance(5.0) == 0.5
    player.seek(9.0)
    assert player.time == 2.0
    player.toggle()
    player.loop = False
    assert player.advance(0.1) == 2.0
    assert not player.playing
    player.toggle()
    assert player.time == 0.0, "playing from the end begins again"
    player.speed = 4.0
    assert player.advance(0.25) == 1.0
    player.loop = True
    assert player.advance(0.5) == 1.0, "around the end"
    assert player.advance(60.0) == 0.0, "after a long pause of the machine it begins again"


def test_a_still_picture_does_not_move() -> None:
    player = Player(duration=0.0)
    assert player.advance(1.0) == 0.0
    assert player.playing
