"""The layout of the original `basicModel_*.pkl` files, written opcode by opcode.

Protocol 2 as Python 2's cPickle wrote it: byte strings (BINSTRING, SHORT_BINSTRING), `chumpy.ch.Ch` and
`chumpy.reordering.Select` by NEWOBJ and BUILD, the joint regressor as `scipy.sparse.csc.csc_matrix`.
No pickler is involved, so that writer and reader share nothing.
"""

from __future__ import annotations

import struct

import numpy as np


def string(value: bytes) -> bytes:
    """A Python 2 `str`."""
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value
    return b"T" + struct.pack("<i", len(value)) + value


def integer(value: int) -> bytes:
    """BININT."""
    return b"J" + struct.pack("<i", value)


def tuple_of(*items: bytes) -> bytes:
    """MARK ... TUPLE."""
    return b"(" + b"".join(items) + b"t"


def dictionary(**items: bytes) -> bytes:
    """EMPTY_DICT MARK key value ... SETITEMS."""
    return b"}(" + b"".join(string(key.encode()) + value for key, value in items.items()) + b"u"


def array(values: np.ndarray) -> bytes:
    """A numpy array in the state of numpy 1.x under Python 2."""
    code = values.dtype.str[1:].encode()
    dtype = b"cnumpy\ndtype\n" + tuple_of(string(code), integer(0), integer(1)) + b"R"
    dtype += tuple_of(integer(3), string(b"<"), b"N", b"N", b"N", integer(-1), integer(-1), integer(0)) + b"b"
    shape = tuple_of(*(integer(n) for n in values.shape))
    new = b"cnumpy.core.multiarray\n_reconstruct\n"
    new += tuple_of(b"cnumpy\nndarray\n", tuple_of(integer(0)), string(b"b")) + b"R"
    fortran = values.flags.f_contiguous and not values.flags.c_contiguous
    raw = values.tobytes(order="F" if fortran else "C")
    return new + tuple_of(integer(1), shape, dtype, b"\x88" if fortran else b"\x89", string(raw)) + b"b"


def instance(module: str, name: str, **state: bytes) -> bytes:
    """GLOBAL EMPTY_TUPLE NEWOBJ state BUILD."""
    return f"c{module}\n{name}\n".encode() + b")\x81" + dictionary(**state) + b"b"


def chumpy(values: bytes) -> bytes:
    """`chumpy.ch.Ch` around an array."""
    dirty = b"c__builtin__\nset\n" + tuple_of(b"](" + string(b"x") + b"e") + b"R"
    return instance("chumpy.ch", "Ch", x=values, _dirty_vars=dirty, _itr=b"N", _status=string(b"undefined"))


def original_model(
    *,
    template: np.ndarray,
    all_directions: np.ndarray,
    kept: int,
    pose_directions: np.ndarray,
    weights: np.ndarray,
    regressor: tuple[np.ndarray, np.ndarray, np.ndarray],
    parents: np.ndarray,
    faces: np.ndarray,
) -> bytes:
    """A whole file: `shapedirs` selects the first `kept` of all directions, as the published ones do."""
    vertices, _, total = all_directions.shape
    chosen = np.arange(vertices * 3 * total).reshape(vertices, 3, total)[:, :, :kept].ravel()
    data, rows, pointers = regressor
    members = dictionary(
        J_regressor=instance(
            "scipy.sparse.csc",
            "csc_matrix",
            format=string(b"csc"),
            _shape=tuple_of(integer(len(parents)), integer(vertices)),
            maxprint=integer(50),
            data=array(data),
            indices=array(rows.astype("<i4")),
            indptr=array(pointers.astype("<i4")),
        ),
        bs_style=string(b"lbs"),
        bs_type=string(b"lrotmin"),
        f=array(faces.astype("<u4")),
        kintree_table=array(np.stack([parents, np.arange(len(parents))]).astype("<i8").astype("<u4")),
        posedirs=array(pose_directions),
        shapedirs=instance(
            "chumpy.reordering",
            "Select",
            a=chumpy(array(all_directions)),
            idxs=array(chosen),
            preferred_shape=tuple_of(integer(vertices), integer(3), integer(kept)),
        ),
        v_template=chumpy(array(np.asfortranarray(template))),
        weights=array(weights),
        pose_training_info=dictionary(gender=string(b"f")),
    )
    return b"\x80\x02" + members + b"."
