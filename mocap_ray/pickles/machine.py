"""The virtual machine that interprets a pickle: input, stack, marks, memo, budget.

Python's `pickle.Unpickler` with a restricted `find_class` still calls the objects it finds, sets attributes on
them (opcode BUILD applies to classes and functions too), allocates whatever a length field declares, and grows its
memo to any index. Here a global is a pair of strings, and `rebuild.py` builds the value it represents.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from mocap_ray.pickles.rebuild import LISTED, rebuild
from mocap_ray.pickles.values import Global, Nested, Pending, Trace, UnsafePickle


def safe_key(key: object, *, depth: int = 0) -> object:
    """Return the key. Raises ValueError for a key that allows deep recursion or deliberate hash collisions."""
    if isinstance(key, tuple) and depth < 2 and len(key) < 100:
        for part in key:
            safe_key(part, depth=depth + 1)
        return key
    plain = key is None or isinstance(key, str | bytes | float)
    if not plain and not (isinstance(key, int) and abs(key) < 2**60):
        raise ValueError(f"a {type(key).__name__} cannot be a dictionary key or a member of a set here")
    return key


class Machine:
    """The state of the interpreter: input, stack, marks, memo, budget."""

    def __init__(
        self,
        data: bytes,
        start: int,
        where: str,
        *,
        persistent: Callable[[object], object] | None,
        nested: Nested | None,
        trace: Trace | None = None,
    ) -> None:
        self.data = data
        self.at = start
        self.where = where
        self.persistent = persistent
        self.nested = nested
        self.trace = trace
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        # A normal file makes about one byte of values per byte; a malicious one with a reused memo makes thousands.
        self.budget = 16 * len(data) + 2**26

    def spend(self, count: int) -> None:
        """Count bytes used by objects. Raises ValueError above the budget, so that a short file cannot fill memory."""
        self.budget -= count
        if self.budget < 0:
            raise ValueError(f"values many times as large as the file's {len(self.data)} bytes")

    # Input.

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises ValueError if fewer are left."""
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise ValueError(f"{count} bytes announced, {len(self.data) - self.at} left")
        chunk = self.data[self.at : end]
        self.at = end
        return chunk

    def chunk(self, count: int) -> bytes:
        """The next `count` bytes, as a value."""
        found = self.take(count)
        if self.trace is not None:
            self.trace.chunk(found, self.at - count)
        return found

    def line(self) -> bytes:
        """The bytes up to the next newline, which is consumed too."""
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

    def push_again(self, value: object) -> None:
        """Put a value on the stack that was there before."""
        if self.trace is not None:
            self.trace.again(value)
        self.stack.append(value)

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> object:
        """Take the top value. Raises ValueError if there is none above the last mark."""
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
        """The top value, which stays on the stack."""
        return self.stack[-1]

    def remember(self, index: int) -> None:
        """Memoize the top value; a `Pending` object records the index, to be replaced when it is finished."""
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
        """The error for a name that is not allowed."""
        return UnsafePickle(
            f"{self.where}: the pickle names {name}, {why}. It was not loaded and none of its code was run. "
            "If you trust its origin, load it where its library is installed and save the arrays with numpy.savez."
        )

    def call(self, callee: object, arguments: object) -> None:
        """REDUCE and NEWOBJ: build the value of a listed global."""
        if not isinstance(callee, Global) or not isinstance(arguments, tuple):
            raise ValueError(f"a call of a {type(callee).__name__}")
        if self.trace is not None:
            self.trace.called(callee)
        self.push(rebuild(callee, arguments, self))

    def build(self) -> None:
        """BUILD: finish the object below the state."""
        state, target = self.pop(), self.pop()
        if isinstance(target, OrderedDict):
            self.push(target)  # torch attaches version notes to its state dicts
            return
        if not isinstance(target, Pending):
            raise ValueError(f"a state for a {type(target).__name__}")
        value = target.finish(state)
        for index in target.memo:
            if self.memo.get(index) is target:
                self.memo[index] = value
        self.push(value)

    def set_items(self, pairs: list[object]) -> None:
        """Add alternating keys and values to the dictionary on top."""
        target = self.top()
        if not isinstance(target, dict) or len(pairs) % 2:
            raise ValueError("items for something that is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[safe_key(key)] = value

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
        target.update(safe_key(value) for value in values)

    def refuse_call(self, module: object, name: object) -> None:
        """Raise UnsafePickle: an instance of an old-style class is never supported data."""
        raise self.unsafe(f"{module}.{name}", "an object of a class")
