"""What `mocap-ray evaluate` does with a model of motion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from mocap_ray.cli.options import local_file
from mocap_ray.cli.progress import progress_bar
from mocap_ray.cli.screen import console, say
from mocap_ray.cli.tables import show, simple_table
from mocap_ray.errors import UserError


def refuse(options: Mapping[str, bool], *, path: str) -> None:
    """Raise UserError for an option that only pose priors have."""
    for name, given in options.items():
        if given:
            raise UserError(f"{name}: {path} is a model of motion. Leave it out; it is for pose priors.")


def evaluate_motion(
    path: str,
    out: Path,
    *,
    data: str | None,
    split: str | None,
    evaluator: str | None,
    seed: int,
    quick: bool,
    device: str,
) -> None:
    """Print the tables of a motion VAE or a rectified flow, and write a page and the figures as JSON."""
    from mocap_ray.generation.task import WORDS
    from mocap_ray.priors.judging.evaluate import check_device
    from mocap_ray.storage import place
    from mocap_ray.training.trained import kind_at

    local_file(out)  # before an evaluation of minutes
    check_device(device)
    show_and_write = _flow if kind_at(path, WORDS) == "motion_flow" else _vae
    with progress_bar(console(), "evaluating") as update:
        found = show_and_write(
            path,
            out,
            root=data,
            split=split,
            evaluator=evaluator,
            seed=seed,
            quick=quick,
            device=device,
            progress=lambda text, done: update(done, text),
        )
    figures = found.page.with_suffix(".json")
    text = json.dumps(found.summary, indent=1) + "\n"
    place(figures.parent).write_atomic(text.encode(), figures.name)
    for table in found.tables:
        show(console(), table)
    for note in found.notes:
        say(console(), f"note: {note}", style="yellow")
    say(console(), f"\nThe page with motion: {found.page}   figures: {figures}")


class _Found(NamedTuple):
    """What an evaluation found: its page, which is written, and what to print."""

    page: Path
    summary: Mapping[str, Any]
    tables: list[Table]
    notes: list[str]


def _vae(path: str, out: Path, **options: Any) -> _Found:
    """Evaluate a motion VAE."""
    from mocap_ray.generation.judging.evaluate import evaluate
    from mocap_ray.generation.judging.tables import heading, rows
    from mocap_ray.pages.motion import write_page

    report = evaluate(path, **options)
    domains = [scores.name for scores in report.scores]
    lines = [[row.title, *row.cells, row.note] for row in rows(report)]
    table = simple_table(heading(report), ["", *domains, "how to read it"], lines, right=domains)
    return _Found(write_page(report, out), report.summary(), [table], report.notes)


def _flow(path: str, out: Path, **options: Any) -> _Found:
    """Evaluate a rectified flow."""
    from mocap_ray.generation.judging.flow_results import columns, heading, rows
    from mocap_ray.generation.judging.flows import evaluate_flow
    from mocap_ray.pages.flow import write_flow_page

    report = evaluate_flow(path, **options)
    names = columns(report)
    tables = []
    for figures in report.domains:
        lines = [[row.title, *row.cells, row.note] for row in rows(figures)]
        tables.append(
            simple_table(heading(report, figures), ["", *names, "how to read it"], lines, right=names)
        )
    return _Found(write_flow_page(report, out), report.summary(), tables, report.notes)
