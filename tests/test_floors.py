"""The house rules that a program can check: imports point downward, Ray stays upstairs, nothing runs on import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mocap_ray"
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = {
    "skeleton": 0,
    "storage": 0,
    "npz": 0,
    "pickles": 0,
    "body": 1,
    "motion": 1,
    "archives": 2,
    "dataset": 3,
    "models": 3,
    "config": 4,
    "training": 5,
    "distributed": 6,
    "terminal": 7,
    "cli": 7,
    "cli_bodies": 7,
    "cli_data": 7,
    "cli_demo": 7,
    "cli_options": 7,
    "cli_priors": 7,
    "__init__": 8,  # the front door: imports what is asked for, when it is asked for
}


def _part(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(file: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import; write the full name"
            found.append((node.lineno, node.module or ""))
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_downward(file: Path) -> None:
    own = FLOORS[_part(file)]
    for line, name in _imports(file):
        parts = name.split(".")
        if parts[0] == "mocap_ray" and len(parts) > 1 and parts[1] in FLOORS:
            assert FLOORS[parts[1]] <= own, f"{file}:{line}: {_part(file)} (floor {own}) imports {name}"
        if parts[0] == "ray":
            assert _part(file) == "distributed", f"{file}:{line}: only distributed/ imports ray"


SIDE_EFFECTS = (ast.For, ast.While, ast.With, ast.Try, ast.Delete)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_nothing_works_at_import_time(file: Path) -> None:
    for node in ast.parse(file.read_text()).body:
        assert not isinstance(node, SIDE_EFFECTS), f"{file}:{node.lineno}: work at import time"
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = ast.unparse(node.value.func)
            # Tables are frozen, and commands and template filters registered, where they are defined.
            allowed = call.endswith((".setflags", ".add_typer"))
            assert allowed, f"{file}:{node.lineno}: {call}() at import time"


def test_the_front_door_imports_nothing_until_asked() -> None:
    names = "('mocap_ray', 'numpy', 'pyarrow')"
    code = f"import sys, mocap_ray; print(sorted(m for m in sys.modules if m.startswith({names})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['mocap_ray']"


def test_workers_import_neither_torch_nor_smplx() -> None:
    code = "import sys, mocap_ray.dataset.shards; print([m for m in ('torch', 'smplx') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
