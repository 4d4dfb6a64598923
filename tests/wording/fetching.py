"""What `archive` and `body fetch` say: lists, steps by hand, archives that are refused, and the check of a folder."""

from __future__ import annotations

import io

import pytest

from tests.fetching.archives import npz, tar
from tests.wording.scenes import House, scene


@scene
def archives_that_can_be_fetched(house: House) -> str:
    return house.typed("archive", "list")


@scene
def sub_dataset_that_is_unknown(house: House) -> str:
    return house.typed("archive", "fetch", "BMLmovie")


@scene
def release_that_a_sub_dataset_does_not_have(house: House) -> str:
    return house.typed("archive", "fetch", "CNRS", "--release", "smplh-g")


@scene
def login_without_a_terminal(house: House) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO())
        return house.typed("archive", "fetch", "CMU", "--out", house.root / "packed_none")


@scene
def download_by_hand(house: House) -> str:
    return house.typed(
        "archive", "fetch", "SFU", "CNRS", "--manual", "--timeout", 0, "--out", house.root / "by_hand"
    )


@scene
def body_models_by_hand(house: House) -> str:
    words = ("--manual", "--timeout", 0, "--out", house.root / "by_hand")
    return house.typed("body", "fetch", "smplh", "smplx", "smpl", *words)


@scene
def body_models_of_no_family(house: House) -> str:
    return house.typed("body", "fetch", "flame")


@scene
def archives_of_strangers(house: House) -> str:
    packed = house.root / "strangers"
    packed.mkdir()
    (packed / "CMU.tar.bz2").write_bytes(tar({"CMU/01/01_01_poses.npz": npz()}))
    (packed / "EKUT.tar.bz2").write_bytes(tar({"EKUT/../../.ssh/keys": b"x"}))
    (packed / "KIT.tar.bz2").write_bytes(tar({"KIT/3/a_poses.npz": npz()})[:-20])
    return house.typed("archive", "unpack", packed, "--out", house.root / "unpacked", "--workers", 1)


@scene
def folder_without_archives(house: House) -> str:
    return house.typed("archive", "unpack", house.archive, "--out", house.root / "unpacked")


@scene
def check_of_an_archive(house: House) -> str:
    return house.typed("archive", "check", house.archive, "--body", house.bodies)


@scene
def check_without_body_models(house: House) -> str:
    return house.typed("archive", "check", house.archive, "--body", house.root / "no_bodies")


@scene
def addresses_that_are_invalid(house: House) -> str:
    path = house.written("addresses.yaml", "sites: {}\n")
    return house.typed("archive", "list", "--addresses", path)
