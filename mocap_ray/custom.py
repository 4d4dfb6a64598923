"""Find what a config names: an entry of a table, or an object of the user's own code as `package.module:NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TypeVar

from mocap_ray.errors import UserError

T = TypeVar("T")


def find_named(name: str, table: Mapping[str, T], kind: type[T], *, what: str) -> T:
    """Return `table[name]`, or import the object that `package.module:NAME` names.

    Only for names that a user typed: importing a module runs its code, so a name from a data file must not get here.

    Args:
        name: what the config says.
        table: entries of this package by name.
        kind: the class that an imported object must be an instance of.
        what: the thing in messages, such as `archive`.

    Raises:
        UserError: it is not in the table, and cannot be imported or is of another class.
    """
    if name in table:
        return table[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UserError(
            f"No {what} {name!r}. Expected one of {', '.join(table)}, or package.module:NAME of your own "
            f"{kind.__name__}."
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:  # ValueError: an empty module name
        raise UserError(
            f"No {what} {name!r}: {error}. Expected package.module:NAME of an importable module."
        ) from error
    if not isinstance(found, kind):
        raise UserError(
            f"{name} is of type {type(found).__name__}. Expected a {kind.__module__}.{kind.__name__}."
        )
    return found
