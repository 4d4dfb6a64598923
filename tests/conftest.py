"""Shared fixtures: where ../shared is, and shape checks on every function of the package.

Kernel modules are left out of the import hook: numba compiles them and must see them undecorated.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]


def _modules() -> list[str]:
    spec = importlib.util.find_spec("mocap_ray")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    found = pkgutil.walk_packages(spec.submodule_search_locations, "mocap_ray.", onerror=lambda name: None)
    # `distributed` is left out too: Ray pickles its functions, decorated ones cannot be sent by value.
    # So is `cli.configs`: typer hands its callback a context of a class that its own public one is not.
    left_out = ("kernels", ".distributed", ".cli.configs")
    return [m.name for m in found if not m.ispkg and not any(part in m.name for part in left_out)]


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and the commands under test would inherit it: Ctrl-C would do nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)

for _name in ("COLUMNS", "LINES"):
    # pytest loads readline, which sets them past `os.environ`: the commands under test would fold their tables.
    os.environ.pop(_name, None)
    os.unsetenv(_name)

# Of torch in this process and in all that the tests start: threads that spin while they wait for each other make a
# busy machine a hundred times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A busy machine is slow, not wrong.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

_hook = install_import_hook(_modules(), "beartype.beartype")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-wording", action="store_true", help="write tests/wording.txt anew (tests/test_wording.py)"
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start Ray run in one process of `make test`, and what documents say in the other, after the rest.

    They mostly wait, so two Rays share two cores well; more would not.
    """
    for item in items:
        if item.get_closest_marker("ray"):
            group = "documents" if item.path.name == "test_readme.py" else "ray"
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The models of the tests are small: threads that wait for each other cost more than they bring."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ../shared, or a skip that says why."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: real motion and reference outputs are not shipped")
    return folder


@pytest.fixture(scope="session")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with nine stand-in models."""
    from mocap_ray.demo.standin import write_standin  # after the import hook

    root = tmp_path_factory.mktemp("bodies")
    write_standin(root)
    return root
