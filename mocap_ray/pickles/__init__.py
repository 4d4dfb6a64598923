"""Read untrusted pickles as plain arrays without running any of their code.

`load` interprets the pickle with a small virtual machine: nothing is imported, called or looked up by a
name from the file. `rebuild.py` holds the closed list of names; `opcodes.py` defines each opcode. `AlikePickles` reads
one array of each of many files that differ in numbers alone, without interpreting each of them.
"""

from mocap_ray.pickles.alike import AlikePickles, NoSuchKey
from mocap_ray.pickles.reading import load
from mocap_ray.pickles.values import UnsafePickle, shown_keys

__all__ = ["AlikePickles", "NoSuchKey", "UnsafePickle", "load", "shown_keys"]
