"""The restricted unpickler: reads supported values exactly, and runs no code of the pickle."""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import os
import pickle
import re
import struct
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from mocap_ray.pickles import UnsafePickle, load

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
_keys = st.text(max_size=5) | st.integers(-1000, 1000) | st.tuples(st.integers(0, 9), st.text(max_size=2))
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(_keys, inner, max_size=4)
        | st.sets(st.integers(-1000, 1000) | st.text(max_size=3), max_size=3)
    ),
    max_leaves=12,
)


@given(value=_values, protocol=st.sampled_from(PROTOCOLS))
@settings(max_examples=300, deadline=None)
def test_plain_values_equal_those_of_pythons_unpickler(value: object, protocol: int) -> None:
    assert load(pickle.dumps(value, protocol), where="x") == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(12).reshape(3, 4)[::2, 1:],
        np.arange(3, dtype=">f4"),
        np.array(["neutral", "äh"]),
        np.array([b"male", b"x"]),
        np.zeros((0, 3), np.float32),
        np.array(True),
        np.arange(4, dtype=np.complex64),
        np.array([{"a": (1, 2)}, None, "text"], dtype=object)[:2].reshape(1, 2),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_arrays_are_equal_bit_by_bit(array: np.ndarray, protocol: int) -> None:
    read = load(io.BytesIO(pickle.dumps({"k": [array, array]}, protocol)), where="x")
    assert isinstance(read, dict)
    first, second = read["k"]
    assert first is second
    assert (first.dtype, first.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(first, array)
    assert first.flags.writeable


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_dictionaries_and_sparse_matrices_are_read(protocol: int) -> None:
    dense = np.diag([1.0, 2.0, 0.0])[:2]
    value = OrderedDict(scale=np.float32(2.5), count=np.int64(3), gender=np.str_("male"))
    read = load(pickle.dumps(value, protocol), where="x")
    assert read == value
    assert isinstance(read, OrderedDict)
    for kind in ("csc", "csr", "coo"):
        for matrix in (sparse.csc_matrix(dense).asformat(kind), sparse.csc_array(dense).asformat(kind)):
            back = load(pickle.dumps(matrix, protocol), where="x")
            np.testing.assert_array_equal(back.toarray(), dense)  # type: ignore[attr-defined]


def test_old_and_new_numpy_module_names_are_equivalent() -> None:
    data = pickle.dumps(np.arange(3.0), 2)
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    assert new in data or old in data
    for name in (old, new):
        renamed = data.replace(new, name) if new in data else data.replace(old, name)
        np.testing.assert_array_equal(load(renamed, where="x"), np.arange(3.0))


def test_sparse_matrix_of_protocol_0_is_rebuilt_by_its_state() -> None:
    """`copy_reg._reconstructor`, quoted strings and text numbers, as Python 2 wrote by default."""

    def array(values: np.ndarray, code: str) -> bytes:
        raw = repr(values.tobytes())[1:].encode()
        head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I%d\nt" % len(
            values
        )
        kind = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb" % code.encode()
        return head + kind + b"I00\nS" + raw + b"\ntb"

    state = b"".join(
        [
            b"(dS'_shape'\n(I2\nI3\ntsS'format'\nS'csc'\ns",
            b"S'data'\n" + array(np.array([1.5, 2.5]), "f8") + b"s",
            b"S'indices'\n" + array(np.array([0, 1], "<i4"), "i4") + b"s",
            b"S'indptr'\n" + array(np.array([0, 1, 2, 2], "<i4"), "i4") + b"s",
        ]
    )
    data = (
        b"ccopy_reg\n_reconstructor\n(cscipy.sparse.csc\ncsc_matrix\nc__builtin__\nobject\nNtR"
        + state
        + b"b."
    )
    matrix = load(data, where="x")
    np.testing.assert_array_equal(matrix.toarray(), [[1.5, 0, 0], [0, 2.5, 0]])  # type: ignore[attr-defined]


def test_torch_tensors_become_arrays_without_torchs_loader() -> None:
    import torch

    whole = torch.arange(24).reshape(4, 6)
    for tensor in (whole.float(), whole.double().T, whole[1:3, ::2], whole.bool(), whole.half()):
        read = load(pickle.dumps({"t": tensor}, 4), where="x")
        assert isinstance(read, dict)
        np.testing.assert_array_equal(read["t"], tensor.numpy())
        assert read["t"].dtype == tensor.numpy().dtype


