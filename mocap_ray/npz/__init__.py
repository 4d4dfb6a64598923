"""Chosen members of untrusted .npz files, local or in a bucket, without copies and without code.

An .npz is a zip archive of .npy members. The `zipfile` module costs more per file than the numbers of a short
recording, copies stored members, and knows nothing of ranges of a remote object; so the end record and the
central directory are parsed here. Whatever a file says about itself is compared with its real size before
memory is asked for, and object arrays are refused, never unpickled.

What the bytes prove wrong raises `BadNpz`; what the disk or the network does raises OSError, for the caller
to try again.
"""

from __future__ import annotations

from mocap_ray.npz.faults import BadNpz
from mocap_ray.npz.npy import Header
from mocap_ray.npz.reader import NpzFile, open_npz

__all__ = ["BadNpz", "Header", "NpzFile", "open_npz"]
