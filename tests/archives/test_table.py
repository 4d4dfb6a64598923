"""What holds for every archive of the table."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from mocap_ray.archives import ARCHIVES, Archive, named_split
from mocap_ray.config import shipped
from mocap_ray.dataset.options import SourceOptions
from mocap_ray.errors import UserError
from mocap_ray.runs.extraction import load_extraction
from mocap_ray.storage import place


@pytest.fixture(params=ARCHIVES.values(), ids=ARCHIVES)
def archive(request: pytest.FixtureRequest) -> Archive:
    found = request.param
    assert isinstance(found, Archive)
    return found


def test_an_archive_has_a_config_of_its_own(archive: Archive) -> None:
    configs = [load_extraction(c.name) for c in shipped() if c.kind == "extract"]
    assert archive.name in {c.source.archive for c in configs}


def test_an_archive_says_how_to_get_it_where_there_is_none(archive: Archive, tmp_path: Path) -> None:
    for folder, said in ((tmp_path / "nowhere", "no such folder"), (tmp_path, archive.register)):
        with pytest.raises(UserError) as caught:
            archive.discover(place(folder))
        assert said in str(caught.value)
        assert archive.register in str(caught.value)


def test_the_name_of_a_sub_dataset_is_no_path(archive: Archive, tmp_path: Path) -> None:
    for dataset in ("a/b", "..", "a=b", ""):
        with pytest.raises(UserError, match="expected the plain name of a sub-dataset"):
            archive.discover(place(tmp_path), dataset=dataset)


def test_the_options_of_an_archive_are_keys_of_the_config_and_arguments_of_read(archive: Archive) -> None:
    assert set(archive.options) <= set(SourceOptions.model_fields)
    assert set(archive.options) <= set(inspect.signature(archive.read).parameters)
    assert archive.configured(**dict.fromkeys(archive.options)) is archive


def test_names_of_splits_are_names_of_one_archive(archive: Archive) -> None:
    for name in archive.lists.names if archive.lists else ():
        assert [a.name for a in ARCHIVES.values() if named_split(a, name)] == [archive.name]
