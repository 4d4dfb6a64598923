"""The data card of a data set: its README.md.

It is made only from the manifest and the archive's sources, without times, hosts or paths, so the same data
set has the same card, byte for byte. It starts with the YAML header that the Hugging Face Hub reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mocap_ray.dataset import schema
from mocap_ray.dataset.recipe import recipes_of
from mocap_ray.dataset.remarks import remarks
from mocap_ray.dataset.snippets import snippets, splits_of
from mocap_ray.drawing import templates
from mocap_ray.shards.recipe import ABOUT


class Attribution(NamedTuple):
    """Where a source comes from, and its licence."""

    title: str
    licence: str
    citation: str
    url: str


_NOTES: dict[str, tuple[str, str]] = {
    "clip_id": ("", "`<recording>@<first source frame>`; mirrored twins end in `~M`; unique"),
    "name": (
        "",
        "what the list of segments calls the clip, null without one; mirrored twins with `M` before it",
    ),
    "recording": ("", "path of the source below the archive root, without its ending"),
    "domain": ("", "of the source; statistics can be weighted by it"),
    "subject": ("", "who moves; splits never share a subject unless they were given as lists"),
    "gender": ("", "as the source says: neutral, male, female or unknown"),
    "family": ("", "body family of the source: smpl, smplh, smplx or joints"),
    "action": ("", "label from names or annotations"),
    "style": ("", "label from names or annotations"),
    "texts": ("", "captions, may be empty"),
    "captions": ("s", "all captions with their tokens, also those of a part of the clip: from start to end"),
    "fps": ("1/s", "frames per second of the frame columns"),
    "source_fps": ("1/s", "frames per second of the source file"),
    "num_frames": ("rows", "rows of `features`"),
    "betas": ("", "shape coefficients, may be empty"),
    "features": ("m, rad, per frame", "the 263 motion features, not normalised"),
    "joints": ("m", "22 joints x (x, y, z), Y up, as fed to the encoder"),
    "poses": (
        "rad",
        "55 joints x axis-angle in SMPL-X order, Y up, angle in [0, pi]; null for mirrored twins",
    ),
    "trans": ("m", "translation that belongs to `poses`, Y up; null where `poses` is"),
    "stick": ("", "five stick-figure lines (x1, y1, x2, y2)"),
    "vertices": ("m", "mesh vertices x (x, y, z), Y up"),
}


def schema_rows(columns: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """Name, Arrow type, unit and meaning of each column; the two Hive partitions come last."""
    for field in schema.schema(columns):
        kind = str(field.type).replace("element: ", "").replace("item: ", "").replace("float", "float32")
        kind = kind.replace("double", "float64")
        unit, meaning = _NOTES[field.name]
        yield field.name, kind + (" or null" if field.nullable else ""), unit, meaning
    yield "dataset", "Hive partition", "", "sub-dataset"
    yield "split", "Hive partition", "", "train, val or test"


def settings(recipe: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested recipe as flat `a.b.c` keys with JSON values, sorted; without what is only for readers."""
    for key, value in sorted(recipe.items()):
        if key == ABOUT and prefix:
            continue
        if isinstance(value, Mapping) and value:
            yield from settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, sort_keys=True)


def reasons(rejected: Mapping[str, int]) -> str:
    """Counts by reason as text, the most frequent first."""
    ordered = sorted(rejected.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in ordered) or "none"


def cell(text: object) -> str:
    """Text for a cell of a Markdown table: no line breaks; pipes and angle brackets are escaped."""
    flat = " ".join(str(text).split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


class Source(NamedTuple):
    """A source of a data set, as the card lists it."""

    name: str
    domain: str
    datasets: str
    counts: Mapping[str, Any]
    attribution: Attribution | None


def sources_of(manifest: Mapping[str, Any]) -> list[Source]:
    """The sources of a manifest, by name."""
    found = []
    for name, one in sorted(recipes_of(manifest["recipe"]).sources.items()):
        counts = next(
            (row for row in manifest.get("sources", ()) if row["source"] == name), manifest["totals"]
        )
        rows = [row for row in manifest["counts"] if row.get("source", name) == name]
        datasets = ", ".join(sorted({str(row["dataset"]) for row in rows}))
        known = Attribution(*(one.about.get(key, "") for key in Attribution._fields)) if one.about else None
        found.append(Source(name, str(one.settings.get("domain", name)), datasets, counts, known))
    return found


def card(manifest: Mapping[str, Any]) -> str:
    """README.md of a data set.

    Args:
        manifest: as in `manifest.json`.

    Returns:
        Markdown that ends in a line break; the same arguments give the same text.
    """
    sources = sources_of(manifest)
    by_origin: dict[Attribution | None, list[str]] = {}
    for one in sources:
        by_origin.setdefault(one.attribution, []).append(one.datasets)
    attributions = sorted(
        ((", ".join(names), origin) for origin, names in by_origin.items()),
        key=lambda e: (e[1] is None, e[0]),
    )
    return templates.render(
        "dataset/templates/card.md.j2",
        manifest=manifest,
        totals=manifest["totals"],
        splits=splits_of(manifest),
        sources=sources,
        attributions=attributions,
        schema_rows=list(schema_rows([*manifest["columns"]])),
        settings=list(settings(manifest["recipe"])),
        snippets=snippets(manifest),
        remarks=remarks(manifest["totals"], manifest["recipe"]["motion"]),
        cell=cell,
        reasons=reasons,
    )
