"""JSON files of this package, read through typed models: an edited or damaged file ends in one sentence.

Such a file may come back from an editor, a broken disk or a stranger. So its types and bounds are checked before
anything is computed from it, and what is wrong with it is the user's to repair.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from mocap_ray.errors import UserError

T = TypeVar("T")

Count = Annotated[int, Field(ge=0, le=2**53)]
"""A number of things: not negative, and exact in every reader of JSON."""
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=4096)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FIRST = FailFast()
"""For a long list: `Annotated[tuple[X, ...], FIRST]` stops at the first problem."""


LONGEST = 60
"""Characters of a key or value in a message."""


class Document(BaseModel):
    """A JSON object in a file; keys of later versions are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def others(self) -> dict[str, Any]:
        """The keys that have no type."""
        return dict(self.model_extra or {})


def parse(
    data: bytes,
    schema: type[T],
    *,
    where: str,
    what: str,
    remedy: str,
    error: type[UserError] = UserError,
) -> T:
    """Read a JSON file.

    Types are strict: `"3"` and `true` are no numbers. Nesting is limited to 200 levels by the parser.

    Args:
        data: the content of the file.
        schema: the class of its value: a `Document`, or a dataclass.
        where: name of the file, for messages.
        what: what the file should be, such as `the manifest of a data set`.
        remedy: what to do.
        error: the class of the error.

    Raises:
        UserError: of the class `error`; the file is not JSON, or its value is of another type.
    """
    try:
        return cast(T, _adapter(cast(Any, schema)).validate_json(data, strict=True))
    except ValidationError as problem:
        raise error(f"{where}: not {what} ({first_problem(problem)}). {remedy}") from problem


@lru_cache(maxsize=64)
def _adapter(schema: Any) -> Any:  # a TypeAdapter, which beartype does not know as a type
    return TypeAdapter(schema)


def first_problem(error: ValidationError) -> str:
    """The first problem of a validation as a clause on one line: where, what was expected, what was found.

    >>> try:
    ...     _ = TypeAdapter(dict[str, Count]).validate_python({"rows": -3})
    ... except ValidationError as error:
    ...     first_problem(error)
    'rows: should be greater than or equal to 0, found -3'
    """
    first = error.errors(include_url=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    message = message.splitlines()[0].rstrip(".")[:200]
    keys = ".".join(_shown_key(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return message[0].lower() + message[1:].replace("recursion limit exceeded", "nested too deeply")
    if first["type"] == "missing":
        return f"{keys}: missing"
    return f"{keys}{keys and ': '}{message}, found {_shown(first['input'])}"


def _shown_key(part: str | int) -> str:
    """A key as it is if that is short and printable; else quoted and cut."""
    text = str(part)
    return text if text.isprintable() and len(text) <= LONGEST else _cut(repr(text))


def _shown(value: Any) -> str:
    """A value of a file, on one line and not longer than `LONGEST`."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        return _cut(repr(value[: LONGEST + 1]))
    if isinstance(value, int) and abs(value) > 10**LONGEST:
        return "a huge number"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return f"a {type(value).__name__}"  # a tensor of a checkpoint


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
