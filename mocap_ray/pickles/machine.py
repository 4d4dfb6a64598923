"""A stack machine for pickle protocols 0 to 5 that only ever builds values (floor 0).

Python's own `pickle.Unpickler` with a restricted `find_class` still calls what it finds, sets attributes on
it (opcode BUILD reaches classes and functions too), allocates what a length field promises and grows its
memo to any index. Here a global is a pair of strings, and what it stands for is built by `rebuild.py`.
Opcodes and their arguments: `pickletools` of the standard library and PEP 307, 3154, 574.
"""

from __future__ import annotations

import codecs
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from mocap_ray.pickles.rebuild import LISTED, Global, Pending, UnsafePickle, rebuild

_MAX_INT_DIGITS = 4000


def load(source: bytes | BinaryIO, *, where: str) -> object:
    """Read one pickle as plain values: containers, numbers, strings, numpy arrays, scipy.sparse matrices.

    Strings of Python 2 are decoded as latin1, so raw bytes survive as text of the same code points. chumpy
    objects and torch tensors come back as numpy arrays. Memory stays within a small multiple of the input:
    lengths and shapes are believed only as far as bytes follow. Trailing bytes are ignored.

    Args:
        source: the pickle, or a binary file that is read to its end.
        where: what to call it in messages, usually its path.

    Raises:
        UnsafePickle: a name outside the closed list, which is in the message; nothing of it was run.
        ValueError: truncated, not a pickle, or contradicting itself.
    """
    data = source if isinstance(source, bytes) else source.read()
    value, _ = load_from(data, 0, where=where)
    return value


def load_from(
    data: bytes, start: int, *, where: str, persistent: Callable[[object], object] | None = None
) -> tuple[object, int]:
    """One pickle inside `data` from `start`, and where it ends; `persistent` resolves persistent ids."""
    machine = _Machine(data, start, where, persistent)
    try:
        value = machine.run()
        _refuse_leftovers(value, machine)
    except UnsafePickle:
        raise
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        OverflowError,
        MemoryError,
        RecursionError,
        struct.error,
    ) as error:
        found = str(error) or type(error).__name__
        raise ValueError(
            f"{where}: not a readable pickle, stopped at byte {machine.at} of {len(data)}: {found}. "
            "Expected a whole pickle of numbers, strings, containers and arrays; "
            "fetch the file again if it may be truncated."
        ) from error
    return value, machine.at


def _key(key: object, *, depth: int = 0) -> object:
    """A dictionary key whose hashing can neither recurse deeply nor be made to collide at will."""
    if isinstance(key, tuple) and depth < 2 and len(key) < 100:
        for part in key:
            _key(part, depth=depth + 1)
        return key
    plain = key is None or isinstance(key, str | bytes | float)
    if not plain and not (isinstance(key, int) and abs(key) < 2**60):
        raise ValueError(f"a {type(key).__name__} cannot be a dictionary key or a member of a set here")
    return key


def _refuse_leftovers(root: object, machine: _Machine) -> None:
    """Raise if a bare global or an object without its state hides in the result."""
    todo, seen = [root], set[int]()
    while todo:
        value = todo.pop()
        if isinstance(value, Global):
            raise machine.unsafe(f"{value.module}.{value.name}", "as a thing of its own instead of data")
        if isinstance(value, Pending):
            raise ValueError(f"a {value.what} is left without its state")
        inside = isinstance(value, list | tuple | dict | set | frozenset) or (
            isinstance(value, np.ndarray) and value.dtype.hasobject
        )
        if not inside or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, np.ndarray):
            todo.extend(value.ravel().tolist())
        else:
            assert isinstance(value, list | tuple | set | frozenset)
            todo.extend(value)


