"""What data sets of clips and of single poses have in common: shards of splits, sub-datasets and sources."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from mocap_ray.dataset.parquet import Shard
from mocap_ray.dataset.recipe import recipes_of
from mocap_ray.dataset.views import DataSetError
from mocap_ray.shards.layout import ShardEntry
from mocap_ray.shards.recipe import Recipes
from mocap_ray.storage import Place


def listed_shards(entries: Iterable[ShardEntry], recipes: Recipes) -> tuple[Shard, ...]:
    """The shards of a manifest; dataset and split come from the Hive parts of their paths."""
    return tuple(_shard(entry, recipes) for entry in entries)


def _shard(entry: ShardEntry, recipes: Recipes) -> Shard:
    """A manifest entry; the domain comes from its source."""
    source = entry.source or next(iter(recipes.sources), "")
    settings = recipes.sources[source].settings if source in recipes.sources else {}
    frames = getattr(entry, "frames", 0)
    return Shard(
        entry.path,
        *hive_parts(entry.path),
        entry.rows,
        frames,
        source,
        str(settings.get("domain", source)),
    )


def hive_parts(path: str) -> tuple[str, str]:
    """Dataset and split in the path of a shard.

    >>> hive_parts("clips/dataset=CMU/split=train/0.parquet")
    ('CMU', 'train')
    """
    parts = dict(part.split("=", 1) for part in path.split("/") if "=" in part)
    return unquote(parts["dataset"]), unquote(parts["split"])


@dataclass(frozen=True)
class ShardedSet:
    """A finished data set. Holds no open files, so it can be pickled and copied.

    Attributes:
        place: root of the data set.
        manifest: the content of `manifest.json`.
        shards: the files that the manifest lists, in its order.
    """

    place: Place
    manifest: dict[str, Any]
    shards: tuple[Shard, ...]

    def __len__(self) -> int:
        return sum(s.rows for s in self.shards)

    @cached_property
    def recipes(self) -> Recipes:
        """The settings that made the data set: those that its sources share, and those of each source."""
        return recipes_of(self.manifest["recipe"])

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of the data set, by name."""
        return tuple(sorted(self.recipes.sources))

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains that have rows; several sources may share one."""
        return tuple(sorted({s.domain for s in self.shards}))

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that have rows, train, val and test first."""
        found = {s.split for s in self.shards}
        usual = [name for name in ("train", "val", "test") if name in found]
        return (*usual, *sorted(found - set(usual)))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Sub-datasets that have rows."""
        return tuple(sorted({s.dataset for s in self.shards}))

    def selected(
        self, *, split: str | None = None, dataset: str | None = None, domain: str | None = None
    ) -> tuple[int, ...]:
        """Numbers of the shards of a split, sub-dataset and domain; all by default.

        Raises:
            DataSetError: no row has that split, sub-dataset or domain; says which exist.
        """
        wanted = {"split": split, "dataset": dataset, "domain": domain}
        for (kind, name), known in zip(
            wanted.items(), (self.splits, self.datasets, self.domains), strict=True
        ):
            if name is not None and name not in known:
                raise DataSetError(
                    f"{self.place.uri}: no {kind} '{name}'. Expected one of: {', '.join(known) or 'none'}."
                )
        return tuple(
            k
            for k, s in enumerate(self.shards)
            if all(name is None or getattr(s, kind) == name for kind, name in wanted.items())
        )
