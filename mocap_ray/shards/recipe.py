"""The recipe of a data set: every setting that changes rows, in a file that is written before the first shard.

A data set has several sources. Some settings are shared: all sources agree on them. The others belong to one source,
and only its shards depend on them. Both parts are hashed apart, and each shard records both hashes (`Origin`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mocap_ray.documents import Document, parse
from mocap_ray.errors import UserError
from mocap_ray.options import differences, digest
from mocap_ray.storage import Place
from mocap_ray.wording import counted, listed

NAME = "recipe.json"
SOURCES, ABOUT, UNFINISHED = "sources", "about", "unfinished"
"""Keys of the file: the settings of each source, where it comes from, and the sources whose run has not finished."""


class Replaced(UserError):
    """Another run has started to replace the data set, so a worker that outlived its own run must not write to it."""


class Older(UserError):
    """The data set is from before a data set could have several sources."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What made a shard: a source, the hash of the shared settings, and the hash of the settings of the source."""

    source: str
    shared_hash: str
    source_hash: str


@dataclass(frozen=True, slots=True)
class SourceRecipe:
    """The settings that belong to one source of a data set.

    Attributes:
        name: the name of the source.
        settings: those that change its rows.
        about: where it comes from, for readers; not hashed, because it changes no row.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """The settings as in the file."""
        return {**self.settings, **({ABOUT: dict(self.about)} if self.about else {})}


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe of a run, which makes one source.

    Attributes:
        shared: the settings that all sources of the data set agree on.
        source: the settings of this source.
    """

    shared: Mapping[str, Any]
    source: SourceRecipe

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.source.name

    @property
    def origin(self) -> Origin:
        """The origin of the shards of this run."""
        return Origin(self.name, digest(dict(self.shared)), digest(dict(self.source.settings)))


@dataclass(frozen=True, slots=True)
class Recipes:
    """The recipe of a data set.

    Attributes:
        shared: the settings that all sources agree on.
        sources: the settings of each source, by its name.
        unfinished: the sources whose last run has not finished.
    """

    shared: Mapping[str, Any]
    sources: Mapping[str, SourceRecipe]
    unfinished: frozenset[str] = frozenset()

    @staticmethod
    def parse(values: Mapping[str, Any]) -> Recipes:
        """The recipe of these values, which have the key `sources`."""
        shared = {k: v for k, v in values.items() if k not in (SOURCES, UNFINISHED)}
        sources = {}
        for name, one in sorted(values[SOURCES].items()):
            settings = {k: v for k, v in one.items() if k != ABOUT}
            sources[name] = SourceRecipe(name, settings, one.get(ABOUT) or {})
        return Recipes(shared, sources, frozenset(values.get(UNFINISHED, ())))

    @property
    def values(self) -> dict[str, Any]:
        """The recipe as in the file and in the manifest."""
        return {
            **self.shared,
            SOURCES: {name: one.values for name, one in sorted(self.sources.items())},
            **({UNFINISHED: sorted(self.unfinished)} if self.unfinished else {}),
        }

    @property
    def hash(self) -> str:
        """The hash of all settings."""
        settings = {name: dict(one.settings) for name, one in self.sources.items()}
        return digest({**self.shared, SOURCES: settings})

    @property
    def finished(self) -> Recipes:
        """The recipe without the sources whose run has not finished."""
        kept = {name: one for name, one in self.sources.items() if name not in self.unfinished}
        return Recipes(self.shared, kept)

    def shares(self, run: Recipe) -> bool:
        """Whether a run has the settings that the sources share."""
        return digest(dict(self.shared)) == digest(dict(run.shared))

    def run(self, name: str) -> Recipe | None:
        """The recipe of the run that makes one of the sources; None if there is no such source."""
        return Recipe(self.shared, self.sources[name]) if name in self.sources else None

    def origin(self, name: str) -> Origin | None:
        """The origin of the shards of a source."""
        run = self.run(name)
        return None if run is None else run.origin


class _Source(Document):
    """The settings of a source in the file."""

    about: dict[str, str] | None = None


class RecipeValues(Document):
    """A recipe in `recipe.json` or in a manifest; the other keys are the shared settings."""

    sources: dict[str, _Source] | None = None
    unfinished: tuple[str, ...] = ()


def write(out: Place, recipes: Recipes) -> None:
    """Publish the recipe."""
    out.write_atomic(json.dumps(recipes.values, indent=1, sort_keys=True).encode(), NAME)


