"""`python -m mocap_ray.cli`."""

from __future__ import annotations

from mocap_ray.cli import run

if __name__ == "__main__":
    run()
