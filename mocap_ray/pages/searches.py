"""One self-contained HTML page about a search: parallel coordinates, learning curves, a table.

Both charts show the same trials; pointing at one, or at its row, highlights it everywhere. The page uses no network
and no external file. The table has the numbers of the charts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePath

from mocap_ray.drawing import templates
from mocap_ray.drawing.templates import SHARED
from mocap_ray.pages import TEMPLATES, search_charts
from mocap_ray.pages.search_charts import NOT_SEARCHED, score
from mocap_ray.searching.results import STATES, Trial, cloned, folded, heads, name, ranked, table, text
from mocap_ray.searching.setup import SearchSetup
from mocap_ray.storage import Place
from mocap_ray.wording import counted

PAGE_NAME = "page.html"
RELOAD_S = 10
"""Seconds after which the browser reads the page of a running search again."""
LABELS = {"stopped": "stopped early"}
"""State -> its text in the header of the page."""


def write_page(out: Place, trials: Sequence[Trial], search: SearchSetup) -> None:
    """Write `page.html` into the folder of the search. Raises OSError."""
    out.write_atomic(search_page(trials, search, where=out.uri).encode(), PAGE_NAME)


def search_page(trials: Sequence[Trial], search: SearchSetup, *, where: str) -> str:
    """The page as HTML; its footer shows the address `where`."""
    keys = list(search.space)
    order = [t for t in ranked(trials, search.metric, search.mode) if not math.isnan(score(t, search))]
    best = order[0] if order else None
    values = best.best_values(search.metric, search.mode) if best else {}
    states = [t.state for t in trials]
    base = PurePath(search.base).stem
    return templates.render_page(
        f"{TEMPLATES}/searches.html.j2",
        title=f"Search of {base} · {counted(len(trials), 'trial')}",
        styles=[f"{TEMPLATES}/searches.css"],
        scripts=[f"{SHARED}/charts.js", f"{TEMPLATES}/searches.js"],
        heading=base,
        search=search,
        where=where,
        best=best,
        best_value=f"{score(best, search):.5g}" if best else "",
        best_spread=best.spread(search.metric, search.mode) if best else None,
        best_values=[(key, text(values.get(key)) or NOT_SEARCHED) for key in keys] if best else [],
        states=[(LABELS.get(state, state), states.count(state)) for state in STATES if state in states],
        reload_s=RELOAD_S if any(t.searching for t in trials) else None,
        ended=sum(state not in ("running", "waiting") for state in states),
        diverged=[name(t.number) for t in trials if t.diverged],
        heads=heads(
            keys, search.metric, lineage=cloned(trials), folds=folded(trials, search.metric, search.mode)
        ),
        rows=table(trials, keys, search.metric, search.mode),
        axes=len(keys) + 1,
        parallel=search_charts.parallel(order, search),
        curves=search_charts.curves(order, search),
        clone_heads=["epoch", "trial", "copied trial", "discarded epoch", *keys],
        clones=clones(trials, keys),
    )


def clones(trials: Sequence[Trial], keys: Sequence[str]) -> list[list[str]]:
    """Every exploit, by epoch: a trial that copied another's weights, and the values it continued with."""
    each = sorted(((c.epoch, t.number, c) for t in trials for c in t.clones), key=lambda found: found[:2])
    return [
        [str(c.epoch), name(number), name(c.donor), str(c.own_epoch), *(text(c.values.get(k)) for k in keys)]
        for _, number, c in each
    ]
