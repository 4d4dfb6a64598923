"""Pickles that differ in numbers alone: read without interpreting each, and never otherwise than `load` reads them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from mocap_ray.errors import UserError
from mocap_ray.pickles import AlikePickles, NoSuchKey, UnsafePickle, load
from tests.archives.frames import content, frame


def pose(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(45, 3)).astype(np.float32)


def opened(data: bytes, log: list[tuple[int, int]] | None = None) -> Callable[[int, int], bytes]:
    def read_at(count: int, at: int) -> bytes:
        if log is not None:
            log.append((count, at))
        return data[at : at + count]

    return read_at


def outcome(read: Callable[[], object]) -> object:
    """The value, as something that can be compared, or the class of the error."""
    try:
        value = read()
    except (KeyError, NoSuchKey, TypeError):
        return "no such key"
    except UserError as error:
        return type(error)
    return (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def by_load(data: bytes) -> object:
    return load(data, where="x")["joints"]  # type: ignore[index]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_one_file_is_interpreted_and_the_others_are_recognised(protocol: int) -> None:
    alike = AlikePickles("joints")
    for seed in range(20):
        data = frame(pose(seed), protocol=protocol, betas=torch.rand(1, 10))
        found = alike.read(opened(data), len(data), where="x")
        assert outcome(lambda found=found: found) == outcome(lambda data=data: by_load(data))  # type: ignore[misc]
    # The addresses of memory in the files have as many digits as before, or another number of them.
    assert alike.interpreted <= 3


def test_arrays_that_nobody_asked_for_are_not_read() -> None:
    alike, log = AlikePickles("joints"), list[tuple[int, int]]()
    data = frame(pose(0), vertices=torch.zeros(1, 6890, 3), betas=torch.zeros(1, 10))
    for _ in range(2):
        log.clear()
        alike.read(opened(data, log), len(data), where="x")
    assert alike.interpreted == 1
    assert sum(count for count, _ in log) < len(data) - 80_000


def test_no_change_of_a_byte_is_overlooked() -> None:
    """Files with one other byte: read like `load` reads them, whether they are recognised or interpreted."""
    rng = np.random.default_rng(0)
    base = frame(pose(0), vertices=torch.zeros(1, 3), faces=np.zeros((2, 3), np.uint32))
    alike = AlikePickles("joints")
    alike.read(opened(base), len(base), where="x")
    recognised = 0
    for at in rng.permutation(len(base))[:1500]:
        data = bytearray(base)
        data[at] = (data[at] + int(rng.integers(1, 256))) % 256
        before, changed = alike.interpreted, bytes(data)
        found = outcome(lambda changed=changed: alike.read(opened(changed), len(changed), where="x"))  # type: ignore[misc]
        assert found == outcome(lambda changed=changed: by_load(changed)), at  # type: ignore[misc]
        recognised += alike.interpreted == before
    assert recognised > 300  # a third of the bytes are numbers


def test_a_key_of_a_storage_that_differs_from_its_list_is_refused() -> None:
    data = frame(pose(0))
    alike = AlikePickles("joints")
    alike.read(opened(data), len(data), where="x")
    key = re.search(rb"(\d+)q\x02X\x03\0\0\0cpuq\x03K\x87", data)  # of the storage of 135 numbers
    assert key is not None
    at = key.start()
    other = data[:at] + (b"1" if data[at] != ord("1") else b"2") + data[at + 1 :]
    with pytest.raises(UserError, match="another layout than torch's own"):
        alike.read(opened(other), len(other), where="x")


def test_numbers_that_decide_what_a_file_means_are_always_interpreted() -> None:
    """A chunk of bytes that is array data in one place and text, or a nested pickle, in another."""
    for extra in (np.float64(1.5), np.array(["ab", "cd"]), b"bytes", {1: b"xyz"}):
        data = pickle.dumps({"joints": pose(0), "extra": extra}, 4)
        alike = AlikePickles("joints")
        for _ in range(2):
            assert outcome(lambda a=alike, d=data: a.read(opened(d), len(d), where="x")) == outcome(  # type: ignore[misc]
                lambda d=data: by_load(d)  # type: ignore[misc]
            )
    twice = _twice(np.arange(24, dtype=np.uint8))
    assert load(twice, where="x")["raw"] == bytes(range(24))  # type: ignore[index]
    alike = AlikePickles("joints")
    for _ in range(2):
        alike.read(opened(twice), len(twice), where="x")
    assert alike.interpreted == 2


def _twice(numbers: np.ndarray) -> bytes:
    """The bytes of an array under `joints`, used once more under `raw`."""
    head = pickle.dumps({"joints": numbers}, 4)
    raw = numbers.tobytes()
    at = head.index(b"C" + bytes([len(raw)]) + raw) + 2 + len(raw)
    assert head[at : at + 1] == b"\x94"  # memoized
    index = head[:at].count(b"\x94")
    body = head[:-1].removesuffix(b"s")  # one item: SETITEM
    return body + b"s\x8c\x03rawh" + bytes([index]) + b"s."


def test_a_file_that_lacks_the_key_or_is_shorter_says_so() -> None:
    alike = AlikePickles("joints")
    data = pickle.dumps({"betas": 1, 5: 2})
    with pytest.raises(NoSuchKey, match=r"x: no 'joints' \(keys: betas, 5\)"):
        alike.read(opened(data), len(data), where="x")
    data = pickle.dumps([1])
    with pytest.raises(NoSuchKey, match="a pickle of a list"):
        alike.read(opened(data), len(data), where="x")
    with pytest.raises(OSError, match="were listed"):
        alike.read(opened(data), len(data) + 1, where="x")
    bad = pickle.dumps({"joints": eval})
    with pytest.raises(UnsafePickle, match=r"builtins\.eval"):
        alike.read(opened(bad), len(bad), where="x")


def test_what_is_read_is_a_copy_in_its_own_memory() -> None:
    alike = AlikePickles("joints")
    data = pickle.dumps(content(pose(0)), 4)
    first, second = (alike.read(opened(data), len(data), where="x") for _ in range(2))
    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    assert alike.interpreted == 1
    second[:] = 0
    assert first.any()
    assert first.flags.aligned
    assert second.flags.aligned
