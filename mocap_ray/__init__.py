"""Archives of human motion in, one clean, typed Parquet data set out; see `docs/architecture.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mocap_ray.dataset.reader import open as open
    from mocap_ray.dataset.single.reader import open_poses as open_poses
    from mocap_ray.generation.load import load_motion_model as load_motion_model
    from mocap_ray.priors.load import load_prior as load_prior

from mocap_ray.version import __version__ as __version__


def __getattr__(name: str) -> object:
    """`mocap_ray.open`, `open_poses`, `load_prior`, `load_motion_model`: imported lazily, workers need none of them."""
    if name == "open":
        from mocap_ray.dataset.reader import open

        return open
    if name == "open_poses":
        from mocap_ray.dataset.single.reader import open_poses

        return open_poses
    if name == "load_prior":
        from mocap_ray.priors.load import load_prior

        return load_prior
    if name == "load_motion_model":
        from mocap_ray.generation.load import load_motion_model

        return load_motion_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
