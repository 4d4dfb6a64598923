"""The house rules that a program can check: imports point downward, Ray stays upstairs, nothing runs on import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mocap_ray"
FILES = sorted(PACKAGE.rglob("*.py"))


def test_rooms_import_downward_and_without_circles() -> None:
    """The contracts in pyproject.toml; the rooms of docs/architecture.md are the same list."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo"]
    run = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_the_table_of_rooms_is_the_contract() -> None:
    contracts = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(c["layers"] for c in contracts if c["id"] == "rooms")
    text = (
        (PACKAGE.parent / "docs" / "architecture.md")
        .read_text()
        .partition("## Rooms")[2]
        .partition("\n## ")[0]
    )
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [layer.split(" | ") for layer in layers]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_are_absolute(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import; write the full name"


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
    assert run.stdout.strip() == "['mocap_ray', 'mocap_ray.version']"


def test_workers_import_neither_torch_nor_smplx() -> None:
    code = "import sys, mocap_ray.dataset.product; print([m for m in ('torch', 'smplx') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


GENERIC = [file for room in ("training", "searching") for file in FILES if file.parent.name == room]
OTHERS = re.compile(r"(?<![a-z])(poses?|joints?|priors?|clips?)(?![a-z])", re.IGNORECASE)
"""Words of one task. In names too: `_` and dots part words."""
OF_THE_FIELD = re.compile(r"grad(ient)?_clip(_val)?|clip_grad_norm_|np\.clip")


@pytest.mark.parametrize("file", GENERIC, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_training_and_searching_name_no_model_and_no_data(file: Path) -> None:
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        found = OTHERS.search(OF_THE_FIELD.sub("", line))
        assert found is None, f"{file}:{number}: {found[0]!r} belongs to one task: {line.strip()}"
