"""200 damaged inputs, made from valid ones with a fixed seed; the Ray test reuses them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.archives import rawzip, takes

CANARY = "MOCAP_RAY_CANARY"
"""Environment variable that names the file which any executed pickle would create."""


class _Bomb:
    """An object whose pickle creates the canary file when it is loaded."""

    def __reduce__(self) -> tuple:
        return os.system, (f'touch "${CANARY}"',)


def damaged_files(folder: Path, *, seed: int = 0) -> list[Path]:
    """Write 200 damaged files `Bad/<subject>/<kind>_<n>_poses.npz` below `folder` and return their paths.

    Most cannot be read; some bit flips are in members that are not needed, so that the take is still valid.
    """
    rng = np.random.default_rng(seed)
    sound = [rawzip.npz(t) for t in (takes.smplh(), takes.stage_ii(12, markers=5), takes.smpl())]
    sound.append(rawzip.npz(takes.smplh(), deflate=True))
    cases: list[tuple[str, bytes]] = []
    cases += [("cut", data[: int(rng.integers(0, len(data)))]) for data in sound for _ in range(6)]
    cases += [
        ("flip", _flipped(data, rng, bits))
        for data in sound
        for bits in (1, 1, 1, 2, 8, 64)
        for _ in range(2)
    ]
    cases += [("hole", _hole(data, rng)) for data in sound for _ in range(2)]
    for make in (_wrong_keys, _wrong_shapes, _wrong_values, _huge, _pickled, _lying_zip, _not_zip):
        cases += [(make.__name__.strip("_"), data) for data in make(rng)]
    assert len(cases) <= 200, len(cases)
    cases += [("splice", _spliced(sound, rng)) for _ in range(200 - len(cases))]
    paths = []
    for n, (kind, data) in enumerate(cases):
        path = folder / "Bad" / f"s{n % 7}" / f"{kind}_{n:03d}_poses.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        paths.append(path)
    return paths


def _flipped(data: bytes, rng: np.random.Generator, bits: int) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(0, 8 * len(data), bits):
        changed[at // 8] ^= 1 << (at % 8)
    return bytes(changed)


def _hole(data: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(data) - 300))
    return data[:start] + bytes(256) + data[start + 256 :]


def _spliced(sound: list[bytes], rng: np.random.Generator) -> bytes:
    a, b = (sound[k] for k in rng.integers(0, len(sound), 2))
    return a[: int(rng.integers(1, len(a)))] + b[int(rng.integers(1, len(b))) :]


def _wrong_keys(rng: np.random.Generator) -> Iterator[bytes]:
    take = takes.smplh()
    for gone in ("poses", "trans", "mocap_framerate"):
        yield rawzip.npz({k: v for k, v in take.items() if k != gone})
    yield rawzip.npz({})
    yield rawzip.npz({"a": np.zeros(3)})
    yield rawzip.npz({k: take[k] for k in ("betas", "gender")})
    yield rawzip.npz({"dmpls": take["dmpls"], "gender": take["gender"]})
    yield rawzip.npz({f"x{k}": np.zeros(1) for k in range(3000)})
    yield rawzip.npz({k.upper(): v for k, v in take.items()})


def _wrong_shapes(rng: np.random.Generator) -> Iterator[bytes]:
    take = takes.smplh()
    for poses in (
        (40, 155),
        (40, 157),
        (156,),
        (),
        (40, 0),
        (0, 156),
        (39, 156),
        (156, 40),
        (2, 20, 156),
        (40, 52, 4),
    ):
        yield rawzip.npz({**take, "poses": np.zeros(poses)})
    for trans in ((40, 2), (41, 3), (3, 40), (40,), ()):
        yield rawzip.npz({**take, "trans": np.zeros(trans)})
    for betas in ((40, 16), (2, 2, 2), (), (0, 10)):
        yield rawzip.npz({**take, "betas": rng.normal(size=betas)})
    yield rawzip.npz({**take, "poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))})
    yield rawzip.npz({**take, "poses": np.full((40, 156), "x")})
    yield rawzip.npz({**take, "poses": np.zeros((40, 156), complex)})
    yield rawzip.npz({**take, "poses": np.zeros((40, 156), [("a", "<f8")])})


def _wrong_values(rng: np.random.Generator) -> Iterator[bytes]:
    take = takes.smplh()
    for rate in (0.0, -120.0, np.nan, np.inf, 1e300, "120", [120.0, 60.0]):
        yield rawzip.npz({**take, "mocap_framerate": np.array(rate)})
    for name in ("poses", "trans", "betas"):
        for value in (np.nan, np.inf):
            bad = take[name].copy()
            bad.flat[5] = value
            yield rawzip.npz({**take, name: bad})
    yield rawzip.npz({**take, "gender": np.array("?")})


def _huge(rng: np.random.Generator) -> Iterator[bytes]:
    good = {k: v for k, v in takes.smplh().items() if k != "poses"}
    rest = [rawzip.Part(f"{k}.npy", rawzip.npy(v)) for k, v in good.items()]
    for shape in (
        "(1000000000000, 156)",
        "(99999999999999999999, 156)",
        "(0, 99999999999999999999)",
        f"({'1, ' * 70})",
    ):
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
        for deflate in (False, True):
            data = rawzip.npy(np.zeros((40, 156)), text=text)
            yield rawzip.archive([*rest, rawzip.Part("poses.npy", data, deflate=deflate)])
    for descr in ("<U0", "<U999999999", "|V0", "<f3", "nonsense", "<M8[ns]"):
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (1000000000000,), }}"
        yield rawzip.archive([*rest, rawzip.Part("poses.npy", rawzip.npy(np.zeros(4), text=text))])
    # A megabyte of zeros that claims a terabyte, and one that hides 60 MB behind a claim of 50 kB.
    zeros = rawzip.npy(np.zeros((40, 156)), payload=bytes(1 << 20))
    yield rawzip.archive([*rest, rawzip.Part("poses.npy", zeros, deflate=True, size=1 << 31)])
    bomb = rawzip.npy(np.zeros((40, 156)), payload=bytes(60 << 20))
    yield rawzip.archive([*rest, rawzip.Part("poses.npy", bomb, deflate=True, size=50_048)])


def _pickled(rng: np.random.Generator) -> Iterator[bytes]:
    take = takes.smplh()
    for name in ("poses", "trans", "betas", "gender", "mocap_framerate"):
        for shape in ("()", "(1,)"):
            text = f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}"
            data = rawzip.npy(np.zeros(0), text=text, payload=pickle.dumps(_Bomb()))
            parts = {k: rawzip.npy(v) for k, v in take.items()}
            yield rawzip.archive([rawzip.Part(f"{k}.npy", v) for k, v in {**parts, name: data}.items()])
    for text in (
        f"__import__('os').system('touch ${CANARY}')",
        "{'descr': " + "(" * 3000,
        "{" * 9000,
        "[]",
        "7",
        "",
    ):
        part = rawzip.Part("poses.npy", rawzip.npy(np.zeros(3), text=text))
        yield rawzip.archive([part, rawzip.Part("trans.npy", rawzip.npy(np.zeros((1, 3))))])
    yield pickle.dumps(_Bomb())


def _lying_zip(rng: np.random.Generator) -> Iterator[bytes]:
    def parts() -> list[rawzip.Part]:
        return [rawzip.Part(f"{k}.npy", rawzip.npy(v)) for k, v in takes.smplh().items()]

    for change in (
        {"crc": 1}, {"size": 10}, {"size": 1 << 40 >> 9}, {"method": 12}, {"method": 99}, {"flags": 1},
        {"local_name": "other.npy"}, {"offset": 0}, {"offset": 77}, {"offset": 0xFFFFFFF0}, {"name": "trans.npy"},
        {"data": b""}, {"data": b"\x93NUMPY"}, {"data": b"hello" * 9},
    ):  # fmt: skip
        changed = parts()
        for field, value in change.items():
            setattr(changed[-1], field, value)
        yield rawzip.archive(changed)
    yield rawzip.archive(parts(), before=b"#!/bin/sh\n")
    yield rawzip.archive(parts(), comment=b"x" * 300)[:-7]
    yield rawzip.archive(parts(), zip64=True)[:-60] + rawzip.archive(parts(), zip64=True)[-22:]


def _not_zip(rng: np.random.Generator) -> Iterator[bytes]:
    yield b""
    yield b"P"
    yield bytes(22)
    yield b"PK\5\6" + bytes(18)
    yield b"PK\5\6" + b"\xff" * 18
    yield rawzip.npy(np.zeros((4, 156)))
    yield rng.bytes(5000)
    yield b"<!DOCTYPE html><html>Please log in</html>"
