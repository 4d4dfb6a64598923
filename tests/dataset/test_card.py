"""The data card is correct and reproducible, and its code runs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from mocap_ray.dataset.card import card, cell
from mocap_ray.dataset.snippets import snippets
from tests.dataset.made import make

ABOUT = {
    "title": "CMU Motion Capture",
    "licence": "free for all uses",
    "citation": "NSF EIA-0196217",
    "url": "http://mocap.cs.cmu.edu",
}


def manifest_of(root: Path, **about: dict[str, str]) -> dict[str, Any]:
    """The manifest, with where its sources come from; sources that it does not have are added."""
    found: dict[str, Any] = json.loads((root / "manifest.json").read_text())
    (first,) = found["recipe"]["sources"].values()
    for name, text in about.items():
        found["recipe"]["sources"].setdefault(name, {**first, "domain": name})["about"] = text
    return found


def test_the_card_states_counts_sources_and_recipe(tmp_path: Path) -> None:
    make(tmp_path / "set")
    text = card(manifest_of(tmp_path / "set", amass=ABOUT))
    assert "18 clips of human motion, 72 s" in text
    assert "| CMU | train | 7 | 10 | 800 | 40 s | 1 teleport, 1 too short |" in text
    origin = "CMU Motion Capture (<http://mocap.cs.cmu.edu>)\n  - Licence: free for all uses"
    assert f"**BMLrub, CMU**: {origin}" in text
    assert "| amass | amass | BMLrub, CMU | 11 | 18 | 72 s |" in text
    assert "about" not in text.partition("## Recipe")[2]
    assert "**BMLrub, CMU**: no licence is on record here" in card(manifest_of(tmp_path / "set"))
    assert '| `motion.yaw` | `"continuous"` |' in text
    assert "gender fallback: 3" in text


def test_the_card_depends_only_on_its_arguments(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make(tmp_path / name)
    one, two = (card(manifest_of(tmp_path / name, amass=ABOUT)) for name in ("a", "b"))
    assert one == two
    assert str(tmp_path) not in one
    assert one.endswith("|\n")


def test_sources_of_one_archive_share_an_entry(tmp_path: Path) -> None:
    make(tmp_path / "set")
    manifest = manifest_of(tmp_path / "set", amass=ABOUT, more=ABOUT, own={**ABOUT, "title": "Mine"})
    for row, name in zip(manifest["counts"], ("amass", "more", "own"), strict=True):
        row["source"] = name
    text = card(manifest)
    assert text.count("CMU Motion Capture") == 1
    assert "**BMLrub, CMU**: CMU Motion Capture" in text
    assert "**CMU**: Mine" in text


@pytest.mark.parametrize("standin", [True, False])
def test_a_standin_body_is_announced(tmp_path: Path, standin: bool) -> None:
    make(tmp_path / "set", standin=standin)
    assert ("Stand-in body." in card(manifest_of(tmp_path / "set"))) == standin


def test_every_column_of_the_files_is_described(tmp_path: Path) -> None:
    columns = ("features", "joints", "poses", "trans", "stick", "vertices")
    make(tmp_path / "set")
    shard = next((tmp_path / "set" / "clips").rglob("*.parquet"))
    text = card({**manifest_of(tmp_path / "set"), "columns": columns})
    for name in (*pq.read_schema(shard).names, *columns, "dataset", "split"):
        assert f"\n| `{name}` | `" in text


def test_the_header_is_yaml_that_names_every_split(tmp_path: Path) -> None:
    make(tmp_path / "set")
    header = yaml.safe_load(card(manifest_of(tmp_path / "set")).split("---\n")[1])
    files = header["configs"][0]["data_files"]
    assert [f["split"] for f in files] == ["train", "val", "test"]
    for f in files:
        assert list((tmp_path / "set").glob(f["path"]))


def test_an_empty_data_set_has_a_card(tmp_path: Path) -> None:
    make(tmp_path / "set")
    totals = {"recordings": 0, "clips": 0, "frames": 0, "seconds": 0.0, "rejected": {}}
    empty = {**manifest_of(tmp_path / "set"), "shards": [], "counts": [], "totals": totals}
    assert "0 clips of human motion, 0 s" in card(empty)


def test_names_are_escaped_in_tables() -> None:
    assert cell("a|b\n<c>\\") == "a\\|b &lt;c>\\\\"


def snippets_of(text: str) -> dict[str, str]:
    """Title -> code, read from the finished card."""
    return dict(re.findall(r"### ([^\n]+)\n.*?```python\n(.*?)\n```", text, flags=re.DOTALL))


def test_every_snippet_is_in_the_card_and_is_python(tmp_path: Path) -> None:
    make(tmp_path / "set")
    manifest = manifest_of(tmp_path / "set")
    found = snippets_of(card(manifest))
    assert found == {s.title: s.code.rstrip("\n") for s in snippets(manifest)}
    for code in found.values():
        ast.parse(code)


@pytest.mark.parametrize("title", ["mocap_ray", "pyarrow", "pandas", "DuckDB"])
def test_snippets_of_the_card_run_in_the_folder(tmp_path: Path, title: str) -> None:
    make(tmp_path / "set")
    code = snippets_of(card(manifest_of(tmp_path / "set")))[title]
    code += "\nif 'features' in dir(): assert features.ndim == 2 and features.shape[1] == 263\n"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "set",
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
