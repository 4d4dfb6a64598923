"""The interface of a product: what the shards of a run hold, and how they are made from the inputs."""

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
    """The resources that one worker needs."""

    cpus: float = 1.0
    gpus: float = 0.0


ItemT = TypeVar("ItemT")


class Product(ABC, Generic[InputT, ItemT, SumsT]):
    """What the shards of a run hold: one subclass for each kind of data set.

    It is picklable and small, because it is sent to every worker. A product that needs something expensive in each
    worker, such as a model on a GPU, loads it in `setup`; the workers are then kept alive and call it once.

    Attributes:
        layout: the layout of its files; a class attribute.
    """

    layout: Layout[SumsT]

    @property
    def resources(self) -> Resources:
        """The resources that one worker needs."""
        return Resources()

    @property
    def reads(self) -> Mapping[str, Place]:
        """The folders that workers read, by the key of the config that names each: every node has to see them."""
        return {}

    def setup(self) -> Product[InputT, ItemT, SumsT]:
        """The product, ready to process; called once in each worker. The default returns the product itself."""
        return self

    @property
    def needs_setup(self) -> bool:
        """Whether workers are kept alive, because `setup` is overridden."""
        return type(self).setup is not Product.setup

    def ahead(self, inputs: Sequence[InputT]) -> None:
        """Called before the inputs of a shard are processed, with all that will be; the default does nothing.

        For a product that computes many inputs at once, such as a model on a GPU. `process` must give the same
        without it, because inputs are also read alone.
        """

    @abstractmethod
    def process(self, input: InputT) -> Sequence[ItemT | Rejection[InputT]]:
        """The items of one input in a fixed order, and a rejection for each piece that is left out. Never empty.

        Raises:
            OSError: the input could not be read; the call is retried, because this proves nothing about its content.
            UserError: the run cannot continue.
        """

    @abstractmethod
    def table(self, items: Sequence[ItemT]) -> pa.Table:
        """The items of a shard, at least one, as an Arrow table."""

    @abstractmethod
    def sums(self, items: Sequence[ItemT]) -> SumsT:
        """The sums of a shard's items; without items, the neutral element of `merge`."""

    def encode(self, table: pa.Table) -> pa.Buffer:
        """The bytes of the Parquet file."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", compression_level=1)
        return sink.getvalue()

    def metadata(self) -> dict[str, str]:
        """Additional metadata of each file's schema, stored as `mocap_ray.<key>`."""
        return {}

    def finish(
        self, out: Place, receipts: Sequence[Receipt[SumsT]], manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write what is made from all shards (statistics, a card) and return the manifest with further entries.

        Args:
            out: root of the data set.
            receipts: of all shards, in the order of their paths.
            manifest: the entries that every product has; it is written after this call, as the last file.
        """
        return dict(manifest)
