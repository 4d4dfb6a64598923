"""Read chosen members of untrusted .npz files, local or in a bucket, without copying and without running code.

An .npz is a zip archive of .npy members. For a short recording, the `zipfile` module takes longer than reading the
numbers; it copies stored members and cannot read ranges of a remote object. So the end record and the central
directory are parsed here. Every size that a file declares is checked against its real size before memory is
allocated. Object arrays are never unpickled here: `read` refuses them, and `pickled` gives their bytes for `pickles`.

Invalid content raises `NpzError`; failures of the disk or the network raise OSError, which the caller may retry.
"""

from __future__ import annotations

from mocap_ray.npz.directory import INFLATED_LIMIT
from mocap_ray.npz.errors import NotZipError, NpzError
from mocap_ray.npz.npy import Header
from mocap_ray.npz.reader import NpzFile, open_npz

__all__ = ["INFLATED_LIMIT", "Header", "NotZipError", "NpzError", "NpzFile", "open_npz"]