def read_values(out: Place) -> dict[str, Any]:
    """The content of the file, also of one from before a data set could have several sources.

    Raises:
        FileNotFoundError: there is none.
        UserError: the file is edited or damaged.
    """
    found = parse(
        out.read(NAME),
        RecipeValues,
        where=f"{out.uri}/{NAME}",
        what="the recipe of a data set",
        remedy="Copy it again, pass --overwrite to replace the data set, or choose another output.root.",
    )
    return found.model_dump(exclude_unset=True)


def read(out: Place) -> Recipes:
    """The recipe of a data set.

    Raises:
        FileNotFoundError: there is none.
        Older: it is from before a data set could have several sources.
        UserError: the file is edited or damaged.
    """
    values = read_values(out)
    if values.get(SOURCES) is None:
        raise Older(
            f"{out.uri}: made by an earlier version of mocap_ray, whose data sets had a single source. "
            f"`mocap-ray dataset upgrade {out.uri}` brings its files up to date without reading the archive again; or "
            "pass --overwrite to make it anew, or choose another output.root."
        )
    return Recipes.parse(values)


def current(out: Place) -> Recipes | None:
    """The recipe of a data set; None if there is none, an older or a damaged one."""
    try:
        return read(out)
    except (FileNotFoundError, UserError):
        return None


def begin(out: Place, run: Recipe) -> None:
    """Publish that a run makes a source: from now on, until `end`, the source is unfinished.

    The other sources stay, unless the run shares its settings no longer with them.
    """
    found = current(out)
    if found is None or not found.shares(run):
        found = Recipes(run.shared, {})
    sources = {**found.sources, run.name: run.source}
    write(out, replace(found, sources=sources, unfinished=found.unfinished | {run.name}))


def end(out: Place, run: Recipe) -> Recipes:
    """Publish that the source is finished; returns the recipe of the data set."""
    found = read(out)
    found = replace(found, unfinished=found.unfinished - {run.name})
    write(out, found)
    return found


def is_finished(out: Place, run: Recipe) -> bool:
    """Whether the data set has this source, made by this recipe, and the run that made it has finished."""
    found = current(out)
    return found is not None and found.finished.origin(run.name) == run.origin


def require_same(out: Place, run: Recipe, *, overwrite: bool, remedy: str | None = None) -> None:
    """Raise unless the output is empty, or the run can add or update its source there.

    Args:
        out: root of the data set.
        run: the recipe of the run.
        overwrite: whether another recipe is allowed.
        remedy: what to do about another recipe; default: `--overwrite`, or another folder.

    Raises:
        UserError: the data set was made by another recipe (the message lists all differences), or the folder holds
            foreign files.
    """
    if out.exists(NAME):
        if not overwrite:
            _require_no_differences(out, read(out), run, remedy)
        return
    foreign = [
        out.relative(i.path)
        for i in out.files()
        if not out.relative(i.path).startswith((".lock", "_runs/", ".tmp-"))
    ]
    if foreign:
        raise UserError(
            f"{out.uri} holds {counted(len(foreign), 'file')} that no extraction wrote (first: {foreign[0]}). "
            "Choose an empty or new folder as output.root."
        )


def _require_no_differences(out: Place, found: Recipes, run: Recipe, remedy: str | None) -> None:
    shared = differences(found.shared, run.shared)
    mine = found.sources.get(run.name)
    own = [] if mine is None else differences(mine.settings, run.source.settings)
    if not shared and not own:
        return
    others = sorted(found.sources.keys() - {run.name})
    what, how = f"{out.uri} was", "Pass --overwrite to replace it, or choose another output.root."
    if others and shared:
        how = (
            f"All sources of a data set share these settings. Use those of {listed(others)}, choose another "
            f"output.root, or pass --overwrite to replace the whole data set, which removes {listed(others)}."
        )
    elif own and not shared:
        what = f"{out.uri}: its source {run.name} was"
        how = (
            "Pass --overwrite to replace this source, set source.name to add another one beside it, or choose another "
            "output.root."
        )
    listing = "".join(f"\n  {line}" for line in (*shared, *own))
    raise UserError(f"{what} made by another recipe:{listing}\n{remedy or how}")


def require_current(out: Place, origin: Origin) -> None:
    """Raise Replaced if another run has replaced the recipe that makes these shards."""
    try:
        found = read(out).origin(origin.source)
    except FileNotFoundError:  # a single shard, made without a run
        return
    if found != origin:
        raise Replaced(
            f"{out.uri}: while this run was working, another run started to replace the data set with another recipe. "
            "This worker stopped and wrote nothing more."
        )
