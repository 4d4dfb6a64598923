"""Downloads by hand: exact choices, and waiting for whole files."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mocap_ray.fetching.catalogue import load_catalogue
from mocap_ray.fetching.download import DownloadFailed
from mocap_ray.fetching.manual import steps, wait_for
from tests.fetching.archives import npz, tar

FILES = [load_catalogue().archive_file(name) for name in ("CMU", "CNRS")]
DATA = tar({"CMU/01/a_poses.npz": npz()})


def test_the_steps_name_pages_and_exact_choices(tmp_path: Path) -> None:
    catalogue = load_catalogue()
    text = "\n".join(steps([*FILES, catalogue.body_file("smplh")], catalogue, tmp_path))
    assert f"CMU: SMPL+H G  ->  {tmp_path}/CMU.tar.bz2" in text
    assert f"CNRS: SMPL-X G  ->  {tmp_path}/CNRS.tar.bz2" in text
    assert "Extended SMPL+H model" in text
    for site in (catalogue.sites["amass"], catalogue.sites["mano"]):
        assert all(page in text for page in (site.page, site.licence, site.account))


def test_files_that_arrive_while_it_waits(tmp_path: Path) -> None:
    folder = tmp_path / "later"

    def save() -> None:
        folder.mkdir()
        for file in FILES:
            (folder / f"{file.name}.crdownload").write_bytes(DATA)
            (folder / f"{file.name}.crdownload").rename(folder / file.name)

    timer = threading.Timer(0.05, save)
    timer.start()
    found: list[str] = []
    paths = wait_for(
        FILES,
        folder,
        timeout_s=60.0,
        found=lambda file, path: found.append(file.name),
        notify=lambda text: None,
        poll_s=0.01,
    )
    timer.join()
    assert [p.name for p in paths] == ["CMU.tar.bz2", "CNRS.tar.bz2"]
    assert sorted(found) == ["CMU.tar.bz2", "CNRS.tar.bz2"]


def test_a_damaged_file_is_reported_once_and_not_taken(tmp_path: Path) -> None:
    (tmp_path / "CMU.tar.bz2").write_bytes(DATA[:-20])
    (tmp_path / "CNRS.tar.bz2").write_bytes(DATA)
    said: list[str] = []
    with pytest.raises(DownloadFailed, match=r"1 file not there yet: CMU\.tar\.bz2"):
        wait_for(
            FILES, tmp_path, timeout_s=0.2, found=lambda file, path: None, notify=said.append, poll_s=0.01
        )
    assert len(said) == 1
    assert "cut short or damaged" in said[0]
