"""The closed list: every global that a pickle may name, and the function that builds its value."""

from __future__ import annotations

from mocap_ray.pickles import arrays, foreign
from mocap_ray.pickles.torch_stored import DTYPES
from mocap_ray.pickles.values import Budget, Builder, Global, expect


def rebuild(callee: Global, arguments: tuple[object, ...], budget: Budget) -> object:
    """The value, or the `Pending` object, that calling this global would return."""
    return _BUILDERS[callee.module, callee.name](arguments, budget)


def _reconstructor(arguments: tuple[object, ...], budget: Budget) -> object:
    """`copyreg._reconstructor(cls, object, None)`: how protocols 0 and 1 write an instance."""
    expect(len(arguments) == 3, "an instance with other arguments than class, base and state")
    kind, base, state = arguments
    plain = isinstance(base, Global) and base.name == "object" and state is None
    expect(plain and isinstance(kind, Global), "an instance that is built on more than object")
    assert isinstance(kind, Global)
    expect((kind.module, kind.name) in _INSTANCES, f"an instance of {kind.module}.{kind.name}")
    return rebuild(kind, (), budget)


def _not_callable(arguments: tuple[object, ...], budget: Budget) -> object:
    raise ValueError("a call of a type that is only valid as an argument")


_INSTANCES: dict[tuple[str, str], Builder] = {
    **{
        (module, f"{kind}_{ending}"): foreign.sparse_matrix(kind)
        for kind in ("csc", "csr", "coo")
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}")
        for ending in ("matrix", "array")
    },
    ("chumpy.ch", "Ch"): foreign.chumpy_ch,
    ("chumpy.reordering", "Select"): foreign.chumpy_select,
}

_BUILDERS: dict[tuple[str, str], Builder] = {
    **_INSTANCES,
    ("_codecs", "encode"): arrays.codecs_encode,
    ("builtins", "bytes"): arrays.plain_bytes,
    ("__builtin__", "bytes"): arrays.plain_bytes,
    ("builtins", "bytearray"): arrays.plain_bytes,
    ("__builtin__", "bytearray"): arrays.plain_bytes,
    ("builtins", "set"): arrays.plain_set,
    ("__builtin__", "set"): arrays.plain_set,
    ("builtins", "object"): _not_callable,
    ("__builtin__", "object"): _not_callable,
    ("copyreg", "_reconstructor"): _reconstructor,
    ("copy_reg", "_reconstructor"): _reconstructor,
    ("collections", "OrderedDict"): arrays.ordered_dict,
    ("numpy", "ndarray"): _not_callable,
    ("numpy", "dtype"): arrays.numpy_dtype,
    ("numpy.core.multiarray", "_reconstruct"): arrays.numpy_reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): arrays.numpy_reconstruct,
    ("numpy.core.multiarray", "scalar"): arrays.numpy_scalar,
    ("numpy._core.multiarray", "scalar"): arrays.numpy_scalar,
    ("numpy.core.numeric", "_frombuffer"): arrays.numpy_from_buffer,
    ("numpy._core.numeric", "_frombuffer"): arrays.numpy_from_buffer,
    ("torch._utils", "_rebuild_tensor_v2"): foreign.torch_tensor,
    ("torch.storage", "_load_from_bytes"): foreign.torch_storage,
    **{("torch", name): _not_callable for name in DTYPES},
}

LISTED = frozenset(_BUILDERS)
"""Every (module, name) that a pickle may mention; exact pairs, never prefixes."""
