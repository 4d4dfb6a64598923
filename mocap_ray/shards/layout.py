"""The layout of a product's files: their inputs, folders, Hive keys, names and sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from mocap_ray.documents import FIRST, Count, Document, Name, Sha256
from mocap_ray.shards.recipe import RecipeValues

WORKER_DIED = "worker_died"
EXCLUDED = "excluded"
COMMON_REASONS = ("unreadable", WORKER_DIED, EXCLUDED)
"""Reasons that the closed list of every product contains."""


@runtime_checkable
class Input(Protocol):
    """An input of a shard, as listed but not opened; picklable. A `Recording` is one."""

    @property
    def name(self) -> str:
        """A name that is unique among the inputs of a run, and the same on every machine."""

    @property
    def source(self) -> str:
        """The path of the input, for messages."""

    @property
    def size(self) -> int:
        """Size in bytes; shards are cut by it."""

    @property
    def fingerprint(self) -> str:
        """A text that changes when the input changes."""


class Record(BaseModel):
    """A value on disk: unknown keys are errors, so that a file of a newer version is not misread."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Own = TypeVar("_Own", bound=Record)


class Sums(Record, ABC):
    """The sums of a shard, stored in its receipt: small, so that no shard has to be read again."""

    AMOUNTS: ClassVar[tuple[str, ...]] = ()
    """Fields that say how much the shard holds; progress is counted in the first one (`frames`)."""

    @abstractmethod
    def merge(self: _Own, other: _Own) -> _Own:
        """The sums of both; called in the order of the shards' paths."""

    def counts(self) -> dict[str, int | float]:
        """Further columns of the manifest's `counts`, besides inputs, rows and rejections."""
        return {name: getattr(self, name) for name in self.AMOUNTS}

    @property
    def amount(self) -> int | float:
        """The first of `AMOUNTS`; 0 if there are none."""
        value: int | float = getattr(self, self.AMOUNTS[0]) if self.AMOUNTS else 0
        return value


SumsT = TypeVar("SumsT", bound=Sums)


class ShardEntry(Document):
    """A shard in the manifest; `path` is relative to the root, `source` is empty in files of earlier versions."""

    path: Name
    sha256: Sha256
    rows: Count
    bytes: Count
    source: str = ""


class Counts(Document):
    """Counts of a group or of all groups in the manifest; a product adds its own."""

    rejected: dict[str, Count]
    source: str = ""


class Manifest(Document):
    """The content of `manifest.json`; a product may add keys, and types of its own."""

    schema_version: Annotated[int, Field(ge=1)]
    package_version: Name
    recipe: RecipeValues
    recipe_hash: Name
    shards: Annotated[tuple[ShardEntry, ...], FIRST]
    counts: Annotated[tuple[Counts, ...], FIRST]
    sources: Annotated[tuple[Counts, ...], FIRST] = ()
    totals: Counts


@dataclass(frozen=True, slots=True)
class ProductWords:
    """What a product calls its inputs and rows, in files and messages.

    Attributes:
        input, inputs: an input, in the singular and the plural.
        rows: the rows, in the plural.
        start: the position in an input at which a rejected piece begins.
    """

    input: str = "input"
    inputs: str = "inputs"
    rows: str = "rows"
    start: str = "start"


@dataclass(frozen=True, slots=True)
class Layout(Generic[SumsT]):
    """How the files of a data set are named and sorted.

    Attributes:
        folder: the folder of the Parquet files, below the root of the data set.
        keys: Hive partition keys, from the outermost; the group of an input has a value for each.
        reasons: the closed list of reasons for a rejection; contains `COMMON_REASONS`.
        sums: the class of a shard's sums.
        words: what the product calls its inputs and rows.
        schema_version: of the files; raised when a reader of the previous version would misread a file.
        rejected_keys: the keys that have a column in `rejected.parquet`; None means all.
        manifest: the class of the manifest.
        intended: reasons that somebody decided on, besides `excluded`: they do not end a run with `--strict`.
    """

    folder: str
    keys: tuple[str, ...]
    reasons: type[StrEnum]
    sums: type[SumsT]
    words: ProductWords = ProductWords()
    schema_version: int = 1
    rejected_keys: tuple[str, ...] | None = None
    manifest: type[Manifest] = Manifest
    intended: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        missing = set(COMMON_REASONS) - {str(reason) for reason in self.reasons}
        if missing:
            raise TypeError(
                f"{self.reasons.__name__} lacks {', '.join(sorted(missing))}: every product needs these reasons."
            )

    @property
    def worker_died(self) -> StrEnum:
        """The reason for rejecting an input that kills the process that reads it."""
        return self.reasons(WORKER_DIED)

    @property
    def excluded(self) -> StrEnum:
        """The reason for leaving out an input that the user excluded."""
        return self.reasons(EXCLUDED)