class Call:
    """An object that is pickled as the call of a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.function, self.arguments


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _stack_global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + b"\x93"


def _called(module: str, name: str, *arguments: str) -> bytes:
    return b"\x80\x04" + _stack_global(module, name) + b"(" + b"".join(map(_text, arguments)) + b"tR."


COMMAND = "touch SENTINEL"
CODE = "open('SENTINEL', 'w').close()"

MALICIOUS: dict[str, tuple[bytes, str]] = {
    "os.system": (pickle.dumps(Call(os.system, COMMAND)), f"{os.system.__module__}.system"),
    "posix by protocol 0": (b"cposix\nsystem\n(S'touch SENTINEL'\ntR.", "posix.system"),
    "nt.system": (_called("nt", "system", COMMAND), "nt.system"),
    "eval": (pickle.dumps(Call(eval, CODE)), "builtins.eval"),
    "exec of Python 2": (b"c__builtin__\nexec\n(S\"open('SENTINEL','w')\"\ntR.", "__builtin__.exec"),
    "getattr": (_called("builtins", "getattr", "x", "upper"), "builtins.getattr"),
    "numpy.testing": (_called("numpy.testing._private.utils", "runstring", CODE), "numpy.testing._private.utils"),
    "functools.partial": (pickle.dumps(functools.partial(os.system, COMMAND)), "functools.partial"),
    "operator": (_called("operator", "attrgetter", "a"), "operator.attrgetter"),
    "importlib": (_called("importlib", "import_module", "antigravity"), "importlib.import_module"),
    "subprocess": (_called("subprocess", "Popen", COMMAND), "subprocess.Popen"),
    "dotted name": (_called("numpy.core.multiarray", "__builtins__.eval", CODE), "__builtins__.eval"),
    "dotted name of a listed type": (_called("numpy", "ndarray.__class__", "x"), "numpy.ndarray.__class__"),
    "listed module, other name": (_called("numpy.core.multiarray", "fromfile", "x"), "multiarray.fromfile"),
    "listed name, submodule": (_called("numpy.core.multiarray.x", "_reconstruct", "x"), "multiarray.x"),
    "collections by prefix": (_called("collections", "OrderedDict.fromkeys", "x"), "OrderedDict.fromkeys"),
    "code object": (_called("types", "CodeType", "x"), "types.CodeType"),
    "torch.load": (_called("torch", "load", "x"), "torch.load"),
    "old-style instance": (b"(S'touch SENTINEL'\nios\nsystem\n.", "os.system"),
    "OBJ of a listed class": (b"(cnumpy\nndarray\nS'x'\no.", "numpy.ndarray"),
    "extension registry": (b"\x80\x02\x82\x01.", "extension registry"),
    "persistent id": (b"Pwhatever\n.", "whatever"),
    "a class as data": (b"cnumpy\nndarray\n.", "numpy.ndarray"),
    "hidden in an object array": (
        pickle.dumps(np.array([Call(os.system, COMMAND)], dtype=object)),
        f"{os.system.__module__}.system",
    ),
    "hidden in torch's storage": (
        b"\x80\x04" + _stack_global("torch.storage", "_load_from_bytes")
        + b"C" + bytes([len(b"cos\nsystem\n(S'x'\ntR.")]) + b"cos\nsystem\n(S'x'\ntR." + b"\x85R.",
        "os.system",
    ),
}  # fmt: skip


def test_the_sentinel_works_under_pythons_own_unpickler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this, the test below could pass on payloads that do nothing anyway."""
    monkeypatch.chdir(tmp_path)
    for name in ("os.system", "eval", "posix by protocol 0"):
        pickle.loads(MALICIOUS[name][0])
        Path("SENTINEL").unlink()


@pytest.mark.parametrize("name", MALICIOUS)
def test_no_code_of_the_pickle_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, named = MALICIOUS[name]
    with pytest.raises(UnsafePickle, match=re.escape(named)) as caught:
        load(data, where="some/file.pkl")
    assert "some/file.pkl" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert "antigravity" not in sys.modules


CROOKED: dict[str, bytes] = {
    "state for a listed class": b"cnumpy\nndarray\n}b.",
    "attributes for a listed function": b"cnumpy.core.multiarray\n_reconstruct\n(N}S'__code__'\nS'x'\nsK\x00tb.",
    "call of a string": b"S'x'\n)R.",
    "call of a listed type": b"cnumpy\nndarray\n)R.",
    "instance on another base": b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\ncnumpy\nndarray\nNtR.",
    "instance of a function": b"ccopy_reg\n_reconstructor\n(c_codecs\nencode\nc__builtin__\nobject\nNtR.",
    "encode by a codec that imports": b"c_codecs\nencode\n(S'x'\nS'bz2'\ntR.",
    "dtype of a comma string": b"cnumpy\ndtype\n(S'f8,f8'\ntR.",
    "dtype without its state": b"cnumpy\ndtype\n(S'f8'\ntR.",
    "append to a number": b"K\x01K\x02a.",
    "item of an odd number": b"}(K\x01u.",
    "pop below the mark": b"K\x01(0000.",
    "memo that was never stored": b"h\x05.",
    "no stop": b"K\x01",
    "empty": b"",
    "not a pickle": b"PK\x03\x04 this is a zip archive",
    "list as a key": b"}](K\x01es.",
    "object that never ends": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS'b'\ntR.",
}


