from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from mocap_ray.archives import ARCHIVES, amass, find_archive, named_split, published_split, short_title
from mocap_ray.archives.amass import discover
from mocap_ray.archives.splits import FRACTIONS, assign, checked_lists, moved, read_lists
from mocap_ray.dataset.options import Fractions
from mocap_ray.errors import UserError
from mocap_ray.records import Recording
from mocap_ray.storage import place


def recording(name: str) -> Recording:
    dataset, subject = name.split("/")[:2]
    return Recording(dataset, name, f"{dataset}/{subject}", f"{name}.npz", 1, "1")


MANY = [recording(f"{d}/s{s}/{k}_poses") for d in ("CMU", "KIT") for s in range(300) for k in range(2)]


def test_a_subject_is_in_one_split_also_after_new_data_is_added() -> None:
    few, all_of_them = assign(MANY[::3], split="subject"), assign(list(reversed(MANY)), split="subject")
    assert all(all_of_them[name] == split for name, split in few.items())
    homes = {(r.subject, all_of_them[r.name]) for r in MANY}
    assert len(homes) == 600


def test_the_splits_have_about_their_fractions() -> None:
    counts = Counter(assign(MANY, split="subject").values())
    for name, share in FRACTIONS.items():
        assert abs(counts[name] / len(MANY) - share) < 0.04  # 3 sigma of 600 subjects
    swapped = Counter(
        assign(MANY, split="subject", fractions={"train": 0.5, "val": 0.0, "test": 0.5}).values()
    )
    assert set(swapped) == {"train", "test"}


def test_hashes_never_change() -> None:
    # Pinned: a data set made last year has to get the same split today.
    subjects = ["CMU/01", "CMU/02", "KIT/3", "ACCAD/Female1", "CMU/88", "SFU/0005", "DemoGym/s03"]
    found = assign(
        [recording(f"{s}/a") for s in subjects], split="subject", fractions={"train": 0.5, "test": 0.5}
    )
    assert [found[f"{s}/a"] for s in subjects] == ["test", "test", "test", "train", "train", "train", "test"]


def test_the_published_split_depends_on_the_sub_dataset_in_every_spelling() -> None:
    homes = {
        "val": ["HumanEva", "MPI_HDM05", "HDM05", "SFU", "MPI_mosh", "MoSh"],
        "test": ["Transitions_mocap", "Transitions", "SSM_synced", "SSM"],
        "train": ["CMU", "KIT", "ACCAD", "BMLmovi", "SomethingNew"],
    }
    recordings = [recording(f"{d}/s/a") for names in homes.values() for d in names]
    found = assign(recordings, split="published", published=amass.published)
    assert all(found[f"{d}/s/a"] == split for split, names in homes.items() for d in names)


def test_none_assigns_everything_to_train() -> None:
    assert set(assign(MANY[:3], split="none").values()) == {"train"}


def pasted(message: str) -> list[dict[str, Any]]:
    """The value of each `--override` in a message, as a shell and the reader of configs see it."""
    lines = [line.partition("--override ")[2] for line in message.splitlines() if "--override " in line]
    words = [shlex.split(line, comments=True) for line in lines]
    assert all(len(w) == 1 for w in words), message
    return [{key: yaml.safe_load(value)} for (w,) in words for key, _, value in [w.partition("=")]]


def people(count: int) -> list[Recording]:
    return [recording(f"Lab/p{k}/take{j}") for k in range(count) for j in range(2)]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_subjects_are_an_error_whose_overrides_work(count: int) -> None:
    with pytest.raises(UserError, match=rf"{count} subjects? in 1 sub-dataset") as error:
        assign(people(count), split="subject")
    first, second, _ = pasted(str(error.value))
    fractions = Fractions(**first["source.fractions"]).model_dump()
    found = Counter(assign(people(count), split="subject", fractions=fractions).values())
    assert {split for split, share in fractions.items() if share} == set(found)
    assert len(assign(people(count), split=second["source.split"])) == 2 * count


def test_an_empty_published_split_is_an_error_whose_overrides_work() -> None:
    cmu = [recording(f"CMU/{k:02d}/a") for k in range(5)]
    with pytest.raises(
        UserError,
        match=r"in split val or test \(train 5, val 0, test 0; 5 recordings of 5 subjects in 1 sub-dataset",
    ) as error:
        assign(cmu, split="published", published=amass.published)
    first, second, _ = pasted(str(error.value))
    fractions = Fractions(**first["source.fractions"]).model_dump()
    assert len(assign(cmu, split="published", published=amass.published, fractions=fractions)) == 5
    assert len(assign(cmu, split=second["source.split"])) == 5


def test_fractions_that_do_not_sum_to_one_name_some_that_do() -> None:
    for wrong in ({"test": 0.0}, {"train": 1.0}, {"train": 0.0, "val": 0.0, "test": 0.0}):
        with pytest.raises(ValidationError, match="expected 1") as error:
            Fractions(**wrong)
        (found,) = pasted(str(error.value).partition(" [type=")[0])
        assert Fractions(**found["source.fractions"])


@pytest.mark.parametrize("count", range(3, 60))
def test_few_subjects_fill_every_split_by_whole_subjects(count: int) -> None:
    found = assign(people(count), split="subject")
    assert set(found.values()) == {"train", "val", "test"}
    assert len({(r.subject, found[r.name]) for r in people(count)}) == count
    assert found == assign(list(reversed(people(count))), split="subject")
    note = moved(people(count), found)
    by_hash = _by_hash(people(count))
    others = {r.subject for r in people(count) if found[r.name] != by_hash[r.subject]}
    # Only what fills an empty split is moved, and only then.
    assert len(others) == len({"train", "val", "test"} - set(by_hash.values()))
    assert (note is None) == (not others)
    if note:
        assert all(subject in note for subject in others)
        assert "nobody moves any more" in note


