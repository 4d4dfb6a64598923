"""The seam: what the shards of a run hold, and how they are made from the inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.records import Rejection
from mocap_ray.shards.cutting import InputT
from mocap_ray.shards.layout import Layout, SumsT
from mocap_ray.shards.receipts import Receipt
from mocap_ray.storage import Place


@dataclass(frozen=True, slots=True)
class Resources:
    """What one worker takes of a machine."""

    cpus: float = 1.0
    gpus: float = 0.0


ItemT = TypeVar("ItemT")


class Product(ABC, Generic[InputT, ItemT, SumsT]):
    """What the shards of a run hold: one subclass for each kind of data set.

    It is picklable and small, because it travels to every worker. A product that needs something expensive in each
    worker, such as a model on a GPU, loads it in `setup`: then the workers stay alive and call it once.

    Attributes:
        layout: what its files look like; an attribute of the class.
    """

    layout: Layout[SumsT]

    @property
    def resources(self) -> Resources:
        """What one worker takes."""
        return Resources()

    def setup(self) -> Product[InputT, ItemT, SumsT]:
        """The product with what is loaded once in each worker; the default needs nothing."""
        return self

    @property
    def needs_setup(self) -> bool:
        """Whether workers are kept alive for the sake of `setup`."""
        return type(self).setup is not Product.setup

    @abstractmethod
    def process(self, input: InputT) -> Sequence[ItemT | Rejection[InputT]]:
        """The items of one input in a fixed order, and what is left out of it. Never empty.

        Raises:
            OSError: it could not be read just now, and is tried again; its bytes prove nothing.
            UserError: the run cannot go on.
        """

    @abstractmethod
    def table(self, items: Sequence[ItemT]) -> pa.Table:
        """The items of a shard, at least one, as its table."""

    @abstractmethod
    def sums(self, items: Sequence[ItemT]) -> SumsT:
        """What the items of a shard add up to; without items, what `merge` leaves as it is."""

    def encode(self, table: pa.Table) -> pa.Buffer:
        """The bytes of the Parquet file."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", compression_level=1)
        return sink.getvalue()

    def metadata(self) -> dict[str, str]:
        """Further metadata of each file's schema, under `mocap_ray.<key>`."""
        return {}

    def finish(
        self, out: Place, receipts: Sequence[Receipt[SumsT]], manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write what is made of all shards (statistics, a card) and return the manifest with what else is in it.

        Args:
            out: root of the data set.
            receipts: of all shards, in the order of their paths.
            manifest: what every product's manifest holds; it is written after this, as the last file.
        """
        return dict(manifest)
