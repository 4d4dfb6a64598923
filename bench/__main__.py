"""Run every benchmark, print one table, write bench/results.json."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import (
    archives,
    body,
    bvh,
    dataset,
    features,
    feeding,
    fit_smpl,
    hands,
    held_out,
    memory,
    motion,
    pipeline,
    priors,
    rebuild,
)

PARTS = {
    "body": body.measure,
    "features": features.measure,
    "archives": archives.measure,
    "extraction": pipeline.measure,
    "reading again": dataset.measure,
    "rebuild": rebuild.measure,
    "bvh": bvh.measure,
    "fit to joints": fit_smpl.measure,
    "memory": memory.measure,
    "priors": priors.measure,
    "motion": motion.measure,
    "hands": hands.measure,
    "feeding": feeding.measure,
    "held out": held_out.measure,
}


def main(names: list[str]) -> None:
    """Run the named parts, or all."""
    console = Console()
    results: dict[str, dict[str, float]] = {}
    for name in names or list(PARTS):
        with console.status(f"measuring {name}"):
            results[name] = PARTS[name]()
    table = Table(
        title=f"benchmarks on {platform.machine()}, Python {platform.python_version()}", title_justify="left"
    )
    table.add_column("part")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for part, figures in results.items():
        for figure, value in figures.items():
            table.add_row(part, figure, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}")
        table.add_section()
    console.print(table)
    path = Path(__file__).parent / "results.json"
    existing = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**existing, **results}, indent=1))
    console.print(f"written to {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