def _by_hash(recordings: list[Recording]) -> dict[str, str]:
    """Subject -> split by its hash alone, written from the published rule."""
    found = {}
    for subject in {r.subject for r in recordings}:
        number = int(hashlib.sha256(subject.encode()).hexdigest()[:16], 16) / 2**64
        found[subject] = "train" if number < 0.8 else "val" if number < 0.9 else "test"
    return found


def test_nobody_moves_once_the_hashes_fill_every_split() -> None:
    for count in (3, 8, 20, 33, 60, 100):
        found, by_hash = assign(people(count), split="subject"), _by_hash(people(count))
        if set(by_hash.values()) == {"train", "val", "test"}:
            assert all(found[r.name] == by_hash[r.subject] for r in people(count))
            assert all(
                assign(people(more), split="subject")[name] == split
                for more in (count + 1, count + 17)
                for name, split in found.items()
            )


def test_the_93_takes_of_12_subjects_are_split(shared: Path) -> None:
    recordings = discover(place(shared / "data" / "amass"))
    found = assign(recordings, split="subject")
    subjects = {r.subject: found[r.name] for r in recordings}
    assert Counter(subjects.values()) == {"train": 9, "test": 2, "val": 1}
    note = moved(recordings, found)
    assert note is not None
    assert "12 subjects leave val empty, so a whole subject moves there: CMU/08 from test to val." in note


@pytest.mark.parametrize("fractions", [{"train": 0.8, "val": 0.1}, {"train": 1.2, "val": -0.2}])
def test_invalid_fractions_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares from 0 to 1 that sum to 1"):
        assign(MANY, split="subject", fractions=fractions)


def test_the_most_specific_entry_of_a_list_decides() -> None:
    names = ["CMU/01/a", "CMU/01/b", "CMU/02/a", "KIT/3/a", "SFU/5/a", "SFU/55/a"]
    lists = {"train": ["CMU", "SFU/5"], "val": ["./CMU/01"], "test": ["CMU/01/b.npz"]}
    found = assign([recording(n) for n in names], split="lists.yaml", lists=lists)
    assert found == {
        "CMU/01/a": "val",
        "CMU/01/b": "test",
        "CMU/02/a": "train",
        "SFU/5/a": "train",
    }  # others left out
    rest = assign([recording(n) for n in names], split="lists.yaml", lists={**lists, "other": ["*"]})
    assert rest == {**found, "KIT/3/a": "other", "SFU/55/a": "other"}


def test_lists_that_conflict_or_match_no_recording_are_refused() -> None:
    with pytest.raises(ValueError, match="'CMU' is in two lists, train and val"):
        assign(MANY, split="x.yaml", lists={"train": ["CMU"], "val": ["CMU"]})
    with pytest.raises(ValueError, match=r"in split val \(train 600, val 0"):
        assign(MANY, split="x.yaml", lists={"train": ["CMU"], "val": ["CMV"]})


def test_a_folder_of_text_files_is_a_split(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("# mine\nCMU\n\n", encoding="utf-8-sig")
    (tmp_path / "val.txt").write_text("KIT/s1\r\nKIT/s2/0_poses\r\n")
    (tmp_path / "empty.txt").write_text("")
    assert read_lists(str(tmp_path)) == {"empty": [], "train": ["CMU"], "val": ["KIT/s1", "KIT/s2/0_poses"]}
    found = Counter(assign(MANY, split=str(tmp_path)).values())
    assert found == {"train": 600, "val": 3}


@pytest.mark.parametrize(
    "lists", [["CMU"], "CMU", {"train": "CMU"}, {"val": ["CMU", 7]}, {"val": None}, {1: ["CMU"]}, None]
)
def test_a_yaml_file_of_something_else_than_lists_is_refused(lists: Any) -> None:
    with pytest.raises(UserError, match=r"source\.split x\.yaml: found .* Expected lists of texts such as"):
        checked_lists(lists, "x.yaml")


@pytest.mark.parametrize("split", ["subjekt", "lists.yaml", "."])
def test_an_unknown_split_is_refused(split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists.yaml").write_text("train: []")
    with pytest.raises(ValueError, match=r"unknown split\. Expected subject, published, none"):
        assign(MANY, split=split)


@pytest.mark.parametrize("split", ["published", "amass"])
def test_published_and_the_name_of_the_archive_are_the_same_split(split: str) -> None:
    archive = find_archive("amass")
    assert named_split(archive, split)
    found = published_split(archive, split)
    assert found is not None
    name, rule = found
    # One name in the recipe, so that both give the same recipe.
    assert name == "amass"
    assert [rule(recording(n)) for n in ("SFU/1/a", "SSM/1/a", "CMU/1/a")] == ["val", "test", "train"]


def test_a_custom_archive_can_use_the_published_split_of_another() -> None:
    own = replace(ARCHIVES["amass"], name="own", published=None)
    assert published_split(own, "amass") == ("amass", amass.published)
    assert published_split(own, "subject") is None
    with pytest.raises(UserError, match=r"archive own has no published split\. .*: amass\."):
        published_split(own, "published")
    rule = replace(own, published=lambda r: "test")
    found = published_split(rule, "own")
    assert found is not None
    assert found[0] == "own"


def test_titles_of_recordings_come_from_their_archive() -> None:
    assert short_title("amass", "CMU/01/01_01_stageii") == "01_01"
    assert short_title("amass", "CMU/01/01_01_poses") == "01_01"
    assert short_title("my.module:ARCHIVE", "CMU/01/01_01_poses") == "01_01_poses"
