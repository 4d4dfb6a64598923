"""What a product's files look like: the inputs they come from, their place in the tree, their names, their sums."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict

WORKER_DIED = "worker_died"
COMMON_REASONS = ("unreadable", WORKER_DIED)
"""Reasons that the closed list of every product contains."""


@runtime_checkable
class Input(Protocol):
    """What shards are made from, known by its listing only; picklable. A `Recording` is one."""

    @property
    def name(self) -> str:
        """Unique among the inputs of a run, and the same on every machine."""

    @property
    def source(self) -> str:
        """Where it is, for messages."""

    @property
    def size(self) -> int:
        """Bytes; shards are cut by them."""

    @property
    def fingerprint(self) -> str:
        """Changes when the input changes."""


class Record(BaseModel):
    """A value on disk: unknown keys are errors, so that what a newer version wrote counts as foreign."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Own = TypeVar("_Own", bound=Record)


class Sums(Record):
    """What a shard adds up to, in its receipt: small, so that nothing has to be read a second time."""

    AMOUNTS: ClassVar[tuple[str, ...]] = ()
    """Fields that say how much the shard holds, the one that progress is counted in first (`frames`)."""

    def merge(self: _Own, other: _Own) -> _Own:
        """Of both; called in the order of the shards' paths."""
        raise NotImplementedError

    def counts(self) -> dict[str, int | float]:
        """Columns of the manifest's `counts` beside those of inputs, rows and rejections."""
        return {name: getattr(self, name) for name in self.AMOUNTS}

    @property
    def amount(self) -> int | float:
        """The first of `AMOUNTS`; 0 where there is none."""
        value: int | float = getattr(self, self.AMOUNTS[0]) if self.AMOUNTS else 0
        return value


SumsT = TypeVar("SumsT", bound=Sums)


@dataclass(frozen=True, slots=True)
class ProductWords:
    """What a product calls its things, in files and messages.

    Attributes:
        input, inputs: what it is made from.
        rows: what it makes.
        start: where in an input a rejected piece begins.
    """

    input: str = "input"
    inputs: str = "inputs"
    rows: str = "rows"
    start: str = "start"


@dataclass(frozen=True, slots=True)
class Layout(Generic[SumsT]):
    """How the files of a data set are called and sorted.

    Attributes:
        folder: of the Parquet files below the root of the data set.
        keys: Hive partitions, from the outside in; the group of an input has a value for each.
        reasons: the closed list of reasons for a rejection; contains `COMMON_REASONS`.
        sums: the model of what a shard adds up to.
        words: what the product calls its things.
        schema_version: of the files; raised when a reader of the version before would misread one.
        rejected_keys: the keys that have a column in `rejected.parquet`; all where None.
    """

    folder: str
    keys: tuple[str, ...]
    reasons: type[StrEnum]
    sums: type[SumsT]
    words: ProductWords = ProductWords()
    schema_version: int = 1
    rejected_keys: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        lacking = set(COMMON_REASONS) - {str(reason) for reason in self.reasons}
        if lacking:
            raise TypeError(
                f"{self.reasons.__name__} lacks {', '.join(sorted(lacking))}: every product rejects inputs for these."
            )

    @property
    def worker_died(self) -> StrEnum:
        """The reason for an input that kills the process that reads it."""
        return self.reasons(WORKER_DIED)
