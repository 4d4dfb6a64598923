"""Archives of human motion in, one clean, typed Parquet data set out; see `docs/architecture.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mocap_ray.dataset.reader import open as open

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`mocap_ray.open`, imported when it is asked for: workers need no reader."""
    if name == "open":
        from mocap_ray.dataset.reader import open

        return open
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