@pytest.mark.parametrize("name", CROOKED)
def test_invalid_pickles_are_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(ValueError, match=r"some/file\.pkl") as caught:
        load(CROOKED[name], where="some/file.pkl")
    assert str(caught.value).rstrip().endswith(".")


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damage_gives_a_value_or_a_value_error(data: st.DataObject) -> None:
    whole = bytearray(
        pickle.dumps({"poses": np.arange(5.0), "m": sparse.eye(3, format="csc"), "l": [1, "x"]}, 2)
    )
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    # Any other exception, a crash or a hang fails the test.
    with contextlib.suppress(ValueError):
        load(bytes(whole), where="x")


@given(noise=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_noise_gives_a_value_or_a_value_error(noise: bytes) -> None:
    # Any other exception, a crash or a hang fails the test.
    with contextlib.suppress(ValueError):
        load(noise, where="x")


def _array_of(shape: bytes, data: bytes, dtype: bytes = b"f8") -> bytes:
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS'b'\ntR(K\x01" + shape
        + b"cnumpy\ndtype\n(S'" + dtype + b"'\ntR(K\x03S'<'\nNNNtb\x89" + data + b"tb"
    )  # fmt: skip


_HUGE = b"\x8a\x06" + (2**40).to_bytes(6, "little")
_MEGABYTE = b"T" + struct.pack("<I", 2**20) + bytes(2**20)

BOMBS: dict[str, bytes] = {
    "array of a huge shape": _array_of(b"(" + _HUGE + _HUGE + b"t", b"S'short'\n") + b".",
    "objects of a huge shape": _array_of(b"(" + _HUGE + b"t", b"]", b"O8") + b".",
    "dtype of a huge item": _array_of(b"(K\x01t", b"S'short'\n", b"S999999999") + b".",
    "string of a huge length": b"T\xff\xff\xff\x7fabc.",
    "bytes of a huge length": b"\x8e" + (2**62).to_bytes(8, "little") + b"abc.",
    "bytearray of a huge length": b"\x96" + (2**40).to_bytes(8, "little") + b"abc.",
    "number of a huge length": b"\x8b\xff\xff\xff\x7fabc.",
    "frame of a huge length": b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"N.",
    "one string made into many arrays": (
        _MEGABYTE + b"q\x010(" + _array_of(b"(J\x00\x00\x02\x00t", b"h\x01") * 2000 + b"t."
    ),
    "one list made into many sets": (
        b"](" + b"K\x01" * 2**17 + b"eq\x010(" + b"c__builtin__\nset\n(h\x01tR" * 4000 + b"t."
    ),
    "tensor repeated by stride 0": b"",
}  # fmt: skip
BOMBS["tensor repeated by stride 0"] = (
    b"ctorch._utils\n_rebuild_tensor_v2\n(" + _array_of(b"(K\x01t", b"S'12345678'\n")
    + b"K\x00(" + _HUGE + b"t(K\x00ttR."
)  # fmt: skip


def _stored(data: bytes) -> bytes:
    """A call of torch's `_load_from_bytes`."""
    return b"ctorch.storage\n_load_from_bytes\n(B" + struct.pack("<I", len(data)) + data + b"tR"


def _storage(pickled: bytes, *, count: int = 2, raw: bytes = bytes(8)) -> bytes:
    """torch's format of before 1.6 around a storage of floats, with this pickle as its system."""
    magic = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."
    size = b"J" + struct.pack("<i", count) if count < 2**31 else b"\x8a\x08" + struct.pack("<q", count)
    object_ = b"(U\x07storagectorch\nFloatStorage\nU\x013U\x03cpu" + size + b"NtQ."
    return magic + b"M\xe9\x03." + pickled + object_ + b"]U\x013a." + struct.pack("<q", count) + raw


def _levels(count: int, size: int) -> bytes:
    """Storages inside of storages, each with its own copy of `size` bytes."""
    data = _storage(b"T" + struct.pack("<I", size) + bytes(size) + b".")
    for _ in range(count):
        data = _storage(_stored(data) + b".")
    return _stored(data) + b"."


_DOUBLED = b"(lq\x00" + b"".join(b"0(h%ch%clq%c" % (k, k, k + 1) for k in range(80))
"""A list of two lists of two lists and so on, 80 levels of it: 2^80 when it is shown."""

BOMBS["torch storage of a terabyte"] = _stored(_storage(b"}.", count=2**38)) + b"."
BOMBS["torch storages inside of each other"] = _levels(60, 2**23)
BOMBS["persistent id of a doubled list"] = _DOUBLED + b"Q."
BOMBS["shape of a doubled list"] = _array_of(_DOUBLED, b"S'short'\n") + b"."


def test_a_storage_of_torch_is_what_the_helper_above_writes() -> None:
    """Without this, the bombs in storages could be refused for another reason."""
    raw = np.array([1.5, -2.0], "<f4").tobytes()
    np.testing.assert_array_equal(load(_stored(_storage(b"}.", raw=raw)) + b".", where="x"), [1.5, -2.0])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BOMBS)
