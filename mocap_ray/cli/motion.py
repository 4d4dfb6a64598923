"""What `mocap-ray evaluate` does with a model of motion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mocap_ray.cli.options import local_file
from mocap_ray.cli.progress import progress_bar
from mocap_ray.cli.screen import console, say
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
    """Print the table of a motion VAE, and write a page and the figures as JSON."""
    from mocap_ray.cli.tables import show, simple_table
    from mocap_ray.generation.judging.evaluate import evaluate
    from mocap_ray.generation.judging.tables import heading, rows
    from mocap_ray.pages.motion import write_page
    from mocap_ray.priors.judging.evaluate import check_device
    from mocap_ray.storage import place

    local_file(out)  # before an evaluation of minutes
    check_device(device)
    screen = console()
    with progress_bar(screen, "evaluating") as update:
        report = evaluate(
            path,
            root=data,
            split=split,
            evaluator=evaluator,
            seed=seed,
            quick=quick,
            device=device,
            progress=lambda text, done: update(done, text),
        )
    page = write_page(report, out)
    figures = page.with_suffix(".json")
    text = json.dumps(report.summary(), indent=1) + "\n"
    place(figures.parent).write_atomic(text.encode(), figures.name)
    domains = [scores.name for scores in report.scores]
    lines = [[row.title, *row.cells, row.note] for row in rows(report)]
    show(screen, simple_table(heading(report), ["", *domains, "how to read it"], lines, right=domains))
    for note in report.notes:
        say(screen, f"note: {note}", style="yellow")
    say(screen, f"\nThe page with motion: {page}   figures: {figures}")
