"""Stand-in bodies of all families and genders, written once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from mocap_ray.body.standin import write_standin


@pytest.fixture(scope="session")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with nine stand-in models."""
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root)
    return root