class _Machine:
    """The state of one run: input, stack, marks, memo."""

    def __init__(
        self, data: bytes, start: int, where: str, persistent: Callable[[object], object] | None
    ) -> None:
        self.data = data
        self.at = start
        self.where = where
        self.persistent = persistent
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        # Honest files make about one byte of values per byte; a memo used over and over makes thousands.
        self.budget = 16 * len(data) + 2**26

    def spend(self, count: int) -> None:
        """Count bytes that objects take; a short file cannot make a large heap."""
        self.budget -= count
        if self.budget < 0:
            raise ValueError(f"values many times as large as the file's {len(self.data)} bytes")

    def run(self) -> object:
        """Execute opcodes until STOP and return the value on top."""
        while True:
            code = self.take(1)
            if code == b".":
                return self.pop()
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise ValueError(f"0x{code.hex()} is no pickle opcode that is supported here")
            operation(self)

    # Input.

    def take(self, count: int) -> bytes:
        """The next `count` bytes, which must all be there."""
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise ValueError(f"{count} bytes announced, {len(self.data) - self.at} left")
        chunk = self.data[self.at : end]
        self.at = end
        return chunk

    def line(self) -> bytes:
        """Bytes up to the next newline, which is consumed."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise ValueError("a line without its end")
        chunk = self.data[self.at : end]
        self.at = end + 1
        return chunk

    def uint(self, width: int) -> int:
        """A little-endian unsigned number of `width` bytes."""
        return int.from_bytes(self.take(width), "little")

    # Stack.

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> object:
        """Take the top value; one below the last mark is not on offer."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("the stack is empty")
        return self.stack.pop()

    def pop_to_mark(self) -> list[object]:
        """Take everything above the last mark, and the mark."""
        if not self.marks:
            raise ValueError("a mark is missing")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def top(self) -> object:
        """Look at the top value."""
        return self.stack[-1]

    def remember(self, index: int) -> None:
        """Memoize the top; an unfinished object learns where it stands, to be replaced when finished."""
        value = self.top()
        self.memo[index] = value
        if isinstance(value, Pending):
            value.memo.append(index)

    # Objects.

    def find(self, module: object, name: object) -> None:
        """Push a global if exactly this pair is on the list."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a global that is not named by two strings")
        if (module, name) not in LISTED:
            raise self.unsafe(f"{module}.{name}", "which is not on the closed list of data types")
        self.push(Global(module, name))

    def unsafe(self, name: str, why: str) -> UnsafePickle:
        """The refusal of one name, as a sentence."""
        return UnsafePickle(
            f"{self.where}: the pickle names {name}, {why}. It was not loaded and none of its code was run. "
            "If you trust its origin, load it where its library is installed and save the arrays with numpy.savez."
        )

    def call(self, callee: object, arguments: object) -> None:
        """REDUCE and NEWOBJ: build what a listed global stands for."""
        if not isinstance(callee, Global) or not isinstance(arguments, tuple):
            raise ValueError(f"a call of a {type(callee).__name__}")
        self.push(rebuild(callee, arguments, self))

    def build(self) -> None:
        """BUILD: finish the object below the state."""
        state, target = self.pop(), self.pop()
        if isinstance(target, OrderedDict):
            self.push(target)  # torch hangs version notes on its state dicts
            return
        if not isinstance(target, Pending):
            raise ValueError(f"a state for a {type(target).__name__}")
        value = target.finish(state)
        for index in target.memo:
            if self.memo.get(index) is target:
                self.memo[index] = value
        self.push(value)

    def set_items(self, pairs: list[object]) -> None:
        """Put alternating keys and values into the dictionary on top."""
        target = self.top()
        if not isinstance(target, dict) or len(pairs) % 2:
            raise ValueError("items for something that is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[_key(key)] = value

    def append(self, values: list[object]) -> None:
        """Append to the list on top."""
        target = self.top()
        if not isinstance(target, list):
            raise ValueError(f"an append to a {type(target).__name__}")
        target.extend(values)

    def add(self, values: list[object]) -> None:
        """Add to the set on top."""
        target = self.top()
        if not isinstance(target, set):
            raise ValueError(f"a member for a {type(target).__name__}")
        target.update(_key(value) for value in values)

    def refuse_call(self, module: object, name: object) -> None:
        """Old-style class instances are never data that we know."""
        raise self.unsafe(f"{module}.{name}", "an object of a class")


def _text_int(machine: _Machine, line: bytes) -> int | bool:
    """The number of an INT or LONG line; `00` and `01` are how protocol 0 writes booleans."""
    if line in (b"00", b"01"):
        return line == b"01"
    if len(line) > _MAX_INT_DIGITS:
        raise ValueError(f"a number of {len(line)} digits")
    return int(line.rstrip(b"L"))


def _quoted(line: bytes) -> str:
    """A Python 2 string as protocol 0 writes it: quoted, with escapes."""
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("a string without its quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin1")  # type: ignore[attr-defined,no-any-return]


def _persistent(machine: _Machine, identifier: object) -> None:
    if machine.persistent is None:
        raise machine.unsafe(f"the persistent id {str(identifier)[:80]!r}", "which lies outside the file")
    machine.push(machine.persistent(identifier))


def _memo_of(machine: _Machine, index: int) -> None:
    if index not in machine.memo:
        raise ValueError(f"memo {index} was never stored")
    machine.push(machine.memo[index])


def _global_line(machine: _Machine) -> tuple[str, str]:
    return machine.line().decode("utf-8"), machine.line().decode("utf-8")


def _instance(machine: _Machine) -> None:
    machine.refuse_call(*_global_line(machine))


def _object(machine: _Machine) -> None:
    values = machine.pop_to_mark()
    callee = values[0] if values else None
    machine.refuse_call(getattr(callee, "module", "?"), getattr(callee, "name", "?"))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.find(module, name)


def _two(machine: _Machine) -> tuple[object, object]:
    second, first = machine.pop(), machine.pop()
    return first, second


def _tuple(machine: _Machine, count: int) -> None:
    values = [machine.pop() for _ in range(count)]
    machine.push(tuple(reversed(values)))


def _new_object_with_keywords(machine: _Machine) -> None:
    keywords = machine.pop()
    if keywords != {}:
        raise ValueError("a construction with keyword arguments")
    machine.call(*_two(machine))


def _dict(machine: _Machine) -> None:
    pairs = machine.pop_to_mark()
    machine.push({})
    machine.set_items(pairs)


def _mark_then(method: Callable[[_Machine, list[object]], None]) -> Callable[[_Machine], None]:
    return lambda machine: method(machine, machine.pop_to_mark())


def _frozen_set(machine: _Machine) -> None:
    machine.push(frozenset(_key(value) for value in machine.pop_to_mark()))


def _discard(machine: _Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _discard_to_mark(machine: _Machine) -> None:
    machine.pop_to_mark()


def _protocol(machine: _Machine) -> None:
    machine.take(1)  # the opcodes of all protocols are understood, whichever the file says


def _out_of_band(machine: _Machine) -> None:
    raise ValueError("a buffer that is kept outside the pickle")


def _extension(machine: _Machine) -> None:
    raise machine.unsafe("a code of the copyreg extension registry", "which stands for any global")


def _frame(machine: _Machine) -> None:
    length = machine.uint(8)
    if length > len(machine.data) - machine.at:
        raise ValueError(f"a frame of {length} bytes announced, {len(machine.data) - machine.at} left")


def _constant(value: object) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(value)


def _bytes_of(width: int) -> Callable[[_Machine], None]:
    return lambda m: m.push(m.take(m.uint(width)))


def _latin1_of(width: int) -> Callable[[_Machine], None]:
    return lambda m: m.push(m.take(m.uint(width)).decode("latin1"))


def _utf8_of(width: int) -> Callable[[_Machine], None]:
    return lambda m: m.push(m.take(m.uint(width)).decode("utf-8", "surrogatepass"))


def _long_of(width: int) -> Callable[[_Machine], None]:
    return lambda m: m.push(int.from_bytes(m.take(m.uint(width)), "little", signed=True))


_OPERATIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _protocol,
    b"\x95": _frame,
    # Numbers and constants.
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b"I": lambda m: m.push(_text_int(m, m.line())),
    b"L": lambda m: m.push(_text_int(m, m.line())),
    b"J": lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)),
    b"K": lambda m: m.push(m.uint(1)),
    b"M": lambda m: m.push(m.uint(2)),
    b"\x8a": _long_of(1),
    b"\x8b": _long_of(4),
    b"F": lambda m: m.push(float(m.line())),
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    # Strings.
    b"S": lambda m: m.push(_quoted(m.line())),
    b"T": _latin1_of(4),
    b"U": _latin1_of(1),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"X": _utf8_of(4),
    b"\x8c": _utf8_of(1),
    b"\x8d": _utf8_of(8),
    b"B": _bytes_of(4),
    b"C": _bytes_of(1),
    b"\x8e": _bytes_of(8),
    b"\x96": _bytes_of(8),  # BYTEARRAY8: immutable is all that data needs
    # Containers.
    b"(": lambda m: m.marks.append(len(m.stack)),
    b")": _constant(()),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.pop_to_mark()),
    b"a": lambda m: m.append([m.pop()]),
    b"e": _mark_then(_Machine.append),
    b"}": lambda m: m.push({}),
    b"d": _dict,
    b"s": lambda m: m.set_items(list(_two(m))),
    b"u": _mark_then(_Machine.set_items),
    b"\x8f": lambda m: m.push(set()),
    b"\x90": _mark_then(_Machine.add),
    b"\x91": _frozen_set,
    # Stack and memo.
    b"0": _discard,
    b"1": _discard_to_mark,
    b"2": lambda m: m.push(m.top()),
    b"p": lambda m: m.remember(int(m.line())),
    b"q": lambda m: m.remember(m.uint(1)),
    b"r": lambda m: m.remember(m.uint(4)),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"g": lambda m: _memo_of(m, int(m.line())),
    b"h": lambda m: _memo_of(m, m.uint(1)),
    b"j": lambda m: _memo_of(m, m.uint(4)),
    # Objects.
    b"c": lambda m: m.find(*_global_line(m)),
    b"\x93": _stack_global,
    b"R": lambda m: m.call(*_two(m)),
    b"\x81": lambda m: m.call(*_two(m)),
    b"\x92": _new_object_with_keywords,
    b"b": _Machine.build,
    b"i": _instance,
    b"o": _object,
    b"P": lambda m: _persistent(m, m.line().decode("latin1")),
    b"Q": lambda m: _persistent(m, m.pop()),
    b"\x82": _extension,
    b"\x83": _extension,
    b"\x84": _extension,
    b"\x97": _out_of_band,
    b"\x98": _out_of_band,
}
