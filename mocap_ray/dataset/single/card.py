"""The data card of a data set of single poses, README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mocap_ray.dataset.card import Source, sources_of
from mocap_ray.dataset.single.instances import OPTIONAL_PARTS
from mocap_ray.wording import counted

PARTS = {"root": "root", "jaw": "jaw", "eyes": "eyes", "left_hand": "left hand", "right_hand": "right hand"}


def card(manifest: Mapping[str, Any]) -> str:
    """The card as Markdown; it depends on the manifest alone."""
    totals = manifest["totals"]
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in totals["rejected"].items()) or "nothing"
    sources = sources_of(manifest)
    rows = [(_home(row, sources), row["split"], row) for row in manifest["counts"]] + [("all", "", totals)]
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
            *(line for source in sources for line in _source(source, alone=len(sources) == 1)),
        ]
    )


def _source(source: Source, *, alone: bool) -> list[str]:
    """Where the poses of a source come from, its licence and citation."""
    heading = "## Source" if alone else f"## Source {source.name}"
    domain = [] if source.domain == source.name else [f"Domain: {_plain(source.domain)}", ""]
    known = source.attribution
    if known is None:
        return [heading, "", *domain]
    texts = (f"{known.title}: {known.url}", f"Licence: {known.licence}", f"Citation: {known.citation}")
    return [heading, "", *domain, *(line for text in texts for line in (text, ""))]


def _home(row: Mapping[str, Any], sources: Sequence[Source]) -> str:
    """The sub-dataset of a row of counts, and its source if there are several."""
    return str(row["dataset"]) if len(sources) == 1 else f"{row['dataset']} ({row['source']})"


def _plain(name: str) -> str:
    """A name as it stands, in a table of Markdown."""
    return name.replace("\\", "\\\\").replace("|", "\\|")
