"""Read untrusted pickles as plain arrays without running any of their code.

`load` interprets the pickle with a small virtual machine: nothing is imported, called or looked up by a
name from the file. `rebuild.py` holds the closed list of names; `opcodes.py` defines each opcode. `AlikePickles` reads
one array of each of many files that differ in numbers alone, without interpreting each of them. `load_torch_zip` reads
files of `torch.save` and leaves their tensors where they are.
"""

from mocap_ray.pickles.alike import AlikePickles, NoSuchKey
from mocap_ray.pickles.reading import load
from mocap_ray.pickles.torch_stored import StoredTensor
from mocap_ray.pickles.torch_zip import load_torch_zip
from mocap_ray.pickles.values import UnsafePickle, shown_keys

__all__ = [
    "AlikePickles",
    "NoSuchKey",
    "StoredTensor",
    "UnsafePickle",
    "load",
    "load_torch_zip",
    "shown_keys",
]
