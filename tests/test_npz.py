"""The .npz reader against numpy and zipfile as oracles, and against archives written byte by byte."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyarrow import fs as pafs

from mocap_ray.npz import NpzError, open_npz
from mocap_ray.npz.directory import DIRECTORY_LIMIT
from mocap_ray.npz.sources import TAIL, WHOLE_FILE
from mocap_ray.storage import Place, place
from tests.archives import rawzip
from tests.archives.rawzip import Part

DTYPES = st.one_of(
    hnp.floating_dtypes(endianness="?"),
    hnp.integer_dtypes(endianness="?"),
    hnp.boolean_dtypes(),
    hnp.unicode_string_dtypes(max_len=9),
    hnp.byte_string_dtypes(max_len=9),
    hnp.complex_number_dtypes(),
)
ARRAYS = DTYPES.flatmap(
    lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
NAMES = st.text("abcdefgh_XYZ0189 é", min_size=1, max_size=12)
A = np.arange(6.0).reshape(2, 3)


def write(folder: Path, data: bytes) -> Place:
    (folder / "f.npz").write_bytes(data)
    return place(folder)


def read_all(where: Place) -> dict[str, np.ndarray]:
    with open_npz(where, "f.npz") as file:
        return {name: file.read(name) for name in file.members}


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def not_local(where: Place) -> Place:
    """The same folder, read through the code for buckets."""
    return Place(pafs.SubTreeFileSystem(where.path, pafs.LocalFileSystem()), "", "sub")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrays=st.dictionaries(NAMES, ARRAYS, min_size=0, max_size=5),
    packed=st.booleans(),
    order=st.sampled_from("CF"),
)
def test_everything_that_numpy_saves_is_read_as_numpy_reads_it(
    arrays: dict[str, np.ndarray], packed: bool, order: str, tmp_path: Path
) -> None:
    arrays = {name: np.asarray(a, order=order) for name, a in arrays.items() if name != "file"}
    (np.savez_compressed if packed else np.savez)(tmp_path / "f.npz", **arrays)
    with np.load(tmp_path / "f.npz") as oracle:
        for where in (place(tmp_path), not_local(place(tmp_path))):
            found = read_all(where)
            assert set(found) == set(oracle.files)
            assert all(same(found[name], oracle[name]) for name in oracle.files)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=4),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    streamed=st.booleans(),
    comment=st.binary(max_size=40),
)
def test_every_archive_that_zipfile_writes_is_read(
    contents: dict[str, np.ndarray], method: int, streamed: bool, comment: bytes, tmp_path: Path
) -> None:
    class Pipe(io.BytesIO):  # not seekable: sizes follow the members in data descriptors
        def seekable(self) -> bool:
            return not streamed

        def seek(self, *args: int) -> int:
            if streamed:
                raise io.UnsupportedOperation
            return super().seek(*args)

        def tell(self) -> int:
            if streamed:
                raise io.UnsupportedOperation
            return super().tell()

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as archive:
        archive.comment = comment
        archive.writestr("notes.txt", "no array")
        for name, value in contents.items():
            archive.writestr(f"{name}.npy", rawzip.npy(value))
    found = read_all(write(tmp_path, pipe.getvalue()))
    assert set(found) == set(contents)
    assert all(
        same(found[name], np.ascontiguousarray(contents[name]).reshape(contents[name].shape))
        for name in found
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"zip64": True},
        {"comment": b"PK\5\6 a comment"},
        {"zip64": True, "comment": b"x" * 70},
        {"gap": b"junk"},
    ],
)
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_layouts_written_byte_by_byte_are_read(
    options: dict, deflate: bool, version: int, tmp_path: Path
) -> None:
    parts = [
        Part("a.npy", rawzip.npy(A, version=version), deflate, local_extra=b"\xfe\xca\4\0abcd"),
        Part("b.npy", rawzip.npy(np.array("text")), deflate, zip64=True),
        Part("c.txt", b"no array"),
    ]
    data = rawzip.archive(parts, **options)
    found = read_all(write(tmp_path, data))
    assert set(found) == {"a", "b"}
    assert same(found["a"], A)
    assert str(found["b"]) == "text"
    if b"PK" not in options.get("comment", b""):  # zipfile takes the last signature for the end record
        with np.load(io.BytesIO(data)) as oracle:  # also checks this writer against numpy
            assert same(oracle["a"], A)


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 3L), }",  # Python 2
        '{"shape": (2, 3), "descr": "<f8", "fortran_order": False}',  # another order, other quotes
        "{'descr':'<f8','fortran_order':False,'shape':(2,3)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3)}",
    ],
)
def test_other_spellings_of_the_header_are_read(text: str, tmp_path: Path) -> None:
    found = read_all(write(tmp_path, rawzip.archive([Part("a.npy", rawzip.npy(A, text=text))])))
    assert same(found["a"], A)


def test_fortran_order_is_kept(tmp_path: Path) -> None:
    text = "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 2), }"
    found = read_all(write(tmp_path, rawzip.archive([Part("a.npy", rawzip.npy(A, text=text))])))
    assert np.array_equal(found["a"], A.T)


def test_stored_members_are_read_only_views_that_outlive_the_file(tmp_path: Path) -> None:
    big = np.random.default_rng(0).normal(size=(2000, 156))
    where = write(tmp_path, rawzip.npz({"poses": big}))
    found = read_all(where)["poses"]
    assert not found.flags.writeable
    assert not found.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1
    (tmp_path / "f.npz").unlink()
    assert np.array_equal(found, big)


def test_no_handle_stays_open_after_the_views_are_deleted(tmp_path: Path) -> None:
    where = write(tmp_path, rawzip.npz({"a": A}))
    read_all(where)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        read_all(where)
    with pytest.raises(NpzError):
        open_npz(write(tmp_path, b"nothing"), "f.npz")
    assert len(os.listdir("/proc/self/fd")) == before


def test_headers_can_be_listed_without_reading_the_numbers(tmp_path: Path) -> None:
    data = bytearray(rawzip.npz({"a": A, "gender": np.array("male")}))
    data[data.index(A.tobytes())] ^= 1  # the checksum is wrong, but not checked
    with open_npz(write(tmp_path, bytes(data)), "f.npz") as file:
        head = file.describe("a")
        assert (head.dtype, head.shape) == (np.dtype("<f8"), (2, 3))
        assert file.describe("gender").dtype.kind == "U"
        assert "a" in file
        assert file.keys == "a, gender"
        with pytest.raises(NpzError, match="checksum of 'a'"):
            file.read("a")


def test_the_error_for_a_missing_member_lists_those_that_exist(tmp_path: Path) -> None:
    where = write(tmp_path, rawzip.npz({"b": A, "a": A}))
    with (
        open_npz(where, "f.npz") as file,
        pytest.raises(NpzError, match=r"no 'poses' \(keys: a, b\)") as caught,
    ):
        file.read("poses")
    assert caught.value.kind == "missing_keys"


def test_thousands_of_members_are_read_and_millions_are_refused(tmp_path: Path) -> None:
    many = [Part(f"member{k:05d}.npy", rawzip.npy(np.array(k))) for k in range(6000)]
    for where in (write(tmp_path, rawzip.archive(many)), not_local(place(tmp_path))):
        with open_npz(where, "f.npz") as file:
            assert len(file.members) == 6000
            assert int(file.read("member05999")) == 5999
            assert len(file.keys) < 1000
    long = [Part("x" * 60_000 + f"{k}.npy", b"") for k in range(DIRECTORY_LIMIT // 60_000 + 1)]
    with pytest.raises(NpzError, match="its directory has"):
        open_npz(write(tmp_path, rawzip.archive(long)), "f.npz")


def test_a_size_that_changed_since_the_listing_is_an_io_error(tmp_path: Path) -> None:
    where = write(
        tmp_path, rawzip.npz({"a": A})[:-9]
    )  # looks truncated, but it was longer when it was listed
    for each in (where, not_local(where)):
        with pytest.raises(OSError, match="it changed since"):
            open_npz(each, "f.npz", size=(tmp_path / "f.npz").stat().st_size + 9)
        with pytest.raises(NpzError):
            open_npz(each, "f.npz", size=(tmp_path / "f.npz").stat().st_size)


def test_a_file_that_shrinks_while_it_is_open_is_an_io_error_and_no_bus_error(tmp_path: Path) -> None:
    where = write(tmp_path, rawzip.npz({"a": np.zeros((5000, 156))}))
    with open_npz(where, "f.npz") as file:
        os.truncate(tmp_path / "f.npz", 100)
        with pytest.raises(OSError, match="it changed since"):
            file.read("a")


def test_a_missing_file_is_an_io_error(tmp_path: Path) -> None:
    for where in (place(tmp_path), not_local(place(tmp_path))):
        with pytest.raises(FileNotFoundError):
            open_npz(where, "none.npz")


@pytest.mark.parametrize("size", [0, 1, 21, 22, 100])
def test_every_truncation_is_unreadable(size: int, tmp_path: Path) -> None:
    data = rawzip.npz({"a": A})[:size]
    for where in (write(tmp_path, data), not_local(place(tmp_path))):
        with pytest.raises(NpzError) as caught:
            open_npz(where, "f.npz")
        assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("large", [False, True])
def test_remote_ranges_give_the_same_arrays(large: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    arrays = {
        "poses": rng.normal(size=(900 if large else 30, 156)),
        "trans": A,
        "rest": rng.normal(size=TAIL // 7),
    }
    where = write(tmp_path, rawzip.npz(arrays))
    assert ((tmp_path / "f.npz").stat().st_size > WHOLE_FILE) == large
    found = read_all(not_local(where))
    assert all(same(found[name], arrays[name]) for name in arrays)


def test_errors_can_be_pickled() -> None:
    back = pickle.loads(pickle.dumps(NpzError("unsafe", "a sentence")))
    assert (back.kind, str(back)) == ("unsafe", "a sentence")
