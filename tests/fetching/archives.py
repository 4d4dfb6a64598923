"""Packed archives for the tests, good and hostile."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.archives import takes


def npz(frames: int = 20, *, seed: int = 0) -> bytes:
    """A take as AMASS publishes it."""
    out = io.BytesIO()
    np.savez(out, **takes.smplh(frames, seed=seed))
    return out.getvalue()


def tar(files: Mapping[str, bytes], kind: str = "bz2") -> bytes:
    """A packed tar file of regular files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{kind}") as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_500_000_000
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def tar_of(*infos: tarfile.TarInfo) -> bytes:
    """A .tar.bz2 of these members, without content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:bz2") as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(b"\0" * info.size) if info.isreg() else None)
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def addresses(path: Path, address: str) -> Path:
    """The shipped addresses with another server."""
    from mocap_ray.fetching.catalogue import ADDRESSES

    text = ADDRESSES.read_text()
    lines = [
        f"{line.split('download:')[0]}download: {address}" if "    download: " in line else line
        for line in text.splitlines()
    ]
    path.write_text("\n".join(lines))
    return path
