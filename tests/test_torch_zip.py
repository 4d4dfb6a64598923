"""Files of `torch.save`, read without torch: all types and layouts, nothing run, nothing read that is not asked for."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from mocap_ray.errors import UserError
from mocap_ray.pickles import StoredTensor, UnsafePickle, load_torch_zip


def opened(path: Path) -> Any:
    with path.open("rb") as file:
        return load_torch_zip(file, where=path.name)


def numbers(path: Path, tensor: StoredTensor) -> bytes:
    with path.open("rb") as file:
        return tensor.read(file.fileno(), where=path.name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "saved.pt"


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_numbers_are_those_that_torch_saved(path: Path, dtype: torch.dtype) -> None:
    tensor = (torch.arange(24) % 7).view(2, 3, 4).to(dtype)
    torch.save({"a": {"b": tensor}, "c": [1, "two", None]}, path)
    found = opened(path)
    assert found["c"] == [1, "two", None]
    stored = found["a"]["b"]
    assert (stored.dtype, stored.shape) == (str(dtype).removeprefix("torch."), (2, 3, 4))
    assert numbers(path, stored) == tensor.view(torch.uint8).numpy().tobytes()


def test_views_of_one_storage_are_read_as_they_look(path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    views = [whole, whole.T, whole[1:], whole[:, 1:3], whole[1, 2], whole[:1].expand(5, 4), whole[:0]]
    torch.save(views, path)
    for stored, view in zip(opened(path), views, strict=True):
        assert stored.shape == tuple(view.shape)
        assert numbers(path, stored) == view.contiguous().numpy().tobytes()


def test_no_code_of_the_file_is_run(path: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "run"),)

    torch.save({"network": Evil()}, path)
    with pytest.raises(UnsafePickle, match=r"names \w+\.mkdir"):
        opened(path)
    assert not (tmp_path / "run").exists()


def test_a_changed_byte_is_found_in_the_tensor_that_has_it(path: Path) -> None:
    torch.save({"good": torch.zeros(100), "bad": torch.ones(100)}, path)
    found = opened(path)
    data = bytearray(path.read_bytes())
    data[found["bad"].start + 7] ^= 1
    path.write_bytes(data)
    assert numbers(path, found["good"]) == bytes(400)
    with pytest.raises(UserError, match=r"checksum .* damaged"):
        numbers(path, found["bad"])


@pytest.mark.parametrize("cut", [10, 1000, -1])
def test_a_part_of_a_file_is_refused(path: Path, cut: int) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="a part of one"):
        opened(path)


def test_other_zip_archives_and_pickles_are_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "none")
    with pytest.raises(UserError, match=r"without data\.pkl"):
        opened(path)
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"torch 1\.6 or later"):
        opened(path)


def test_storages_that_are_compressed_or_too_short_are_refused(path: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    for name, method, keep in (("packed", zipfile.ZIP_DEFLATED, 4000), ("short", zipfile.ZIP_STORED, 3996)):
        other = tmp_path / name
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
            for info in old.infolist():
                data = old.read(info)[: keep if info.filename.endswith("data/0") else None]
                new.writestr(info.filename, data, method if info.filename.endswith("data/0") else None)
        with pytest.raises(UserError, match="storage of 1000 numbers"):
            opened(other)
