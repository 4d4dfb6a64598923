"""Pickles of strangers, read as plain arrays without running any of their code (floor 0).

`load` interprets the pickle by a small machine of our own: nothing is imported, called or looked up by a
name from the file. See `machine.py` for the opcodes and `rebuild.py` for the closed list of names.
"""

from mocap_ray.pickles.machine import load
from mocap_ray.pickles.rebuild import UnsafePickle

__all__ = ["UnsafePickle", "load"]