def test_a_large_declared_size_allocates_little(name: str) -> None:
    data = BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="x:"):
            load(data, where="x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(data) + 100 * 2**20


def test_a_large_memo_index_allocates_nothing() -> None:
    tracemalloc.start()
    value = load(b"K\x07r\xff\xff\xff\x7fp4294967295000\n.", where="x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert value == 7
    assert peak < 2**20


def test_deep_nesting_neither_crashes_nor_recurses() -> None:
    depth = 200_000
    value = load(b")" + b"\x85" * depth + b".", where="x")
    for _ in range(depth):
        assert isinstance(value, tuple)
        value = value[0] if value else ()
    with pytest.raises(ValueError, match="key"):
        load(b"})" + b"\x85" * depth + b"Ns.", where="x")


def test_deeply_nested_object_arrays_do_not_end_the_process() -> None:
    """numpy frees them by recursion: with 20,000 levels, Python itself would crash."""
    value: object = None
    for _ in range(50):
        inner = np.empty(1, dtype=object)
        inner[0] = value
        value = inner
    with pytest.raises(ValueError, match="array of objects inside an array of objects"):
        load(pickle.dumps(value), where="x")


def test_select_and_ch_evaluate_to_plain_arrays() -> None:
    def member(key: str, value: bytes) -> bytes:
        return b"U" + bytes([len(key)]) + key.encode() + value + b"s"

    def plain(array: np.ndarray, code: bytes) -> bytes:
        raw = array.tobytes()
        shape = b"(" + b"".join(b"K" + bytes([n]) for n in array.shape) + b"t"
        return _array_of(shape, b"T" + struct.pack("<I", len(raw)) + raw, code)

    base = np.arange(6.0).reshape(2, 3)
    inner = b"cchumpy.ch\nCh\n)\x81}" + member("x", plain(base, b"f8")) + member("_itr", b"N") + b"b"
    chosen = plain(np.array([5, 0, 3, 3]), b"i8")
    shape = b"(K\x02K\x02t"
    select = b"cchumpy.reordering\nSelect\n)\x81}" + member("a", inner) + member("idxs", chosen)
    np.testing.assert_array_equal(
        load(select + member("preferred_shape", shape) + b"b.", where="x"), [[5, 0], [3, 3]]
    )
    np.testing.assert_array_equal(load(select + b"b.", where="x"), [5, 0, 3, 3])
    far = (
        b"cchumpy.reordering\nSelect\n)\x81}"
        + member("a", inner)
        + member("idxs", plain(np.array([6]), b"i8"))
    )
    with pytest.raises(ValueError, match="x:"):
        load(far + b"b.", where="x")


def test_python_2_strings_keep_their_bytes() -> None:
    raw = bytes(range(256))
    escaped = codecs.escape_encode(raw)[0]  # type: ignore[attr-defined]
    for data in (b"T\x00\x01\x00\x00" + raw, b"S'" + escaped + b"'\n"):
        text = load(data + b".", where="x")
        assert isinstance(text, str)
        assert text.encode("latin1") == raw


def test_a_real_aist_file_loads_as_python_reads_it(shared: Path) -> None:
    path = next((shared / "data" / "aist").glob("*.pkl"))
    ours = load(path.read_bytes(), where=str(path))
    theirs = pickle.loads(path.read_bytes())  # a known file
    assert isinstance(ours, dict)
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value)
        assert type(ours[key]) is type(value)
