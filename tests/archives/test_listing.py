"""`mocap-ray split`: reproducible lists, which `source.split` reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mocap_ray.archives.listing import make_lists, write_lists
from mocap_ray.archives.splits import assign, read_lists
from mocap_ray.cli.main import main
from mocap_ray.errors import UserError
from mocap_ray.records import Recording
from mocap_ray.storage import place
from tests.archives import frames

MANY = [
    Recording("P", f"P/{s}/{k}", f"P/{s}", f"P/{s}/{k}.npz", 1, "1") for s in range(200) for k in range(3)
]
SHARES = {"train": 0.8, "val": 0.2, "test": 0.0}


def test_lists_depend_on_names_shares_and_seed_alone() -> None:
    first = make_lists(MANY, fractions=SHARES, seed=7)
    assert make_lists(list(reversed(MANY)), fractions=SHARES, seed=7) == first
    assert make_lists(MANY, fractions=SHARES, seed=8) != first
    assert list(first) == ["train", "val"]
    assert sorted([*first["train"], *first["val"]]) == sorted(r.name for r in MANY)
    assert 0.1 < len(first["val"]) / len(MANY) < 0.3
    assert all(names == sorted(names) for names in first.values())


def test_by_subject_nobody_is_in_two_lists_and_by_recording_each_is_drawn_alone() -> None:
    def homes(by: str) -> int:
        lists = make_lists(MANY, fractions=SHARES, by=by, seed=1)  # type: ignore[arg-type]
        subjects = Counter(s for names in lists.values() for s in {name.rpartition("/")[0] for name in names})
        return sum(count > 1 for count in subjects.values())

    assert homes("subject") == 0
    assert homes("recording") > 50


def test_a_recording_that_is_added_moves_no_other() -> None:
    few, all_of_them = (
        make_lists(some, fractions=SHARES, by="recording", seed=3) for some in (MANY[::2], MANY)
    )
    for split, names in few.items():
        assert set(names) <= set(all_of_them[split])


def test_seed_0_by_subject_is_the_rule_subject() -> None:
    rule = assign(MANY, split="subject", fractions=SHARES)
    lists = make_lists(MANY, fractions=SHARES)
    assert {name: split for split, names in lists.items() for name in names} == rule


def test_lists_never_change() -> None:
    # Pinned: lists made last year are made again today.
    lists = make_lists(MANY[:30], fractions=SHARES, seed=42)
    assert {name.rpartition("/")[0] for name in lists["val"]} == {"P/4"}


def test_what_is_written_is_what_source_split_reads(tmp_path: Path) -> None:
    lists = make_lists(MANY, fractions=SHARES, seed=1)
    folder = place(tmp_path / "lists")
    done = write_lists(folder, lists, MANY)
    assert done.written == ("train.txt", "val.txt")
    assert read_lists(str(tmp_path / "lists")) == lists
    assert sum(done.subjects.values()) == 200
    assert write_lists(folder, lists, MANY).written == ()
    other = make_lists(MANY, fractions={"train": 1.0}, seed=1)
    with pytest.raises(UserError, match=r"2 other lists \(train\.txt and val\.txt\)\. Choose another folder"):
        write_lists(folder, other, MANY)
    assert write_lists(folder, other, MANY, overwrite=True).written == ("train.txt",)
    assert read_lists(str(tmp_path / "lists")) == other


def test_the_command_splits_outfits_of_mvhumannet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k in range(12):
        frames.write(tmp_path / "mvh", f"Part_01/{100_000 + k}", frames=1)
    folder = tmp_path / "lists"
    arguments = [
        "split",
        "mvhumannet",
        str(folder),
        "--seed",
        "5",
        "--override",
        f"source.root={tmp_path / 'mvh'}",
    ]
    for state in ("written", "kept"):
        with pytest.raises(SystemExit) as done:
            main(arguments)
        assert done.value.code == 0
        shown = capsys.readouterr().out
        assert shown.count(f", {state}") == 2
    lists = read_lists(str(folder))
    assert sorted(lists) == ["train", "val"]
    assert len(lists["train"]) + len(lists["val"]) == 12
    assert f"{folder}/val.txt: {len(lists['val'])} recording" in shown
    with pytest.raises(SystemExit) as refused:
        main([*arguments, "--by", "dancer"])
    assert refused.value.code == 2
