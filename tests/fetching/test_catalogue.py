"""The list of addresses: the shipped one, and those of users."""

from __future__ import annotations

from pathlib import Path

import pytest

from mocap_ray.archives.folders import SUB_DATASETS
from mocap_ray.archives.segments import key
from mocap_ray.body.files import GENDERS, expected
from mocap_ray.errors import UserError
from mocap_ray.fetching.catalogue import ADDRESSES, load_catalogue


def test_the_shipped_addresses_are_those_of_the_project() -> None:
    shipped = load_catalogue()
    file = shipped.archive_file("CMU")
    assert file.address == (
        "https://download.is.tue.mpg.de/download.php?domain=amass&resume=1"
        "&sfile=amass_per_dataset/smplh/gender_specific/mosh_results/CMU.tar.bz2"
    )
    assert file.choice == "CMU: SMPL+H G"
    assert "smplx/neutral/mosh_results/CMU" in shipped.archive_file("CMU", release="smplx-n").address
    assert shipped.archive_file("CMU", release="smplx-n").name == "CMU.smplx-n.tar.bz2"
    assert all(s.download.startswith("https://download.is.tue.mpg.de/") for s in shipped.sites.values())


def test_a_sub_dataset_without_smplh_comes_as_smplx() -> None:
    file = load_catalogue().archive_file("CNRS")
    assert (file.title, file.name) == ("CNRS, SMPL-X G", "CNRS.tar.bz2")
    with pytest.raises(UserError, match="not published as SMPL\\+H G"):
        load_catalogue().archive_file("CNRS", release="smplh-g")


def test_names_presets_and_spellings() -> None:
    shipped = load_catalogue()
    assert shipped.choose(["recommended"]) == ["CMU", "BMLmovi", "ACCAD", "HDM05", "TotalCapture"]
    assert shipped.choose(["BioMotionLab_NTroje", "bmlrub", "subset"]) == [
        "BMLrub",
        "HumanEva",
        "Transitions",
    ]
    assert len(shipped.choose(["all"])) == 24
    with pytest.raises(UserError, match="Did you mean BMLmovi"):
        shipped.choose(["BMLmovie"])


def test_the_spellings_are_those_of_the_archive_and_of_the_index() -> None:
    shipped = load_catalogue()
    assert {name for name in SUB_DATASETS if shipped.canonical(name) is None} == set()
    for name, entry in shipped.sub_datasets.items():
        for spelling in entry.spellings:
            assert key(f"{name}/a/b") == key(f"{spelling}/a/b"), spelling


def test_body_models_go_to_their_expected_paths() -> None:
    bodies = load_catalogue().bodies
    for gender in GENDERS:
        assert bodies["smplh"].target(f"smplh/{gender}/model.npz") == expected("smplh", gender)
        assert bodies["smplx"].target(f"models/smplx/SMPLX_{gender.upper()}.npz") == expected("smplx", gender)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("https://download", "http://download", "expected https://"),
        ("https://download", "https://ann:pw@download", "comes? from the environment"),
        ("sfile={file}", "sfile=CMU", r"expected \{file\}"),
        ("[HumanEva, Transitions]", "[HumanEva, Moon]", "'Moon' is no sub-dataset"),
        ("site: mano", "site: manu", "'manu' is no site"),
        ("presets:", "preset:", "presets|preset"),
        ("family: smplh", "family: flame", "family"),
    ],
)
def test_an_invalid_file_of_addresses_is_explained(tmp_path: Path, old: str, new: str, match: str) -> None:
    text = ADDRESSES.read_text()
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=match) as error:
        load_catalogue(path)
    assert "ann:pw" not in str(error.value)


def test_a_file_of_addresses_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_catalogue(tmp_path / "none.yaml")
