"""The base class of config sections, and settings as plain values: their hash, and the differences of two.

`mocap_ray/config.py` reads sections from YAML.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field

_S = TypeVar("_S", bound=BaseModel)


class Section(BaseModel):
    """A part of a config: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    foreign: ClassVar[Mapping[str, str]] = {}
    """Key names of other projects -> a sentence that says what to use here: the answer to an unknown key of that name.
    A name with dots is a key of the whole config, in any section. Subclasses add to the names of their bases."""

    @classmethod
    def for_values(cls, values: Mapping[str, Any]) -> type[Section]:
        """The class that validates these values: a subclass where one key decides which other keys exist."""
        return cls


@dataclass(frozen=True, slots=True)
class MayChange:
    """Marks a key that may change during a training: the shapes of weights and data do not depend on it."""


MAY_CHANGE = MayChange()
"""For a field: `Annotated[float, MAY_CHANGE]`."""


@dataclass(frozen=True, slots=True)
class IsPath:
    """Marks a key with a path or URI that workers read too, in other folders."""


IS_PATH = IsPath()
"""For a field: `Annotated[str, IS_PATH]`, or with None."""


def paths(section: BaseModel, prefix: str = "") -> dict[str, str]:
    """Dotted keys of a section and its subsections that are marked with `IS_PATH`, with their values other than None.

    >>> class Part(Section):
    ...     root: Annotated[str, IS_PATH]
    ...     vae: Annotated[str | None, IS_PATH] = None
    >>> paths(Part(root="data"), "data.")
    {'data.root': 'data'}
    """
    found: dict[str, str] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found |= paths(value, f"{prefix}{name}.")
        elif value is not None and any(isinstance(mark, IsPath) for mark in field.metadata):
            found[f"{prefix}{name}"] = value
    return found


def with_paths(section: _S, change: Callable[[str], str]) -> _S:
    """A copy with the values of `paths` changed."""
    update: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            update[name] = with_paths(value, change)
        elif value is not None and any(isinstance(mark, IsPath) for mark in field.metadata):
            update[name] = change(value)
    return section.model_copy(update=update)


def may_change(section: type[BaseModel], prefix: str = "") -> tuple[str, ...]:
    """Dotted keys of a section and its subsections that are marked with `MAY_CHANGE`.

    >>> class Part(Section):
    ...     rate: Annotated[float, MAY_CHANGE] = 0.1
    ...     width: int = 3
    >>> may_change(Part, "model.")
    ('model.rate',)
    """
    found: list[str] = []
    for name, field in section.model_fields.items():
        if any(isinstance(mark, MayChange) for mark in field.metadata):
            found.append(f"{prefix}{name}")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += may_change(field.annotation, f"{prefix}{name}.")
    return tuple(found)


def foreign_names(section: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """`Section.foreign` of a section, its bases and its subsections, by dotted key.

    >>> class Part(Section):
    ...     foreign: ClassVar = {"lr": "Use part.rate.", "other.speed": "Use part.rate."}
    >>> sorted(foreign_names(Part, "part."))
    ['other.speed', 'part.lr']
    """
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        names: Mapping[str, str] = vars(base).get("foreign", {})
        found |= {name if "." in name else f"{prefix}{name}": answer for name, answer in names.items()}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= foreign_names(field.annotation, f"{prefix}{name}.")
    return found


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones.

    >>> flat({"model": {"kind": "a", "K": 4}, "empty": {}})
    {'model.kind': 'a', 'model.K': 4, 'empty': {}}
    """
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            out.update(flat(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = value
    return out


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def digest(value: Any) -> str:
    """sha256 of plain values, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """One line for each setting that differs between two recipes."""
    lines = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, prefix=f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: was {_short(a)}, is now {_short(b)}")
    return lines


def _short(value: Any) -> str:
    """A setting as text; long ones, such as checksums, are cut."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}..."
