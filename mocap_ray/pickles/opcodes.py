"""The opcodes of pickle protocols 0 to 5, each as a function that changes the machine.

Sources: `pickletools` of the standard library, PEP 307, 3154 and 574.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable

from mocap_ray.pickles.machine import Machine, safe_key
from mocap_ray.pickles.values import shown

_MAX_INT_DIGITS = 4000


def _text_int(machine: Machine, line: bytes) -> int | bool:
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


def _persistent(machine: Machine, identifier: object) -> None:
    if machine.persistent is None:
        raise machine.unsafe(f"the persistent id {shown(identifier)}", "which lies outside the file")
    machine.push(machine.persistent(identifier))


def _memo_of(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise ValueError(f"memo {index} was never stored")
    machine.push_again(machine.memo[index])


def _global_line(machine: Machine) -> tuple[str, str]:
    return machine.line().decode("utf-8"), machine.line().decode("utf-8")


def _instance(machine: Machine) -> None:
    machine.refuse_call(*_global_line(machine))


def _object(machine: Machine) -> None:
    values = machine.pop_to_mark()
    callee = values[0] if values else None
    machine.refuse_call(getattr(callee, "module", "?"), getattr(callee, "name", "?"))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.find(module, name)


def _two(machine: Machine) -> tuple[object, object]:
    second, first = machine.pop(), machine.pop()
    return first, second


def _tuple(machine: Machine, count: int) -> None:
    values = [machine.pop() for _ in range(count)]
    machine.push(tuple(reversed(values)))


def _new_object_with_keywords(machine: Machine) -> None:
    keywords = machine.pop()
    if keywords != {}:
        raise ValueError("a construction with keyword arguments")
    machine.call(*_two(machine))


def _dict(machine: Machine) -> None:
    pairs = machine.pop_to_mark()
    machine.push({})
    machine.set_items(pairs)


def _mark_then(method: Callable[[Machine, list[object]], None]) -> Callable[[Machine], None]:
    return lambda machine: method(machine, machine.pop_to_mark())


def _frozen_set(machine: Machine) -> None:
    machine.push(frozenset(safe_key(value) for value in machine.pop_to_mark()))


def _discard(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _discard_to_mark(machine: Machine) -> None:
    machine.pop_to_mark()


def _protocol(machine: Machine) -> None:
    machine.take(1)  # the opcodes of all protocols are supported, whichever the file declares


def _out_of_band(machine: Machine) -> None:
    raise ValueError("a buffer that is kept outside the pickle")


def _extension(machine: Machine) -> None:
    raise machine.unsafe("a code of the copyreg extension registry", "which stands for any global")


def _frame(machine: Machine) -> None:
    length = machine.uint(8)
    if length > len(machine.data) - machine.at:
        raise ValueError(f"a frame of {length} bytes announced, {len(machine.data) - machine.at} left")


def _constant(value: object) -> Callable[[Machine], None]:
    return lambda machine: machine.push(value)


def _bytes_of(width: int) -> Callable[[Machine], None]:
    return lambda m: m.push(m.chunk(m.uint(width)))


def _latin1_of(width: int) -> Callable[[Machine], None]:
    return lambda m: m.push(m.take(m.uint(width)).decode("latin1"))


def _utf8_of(width: int) -> Callable[[Machine], None]:
    return lambda m: m.push(m.take(m.uint(width)).decode("utf-8", "surrogatepass"))


def _long_of(width: int) -> Callable[[Machine], None]:
    return lambda m: m.push(int.from_bytes(m.take(m.uint(width)), "little", signed=True))


OPERATIONS: dict[bytes, Callable[[Machine], None]] = {
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
    b"e": _mark_then(Machine.append),
    b"}": lambda m: m.push({}),
    b"d": _dict,
    b"s": lambda m: m.set_items(list(_two(m))),
    b"u": _mark_then(Machine.set_items),
    b"\x8f": lambda m: m.push(set()),
    b"\x90": _mark_then(Machine.add),
    b"\x91": _frozen_set,
    # Stack and memo.
    b"0": _discard,
    b"1": _discard_to_mark,
    b"2": lambda m: m.push_again(m.top()),
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
    b"b": Machine.build,
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
