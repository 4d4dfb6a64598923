"""Where a page is written."""

from __future__ import annotations

import os
from pathlib import Path

from mocap_ray.errors import UserError
from mocap_ray.storage import place


def page_path(out: str | os.PathLike[str], *, error: type[UserError] = UserError) -> Path:
    """The HTML file that `out` means: an existing folder gets `index.html`. Raises `error` for an object store."""
    if "://" in str(out):
        raise error(f"{out}: the page is a local file. Write it to a local path and copy it.")
    path = Path(out)
    return path / "index.html" if path.is_dir() else path


def save_page(html: str, path: Path) -> Path:
    """Write a page atomically; returns its path. Raises OSError."""
    place(path.parent).write_atomic(html.encode(), path.name)
    return path
