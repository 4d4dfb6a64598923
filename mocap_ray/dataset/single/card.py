"""The data card of a data set of single poses, README.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mocap_ray.dataset.single.formats import PoseFormat
from mocap_ray.dataset.single.instances import OPTIONAL_PARTS
from mocap_ray.wording import counted

PARTS = {"root": "root", "jaw": "jaw", "eyes": "eyes", "left_hand": "left hand", "right_hand": "right hand"}


def card(manifest: Mapping[str, Any], source: PoseFormat) -> str:
    """The card as Markdown; it depends on the manifest alone."""
    totals = manifest["totals"]
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in totals["rejected"].items()) or "nothing"
    rows = [(row["dataset"], row["split"], row) for row in manifest["counts"]] + [("all", "", totals)]
    lines = [
        f"| {_plain(name)} | {split} | {row['files']:,} | {row['poses']:,} | "
        + " | ".join(f"{row[part]:,}" for part in OPTIONAL_PARTS)
        + " |"
        for name, split, row in rows
    ]
    head = f"| dataset | split | files | poses | {' | '.join(PARTS[part] for part in OPTIONAL_PARTS)} |"
    return "\n".join(
        [
            "# Single poses",
            "",
            f"{counted(totals['poses'], 'pose')} of the SMPL family, one row each, without a time axis: no motion. "
            "The columns are described in docs/how-to/poses.md of mocap_ray.",
            "",
            "Poses that give each part:",
            "",
            head,
            f"|{'---|' * (4 + len(OPTIONAL_PARTS))}",
            *lines,
            "",
            f"Left out: {left_out}; `rejected.parquet` has the reason for each.",
            "",
            "## Source",
            "",
            f"{source.title}: {source.url}",
            "",
            f"Licence: {source.licence}",
            "",
            f"Citation: {source.citation}",
            "",
        ]
    )


def _plain(name: str) -> str:
    """A name as it stands, in a table of Markdown."""
    return name.replace("\\", "\\\\").replace("|", "\\|")
