"""Make one shard in one process: process its inputs, publish the file, write the receipt."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Generic, TypeVar

import pyarrow as pa

from mocap_ray.errors import UserError
from mocap_ray.records import Rejection
from mocap_ray.shards import exclusions, recipe
from mocap_ray.shards.cutting import InputT, Shard
from mocap_ray.shards.exclusions import Exclusions
from mocap_ray.shards.layout import EXCLUDED, SumsT
from mocap_ray.shards.product import ItemT, Product
from mocap_ray.shards.receipts import InputListing, Receipt, RejectedRow
from mocap_ray.shards.recipe import Origin
from mocap_ray.storage import Place


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and after how long, a failed read or write is retried.

    Attributes:
        times: attempts in all.
        wait_s: seconds before the second attempt; doubled after each further one.
    """

    times: int = 3
    wait_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Job(Generic[InputT, ItemT, SumsT]):
    """What a worker needs besides the shards; sent once per execution, and as large as the product.

    Attributes:
        product: what to make.
        out: root of the data set.
        origin: the source and the hashes of its recipe, for files and receipts.
        metadata: of each file's schema.
        excluded: inputs that are rejected without being read -> why.
        strict: whether to raise on the first rejection.
        retry: how reads and writes are retried.
    """

    product: Product[InputT, ItemT, SumsT]
    out: Place
    origin: Origin
    metadata: Mapping[str, str]
    excluded: Exclusions = field(default_factory=dict)
    strict: bool = False
    retry: Retry = Retry()

    def ready(self) -> Job[InputT, ItemT, SumsT]:
        """The job with its product set up; called once in each worker, before its first shard."""
        return replace(self, product=self.product.setup())


class FirstRejection(Exception):
    """The first rejection, which ends a run with `--strict`."""


class ProcessingError(Exception):
    """A product raised an unexpected exception, which is a bug; names the input. The cause is chained."""


def make(
    shard: Shard[InputT], job: Job[InputT, ItemT, SumsT], *, dead: Mapping[str, str] | None = None
) -> Receipt[SumsT]:
    """Make one shard: process its inputs, publish the file atomically, then write its receipt.

    Args:
        shard: the inputs.
        job: what to make from them, and where; already set up (`Job.ready`).
        dead: inputs that killed their worker -> what is known; they are rejected without being read.

    Raises:
        OSError: an input could not be read, or a file could not be written, after all retries.
        FirstRejection: with `strict`, the first rejection.
        UserError: the run cannot continue.
        Replaced: another run has replaced the data set's recipe, or changed what is excluded; nothing was written.
        ProcessingError: a bug of the product.
    """
    product, out, retry = job.product, job.out, job.retry
    items: list[ItemT] = []
    rejections: list[Rejection[InputT]] = []
    product.ahead([i for i in shard.inputs if i.name not in job.excluded and i.name not in (dead or {})])
    for input in shard.inputs:
        for item in _processed(input, job, dead or {}):
            if not isinstance(item, Rejection):
                items.append(item)
            elif job.strict and item.reason not in {EXCLUDED, *product.layout.intended}:
                raise FirstRejection(f"{input.source}: {item.reason}: {item.detail}")
            else:
                rejections.append(item)
    data: pa.Buffer | None = None
    _retried(lambda: recipe.require_current(out, job.origin), retry, f"reading {recipe.NAME}")
    _retried(lambda: _require_same_exclusions(shard, job), retry, f"reading {exclusions.NAME}")
    if items:
        data = product.encode(_with_metadata(product.table(items), job))
        _retried(lambda: out.write_atomic(data, shard.path), retry, f"writing {shard.path}")
    else:
        out.remove(shard.path)
    receipt = _receipt(shard, product.sums(items), len(items), rejections, data, job.origin)
    _retried(lambda: receipt.write_atomic(out, product.layout), retry, f"writing the receipt of {shard.path}")
    return receipt


def _processed(
    input: InputT, job: Job[InputT, ItemT, SumsT], dead: Mapping[str, str]
) -> Sequence[ItemT | Rejection[InputT]]:
    """The items and rejections of an input; one that is excluded or in `dead` is rejected without being read."""
    layout = job.product.layout
    reasons = layout.reasons
    if input.name in job.excluded:
        return [Rejection(input, layout.excluded, job.excluded[input.name])]
    if input.name in dead:
        return [Rejection(input, layout.worker_died, dead[input.name])]
    try:
        results = _retried(lambda: job.product.process(input), job.retry, f"reading {input.source}")
    except (OSError, UserError):
        raise
    except Exception as error:
        raise ProcessingError(f"{input.source}: {type(error).__name__}: {error}") from error
    for item in results:
        if isinstance(item, Rejection) and not isinstance(item.reason, reasons):
            raise ProcessingError(f"{input.source}: {item.reason!r} is not a reason of {reasons.__name__}.")
    return results


def _require_same_exclusions(shard: Shard[Any], job: Job[Any, Any, Any]) -> None:
    """Raise Replaced if another run has changed what is excluded from this shard."""
    if exclusions.among(shard.inputs, exclusions.read(job.out)) != exclusions.among(
        shard.inputs, job.excluded
    ):
        raise recipe.Replaced(
            f"{job.out.uri}: while this run was working, another run changed what is excluded. This worker stopped and "
            "wrote nothing more."
        )


def _with_metadata(table: pa.Table, job: Job[Any, Any, Any]) -> pa.Table:
    return table.replace_schema_metadata(file_metadata(job.metadata, job.origin))


def file_metadata(metadata: Mapping[str, str], origin: Origin) -> dict[str, str]:
    """The metadata of a file's schema."""
    return {f"mocap_ray.{key}": value for key, value in {**metadata, **asdict(origin)}.items()}


def _receipt(
    shard: Shard[InputT],
    sums: SumsT,
    rows: int,
    rejections: Sequence[Rejection[InputT]],
    data: pa.Buffer | None,
    origin: Origin,
) -> Receipt[SumsT]:
    """The receipt of a shard: what it holds and what it was made from."""
    return Receipt(
        shard=shard.name,
        path=shard.path,
        group=shard.group,
        origin=origin,
        inputs=tuple(InputListing.of(i) for i in shard.inputs),
        sha256=hashlib.sha256(data).hexdigest() if data is not None else None,
        bytes=data.size if data is not None else 0,
        rows=rows,
        rejections=tuple(RejectedRow.of(r, shard.group) for r in rejections),
        sums=sums,
    )


Result = TypeVar("Result")


def _retried(call: Callable[[], Result], retry: Retry, doing: str) -> Result:
    """`call()`, retried after an OSError with growing waits. Raises the last OSError; the message says `doing`."""
    for attempt in range(retry.times):
        try:
            return call()
        except OSError as error:
            if attempt + 1 == retry.times:
                raise OSError(f"{doing}: {error} ({retry.times} attempts)") from error
            time.sleep(retry.wait_s * 2**attempt)
    raise AssertionError("unreachable: retry.times is at least 1")
