"""Docstrings of this package, which use single backticks as Markdown does, as reStructuredText."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_MARKUP = re.compile(r"[*|\\]|(?<=\w)_(?!\w)")
"""Characters that start markup in reStructuredText, but stand for themselves in our docstrings, as in `[*B, 3]`."""


def as_rst(line: str) -> str:
    """One line: single backticks become double ones, all other markup characters are escaped."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    parts = _CODE.split(line)
    return "".join(
        f"``{part}``" if k % 2 else _MARKUP.sub(lambda found: f"\\{found[0]}", part)
        for k, part in enumerate(parts)
    )


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = [as_rst(line) for line in lines]


def _no_arguments(app: Sphinx, what: str, *rest: object) -> tuple[str, None] | None:
    """Readers meet classes as results of functions, or derive from them: how they are made is left out."""
    return ("", None) if what == "class" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Runs before napoleon (priority 500), which adds markup of its own."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    app.connect("autodoc-process-signature", _no_arguments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
