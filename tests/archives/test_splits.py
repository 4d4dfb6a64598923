from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mocap_ray.archives import ARCHIVES, amass, find_archive, named_split, published_split, short_title
from mocap_ray.archives.splits import FRACTIONS, assign, read_lists
from mocap_ray.errors import UserError
from mocap_ray.records import Recording


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


def test_an_empty_split_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(
        ValueError,
        match=r"in split val or test \(train 2, val 0, test 0; 2 recordings of 1 subject in 1 sub-dataset",
    ) as e:
        assign([recording("CMU/01/a"), recording("CMU/01/b")], split="published", published=amass.published)
    for remedy in ("fraction to 0", "source.split to none", "lists"):
        assert remedy in str(e.value)
    one = [recording("CMU/01/a")]
    fractions = {"train": 1.0, "val": 0.0, "test": 0.0}
    assert len(assign(one, split="published", published=amass.published, fractions=fractions)) == 1


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
